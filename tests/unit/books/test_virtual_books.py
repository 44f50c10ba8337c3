"""Whatever happens to an account, its virtual books sum to it to the last digit."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from don.books import apportion
from don.books.allocate import share_out
from don.books.books import VirtualBooks
from don.books.config import (
    CANARY_SHARE,
    DESK,
    AllocationConfig,
    Method,
    Mode,
    SlotConfig,
    check_slots,
)
from don.ledger import Ledger
from don.model import codec
from don.model.messages import BookKind, PaymentKind
from don.model.order import Fill, Side
from don.model.portfolio import Position

LOTS = {"A": Decimal("0.001"), "B": Decimal(1)}
NAMES = ("x", "y", "z")
D = Decimal


# ---- dividing ------------------------------------------------------------------------------------


@given(
    weights=st.lists(st.integers(0, 500), min_size=1, max_size=6).filter(any),
    part=st.integers(0, 500),
    unit=st.sampled_from([D("0.001"), D(1), D("0.5")]),
)
def test_lots_are_whole_sum_exactly_and_exceed_no_wish(weights, part, unit) -> None:
    wants = [w * unit for w in weights]
    total = min(part, sum(weights)) * unit
    parts = apportion.lots(total, wants, unit)
    assert sum(parts) == total
    for got, want in zip(parts, wants, strict=True):
        assert 0 <= got <= want and got % unit == 0
        assert abs(got - total * want / sum(wants)) < unit
    assert parts == apportion.lots(total, wants, unit)


@given(
    amount=st.decimals(-1000, 1000, places=8),
    weights=st.lists(st.integers(-9, 9), min_size=1, max_size=5).filter(lambda w: sum(w) != 0),
)
def test_money_is_divided_to_the_last_digit(amount, weights) -> None:
    assert sum(apportion.money(amount, [D(w) for w in weights])) == amount


def test_what_cannot_be_divided_evenly_goes_to_the_first_of_equals() -> None:
    assert apportion.lots(D(2), [D(1), D(1), D(1)], D(1)) == [1, 1, 0]
    assert apportion.money(D("0.00000001"), [D(1), D(1)]) == [D("0.00000001"), D(0)]
    with pytest.raises(ValueError, match="not all zero"):
        apportion.lots(D(1), [D(0)], D(1))
    with pytest.raises(ValueError, match="must not sum to zero"):
        apportion.money(D(1), [D(1), D(-1)])


# ---- the invariant -------------------------------------------------------------------------------

sizes = st.integers(1, 40)
symbols = st.sampled_from(sorted(LOTS))
sides = st.sampled_from(list(Side))
prices = st.decimals("0.01", 500, places=2)
owners = st.sampled_from(["claimed", "by hand", "closes", "forced"])
acts = st.one_of(
    st.tuples(st.just("fill"), symbols, sides, sizes, prices, owners, st.lists(sizes, max_size=3)),
    st.tuples(st.just("fund"), symbols, st.decimals(-9, 9, places=8)),
    st.tuples(st.just("liquidate"), st.decimals(-9, 9, places=8)),
    st.tuples(st.just("cross"), symbols, st.lists(st.integers(-30, 30), min_size=3, max_size=3)),
    st.tuples(st.just("offset"), prices),
    st.tuples(st.just("capital"), st.lists(st.decimals(-50, 50, places=8), max_size=3)),
    st.tuples(st.just("adopt"), st.decimals(0, 5000, places=8), st.integers(-9, 9), prices),
    st.tuples(st.just("restart")),
)


class Account:
    """A ledger and its books, moved by the same facts."""

    def __init__(self) -> None:
        self.ledger, self.books, self.n = Ledger(), VirtualBooks(LOTS), 0
        self.adopt(D(1000), 3, D(10))

    def adopt(self, balance: Decimal, size: int, price: Decimal) -> None:
        held = Position(symbol="B", size=D(size), cost=D(size) * price)
        self.ledger.adopt(balance, [held] if size else [], self.n)
        self.books.adopt(self.ledger, {"B": price}, "x", "adopt", self.n)

    def act(self, kind, *about) -> None:
        self.n += 1
        getattr(self, kind)(*about)

    def fill(self, symbol, side, lots, price, owner, claims) -> None:
        key, order = f"fill:{self.n}", f"order:{self.n}"
        fill = Fill(
            trade_id=str(self.n), client_order_id=order, exchange_order_id="", symbol=symbol,
            side=side, price=price, size=lots * LOTS[symbol], fee=D("0.00000017") * lots,
            realized_pnl=None, maker=False, ts_event=self.n,
        )  # fmt: skip
        if owner == "claimed":
            wanted = {n: c * LOTS[symbol] for n, c in zip(NAMES, claims, strict=False)}
            self.books.claim(order, wanted)
        self.ledger.fill(key, fill)
        closes = owner in ("closes", "forced")
        self.books.fill(key, fill, order, closes=closes, forced=owner == "forced")

    def fund(self, symbol, amount) -> None:
        self.ledger.pay(f"pay:{self.n}", amount, self.n)
        self.books.fund(f"pay:{self.n}", symbol, amount, self.n)

    def liquidate(self, amount) -> None:
        self.ledger.pay(f"pay:{self.n}", amount, self.n, PaymentKind.LIQUIDATION)
        self.books.liquidated(f"pay:{self.n}", "", amount, self.n)

    def cross(self, symbol, wants) -> None:
        asked = {n: w * LOTS[symbol] for n, w in zip(NAMES, wants, strict=True)}
        left = self.books.cross("cross", symbol, asked, D(7), self.n)
        assert sum(left.values()) == sum(asked.values())
        assert len({size > 0 for size in left.values()}) <= 1

    def offset(self, price) -> None:
        self.books.offset("offset", dict.fromkeys(LOTS, price), self.n)
        for symbol in LOTS:
            held = [b.size(symbol) for b in self.books.books.values() if b.size(symbol)]
            assert len({size > 0 for size in held}) <= 1

    def capital(self, amounts) -> None:
        self.books.move("capital", dict(zip(NAMES, amounts, strict=False)), self.n)

    def restart(self) -> None:
        state = codec.decode_as(type(self.books.dump()), codec.encode(self.books.dump()))
        again = VirtualBooks(LOTS, state)
        assert again.dump() == self.books.dump()
        self.books = again


@settings(max_examples=150, deadline=None)
@given(st.lists(acts, max_size=25))
def test_books_sum_to_the_account_whatever_happens(steps) -> None:
    account = Account()
    for kind, *about in steps:
        account.act(kind, *about)
        books, ledger = account.books, account.ledger
        assert books.off(ledger) == []
        marks = {"A": D("3.21"), "B": D("17.5")}
        assert sum(b.equity(marks) for b in books.books.values()) == ledger.equity(marks)
        moved = sum(b.capital for b in books.books.values())
        earned = sum(b.pnl(marks) for b in books.books.values())
        assert moved + earned == ledger.equity(marks)
        assert sum((e.size for e in books.take() if e.kind is BookKind.CROSS), D(0)) == 0


def test_a_fill_goes_to_the_books_that_asked_and_the_rest_to_the_desk() -> None:
    account = Account()
    account.act("fill", "B", Side.BUY, 10, D(5), "claimed", [4, 3])
    sizes_ = {n: b.size("B") for n, b in account.books.books.items()}
    assert sizes_ == {DESK: 3, "x": 3 + 4, "y": 3}
    account.act("fill", "B", Side.SELL, 13, D(5), "closes", [])
    assert account.ledger.position("B").size == 0
    assert all(not b.positions for b in account.books.books.values())


def test_a_long_and_a_short_pay_and_receive_funding() -> None:
    account = Account()
    account.act("cross", "B", [6, -2, 0])
    account.act("fund", "B", D("-0.30000000"))
    got = {n: b.funding for n, b in account.books.books.items() if b.funding}
    assert got == {"x": D("-0.5"), "y": D("0.2")}


# ---- configuration -------------------------------------------------------------------------------


def slot(name: str, **more: object) -> SlotConfig:
    return SlotConfig(name=name, policy="hold", **more)  # type: ignore[arg-type]


def test_slots_that_do_not_fit_are_refused_with_names_and_bounds() -> None:
    config = AllocationConfig(reserve=0.1)
    with pytest.raises(ValueError, match="unique, was twice: a"):
        check_slots([slot("a"), slot("a")], config)
    with pytest.raises(ValueError, match="at least one slot must be live"):
        check_slots([slot("a", mode="shadow")], config)
    with pytest.raises(ValueError, match=r"at most 0.9 .* was 1.1"):
        check_slots([slot("a", share=0.6), slot("b", share=0.5)], config)
    with pytest.raises(ValidationError, match="share must be at most max_share"):
        slot("a", mode="canary", share=0.2)
    with pytest.raises(ValidationError, match="choose another"):
        slot(DESK)
    assert slot("a", mode="canary").max_share == CANARY_SHARE
    assert slot("a", mode=Mode.SHADOW, share=0.5).max_share == 1.0


@pytest.mark.parametrize("method", list(Method))
def test_shares_stay_within_bounds_and_room(method: Method) -> None:
    slots = [slot("a", min_share=0.1), slot("b", max_share=0.3), slot("c", share=0.2)]
    config = AllocationConfig(method=method, min_history=3, reserve=0.1)
    returns = {"a": [0.01, -0.02, 0.015, 0.0], "b": [0.002, 0.004, -0.001, 0.003]}
    made = share_out(slots, config, returns, {}).shares
    assert made["c"] == D("0.2") and D("0.1") <= made["a"] and made["b"] <= D("0.3")
    assert sum(made.values()) <= D("0.9")


def test_shares_are_equal_until_every_book_has_a_history_and_kept_without_an_answer() -> None:
    slots, config = [slot("a"), slot("b")], AllocationConfig(min_history=3)
    short = share_out(slots, config, {"a": [0.1], "b": []}, {})
    assert short.shares == {"a": D("0.5"), "b": D("0.5")} and "0 of 3 returns" in short.reason
    still = share_out(
        slots, config, {"a": [0.1, 0.2, 0.1], "b": [0.0] * 3}, {"a": D("0.7"), "b": D("0.3")}
    )
    assert still.shares == {"a": D("0.7"), "b": D("0.3")} and "not moved yet: b" in still.reason


def test_shares_lie_on_bounds_that_are_no_whole_steps() -> None:
    slots = [
        slot("a", max_share=0.33335),
        slot("b", min_share=0.12345, max_share=0.12345),
        slot("c", min_share=0.54316),
    ]
    made = share_out(slots, AllocationConfig(method="equal"), {}, {})
    for one in slots:
        low, high = D(repr(one.min_share)), D(repr(one.max_share))
        assert low <= made.shares[one.name] <= high
    assert sum(made.shares.values()) <= 1


def test_books_with_broken_lots_cross_to_one_sign() -> None:
    books = VirtualBooks({"A": D(1)})
    wants = {"a": D("0.5"), "b": D("0.5"), "c": D("-1")}
    assert books.cross("k", "A", wants, D(100), 1) == {}
    assert {n: books.book(n).size("A") for n in wants} == wants
    left = books.cross("l", "A", {"a": D("0.7"), "b": D("2.1"), "c": D("-1.5")}, D(100), 1)
    assert sum(left.values()) == D("1.3") and min(left.values()) >= 0


def test_a_payment_that_is_told_late_is_divided_as_books_were_when_it_was_due() -> None:
    account = Account()
    account.fill("A", Side.BUY, 30, D(10), "claimed", [10, 20])  # x and y
    due = account.n
    account.n += 1
    account.cross("A", [-10, 0, 10])  # x to z, later than it was due
    account.n += 1
    account.fill("A", Side.SELL, 20, D(11), "claimed", [0, 20])
    account.restart()
    account.ledger.pay("pay", D(3), due)
    account.books.fund("pay", "A", D(3), due)
    assert account.books.off(account.ledger) == []
    paid = {name: book.funding for name, book in account.books.books.items()}
    assert paid["x"] == D(1) and paid["y"] == D(2) and not paid.get("z")
    account.ledger.pay("now", D(3), account.n)
    account.books.fund("now", "A", D(3), account.n)
    assert account.books.book("z").funding == D(3) and account.books.book("x").funding == D(1)
