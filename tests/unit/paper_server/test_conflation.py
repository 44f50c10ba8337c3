"""Conflated depth diffs keep the book and the chain; larger bars are made of the small ones."""

from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from don.paper.events import DepthDiff, Kline
from don.paper.server.conflate import DepthStream, KlineStream, join

Level = tuple[Decimal, Decimal]
levels = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=4)
steps = st.lists(st.tuples(st.integers(0, 80), levels, st.booleans()), min_size=1, max_size=60)


def diffs_of(drawn: list[tuple[int, list[tuple[int, int]], bool]]) -> list[DepthDiff]:
    diffs, ts, last = [], 1_000_000_000, 0
    for gap_ms, changes, bid in drawn:
        ts += gap_ms * 1_000_000
        side = tuple((Decimal(p), Decimal(q)) for p, q in dict(changes).items())
        first, last = last + 1, last + len(side)
        diffs.append(
            DepthDiff(
                symbol="BTCUSDT",
                ts=ts,
                first_id=first,
                final_id=last,
                previous_final_id=first - 1,
                bids=side if bid else (),
                asks=() if bid else side,
            )
        )
    return diffs


def replayed(diffs: list[DepthDiff]) -> tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]:
    bids: dict[Decimal, Decimal] = {}
    asks: dict[Decimal, Decimal] = {}
    for diff in diffs:
        bids.update(diff.bids)
        asks.update(diff.asks)
    return bids, asks


@given(steps, st.sampled_from([0, 100, 250, 500]))
def test_joined_diffs_tell_the_same(
    drawn: list[tuple[int, list[tuple[int, int]], bool]], period_ms: int
) -> None:
    diffs = diffs_of(drawn)
    stream = DepthStream(period_ms)
    told = [sent for diff in diffs if (sent := stream.add(diff)) is not None]
    for before, after in pairwise(told):
        assert after.ts - before.ts >= period_ms * 1_000_000
    last = stream.take()
    told += [last] if last is not None else []
    assert not stream.pending
    assert stream.take() is None
    assert told[0].first_id == 1
    assert told[-1].final_id == diffs[-1].final_id
    for before, after in pairwise(told):
        assert after.previous_final_id == before.final_id == after.first_id - 1
    assert replayed(told) == replayed(diffs)
    if period_ms == 0:
        assert told == diffs


MINUTE = 60 * 10**9
prices = st.integers(1, 100).map(Decimal)


def bar(number: int, low: Decimal, high: Decimal, *, closed: bool) -> Kline:
    return Kline(
        symbol="BTCUSDT",
        ts=(number + 1) * MINUTE,
        interval="1m",
        open_time=number * MINUTE,
        close_time=(number + 1) * MINUTE,
        open=low,
        high=high,
        low=low,
        close=high,
        volume=high,
        quote_volume=high * high,
        trades=number + 1,
        buy_volume=low,
        buy_quote_volume=low * low,
        closed=closed,
    )


@given(st.lists(st.tuples(prices, prices), min_size=10, max_size=40), st.integers(0, 4))
def test_larger_bars_are_the_sums_of_the_small_ones(
    drawn: list[tuple[Decimal, Decimal]], known: int
) -> None:
    bars = [bar(i, min(pair), max(pair), closed=True) for i, pair in enumerate(drawn)]
    stream = KlineStream("5m", 5 * MINUTE, bars[:known])
    for small in bars[known:]:
        larger = stream.add(small)
        within = [
            b for b in bars if larger.open_time <= b.open_time and b.close_time <= small.close_time
        ]
        assert larger.high == max(b.high for b in within)
        assert larger.low == min(b.low for b in within)
        assert larger.open == within[0].open
        assert larger.close == small.close
        assert larger.volume == sum(b.volume for b in within)
        assert larger.trades == sum(b.trades for b in within)
        assert larger.closed == (small.close_time % (5 * MINUTE) == 0)
        assert join(within, "5m", 5 * MINUTE) == larger
