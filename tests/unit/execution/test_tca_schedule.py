"""Costs against benchmarks by hand-made numbers; curves against their formulas."""

import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from don.errors import UsageError
from don.execution import schedule
from don.execution.requests import OrderAction, OrderCommand, OrderKind, OrderRequest, manual_id
from don.execution.tca import analyse, total
from don.model.messages import Command, CommandKind, FeatureSnapshot, FillReport, SubmitOrder
from don.model.order import Fill, Order, OrderType, Side

BTC = "BTC-USDT-PERP"
MINUTE = 60 * 10**9


def snapshot(n: int, close: float, volume: float) -> FeatureSnapshot:
    values = np.array([close])
    return FeatureSnapshot(
        key=f"snapshot:s:{n}",
        version=n,
        ts_event=n * MINUTE,
        ts_recv=0,
        feature_set="",
        symbols=(BTC,),
        names=(),
        values=np.zeros((1, 0)),
        close=values,
        mark=values,
        stale=(),
        high=values,
        low=values,
        volume=np.array([volume]),
    )


def order(n: int, size: str, parent: str = "", side: Side = Side.BUY) -> SubmitOrder:
    made = Order(
        client_order_id=f"don-s-{n}-0",
        decision=n,
        index=0,
        symbol=BTC,
        side=side,
        type=OrderType.MARKET,
        size=Decimal(size),
        ts_event=n * MINUTE,
        parent=parent,
        reason="slice" if parent else "rebalance",
    )
    return SubmitOrder(order=made)


def fill(n: int, price: str, size: str, minute: float, side: Side = Side.BUY) -> FillReport:
    made = Fill(
        trade_id=f"{n}{minute}",
        client_order_id=f"don-s-{n}-0",
        exchange_order_id="1",
        symbol=BTC,
        side=side,
        price=Decimal(price),
        size=Decimal(size),
        fee=Decimal("0.1"),
        realized_pnl=None,
        maker=False,
        ts_event=int(minute * MINUTE),
    )
    return FillReport(key=made.trade_id, fill=made, ts_recv=0)


def test_an_order_is_held_against_arrival_vwap_and_close() -> None:
    (row,) = analyse(
        [
            snapshot(1, 100.0, 1.0),
            order(1, "2"),
            fill(1, "101", "1", 1.5),
            snapshot(2, 102.0, 3.0),
            fill(1, "103", "1", 2.5),
            snapshot(3, 104.0, 1.0),
            snapshot(4, 110.0, 9.0),
        ]
    )
    assert (row.arrival, row.close, row.average) == (100.0, 110.0, Decimal(102))
    assert row.vwap == pytest.approx((102 * 3 + 104) / 4)
    assert row.arrival_bps == pytest.approx(200.0)
    assert row.vwap_bps == pytest.approx((102 / 102.5 - 1) * 1e4)
    assert row.close_bps == pytest.approx((102 / 110 - 1) * 1e4)
    assert row.fee_bps == pytest.approx(0.2 / 204 * 1e4) and row.missed is None


def test_a_seller_gains_by_higher_prices_and_an_unfilled_rest_is_counted() -> None:
    side = Side.SELL
    messages = [snapshot(1, 100.0, 1.0), order(1, "2", side=side), fill(1, "101", "1", 1.5, side)]
    (row,) = analyse([*messages, snapshot(2, 90.0, 1.0)])
    assert row.arrival_bps == pytest.approx(-100.0)
    assert row.missed == pytest.approx(10.0)  # the second one is sold 10 lower, if at all


def test_a_stop_is_held_against_its_trigger() -> None:
    stop = replace(
        order(1, "1", side=Side.SELL).order,
        type=OrderType.STOP_MARKET,
        trigger=Decimal(95),
        reduce_only=True,
    )
    messages = [snapshot(1, 100.0, 1.0), SubmitOrder(order=stop), snapshot(2, 99.0, 5.0)]
    (row,) = analyse([*messages, fill(1, "94.05", "1", 2.5, Side.SELL), snapshot(3, 94.0, 2.0)])
    assert (row.arrival, row.vwap) == (95.0, 94.0)
    assert row.arrival_bps == pytest.approx(100.0)


