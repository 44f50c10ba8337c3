"""Laws of the order book: it equals the truth, notices every hole, and recovers from each."""

import contextlib
import gzip
import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from don.market.book import Book, BookSync, SequenceRule, SyncState, Verdict

RULES = list(SequenceRule)


@dataclass(frozen=True)
class Change:
    first: int
    last: int
    previous: int
    bids: tuple
    asks: tuple

    @property
    def args(self) -> tuple:
        return self.first, self.last, self.previous, self.bids, self.asks


def level(low: int, high: int) -> st.SearchStrategy:
    price = st.integers(low, high).map(float)
    return st.tuples(price, st.sampled_from([0.0, 1.0, 2.5, 7.0]))


@st.composite
def histories(draw, rule: SequenceRule) -> tuple[list[Change], list[tuple[dict, dict]]]:
    """Changes of a book that never crosses, and the truth before the first and after each."""
    bids, asks, now = {50.0: 1.0}, {51.0: 1.0}, draw(st.integers(1, 100))
    changes, truths = [], [(dict(bids), dict(asks))]
    for _ in range(draw(st.integers(1, 12))):
        change_bids = tuple(draw(st.lists(level(1, 50), max_size=4)))
        change_asks = tuple(draw(st.lists(level(51, 99), max_size=4)))
        skip = 1 if rule is SequenceRule.SPOT else draw(st.integers(1, 3))  # ids of other symbols
        first, previous = now + skip, now
        now = first + draw(st.integers(0, 3))
        changes.append(Change(first, now, previous, change_bids, change_asks))
        for side, edits in ((bids, change_bids), (asks, change_asks)):
            for price, size in edits:
                side.pop(price, None)
                if size:
                    side[price] = size
        truths.append((dict(bids), dict(asks)))
    return changes, truths


def held(book: Book) -> tuple[dict, dict]:
    top = book.top(200)
    assert top.bid_prices == sorted(top.bid_prices, reverse=True)
    assert top.ask_prices == sorted(top.ask_prices)
    bids = dict(zip(top.bid_prices, top.bid_sizes, strict=True))
    return bids, dict(zip(top.ask_prices, top.ask_sizes, strict=True))


def loaded(rule: SequenceRule, changes: list[Change], truth: tuple[dict, dict]) -> Book:
    book = Book(rule)
    book.load(changes[0].previous, truth[0].items(), truth[1].items())
    return book


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_book_equals_the_truth_after_every_diff(rule, data):
    changes, truths = data.draw(histories(rule))
    book = loaded(rule, changes, truths[0])
    for change, truth in zip(changes, truths[1:], strict=True):
        assert book.apply(*change.args) is Verdict.APPLIED
        assert held(book) == truth
        assert book.best_bid == max(truth[0], default=None)
        assert book.best_ask == min(truth[1], default=None)
        assert not book.crossed
        assert book.apply(*change.args) is Verdict.OLD  # a repeat changes nothing
        assert held(book) == truth


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_hole_is_noticed_and_leaves_the_book_as_it_was(rule, data):
    changes, truths = data.draw(histories(rule).filter(lambda h: len(h[0]) > 2))
    hole = data.draw(st.integers(1, len(changes) - 2))
    book = loaded(rule, changes, truths[0])
    for change in changes[:hole]:
        assert book.apply(*change.args) is Verdict.APPLIED
    for change in changes[hole + 1 :]:
        assert book.apply(*change.args) is Verdict.GAP
        assert held(book) == truths[hole]


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_sync_reaches_the_truth_wherever_the_snapshot_falls(rule, data):
    changes, truths = data.draw(histories(rule))
    taken = data.draw(st.integers(0, len(changes)))  # changes that the snapshot contains
    arrives = data.draw(st.integers(0, len(changes)))  # changes that came before it
    sync = BookSync(rule)
    for change in changes[:arrives]:
        assert sync.on_diff(*change.args) is None
    assert sync.state is SyncState.WAITING
    last_id = changes[taken - 1].last if taken else changes[0].previous
    assert sync.on_snapshot(last_id, truths[taken][0].items(), truths[taken][1].items())
    assert sync.state is SyncState.LIVE
    assert held(sync.book) == truths[max(taken, arrives)]
    for change in changes[arrives:]:
        assert sync.on_diff(*change.args) is None
    assert held(sync.book) == truths[-1]


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_sync_recovers_from_a_lost_diff(rule, data):
    changes, truths = data.draw(histories(rule).filter(lambda h: len(h[0]) > 3))
    hole = data.draw(st.integers(1, len(changes) - 2))
    sync = BookSync(rule)
    assert sync.on_snapshot(changes[0].previous, truths[0][0].items(), truths[0][1].items())
    lost = [sync.on_diff(*change.args) for i, change in enumerate(changes) if i != hole]
    assert [x is not None for x in lost] == [i == hole for i in range(len(lost))]
    stale = truths[hole]
    assert not sync.on_snapshot(changes[hole - 1].last, stale[0].items(), stale[1].items())
    assert sync.state is SyncState.WAITING  # that snapshot was from before the hole
    fresh = truths[hole + 1]
    assert sync.on_snapshot(changes[hole].last, fresh[0].items(), fresh[1].items())
    assert held(sync.book) == truths[-1]


