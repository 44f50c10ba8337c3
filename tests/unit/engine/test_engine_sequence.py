"""Reports in the order of exchange time: which socket was faster changes no decision."""

from dataclasses import replace
from decimal import Decimal

from desk_harness import BAR, start_desk
from fake_exchange import SYMBOLS

from don.model.messages import Decision, FundingReport, OptimizeRequest, SubmitOrder

WARM = 200


def paid(ts: int, name: str = "f1") -> FundingReport:
    return FundingReport(
        key=f"funding:{name}", symbol=SYMBOLS[0], amount=Decimal("250"), ts_event=ts, ts_recv=0
    )


def course(when: str) -> tuple[list, str]:
    """What is decided around a payment at a bar's close that comes at different moments."""
    desk = start_desk(seed=3)
    for t in range(WARM, WARM + 5):
        desk.bar(t)
    snapshot = desk.snapshot(WARM + 5)
    payment = paid(snapshot.ts_event)
    desk.exchange.balance += payment.amount

    def pay() -> None:
        desk.step(replace(payment, ts_recv=desk.tick()))

    if when == "before the bar":
        pay()
    desk.step(snapshot)
    if when == "before the target":
        pay()
    desk.answer()
    if when == "after the target":
        pay()
    desk.deliver()
    desk.bar(WARM + 6)
    kinds = (Decision, SubmitOrder, OptimizeRequest)
    told = [repr(out) for out in desk.outputs if isinstance(out, kinds)]
    return told, str(desk.engine.ledger.funding)


def test_a_payment_at_the_close_counts_after_the_decision_whenever_it_comes() -> None:
    courses = [course(when) for when in ("before the bar", "before the target", "after the target")]
    assert courses[0] == courses[1] == courses[2]


def test_a_report_does_not_wait_for_a_bar_that_stays_away() -> None:
    desk = start_desk(seed=3)
    desk.bar(WARM)
    ts = desk.snapshot(WARM).ts_event + 2 * BAR
    desk.exchange.balance += paid(ts).amount
    desk.step(replace(paid(ts), ts_recv=desk.tick()))
    assert desk.engine.ledger.funding == 0
    assert desk.engine.timer_due(desk.wall + 2 * 10**9)
    desk.timer(2)
    assert desk.engine.ledger.funding == 250


def test_a_waiting_report_goes_into_the_next_sessions_state() -> None:
    desk = start_desk(seed=3)
    desk.bar(WARM)
    ts = desk.snapshot(WARM).ts_event + 2 * BAR
    desk.step(replace(paid(ts), ts_recv=desk.tick()))
    assert '"funding":"250"' in desk.engine.state()


def test_a_report_from_the_next_bar_holds_none_of_this_one_up() -> None:
    """An answer to a request that takes effect later comes before or after the news of now."""

    def counted(first: str) -> str:
        desk = start_desk(seed=3)
        desk.bar(WARM)
        now = desk.snapshot(WARM).ts_event
        reports = [paid(now + BAR // 2, "f1"), paid(now + BAR + BAR // 2, "f2")]
        for report in reports if first == "now" else reports[::-1]:
            desk.step(replace(report, ts_recv=desk.tick()))
        return str(desk.engine.ledger.funding)

    assert counted("now") == counted("later") == "250"
