"""The compiled book against a naive one: same fills, same queues, whatever comes."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_book import NaiveBook

from don.paper.kernels import ANY_PRICE, CANCEL, LIMIT, TAKE
from don.paper.matching import ASK, BID, Book

SIDES = st.sampled_from([BID, ASK])
PRICES = st.integers(1, 14)
SIZES = st.integers(1, 6)
LEVELS = st.lists(
    st.tuples(SIDES, PRICES, st.integers(0, 6)), max_size=8, unique_by=lambda row: row[:2]
)


@st.composite
def displays(draw):
    """Rows as a tape sends them: not crossed in themselves, best first."""
    middle = draw(PRICES)
    rows = [r for r in draw(LEVELS) if (r[1] < middle) == (r[0] == BID)]
    bids = sorted((r for r in rows if r[0] == BID), key=lambda r: -r[1])
    asks = sorted((r for r in rows if r[0] == ASK), key=lambda r: r[1])
    return ("display", [*bids, *asks], draw(st.booleans()))


OPERATIONS = st.one_of(
    st.tuples(st.just("order"), SIDES, PRICES, SIZES),
    st.tuples(st.just("order"), SIDES, PRICES, SIZES),
    st.tuples(st.just("take"), SIDES, PRICES, SIZES),
    st.tuples(st.just("print"), SIDES, PRICES, SIZES),
    st.tuples(st.just("reduce"), st.integers(1, 40), st.integers(0, 4)),
    displays(),
)


def merged(fills):
    """Fills with neighbouring ones of the same maker at the same price added up."""
    groups = groupby(fills, key=lambda fill: (fill[0], fill[1]))
    return [(*key, sum(fill[2] for fill in group)) for key, group in groups]


def drain(step, size):
    """Call a step of the book until it has nothing more to give."""
    fills = []
    while size > 0:
        got, size_left = step(size)
        fills += [tuple(fill) for fill in got]
        if not got:
            return fills, size_left
        size = size_left
    return fills, size


def queues(book, side):
    """(price, queue) of each level, neighbouring lots of the house added up; ids are unique."""
    out = []
    for price, _, _ in book.levels(side):
        groups = groupby(book.queue(side, price), key=lambda order: order[0])
        out.append((price, [(ident, sum(size for _, size in g)) for ident, g in groups]))
    return out


def run(book, naive, operation, ident):
    kind, *rest = operation
    if kind == "order":
        side, price, size = rest
        got, left = drain(lambda z: book.take(side, price, z), size)
        want, naive_left = naive.take(side, price, size)
        assert (merged(got), left) == (merged(want), naive_left)
        if left:
            book.add(ident, side, price, left)
            naive.add(ident, side, price, left)
    elif kind == "take":
        side, price, size = rest
        can = book.fillable(side, price)
        got, left = drain(lambda z: book.take(side, price, z), size)
        assert (merged(got), left) == (merged((w := naive.take(side, price, size))[0]), w[1])
        assert size - left == min(size, can)
    elif kind == "print":
        side, price, size = rest
        got, _ = drain(lambda z: book.sweep(side, price, z), size)
        assert got == naive.sweep(side, price, size)
    elif kind == "reduce":
        ident, size = rest
        book.reduce(ident, size)
        naive.reduce(ident, size)
    else:
        rows, snapshot = rest
        got = []
        update = book.display(rows, snapshot=snapshot)
        for side, price, size in update:
            fills, left = drain(lambda z, s=side, p=price: book.take(s, p, z), size)
            got += fills
            update.settle(left)
        assert merged(got) == merged(naive.display(rows, snapshot))


@settings(max_examples=120, deadline=None)
@given(st.lists(OPERATIONS, max_size=50))
def test_book_equals_a_naive_one(operations):
    book, naive = Book(capacity=2), NaiveBook()  # so small that it must grow
    shown = {}
    for ident, operation in enumerate(operations, start=1):
        run(book, naive, operation, ident)
        for side in (BID, ASK):
            assert queues(book, side) == naive.levels(side)
            for price, size, house in book.levels(side):
                assert size == book.size_at(side, price)
                assert house == naive.house(side, price)
        bid, ask = book.best(BID), book.best(ASK)
        assert bid is None or ask is None or bid[0] < ask[0]
        for side, price, before, size in book.take_touched():  # readers can follow what is noted
            assert size == book.size_at(side, price)
            assert before == shown.get((side, price), 0)
            shown[side, price] = size
        for side in (BID, ASK):
            following = {p: z for (s, p), z in shown.items() if s == side and z}
            assert following == {price: size for price, size, _ in book.levels(side)}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([LIMIT, TAKE, CANCEL]), SIDES, PRICES, SIZES, st.integers(1, 60)),
        max_size=60,
    )
)
def test_a_batch_equals_a_naive_book(messages):
    naive, want, rows = NaiveBook(), [], []
    for number, (kind, side, price, size, victim) in enumerate(messages, start=1):
        rows.append((kind, victim if kind == CANCEL else number, side, price, size))
        if kind == CANCEL:
            naive.reduce(victim, 0)
            continue
        fills, left = naive.take(side, price, size)
        want += fills
        if kind == LIMIT and left:
            naive.add(number, side, price, left)
    book, fills = Book(capacity=2), np.zeros((4096, 3), np.int64)
    chunks = book.process(np.array(rows, np.int64).reshape(-1, 5), fills)
    assert [tuple(map(int, fill)) for chunk in chunks for fill in chunk] == want
    for side in (BID, ASK):
        assert queues(book, side) == naive.levels(side)


def test_first_come_first_served_at_a_price():
    book = Book()
    for ident in (1, 2, 3):
        book.add(ident, ASK, 100, 5)
    book.reduce(2, 4)  # keeps its place
    assert drain(lambda z: book.take(BID, 100, z), 12)[0] == [(1, 100, 5), (2, 100, 4), (3, 100, 3)]


def test_house_shrinks_from_the_back_and_grows_at_the_back():
    book = Book()
    list(book.display([(BID, 100, 10)]))
    book.add(1, BID, 100, 3)
    list(book.display([(BID, 100, 14)]))
    assert book.queue(BID, 100) == [(0, 10), (1, 3), (0, 4)]
    list(book.display([(BID, 100, 8)]))  # four from behind us, two from before us
    assert book.queue(BID, 100) == [(0, 8), (1, 3)]


def test_a_print_fills_only_behind_the_house_and_better_prices_at_once():
    book = Book()
    list(book.display([(BID, 100, 10), (BID, 101, 4)]))
    book.add(1, BID, 100, 3)
    book.add(2, BID, 101, 2)
    assert book.sweep(ASK, 101, 4) == ([], 0)  # all four of the house's lots were ahead
    assert book.queue(BID, 101) == [(2, 2), (0, 4)]  # passed, but still displayed
    assert book.sweep(ASK, 100, 6) == ([(2, 101, 2)], 4)  # strictly better: at its own price
    assert book.sweep(ASK, 100, 4) == ([], 0)
    assert book.queue(BID, 100) == [(0, 6), (1, 3), (0, 4)]
    assert book.sweep(ASK, 100, 8) == ([(1, 100, 2)], 0)
    assert book.queue(BID, 100) == [(1, 1), (0, 10)]


def test_a_displayed_level_that_crosses_users_is_handed_out():
    book = Book()
    book.add(1, ASK, 100, 5)
    update = book.display([(BID, 101, 8), (BID, 99, 2)])
    assert next(update) == (BID, 101, 8)
    fills, left = book.take(BID, 101, 8)
    assert fills == [(1, 100, 5)]
    update.settle(left)
    assert list(update) == []
    assert book.levels(BID) == [(101, 3, 3), (99, 2, 2)]


def test_a_newer_level_of_the_house_removes_what_it_crosses():
    book = Book()
    list(book.display([(ASK, 100, 5), (ASK, 102, 1)]))
    list(book.display([(BID, 101, 2)]))
    assert book.levels(ASK) == [(102, 1, 1)]


def test_bad_orders_are_refused():
    book = Book()
    book.add(1, ASK, 100, 5)
    with pytest.raises(ValueError, match="crosses"):
        book.add(2, BID, 100, 1)
    with pytest.raises(ValueError, match="already"):
        book.add(1, ASK, 101, 1)
    with pytest.raises(ValueError, match="positive"):
        book.add(3, ASK, 101, 0)
    assert book.cancel(9) == 0
    assert book.fillable(BID, ANY_PRICE) == 5
    with pytest.raises(ValueError, match="fills needs more rows"):
        list(book.process(np.array([(TAKE, 5, BID, 200, 1)]), np.zeros((1, 3), np.int64)))
