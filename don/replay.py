"""Replay of a recorded session: the same inputs through the same code must give the same outputs.

Does I/O (reads the database). Four checks, in the order in which data flow: market batches to
feature snapshots, requests to targets, inputs to decisions, and the chain that holds the record.
"""

from dataclasses import dataclass, replace

import numpy as np

from don.engine.config import parse_config
from don.errors import UsageError
from don.features.cache import FeatureCache
from don.features.config import FeatureConfig
from don.features.sets import FeatureSet
from don.model import codec
from don.model.messages import FeatureSnapshot, History, OptimizeRequest, SessionStart, Target
from don.portfolio.optimizer import PortfolioOptimizer
from don.session import FirstDifference, fold
from don.storage.database import Database
from don.storage.journal import Entry, Journal
from don.storage.recorder import MarketRecorder
from don.storage.rows import SessionRow

HISTORY = "history"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What a replay found."""

    session: str
    entries: int
    inputs: int
    decisions: int
    orders: int
    snapshots: int  # recomputed from the recorded market data and equal; 0 if it was dropped
    targets: int  # solved again and equal
    chain: str  # "ok", or what is wrong
    unverified: tuple[str, ...]  # what could not be checked
    difference: FirstDifference | None

    @property
    def identical(self) -> bool:
        """True if everything was checked and came out as recorded."""
        return self.difference is None and self.chain == "ok" and not self.unverified


def replay_session(db: Database, row: SessionRow) -> ReplayResult:
    """Re-run a session on its recorded inputs.

    Raises:
        UsageError: if the session has no journal.
        JournalError: if the journal cannot be read as one.
    """
    journal = Journal(db, row.account, row.session)
    entries = list(journal.read(row.session))
    engine = fold(entries)
    if engine is None:
        raise UsageError(f"session {row.session} has no journal: it ended before it began")
    start = engine.start
    checked, snapshots, feature_difference = _features(db, start, entries)
    targets, target_difference = _targets(start, entries)
    differences = [
        found
        for found in (feature_difference, target_difference, engine.difference)
        if found is not None
    ]
    verified = journal.verify()
    return ReplayResult(
        session=row.session,
        entries=len(entries),
        inputs=engine.inputs,
        decisions=sum(entry.kind == "Decision" for entry in entries),
        orders=sum(entry.kind == "SubmitOrder" for entry in entries),
        snapshots=snapshots,
        targets=targets,
        unverified=() if checked else ("features: the market data are not kept any more",),
        chain="ok" if verified.ok else f"entry {verified.broken_seq}: {verified.problem}",
        difference=min(differences, key=lambda found: found.seq, default=None),
    )


def _features(
    db: Database, start: SessionStart, entries: list[Entry]
) -> tuple[bool, int, FirstDifference | None]:
    """Recompute every snapshot from the recorded market batches."""
    recorded = {
        entry.key: entry for entry in entries if entry.kind in ("FeatureSnapshot", "History")
    }
    last = sum(entry.kind == "FeatureSnapshot" for entry in entries)  # versions have no holes
    config = _feature_config(start)
    cache = FeatureCache(config, start.symbols, start.session)
    recorded_any, equal = False, 0
    for batch in MarketRecorder(db, start.session, start.interval_ns).read():
        recorded_any = True
        if batch.source == HISTORY:
            if cache.warm:
                continue
            cache.warm_up(batch.tables["bars"])
            made: list[FeatureSnapshot | History] = [cache.history()]
        else:
            made = list(cache.on_batch(batch))
        for message in made:
            entry = recorded.pop(message.key, None)
            if entry is None:
                if getattr(message, "version", 0) <= last:
                    return True, equal, _hole(entries[-1].seq, message)
                continue  # recorded, but the session ended before the desk took it in
            # When the desk took it in is the desk's stamp; all else must be equal to the bit.
            stamps = codec.decode(entry.kind, entry.payload)
            if isinstance(message, FeatureSnapshot):
                message = replace(message, ts_taken=stamps.ts_taken)
                equal += 1
            else:
                message = replace(message, ts_recv=stamps.ts_recv)
            found = _compare(entry, codec.encode(message).decode())
            if found is not None:
                return True, equal, found
    if not recorded_any and recorded:
        return False, 0, None  # an old session: its recording was dropped, see `keep_recordings`
    missing = min(recorded.values(), key=lambda entry: entry.seq, default=None)
    return True, equal, None if missing is None else _compare(missing, "nothing")


def _targets(start: SessionStart, entries: list[Entry]) -> tuple[int, FirstDifference | None]:
    """Solve every answered request again."""
    optimizer = PortfolioOptimizer(parse_config(start.config).portfolio)
    requests: dict[int, OptimizeRequest] = {}
    equal = 0
    for entry in entries:
        if entry.kind == "OptimizeRequest":
            request = codec.decode(entry.kind, entry.payload)
            requests[request.decision] = request
        elif entry.kind == "Target":
            told: Target = codec.decode(entry.kind, entry.payload)
            again = optimizer.solve(requests[told.decision])
            if not np.array_equal(again.weights, told.weights) or again.status != told.status:
                replayed = replace(told, weights=again.weights, status=again.status)
                return equal, _compare(entry, codec.encode(replayed).decode())
            equal += 1
    return equal, None


def _feature_config(start: SessionStart) -> FeatureConfig:
    """The feature configuration that the session was run with; refused if it is another set now."""
    config = FeatureConfig.model_validate_json(start.feature_config)
    current = FeatureSet(config.names, modules=config.modules).hash
    if current != start.feature_set:
        raise UsageError(
            f"session {start.session} was run with feature set {start.feature_set}; this version "
            f"of Don computes {current}: replay it with the version that recorded it"
        )
    return config


def _hole(seq: int, message: FeatureSnapshot | History) -> FirstDifference:
    """A snapshot that the recorded data give, but that the desk never took in."""
    replayed = codec.encode(message).decode()
    return FirstDifference(
        seq=seq, kind=codec.kind_of(message), recorded="nothing", replayed=replayed
    )


def _compare(entry: Entry, replayed: str) -> FirstDifference | None:
    recorded = entry.payload.decode()
    if recorded == replayed:
        return None
    return FirstDifference(seq=entry.seq, kind=entry.kind, recorded=recorded, replayed=replayed)
