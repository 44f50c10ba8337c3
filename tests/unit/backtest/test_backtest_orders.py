"""Algorithms and protective orders on the exchange that a backtest shares with paper trading."""

from collections import defaultdict
from decimal import Decimal

import pytest

from don.backtest import BacktestConfig, run
from don.execution.protect import PROTECT, STOP
from don.execution.tca import CostAnalysis, total
from don.model.order import OrderStatus, Side
from don.model.portfolio import ZERO

SPAN = {"start": "2018-10-20T00:00:00Z", "end": "2018-10-24T00:00:00Z"}
STYLES = {
    "limit_ioc": {"stop": "0.01", "take": "0.03"},
    "twap": {"stop": "0.02"},
    "pov": {},
    "chase": {"trail": "0.01"},
}


@pytest.mark.parametrize("style", STYLES)
def test_books_stay_equal_and_every_position_is_protected(style: str) -> None:
    engine = {
        "decide_every": 8,
        "planner": {"style": style, "horizon_s": 7_200},
        "protect": STYLES[style],
    }
    result = run(BacktestConfig.model_validate({**SPAN, "detail": "bars", "engine": engine}))
    assert result.fills and result.differences == ()
    held: dict[str, Decimal] = defaultdict(lambda: ZERO)
    of_parent: dict[str, Decimal] = defaultdict(lambda: ZERO)
    orders = {one.order.client_order_id: one for one in result.orders}
    for fill in result.fills:
        held[fill.symbol] += fill.size * fill.side.sign
        of_parent[orders[fill.client_order_id].order.parent] += fill.size
    for decision in result.decisions:
        for reason in decision.reasons:
            if f": {style} of " in reason:  # "BTC-USDT-PERP: twap of 0.5 as backtest-3-0"
                size, _, parent = reason.split(" of ")[1].partition(" as ")
                assert of_parent.pop(parent, ZERO) <= Decimal(size)
    assert set(of_parent) <= {"", PROTECT}
    stands: dict[tuple[str, Side], Decimal] = defaultdict(lambda: ZERO)
    for one in orders.values():
        if one.order.reason == STOP and one.status in (OrderStatus.OPEN, OrderStatus.INTENDED):
            stands[one.order.symbol, one.order.side] += one.order.size
    guarded = STYLES[style].keys() & {"stop", "trail"}
    for symbol, size in held.items():
        side = Side.SELL if size > 0 else Side.BUY
        assert not guarded or stands[symbol, side] >= abs(size)


def test_costs_add_up_to_what_was_traded() -> None:
    result = run(BacktestConfig.model_validate({**SPAN, "detail": "bars"}))
    analysis = CostAnalysis()
    for one in result.orders:
        analysis.order(one.order)
    for fill in result.fills:
        analysis.fill(fill)
    whole = total(analysis.rows())
    assert whole.traded == sum((f.price * f.size for f in result.fills), ZERO)
    assert whole.fees == sum((f.fee for f in result.fills), ZERO)