def test_futures_snapshot_may_fall_inside_a_diff():
    book = Book(SequenceRule.FUTURES)
    book.load(105, [(9.0, 1.0)], [(10.0, 1.0)])
    assert book.check(101, 104, 100) is Verdict.OLD
    assert book.apply(103, 108, 102, [(9.0, 2.0)], []) is Verdict.APPLIED
    assert book.apply(107, 109, 106, [], []) is Verdict.GAP  # only the first may overlap
    assert book.apply(120, 121, 108, [], []) is Verdict.APPLIED  # ids count over all symbols


def test_book_without_snapshot_takes_nothing():
    for rule in RULES:
        assert Book(rule).apply(0, 5, -1, [(1.0, 1.0)], []) is Verdict.GAP


def test_crossed_book_is_reported_and_given_up():
    sync = BookSync(SequenceRule.FUTURES)
    assert not sync.on_snapshot(10, [(11.0, 1.0)], [(10.0, 1.0)])  # crossed already
    assert sync.on_snapshot(10, [(9.0, 1.0)], [(10.0, 1.0)])
    lost = sync.on_diff(11, 11, 10, [(10.0, 1.0)], [])
    assert lost is not None and "bid 10.0 at or above ask 10.0" in lost.reason
    assert sync.state is SyncState.WAITING


def test_buffer_is_bounded_and_its_loss_is_a_gap():
    sync = BookSync(SequenceRule.FUTURES, max_buffer=8)
    for u in range(100, 200):
        sync.on_diff(u, u, u - 1, [], [])
    assert not sync.on_snapshot(150, [(1.0, 1.0)], [(2.0, 1.0)])
    assert sync.on_snapshot(199, [(1.0, 1.0)], [(2.0, 1.0)])


def test_top_gives_the_best_levels_only():
    book = Book(SequenceRule.SPOT)
    book.load(1, [(float(p), 1.0) for p in range(1, 50)], [(float(p), 2.0) for p in range(60, 99)])
    top = book.top(3)
    assert top.bid_prices == [49.0, 48.0, 47.0] and top.ask_prices == [60.0, 61.0, 62.0]
    assert top.ask_sizes == [2.0, 2.0, 2.0]
    assert len(book.top(1000).bid_prices) == 49


RECORDINGS = Path(__file__).parents[4] / "shared" / "data" / "raw" / "binance_depth"


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        (["usdm_btcusdt_20240808.gz"], SequenceRule.FUTURES),
        (["usdm_ethusdt_20240808.gz"], SequenceRule.FUTURES),
        (["coinm_btcusd_perp_20240808.gz"], SequenceRule.FUTURES),
        # the second file goes on where the first ends, with no snapshot of its own
        (["spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz"], SequenceRule.SPOT),
    ],
)
def test_recorded_market_is_rebuilt_without_gap_or_cross(names, rule):
    """Real diffs: never crossed, no gap, and the top equals the recorded best bid and ask."""
    paths = [RECORDINGS / name for name in names]
    if not all(path.exists() for path in paths):
        pytest.skip(f"no recording at {paths[0]}")
    sync = BookSync(rule)
    tops: dict[int, tuple] = {}  # update id -> top of the rebuilt book
    quotes: dict[int, tuple] = {}
    diffs = 0
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(gzip.open(path, "rt")) for path in paths]
        for line in chain.from_iterable(files):
            message = json.loads(line.split(" ", 1)[1])
            if "lastUpdateId" in message:
                assert sync.on_snapshot(
                    message["lastUpdateId"], levels(message["bids"]), levels(message["asks"])
                )
                continue
            data = message["data"]
            if "depth" in message["stream"]:
                diffs += 1
                lost = sync.on_diff(
                    data["U"], data["u"], data.get("pu", -1), levels(data["b"]), levels(data["a"])
                )
                assert lost is None
                if sync.state is SyncState.LIVE:
                    top = sync.book.top(1)
                    tops[data["u"]] = (
                        top.bid_prices[0], top.bid_sizes[0], top.ask_prices[0], top.ask_sizes[0]
                    )  # fmt: skip
            elif message["stream"].endswith("bookTicker"):
                quotes[data["u"]] = tuple(float(data[key]) for key in "bBaA")
    assert sync.state is SyncState.LIVE and diffs > 3000
    both = tops.keys() & quotes.keys()
    assert len(both) > 500
    assert all(tops[u] == quotes[u] for u in both)


def levels(raw: list) -> list[tuple[float, float]]:
    return [(float(price), float(size)) for price, size in raw]
