"""The cache closes bar sets by exchange time, once and in order, and gives what batch gives."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from don.features.cache import BAR_SCHEMA, FeatureCache
from don.features.columns import COLUMNS, TIME
from don.features.config import FeatureConfig
from don.features.sets import FeatureSet
from don.market.bars import MICRO
from don.model.messages import FeatureSnapshot
from don.model.schema import SCHEMAS, MarketBatch

EVENTS = 4_000
STEP = 1800 * 10**9


@pytest.fixture
def symbols(tape) -> tuple[str, ...]:
    return tuple(i.symbol for i in tape.instruments())


def config(**fields) -> FeatureConfig:
    return FeatureConfig(interval="30m", **fields)


def run(cache: FeatureCache, batches: list[MarketBatch]) -> list[FeatureSnapshot]:
    return [snapshot for batch in batches for snapshot in cache.on_batch(batch)]


def warm(symbols, bars, **fields) -> FeatureCache:
    cache = FeatureCache(config(**fields), symbols, "s1")
    cache.warm_up(bars)
    return cache


def same(a: FeatureSnapshot, b: FeatureSnapshot) -> bool:
    fields = ("ts_event", "feature_set", "symbols", "names", "stale")
    arrays = ("values", "close", "mark")
    return all(getattr(a, f) == getattr(b, f) for f in fields) and all(
        np.array_equal(getattr(a, f), getattr(b, f), equal_nan=True) for f in arrays
    )


def drop_bar(batch: MarketBatch, symbol: str, close: int) -> MarketBatch:
    if "bars" not in batch.tables:
        return batch
    bars = batch.tables["bars"]
    keep = pc.invert(pc.and_(pc.equal(bars["symbol"], symbol), pc.equal(bars["ts_event"], close)))
    return replace(batch, tables={**batch.tables, "bars": bars.filter(keep)})


def test_snapshots_are_numbered_and_on_the_grid(symbols, history, batches, tape) -> None:
    cache = warm(symbols, history)
    found = run(cache, batches(EVENTS, 97))
    assert [s.version for s in found] == list(range(1, len(found) + 1)) and len(found) > 15
    first = tape.time_of(tape.start) + STEP
    assert [s.ts_event for s in found] == [first + i * STEP for i in range(len(found))]
    assert found[0].key == "snapshot:s1:1"
    assert all(s.stale == () and np.isfinite(s.close).all() for s in found)
    assert all(s.ts_recv > 10**18 for s in found)
    assert all(np.isfinite(s.values).all() for s in found)  # history was long enough for all


@pytest.mark.warm
def test_snapshots_equal_batch_over_the_same_bars(symbols, history, batches) -> None:
    cache = warm(symbols, history)
    found = run(cache, batches(EVENTS, 97))
    live = cache.closed_bars()
    blank = history
    for name in MICRO:
        blank = blank.append_column(name, pa.nulls(len(blank), pa.float64()))
    bars = pa.concat_tables([blank.cast(BAR_SCHEMA), live]).to_pandas()
    columns = {
        name: bars.pivot(index="ts_event", columns="symbol", values=name)[list(symbols)].to_numpy()
        for name in COLUMNS
        if name != TIME
    }
    times = np.unique(bars["ts_event"]) / 1e9
    columns[TIME] = np.tile(times[:, None], len(symbols))
    batch = FeatureSet(config().names).batch(columns)[-len(found) :]
    for row, snapshot in zip(batch, found, strict=True):
        assert np.array_equal(row, snapshot.values, equal_nan=True)


@pytest.mark.parametrize("size", [1, 13, 1000])
def test_sizes_of_batches_do_not_matter(symbols, history, batches, size) -> None:
    ours = run(warm(symbols, history), batches(1_200, 97))
    theirs = run(warm(symbols, history), batches(1_200, size))
    assert len(ours) == len(theirs) > 4
    assert all(same(a, b) for a, b in zip(ours, theirs, strict=True))


def test_repeated_batches_and_bars_change_nothing(symbols, history, batches) -> None:
    plain = batches(1_500, 60)
    expected = run(warm(symbols, history), plain)
    cache = warm(symbols, history)
    found = []
    for batch in plain:
        found += cache.on_batch(batch)
        assert cache.on_batch(batch) == []  # delivered twice
        if "bars" in batch.tables:  # told again by a new incarnation of the feed
            again = MarketBatch(source="X:2", seq=batch.seq, tables={"bars": batch.tables["bars"]})
            assert cache.on_batch(again) == []
    assert all(same(a, b) for a, b in zip(expected, found, strict=True))


def test_restart_from_closed_bars_is_bit_identical(symbols, history, batches) -> None:
    feed = batches(EVENTS, 97)
    cache = warm(symbols, history)
    before = feed[: len(feed) // 2]
    blank = history
    for name in MICRO:
        blank = blank.append_column(name, pa.nulls(len(blank), pa.float64()))
    bars, done = [blank.cast(BAR_SCHEMA)], 0
    for i, batch in enumerate(before):
        snapshots = cache.on_batch(batch)
        if snapshots:
            done = i + 1
        bars.append(cache.closed_bars())
    assert done > 10
    again = FeatureCache(config(), symbols, "s1")
    again.warm_up(pa.concat_tables(bars))
    # what belongs to the bar that is open is replayed, as after a death
    overlap = feed[max(done - 3, 0) :]
    ours = run(cache, feed[len(before) :])
    theirs = run(again, [replace(b, source="X:9") for b in overlap])[-len(ours) :]
    assert len(ours) > 5
    for a, b in zip(ours, theirs, strict=True):
        assert same(a, b)


def test_a_missing_bar_waits_for_grace_and_makes_its_symbol_stale(
    symbols, history, batches
) -> None:
    feed = batches(1_200, 10)
    plain = run(warm(symbols, history), feed)
    late = plain[2]
    lost = [drop_bar(batch, symbols[1], late.ts_event) for batch in feed]
    cache = warm(symbols, history, grace=0.1)
    found = []
    for batch in lost:
        new = cache.on_batch(batch)
        if any(s.ts_event == late.ts_event for s in new):
            newest = max(pc.max(t["ts_event"]).as_py() for t in batch.tables.values())
            assert newest >= late.ts_event + STEP // 10
            assert new[0].ts_recv >= late.ts_event + STEP // 10 + 10**18
        found += new
    assert [s.version for s in found] == [s.version for s in plain]
    assert found[2].stale == (symbols[1],) and found[3].stale == ()
    assert found[2].close[1] == found[1].close[1]  # the last one known
    assert same(found[1], plain[1])
    rest = [i for i in range(len(symbols)) if i != 1]
    known = [i for i, name in enumerate(config().names) if name != "rank_48"]
    ours, theirs = found[2].values[rest][:, known], plain[2].values[rest][:, known]
    assert np.array_equal(ours, theirs, equal_nan=True)
    table = cache.closed_bars()
    assert table.num_rows == len(found) * len(symbols) - 1


def test_late_bars_and_events_are_counted_not_used(symbols, history, batches) -> None:
    feed = batches(1_500, 50)
    cache = warm(symbols, history)
    run(cache, feed)
    view = cache.view()
    assert view["late"] == 0
    first = next(b for b in feed if "trades" in b.tables)
    table = {"trades": first.tables["trades"]}
    assert cache.on_batch(MarketBatch(source="X:7", seq=1, tables=table)) == []
    assert cache.view()["late"] == table["trades"].num_rows


def test_repaired_bars_have_no_micro_structure(symbols, history, batches) -> None:
    feed = []
    for batch in batches(600, 60):
        tables = dict(batch.tables)
        if "bars" in tables:
            at = tables["bars"].schema.get_field_index("origin")
            origin = pa.array(["repair"] * len(tables["bars"]))
            tables["bars"] = tables["bars"].set_column(at, "origin", origin)
        feed.append(replace(batch, tables=tables))
    cache = warm(symbols, history)
    found = run(cache, feed)
    ofi = config().names.index("ofi")
    assert found and all(np.isnan(s.values[:, ofi]).all() for s in found)
    assert all(np.isfinite(s.mark).all() for s in found)
    assert set(cache.closed_bars()["origin"].to_pylist()) == {"repair"}


def test_a_stale_book_makes_its_symbol_stale_until_it_lives(symbols, history, batches) -> None:
    feed = batches(1_500, 50)

    def status(seq: int, ts: int, state: str) -> MarketBatch:
        row = {"symbol": symbols[2], "ts_event": ts, "ts_recv": ts, "channel": "books"}
        table = pa.Table.from_pylist([{**row, "state": state, "detail": ""}], SCHEMAS["status"])
        return MarketBatch(source="S", seq=seq, tables={"status": table})

    cache = warm(symbols, history)
    found = run(cache, feed[:12])
    now = cache.view()["ts_event"]
    run(cache, [status(1, now, "stale")])
    during = run(cache, feed[12:20])
    run(cache, [status(2, cache.view()["ts_event"], "live")])
    after = run(cache, feed[20:])
    assert all(s.stale == () for s in found + after) and during and after
    assert all(s.stale == (symbols[2],) for s in during)
    ofi = config().names.index("ofi")
    assert np.isnan(during[0].values[2, ofi]) and np.isfinite(during[0].values[1, ofi])


def test_without_history_features_warm_up_live(symbols, batches) -> None:
    cache = FeatureCache(config(names=("log_return_1", "rsi_14")), symbols, "s1")
    found = run(cache, batches(1_500, 50))
    assert not cache.warm and found[0].version == 1
    assert np.isnan(found[0].values).all() and np.isfinite(found[1].values[:, 0]).all()
    assert np.isnan(found[1].values[:, 1]).all()


def test_history_gives_the_closes_that_warmed_up(symbols, history, tape) -> None:
    cache = warm(symbols, history)
    message = cache.history()
    assert cache.warm and message.key == "history:s1" and message.symbols == symbols
    assert message.close.shape == (200, len(symbols)) and message.ts[-1] == tape.time_of(tape.start)
    own = history.filter(pc.equal(history["symbol"], symbols[3]))
    assert message.close[:, 3].tolist() == own["close"].to_pylist()
    short = warm(symbols, history, history=50)
    assert short.history().close.shape == (50, len(symbols))


def test_holes_in_everything_are_passed_over(symbols, history, batches) -> None:
    feed = batches(2_500, 40)
    plain = run(warm(symbols, history), feed)
    gap = {plain[3].ts_event, plain[4].ts_event}
    cut = []
    for batch in feed:
        tables = {}
        for name, table in batch.tables.items():
            inside = np.isin(table["ts_event"].to_numpy() + (STEP if name != "bars" else 0), [*gap])
            ts = table["ts_event"].to_numpy()
            lost = (ts > plain[2].ts_event) & (ts <= plain[4].ts_event) | inside
            tables[name] = table.filter(pa.array(~lost))
        cut.append(replace(batch, tables=tables))
    found = run(warm(symbols, history), cut)
    assert [s.version for s in found] == list(range(1, len(found) + 1))
    assert [s.ts_event for s in found] == [s.ts_event for s in plain if s.ts_event not in gap]
    assert found[3].stale == ()


def test_bars_can_be_built_from_trades(symbols, batches) -> None:
    feed = batches(2_500, 70)
    bars = [b.tables["bars"] for b in feed if "bars" in b.tables]
    recorded = pa.concat_tables(bars).to_pandas().set_index(["ts_event", "symbol"])
    cache = FeatureCache(config(bars="trades", grace=0.05), symbols, "s1")
    found = run(cache, feed)
    built = cache.closed_bars().to_pandas().set_index(["ts_event", "symbol"])
    assert len(found) > 5 and len(built) == len(found) * len(symbols)
    for name in ("open", "high", "low", "close", "trades"):
        assert (built[name] == recorded.loc[built.index, name]).all()
    assert np.allclose(built["volume"], recorded.loc[built.index, "volume"], rtol=1e-12)


def test_the_view_shows_forming_bars_and_last_prices(symbols, history, batches) -> None:
    cache = warm(symbols, history)
    run(cache, batches(1_300, 50))
    view = cache.view()
    assert set(view["quotes"]) == set(view["marks"]) == set(view["closed"]) == set(symbols)
    for bar in view["bars"].values():
        assert bar["low"] <= min(bar["open"], bar["close"]) and bar["volume"] > 0
        assert bar["ts_open"] == cache.history().ts[-1]
    for quote in view["quotes"].values():
        assert 0 < quote["bid"] < quote["ask"]
