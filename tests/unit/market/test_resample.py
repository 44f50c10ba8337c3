"""Larger bars equal a plain definition, and the exchange's own bars where those were recorded."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from don.market.resample import TRUST, bars_from_trades, resample_bars
from don.model.channels import CHANNELS, complete, conform

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
MINUTE = 60_000_000_000
HOUR = 60 * MINUTE
T0 = 1_700_000_000 * 1_000_000_000 // HOUR * HOUR

prices = st.integers(1, 50).map(float)


def bars_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=CHANNELS["bars"].schema)


@st.composite
def minute_bars(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for exchange, symbol in draw(
        st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from("XYZ")), unique=True, max_size=4)
    ):
        for minute in draw(st.lists(st.integers(1, 200), unique=True, max_size=25)):
            four = sorted(draw(st.lists(prices, min_size=4, max_size=4)))
            rows.append(
                {
                    "exchange": exchange, "symbol": symbol, "ts_event": T0 + minute * MINUTE,
                    "ts_recv": draw(st.integers(0, 9)), "origin": draw(st.sampled_from(TRUST)),
                    "interval_ns": MINUTE, "low": four[0], "open": four[1], "close": four[2],
                    "high": four[3], "volume": float(draw(st.integers(0, 9))),
                    "trades": draw(st.integers(-1, 9)),
                }
            )  # fmt: skip
    return draw(st.permutations(rows))


def plain(rows: list[dict[str, Any]], interval: int) -> list[dict[str, Any]]:
    groups = defaultdict(list)
    for row in sorted(rows, key=lambda r: r["ts_event"]):
        close = next(t for t in range(T0, T0 + 400 * MINUTE, interval) if t >= row["ts_event"])
        groups[row["exchange"], row["symbol"], close].append(row)
    return [
        {
            "exchange": key[0], "symbol": key[1], "ts_event": key[2],
            "ts_recv": max(r["ts_recv"] for r in group),
            "origin": max((r["origin"] for r in group), key=TRUST.index),
            "interval_ns": interval,
            "open": group[0]["open"], "high": max(r["high"] for r in group),
            "low": min(r["low"] for r in group), "close": group[-1]["close"],
            "volume": sum(r["volume"] for r in group),
            "trades": -1 if any(r["trades"] < 0 for r in group)
            else sum(r["trades"] for r in group),
        }
        for key, group in sorted(groups.items())
    ]  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(minute_bars(), st.sampled_from([1, 2, 5, 30, 60]))
def test_larger_bars_are_what_the_definition_says(rows: list[dict[str, Any]], minutes: int) -> None:
    made = resample_bars(bars_of(rows), minutes * MINUTE)
    assert made.to_pylist() == plain(rows, minutes * MINUTE)
    assert made.schema == CHANNELS["bars"].schema


@settings(deadline=None, max_examples=30)
@given(minute_bars())
def test_resampling_in_two_steps_is_resampling_in_one(rows: list[dict[str, Any]]) -> None:
    twice = resample_bars(resample_bars(bars_of(rows), 5 * MINUTE), 60 * MINUTE)
    assert twice.equals(resample_bars(bars_of(rows), 60 * MINUTE))


@settings(deadline=None, max_examples=30)
@given(minute_bars(), st.sampled_from([1, 2, 3]))
def test_a_bar_of_a_part_of_its_parts_is_left_out_if_asked(
    rows: list[dict[str, Any]], minutes: int
) -> None:
    made = resample_bars(bars_of(rows), minutes * MINUTE, whole=True).to_pylist()
    parts = Counter(
        (row["exchange"], row["symbol"], -(-row["ts_event"] // (minutes * MINUTE))) for row in rows
    )
    assert made == [
        bar for bar in plain(rows, minutes * MINUTE)
        if parts[bar["exchange"], bar["symbol"], bar["ts_event"] // (minutes * MINUTE)] == minutes
    ]  # fmt: skip


def test_a_smaller_bar_off_its_grid_is_no_part() -> None:
    row = {"exchange": "A", "symbol": "X", "ts_recv": 0, "origin": "stream",
           "interval_ns": 2 * MINUTE, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0,
           "volume": 1.0, "trades": -1}  # fmt: skip
    at = [2, 3, 6, 7, 8]
    table = bars_of([{**row, "ts_event": T0 + minute * MINUTE} for minute in at])
    made = resample_bars(table, 4 * MINUTE, whole=True)
    assert [(bar["ts_event"], bar["volume"]) for bar in made.to_pylist()] == [
        (T0 + 8 * MINUTE, 2.0)
    ]
    odd = resample_bars(table.slice(1, 1), 4 * MINUTE, whole=True)
    assert odd.num_rows == 0 and odd.schema == table.schema


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 600), prices, st.integers(1, 9)), min_size=1, max_size=60),
    st.randoms(),
)
def test_bars_from_trades_equal_the_definition(
    trades: list[tuple[int, float, int]], shuffled: Any
) -> None:
    rows = [
        {"exchange": "A", "symbol": "X", "ts_event": T0 + s * 1_000_000_000, "ts_recv": 0,
         "origin": "stream", "id": i, "price": p, "size": float(q), "buy": True}
        for i, (s, p, q) in enumerate(sorted(trades, key=lambda t: t[0]))
    ]  # fmt: skip
    given_rows = list(rows)
    shuffled.shuffle(given_rows)
    table = pa.Table.from_pylist(given_rows, schema=CHANNELS["trades"].schema)
    groups = defaultdict(list)
    for row in rows:
        groups[(row["ts_event"] // MINUTE + 1) * MINUTE].append(row)
    made = bars_from_trades(table, MINUTE).to_pylist()
    assert [(b["ts_event"], b["open"], b["high"], b["low"], b["close"], b["volume"], b["trades"])
            for b in made] == [
        (close, g[0]["price"], max(r["price"] for r in g), min(r["price"] for r in g),
         g[-1]["price"], sum(r["size"] for r in g), len(g))
        for close, g in sorted(groups.items())
    ]  # fmt: skip


def test_an_interval_that_does_not_fit_is_refused() -> None:
    rows = bars_of(
        [{"exchange": "A", "symbol": "X", "ts_event": T0, "ts_recv": 0, "origin": "stream",
          "interval_ns": 2 * MINUTE, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0,
          "volume": 0.0, "trades": -1}]
    )  # fmt: skip
    with pytest.raises(ValueError, match="multiple of the source's"):
        resample_bars(rows, 3 * MINUTE)
    with pytest.raises(ValueError, match="positive"):
        bars_from_trades(CHANNELS["trades"].schema.empty_table(), 0)


# ---- recorded data -------------------------------------------------------------------------------


def recorded(name: str) -> pa.Table:
    path = DATA / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"no recorded data: {path.name} is not beside the repository")
    return pq.read_table(path)


def recorded_bars(name: str, interval: int, symbols: list[str]) -> pa.Table:
    table = recorded(name)
    table = table.filter(pc.is_in(table["symbol"], pa.array(symbols)))
    opens = table["timestamp"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    table = table.drop(["timestamp"]).append_column("ts_event", pc.add(opens, interval))
    full = complete(
        "bars", table, exchange="BINANCE_FUTURES", interval_ns=interval, origin="import"
    )
    return conform("bars", full, where=name)


def test_recorded_minutes_make_the_recorded_hours() -> None:
    symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "LINKUSDT"]
    minutes = recorded_bars("binance_usdm_ohlcv_1m_2025spring", MINUTE, symbols)
    hours = recorded_bars("binance_usdm_ohlcv_1h", HOUR, symbols)
    # only hours of which all sixty minutes were recorded
    counted = minutes.append_column("n", pa.array(np.ones(minutes.num_rows)))
    close = pc.multiply(pc.divide(pc.add(counted["ts_event"], HOUR - 1), HOUR), HOUR)
    whole = counted.set_column(counted.column_names.index("ts_event"), "ts_event", close)
    whole = whole.group_by(["symbol", "ts_event"]).aggregate([("n", "sum")])
    whole = whole.filter(pc.equal(whole["n_sum"], 60)).select(["symbol", "ts_event"])
    keys = ["symbol", "ts_event"]
    order = [(key, "ascending") for key in keys]
    mine = resample_bars(minutes, HOUR).join(whole, keys, join_type="inner")
    theirs = hours.join(whole, keys, join_type="inner").sort_by(order)
    mine = mine.join(theirs.select(keys), keys, join_type="inner").sort_by(order)
    assert mine.num_rows == theirs.num_rows > 2_500
    for name in ("open", "high", "low", "close"):
        assert mine[name].equals(theirs[name]), name
    np.testing.assert_allclose(mine["volume"].to_numpy(), theirs["volume"].to_numpy(), rtol=1e-12)


def test_bars_of_a_recorded_day_of_trades_agree_with_each_other() -> None:
    table = recorded("binance_usdm_aggtrades_apeusdt_20241018")
    trades = pa.table(
        {
            "symbol": table["symbol"],
            "ts_event": table["timestamp"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()),
            "id": table["agg_trade_id"], "price": table["price"], "size": table["quantity"],
            "buy": pc.invert(table["is_buyer_maker"]),
        }
    )  # fmt: skip
    trades = conform("trades", complete("trades", trades, exchange="BINANCE_FUTURES"), where="ape")
    minutes, hours = bars_from_trades(trades, MINUTE), bars_from_trades(trades, HOUR)
    merged = resample_bars(minutes, HOUR)
    assert hours.num_rows == 24 and pc.sum(hours["trades"]).as_py() == trades.num_rows
    assert merged.drop(["volume"]).equals(hours.drop(["volume"]))
    np.testing.assert_allclose(merged["volume"].to_numpy(), hours["volume"].to_numpy(), rtol=1e-12)
    assert pc.sum(hours["volume"]).as_py() == pytest.approx(pc.sum(trades["size"]).as_py())
