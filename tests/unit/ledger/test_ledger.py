"""The books: exact, each fact once, in balance by construction."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from don.ledger import KEYS_KEPT, Ledger, LedgerState
from don.model import codec
from don.model.order import Fill, Side
from don.model.portfolio import Position

BTC = "BTC-USDT-PERP"
MARKS = {BTC: Decimal("4321.5")}


def fill(trade: int, side: Side = Side.BUY, size: str = "1", price: str = "4000") -> Fill:
    return Fill(
        trade_id=str(trade),
        client_order_id="c",
        exchange_order_id="1",
        symbol=BTC,
        side=side,
        price=Decimal(price),
        size=Decimal(size),
        fee=Decimal("1.6"),
        realized_pnl=None,
        maker=False,
        ts_event=trade,
    )


def opened(balance: str = "10000", *positions: Position) -> Ledger:
    ledger = Ledger()
    ledger.adopt(Decimal(balance), positions, 0)
    return ledger


fills = st.lists(
    st.tuples(
        st.sampled_from(list(Side)),
        st.integers(1, 5000).map(lambda n: str(Decimal(n) / 1000)),
        st.integers(30_000, 60_000).map(lambda n: str(Decimal(n) / 10)),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(fills)
def test_cash_is_conserved_to_the_last_digit(trades: list) -> None:
    """Equity at any mark equals the opening plus all cash flows plus what is held, exactly."""
    ledger = opened()
    cash = held = fees = Decimal(0)
    for n, (side, size, price) in enumerate(trades):
        made = fill(n, side, size, price)
        ledger.fill(str(n), made)
        cash -= made.size * side.sign * made.price
        held += made.size * side.sign
        fees += made.fee
    assert ledger.equity(MARKS) == 10_000 + cash - fees + held * MARKS[BTC]
    assert ledger.balance == 10_000 + ledger.realized - fees
    assert ledger.position(BTC).size == held and (held != 0) == (BTC in ledger.positions)


@settings(deadline=None)
@given(fills, st.randoms(use_true_random=False))
def test_repeats_count_once(trades: list, rng: object) -> None:
    once, twice = opened(), opened()
    seen: list = []
    for n, (side, size, price) in enumerate(trades):
        seen.append((str(n), fill(n, side, size, price)))
        once.fill(*seen[-1])
        twice.fill(*seen[-1])
        assert twice.fill(*rng.choice(seen)) is None  # type: ignore[attr-defined]
    assert once.dump() == twice.dump()


@settings(deadline=None)
@given(fills)
def test_saved_and_loaded_goes_on_exactly(trades: list) -> None:
    whole, part = opened(), opened()
    for n, (side, size, price) in enumerate(trades):
        whole.fill(str(n), fill(n, side, size, price))
        part = Ledger(codec.decode_as(LedgerState, codec.encode(part.dump())))
        part.fill(str(n), fill(n, side, size, price))
    assert whole.dump() == part.dump()


def test_funding_counts_once_and_moves_the_balance() -> None:
    ledger = opened()
    assert ledger.pay("f1", Decimal("-0.12345678"), 5)
    assert not ledger.pay("f1", Decimal("-0.12345678"), 5)
    assert ledger.balance == Decimal("9999.87654322") and ledger.funding < 0
    assert ledger.cursors().funding_ts == 5


def test_first_adoption_is_the_deposit_and_later_ones_adjust() -> None:
    ledger = opened("10000", Position(symbol=BTC, size=Decimal(2), cost=Decimal(8000)))
    ledger.fill("1", fill(1, Side.SELL, "1", "4100"))
    assert ledger.realized == 100 and ledger.balance == Decimal("10098.4")
    ledger.adopt(Decimal(20_000), [], 9)
    assert (ledger.deposits, ledger.adjustments) == (10_000, Decimal("9901.6"))
    assert ledger.balance == 20_000 and ledger.positions == {}


def test_position_without_mark_counts_at_cost() -> None:
    ledger = opened("100", Position(symbol=BTC, size=Decimal(2), cost=Decimal(8000)))
    assert ledger.equity({}) == 100 and ledger.equity(MARKS) == 743


def test_cursor_follows_the_greatest_trade_id_as_a_number() -> None:
    ledger = opened()
    for trade in ("9", "10", "8"):
        ledger.fill(trade, replace(fill(1), trade_id=trade))
    assert ledger.cursors().trades == {BTC: "10"}


def test_keys_are_bounded() -> None:
    ledger = opened()
    for n in range(KEYS_KEPT + 50):
        ledger.pay(f"f{n}", Decimal(0), n)
    assert len(ledger.dump().keys) == KEYS_KEPT
    assert ledger.knows(f"f{KEYS_KEPT + 49}") and not ledger.knows("f0")
