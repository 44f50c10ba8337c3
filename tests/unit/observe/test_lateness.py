"""How late decisions come: by our clock, by the exchange's, on replays, and when it is over."""

from decimal import Decimal

import numpy as np
import pytest

from don.clock import NS_PER_S
from don.model.messages import Decision, FeatureSnapshot, OrderReport, SubmitOrder
from don.model.order import Order, OrderStatus, OrderType, Side, TimeInForce
from don.observe.lateness import FEWEST, KEPT, Lateness

BAR = 60 * NS_PER_S  # of exchange time
NONE = np.empty(0)


def snapshot(version: int, arrived: float) -> FeatureSnapshot:
    return FeatureSnapshot(
        key=f"snapshot:s:{version}", version=version, ts_event=version * BAR,
        ts_recv=int(arrived * NS_PER_S), feature_set="f", symbols=(), names=(),
        values=NONE, close=NONE, mark=NONE, stale=(),
    )  # fmt: skip


def decision(version: int) -> Decision:
    return Decision(
        decision=version, ts_event=version * BAR, snapshot=version, policy="p", symbols=(),
        forecast=NONE, weights=NONE, status="optimal", reasons=(), denials=(), orders=(),
    )  # fmt: skip


def order(version: int) -> SubmitOrder:
    made = Order(
        client_order_id=f"don-{version}", decision=version, index=0, symbol="BTC-USDT-PERP",
        side=Side.BUY, type=OrderType.LIMIT, size=Decimal(1), price=Decimal(1),
        time_in_force=TimeInForce.IOC, reduce_only=False, ts_event=version * BAR, reason="",
    )  # fmt: skip
    return SubmitOrder(order=made)


def report(version: int, bars: float, status: OrderStatus = OrderStatus.OPEN) -> OrderReport:
    return OrderReport(
        key=f"order:{version}", client_order_id=f"don-{version}", exchange_order_id="1",
        symbol="BTC-USDT-PERP", status=status, filled=Decimal(0), detail="",
        ts_event=int((version + bars) * BAR), ts_recv=0,
    )  # fmt: skip


def run(watch: Lateness, versions: range, *, pace_s: float, wait_s: float) -> None:
    """Bars that come every `pace_s` of wall time, decided on `wait_s` after they came."""
    for version in versions:
        watch.take(snapshot(version, version * pace_s), 0)
        watch.take(decision(version), int((version * pace_s + wait_s) * NS_PER_S))


@pytest.mark.parametrize("pace_s", [60.0, 1.0])
def test_decisions_are_late_from_one_bar_on_and_in_time_again_under_three_quarters(pace_s) -> None:
    watch = Lateness(BAR)
    run(watch, range(1, FEWEST), pace_s=pace_s, wait_s=50 * pace_s)
    assert watch.bars is None and not watch.late and watch.text == ""
    watch = Lateness(BAR)
    run(watch, range(FEWEST, 40), pace_s=pace_s, wait_s=0.9 * pace_s)
    assert watch.bars == pytest.approx(0.9) and not watch.late
    run(watch, range(40, 70), pace_s=pace_s, wait_s=6 * pace_s)
    assert watch.late and "6.0 bars late" in watch.text and f"{6 * pace_s:.3g} s" in watch.text
    run(watch, range(70, 100), pace_s=pace_s, wait_s=0.9 * pace_s)
    assert watch.late  # not in time by much: it is not told twice
    run(watch, range(100, 130), pace_s=pace_s, wait_s=0.1 * pace_s)
    assert not watch.late and watch.text == ""


def test_a_few_slow_decisions_are_none_of_its_business() -> None:
    watch = Lateness(BAR)
    for version in range(1, 60):
        slow = 600.0 if version % 3 == 0 else 1.0
        run(watch, range(version, version + 1), pace_s=60.0, wait_s=slow)
        assert not watch.late


def test_what_waited_before_it_reached_us_is_seen_by_the_exchanges_time() -> None:
    watch = Lateness(BAR)
    for version in range(1, 31):
        run(watch, range(version, version + 1), pace_s=1.0, wait_s=0.01)
        watch.take(order(version), 0)
        watch.take(report(version, 7.5), 0)
        watch.take(report(version, 90.0, OrderStatus.FILLED), 0)  # it rested: that is not late
    assert watch.late and watch.bars == pytest.approx(7.5)
    run(watch, range(31, 31 + KEPT), pace_s=1.0, wait_s=0.01)  # no order: nothing more is known
    assert not watch.late


def test_orders_that_never_arrived_and_holes_between_bars_say_nothing() -> None:
    watch = Lateness(BAR)
    for version in range(1, 60, 6):  # five of six bars are missing
        run(watch, range(version, version + 1), pace_s=60.0, wait_s=50.0)
        watch.take(order(version), 0)
        watch.take(report(version, 900.0, OrderStatus.LOST), 0)
    assert watch.bars == pytest.approx(50 / 60) and not watch.late