def test_children_count_as_their_parent_and_who_asked_is_told() -> None:
    request = OrderRequest(
        kind=OrderKind.TWAP, symbol=BTC, side=Side.BUY, size=Decimal(3), duration_s=600.0
    )
    command = Command(
        key="command:order:1",
        kind=CommandKind.ORDER,
        actor="cli",
        reason="",
        ts_recv=0,
        payload=OrderCommand(action=OrderAction.PLACE, request=request).payload(),
    )
    name = manual_id(command.key)
    (row,) = analyse(
        [
            snapshot(1, 100.0, 0.0),
            command,
            order(1, "1", name),
            fill(1, "100", "1", 1.1),
            snapshot(2, 100.0, 0.0),
            order(2, "1", name),
            fill(2, "102", "1", 2.1),
        ]
    )
    assert (row.order, row.kind, row.actor, row.children) == (name, "twap", "cli", 2)
    assert (row.size, row.filled, row.arrival_bps) == (3, 2, pytest.approx(100.0))
    assert total([row]).arrival_bps == row.arrival_bps


@given(
    st.integers(1, 50),
    st.floats(0, 50),
    st.integers(0, 86_400),
    st.floats(1, 200_000),
)
def test_every_curve_rises_to_one(n: int, urgency: float, begin: int, length: float) -> None:
    for curve in (
        schedule.twap(n),
        schedule.shortfall(n, urgency),
        schedule.vwap(begin * 10**9, length, n),
    ):
        assert len(curve) == n and curve[-1] == pytest.approx(1.0)
        assert all(b >= a - 1e-12 for a, b in zip((0.0, *curve), curve, strict=False))


def test_almgren_chriss_holdings_are_the_solution_of_their_difference_equation() -> None:
    """(x[k-1] - 2 x[k] + x[k+1]) / tau^2 = kappa_tilde^2 x[k], their equation (15)."""
    n, urgency = 20, 3.0
    x = [1.0, *(1.0 - part for part in schedule.shortfall(n, urgency))]
    step = urgency / n
    for k in range(1, n):
        assert x[k - 1] - 2 * x[k] + x[k + 1] == pytest.approx(2 * (math.cosh(step) - 1) * x[k])
    assert schedule.shortfall(4, 0.0) == schedule.twap(4)
    assert schedule.urgency_of(1e-6, 0.95, 2.5e-6, 5.0) == pytest.approx(3.004, abs=1e-3)


def test_vwap_follows_the_profile_across_midnight() -> None:
    profile = tuple(1.0 if hour else 2.0 for hour in range(24))
    start = 23 * 3_600 * 10**9
    assert schedule.vwap(start, 7_200.0, 2, profile) == pytest.approx((1 / 3, 1.0))


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        ({"kind": "limit"}, "a limit order needs price"),
        ({"kind": "market", "price": "1"}, "price belongs to limit"),
        ({"kind": "market", "size": "0"}, "size must be positive"),
        ({"kind": "stop_market", "trigger": "1", "close_position": True}, "size must be positive"),
        ({"kind": "trailing_stop", "callback": "0.5"}, "callback must be 0.001 to 0.1"),
        ({"kind": "iceberg", "price": "1", "shown": "2"}, "shown must be at most size 1"),
        ({"kind": "oco", "stop": "90", "take": "110"}, "take must be below stop for a buy oco"),
        ({"kind": "bracket", "stop": "90", "take": "110", "price": "120"}, "price must be between"),
        ({"kind": "pov", "participation": 1.5}, "participation must be in 0 to 1"),
        ({"kind": "twap"}, "a twap order needs duration_s"),
        ({"kind": "market", "time_in_force": "IOC"}, "time_in_force IOC is for"),
        ({"kind": "limit", "price": "1", "time_in_force": "GTD"}, "a GTD order needs good_till_s"),
    ],
)
def test_what_is_no_order_is_refused_by_field_and_value(
    given_: dict[str, object], why: str
) -> None:
    from don.model.order import TimeInForce

    fields: dict[str, object] = {"size": "1", **given_}
    fields = {
        k: Decimal(v) if isinstance(v, str) and v[0].isdigit() else v for k, v in fields.items()
    }
    fields["kind"] = OrderKind(str(given_["kind"]))
    if "time_in_force" in given_:
        fields["time_in_force"] = TimeInForce(str(given_["time_in_force"]))
    with pytest.raises(UsageError, match=why):
        OrderRequest(symbol=BTC, side=Side.BUY, **fields)  # type: ignore[arg-type]
