"""What a session served live, recomputed in batch from what it recorded. Does I/O (reads)."""

import numpy as np

from don.errors import ConfigError, DataError, UsageError
from don.features.cache import FeatureCache
from don.features.config import FeatureConfig
from don.features.sets import FeatureSet
from don.features.verify import Certificate, batch_of, certify
from don.model import codec
from don.model.messages import FeatureSnapshot, SessionStart
from don.storage.database import Database
from don.storage.journal import Journal
from don.storage.recorder import MarketRecorder
from don.storage.rows import SessionRow

HISTORY = "history"


def certify_session(db: Database, row: SessionRow) -> Certificate:
    """Recompute the feature vectors of a session and compare each with the one in its journal.

    The recorded market batches give the bars and their micro-structure; the features are then one
    batch a symbol over all of them, not a stream.

    Raises:
        UsageError: if the session has no journal, or was run with another feature set.
        DataError: if its market data are not kept any more.
    """
    start: SessionStart | None = None
    served = {}
    for entry in Journal(db, row.account, row.session).read(row.session):
        if entry.kind == "SessionStart" and start is None:
            start = codec.decode(entry.kind, entry.payload)
        elif entry.kind == "FeatureSnapshot":
            message: FeatureSnapshot = codec.decode(entry.kind, entry.payload)
            served[message.version] = message.values
    if start is None:
        raise UsageError(f"session {row.session} has no journal: it ended before it began")
    config = FeatureConfig.model_validate_json(start.feature_config)
    features = FeatureSet(config.names, config.interval_ns, config.modules)
    if features.hash != start.feature_set:
        raise ConfigError(
            f"session {start.session} was run with feature set {start.feature_set}; this version "
            f"of Don computes {features.hash}: verify it with the version that recorded it"
        )
    cache = FeatureCache(config, start.symbols, start.session)
    recorded = False
    for batch in MarketRecorder(db, start.session, start.interval_ns).read():
        recorded = True
        if batch.source != HISTORY:
            cache.on_batch(batch)
        elif not cache.warm:
            cache.warm_up(batch.tables["bars"])
    if not recorded and served:
        raise DataError(
            f"the market data of session {row.session} are not kept any more: nothing to verify it "
            "with (see keep_recordings)"
        )
    fed = cache.checkpoint()
    values = batch_of(features, np.asarray(fed.fed), np.asarray(fed.known))
    return certify(features, values, served, cache.version)
