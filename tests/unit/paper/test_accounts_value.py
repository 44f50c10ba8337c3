"""What an account is worth: sums kept as marks and positions change are the sums."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from don.model.instrument import Instrument
from don.model.order import Side
from don.model.portfolio import ZERO
from don.paper.accounts import Account
from don.paper.config import PaperConfig
from don.paper.margin import maintenance_margin

NAMES = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
PRICES = st.decimals("0.01", "99999.99", places=2)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.one_of(PRICES, st.tuples(st.sampled_from(Side), PRICES, st.integers(1, 5_000))),
    ),
    max_size=40,
)


def instrument(name: str) -> Instrument:
    return Instrument(
        symbol=f"{name[:3]}-USDT-PERP", exchange="paper", exchange_symbol=name, base=name[:3],
        quote="USDT", tick_size=Decimal("0.01"), lot_size=Decimal("0.001"),
        min_size=Decimal("0.001"), max_size=Decimal(9_000), min_notional=Decimal(5),
        max_leverage=20, maker_fee=Decimal("0.0002"), taker_fee=Decimal("0.0005"),
    )  # fmt: skip


@settings(max_examples=60)
@given(STEPS)
def test_sums_kept_on_the_way_are_the_sums(steps: list) -> None:
    account = Account("one", PaperConfig(), {name: instrument(name) for name in NAMES})
    marks = dict.fromkeys(NAMES, Decimal(100))
    for symbol, step in steps:
        if isinstance(step, Decimal):
            marks[symbol] = step
        else:
            side, price, lots = step
            account.fill(symbol, side, price, lots * Decimal("0.001"), ZERO, 1)
        held = [account.position(s) for s in NAMES]
        profit = sum((p.unrealized(marks[p.symbol]) for p in held), ZERO)
        rate = PaperConfig().maintenance_rate
        needed = sum((maintenance_margin(p.size * marks[p.symbol], rate) for p in held), ZERO)
        assert account.unrealized(marks) == profit
        assert account.maintenance(marks) == needed
        assert account.margin_balance(marks) == account.wallet + profit
