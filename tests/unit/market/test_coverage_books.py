"""Diffs taken out of a recorded book, through the real parser and sink: each is found."""

import gzip
import json
from pathlib import Path
from random import Random

import pytest

from don.clock import SystemClock
from don.feeds.bars import BarKeeper
from don.feeds.binance import BinanceParser, parse_snapshot
from don.feeds.health import Stream
from don.feeds.outbox import Outbox
from don.feeds.sink import Sink
from don.feeds.venues import VENUES
from don.market.book import BookSync, SequenceRule
from don.market.coverage import COUNTED_IDS, MINUTE_NS, Range, State, ceil_minute, overlay
from don.market.coverage_tracker import CoverageTracker

DEPTH = Path(__file__).parents[4] / "shared" / "data" / "raw" / "binance_depth"
FILE = DEPTH / "usdm_btcusdt_20240808.gz"
BTC = "BTC-USDT-PERP"


class Owner:
    """Has a lost book again at once: its state as it would be, kept beside."""

    def __init__(self) -> None:
        self.lost = 0

    def book_lost(self, stream: Stream) -> None:
        self.lost += 1

    def bars_wanted(self, symbol: str) -> None:
        raise AssertionError("no bars here")

    def burst_ended_soon(self) -> None:
        raise AssertionError("no bars here")


def test_ids_count_where_the_feed_says_so() -> None:
    assert {name for name, venue in VENUES.items() if venue.fast is not None} == COUNTED_IDS


@pytest.mark.parametrize("seed", range(2))
async def test_diffs_taken_out_of_a_recorded_book_are_found_and_nothing_else(seed: int) -> None:
    if not FILE.exists():
        pytest.skip("recorded depth is not here")
    with gzip.open(FILE, "rb") as lines:
        messages = [line.split(b" ", 1) for line in lines]
    messages = [m for m in messages if b"@depth" in m[1][:60] or m[1].startswith(b'{"lastUp')]
    start = next(n for n, m in enumerate(messages) if m[1].startswith(b'{"lastUp'))
    rng = Random(seed)
    gone = set(rng.sample(range(start + 50, len(messages) - 50), 4 if seed else 0))
    outbox = Outbox(
        "BINANCE_FUTURES:1", max_rows=64, max_age_s=60, max_batches=10_000, hold_rows=64,
        monotonic_ns=SystemClock().monotonic_ns,
    )  # fmt: skip
    whole, seen = BookSync(SequenceRule.FUTURES), BookSync(SequenceRule.FUTURES)
    owner = Owner()
    now = [0]
    sink = Sink(outbox, BarKeeper((), MINUTE_NS), {BTC: seen}, owner, lambda: now[0])
    stream = Stream(BTC, "books", "BTCUSDT")
    parser = BinanceParser(sink, MINUTE_NS)
    parser.add("btcusdt@depth@0ms", stream)
    times: list[tuple[int, bool]] = []  # exchange time of each diff, and whether it was taken out
    shadow = Sink(
        Outbox("shadow", max_rows=10**9, max_age_s=10**6, max_batches=1, hold_rows=1,
               monotonic_ns=SystemClock().monotonic_ns),
        BarKeeper((), MINUTE_NS), {BTC: whole}, owner, lambda: now[0],
    )  # fmt: skip
    teller = BinanceParser(shadow, MINUTE_NS)
    told = Stream(BTC, "books", "BTCUSDT")
    teller.add("btcusdt@depth@0ms", told)
    asked = 0
    for n, (stamp, body) in enumerate(messages):
        now[0] = int(stamp) + 1
        if body.startswith(b'{"lastUp'):
            snapshot = parse_snapshot(json.loads(body))
            whole.on_snapshot(*snapshot)
            seen.on_snapshot(*snapshot)
            continue
        teller.on_message(body, int(stamp))
        times.append((told.last_event, n in gone))
        if n in gone:
            continue
        parser.on_message(body, int(stamp))
        if n % 10 == 0:
            outbox.flush()
        if owner.lost > asked:  # resynchronised from the book that missed nothing
            asked = owner.lost
            top = whole.book.top(10**6)
            seen.on_snapshot(
                whole.book.update_id,
                list(zip(top.bid_prices, top.bid_sizes, strict=True)),
                list(zip(top.ask_prices, top.ask_sizes, strict=True)),
            )
    outbox.close()
    tracker = CoverageTracker("BINANCE_FUTURES", interval="1m", interval_ns=MINUTE_NS)
    known: list[Range] = []
    while (batch := await outbox.get()) is not None:
        tracker.observe(batch)
        known = overlay(known, tracker.take())
    assert owner.lost == len(gone)
    planted: set[int] = set()
    for at, (ts, missing) in enumerate(times):
        if missing:
            planted |= {ts // MINUTE_NS, times[at + 1][0] // MINUTE_NS}
    found = {state: set() for state in (State.GAP, State.COMPLETE)}
    for each in known:
        found[each.state] |= set(range(each.start // MINUTE_NS, each.end // MINUTE_NS))
    first, last = ceil_minute(times[start + 1][0]) // MINUTE_NS, times[-1][0] // MINUTE_NS
    assert planted <= found[State.GAP]
    # the book is conflated: a hole may reach back to the state before, never a minute further
    assert found[State.GAP] <= planted | {minute - 1 for minute in planted}
    assert found[State.COMPLETE] == set(range(first, last)) - found[State.GAP]
