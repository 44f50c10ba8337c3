"""Features are built as Ray tasks to the same bits as in one process, and tell how far they are."""

from pathlib import Path

import numpy as np
import pytest

from don.features.sets import FeatureSet
from don.storage.features.build import compute_symbol, feed, finish
from don.storage.features.files import FeatureFiles
from don.storage.features.source import ParquetBars

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]
BARS = Path(__file__).parents[3] / "don/paper/sample/spot_usd_30m.parquet"
NAMES = ("log_return_1", "rsi_14", "return_12", "rank_12", "obv")


def test_tasks_build_what_one_process_builds(cluster: None, tmp_path: Path) -> None:
    from experiments.features import build

    source = ParquetBars(BARS, ("BTCUSD", "ETHUSD"))
    features = FeatureSet(NAMES, source.interval_ns)
    told: list[tuple[str, float]] = []
    about, new = build(source, features, tmp_path / "tasks", chunk_bars=10_000,
                       tell=lambda what, share: told.append((what, share)))  # fmt: skip
    assert new == sum(part.sets for part in about.parts) > 10_000
    assert told[-2:] == [("features", 0.5), ("features", 1.0)] and told[0][0] == "bars"
    files = FeatureFiles(tmp_path / "own")
    plan = feed(source, features, files, chunk_bars=10_000)
    for symbol in source.symbols:
        compute_symbol(files.root, plan, symbol)
    own = files.open(finish(files, plan).key)
    found = FeatureFiles(tmp_path / "tasks").open(about.key)
    assert np.array_equal(found.values(), own.values(), equal_nan=True)
    assert np.array_equal(found.times(), own.times())
    assert build(source, features, tmp_path / "tasks", chunk_bars=10_000)[1] == 0
