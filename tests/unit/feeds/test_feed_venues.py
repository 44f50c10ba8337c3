"""The table of exchanges: complete, consistent, and as the docs show it."""

from pathlib import Path
from random import Random

import pytest
from cryptofeed.exchanges import EXCHANGE_MAP
from hypothesis import given, settings
from hypothesis import strategies as st

from don.errors import ConfigError
from don.feeds.copies import Copies
from don.feeds.early import DepthDiff, EarlyDiffs
from don.feeds.health import Stream
from don.feeds.trades import TradeKeeper, TradeVerdict
from don.feeds.venues import VENUES, describe, venue_of
from don.market.book import BookSync, SequenceRule

DOCS = Path(__file__).parents[3] / "docs" / "feeds.md"


def test_every_exchange_of_cryptofeed_has_a_row():
    assert set(VENUES) == set(EXCHANGE_MAP)
    for name, venue in VENUES.items():
        assert venue.feed is EXCHANGE_MAP[name]
        assert "*" in venue.broken or venue.channels, name


def test_an_exchange_that_does_not_work_is_refused_with_the_reason():
    with pytest.raises(ConfigError, match=r"BYBIT does not work: a recording"):
        venue_of("BYBIT")


def test_the_docs_show_the_table():
    assert describe() in DOCS.read_text(), "run don.feeds.venues.describe() and paste it"


# ---- trades ------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_of_any_interleaving_of_two_copies_each_trade_is_taken_once(data):
    """Each copy is in order and may lose any part; what neither lost comes out once."""
    count = data.draw(st.integers(1, 30))
    first = data.draw(st.sets(st.integers(1, count)))
    second = data.draw(st.sets(st.integers(1, count)))
    queues = [sorted(first), sorted(second)]
    keeper: TradeKeeper | None = None
    taken: list[int] = []
    while queues[0] or queues[1]:
        which = data.draw(st.sampled_from([n for n in (0, 1) if queues[n]]))
        number = queues[which].pop(0)
        if keeper is None:
            keeper, ok = TradeKeeper(number, number), True
        elif number == keeper.last + 1:
            keeper.last, keeper.last_ts, ok = number, number, True
        else:
            verdict = keeper.on_jump(number, number)
            assert verdict is not TradeVerdict.RESTART
            ok = verdict is not TradeVerdict.KNOWN
        if ok:
            taken.append(number)
    assert len(taken) == len(set(taken))
    if keeper is not None:
        begun = taken[0]  # what came before the very first trade was never promised
        assert {t for t in taken if t >= begun} == {t for t in first | second if t >= begun}
        missing = {t for hole in keeper.holes for t in range(hole.first, hole.last + 1)}
        assert missing == set(range(begun, keeper.last + 1)) - set(taken)


# ---- books -------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(SequenceRule))
def test_a_book_of_two_copies_survives_the_loss_of_either(seed, rule):
    """One copy begins late, one ends early; between them nothing is missing: no gap, one truth."""
    rng = Random(seed)
    diffs = []
    last = 100
    for n in range(rng.randint(2, 40)):
        first, last, previous = last + 1, last + rng.randint(1, 4), last
        price = 50.0 + rng.randint(0, 5)
        diffs.append(DepthDiff(n, n, first, last, previous, [(price, rng.random() + 0.1)], []))
    cut = rng.randint(0, len(diffs))
    queues = [diffs[: max(cut, 1)], diffs[rng.randint(0, max(cut, 1)) :]]
    sync, early = BookSync(rule), EarlyDiffs(10**9)
    sync.on_snapshot(100, [(50.0, 1.0)], [(60.0, 1.0)])
    while queues[0] or queues[1]:
        which = rng.choice([n for n in (0, 1) if queues[n]])
        for diff in early.offer(sync, queues[which].pop(0)):
            assert sync.on_diff(*diff[2:]) is None
    truth = BookSync(rule)
    truth.on_snapshot(100, [(50.0, 1.0)], [(60.0, 1.0)])
    for diff in diffs:
        assert truth.on_diff(*diff[2:]) is None
    assert sync.book.update_id == truth.book.update_id
    assert sync.book.top(10) == truth.book.top(10)


def test_what_neither_copy_brings_shows_as_a_gap_after_a_while():
    sync, early = BookSync(SequenceRule.SPOT), EarlyDiffs(100)
    sync.on_snapshot(1, [(1.0, 1.0)], [(2.0, 1.0)])
    assert early.offer(sync, DepthDiff(0, 0, 5, 5, -1, [], [])) == []
    late = early.offer(sync, DepthDiff(0, 200, 6, 6, -1, [], []))
    assert [diff.first for diff in late] == [5, 6]
    assert sync.on_diff(*late[0][2:]) is not None


# ---- states ------------------------------------------------------------------------------------


def test_a_state_is_taken_from_one_connection_until_it_is_lost_or_behind():
    copies, stream = Copies(), Stream("BTC-USDT", "quotes", "BTCUSDT")
    one, two = object(), object()
    assert copies.leads(stream, one, 0) and not copies.leads(stream, two, 1)
    copies.gone(stream, one)
    stream.last_recv = 1
    assert copies.leads(stream, two, 2) and not copies.leads(stream, one, 3)
    assert copies.leads(stream, one, 3 * 10**9), "the leader said nothing for two seconds"
    assert copies.repeats == 2


def test_repeats_are_told_by_id_and_memory_is_bounded():
    copies, stream = Copies(memory=3), Stream("BTC-USDT", "trades", "BTCUSDT")
    assert [copies.first(stream, key) for key in (1, 2, 1, 3, 4, 1)] == [
        True, True, False, True, True, True
    ]  # fmt: skip
