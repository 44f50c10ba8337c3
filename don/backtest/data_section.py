"""The part of a report that tells of its data: what was recorded, what the ledger knew. Pure."""

from don.backtest.page import Page
from don.backtest.result import BacktestResult, DataShares
from don.backtest.summary import data_shares
from don.clock import iso
from don.model.order import OrderStatus

LEDGER = ("complete", "repaired", "synthetic", "gap", "down", "unknown")


def data_cautions(result: BacktestResult) -> list[str]:
    """What a reader must know of the data before believing a figure."""
    said = []
    told = data_shares(result)
    weak = {state: told[state] for state in LEDGER[1:] if told.get(state)}
    if result.shares and weak:
        parts = ", ".join(f"{share:.3%} {state}" for state, share in weak.items())
        said.append(f"Of the minutes of {told['source']} not all are complete: {parts}.")
    missing = sum(one.missing for one in result.recorded)
    if missing:
        said.append(f"{missing} bars were not recorded and stand flat at the last close.")
    return said


def data_section(page: Page, result: BacktestResult) -> None:
    """Put it on the page."""
    if not result.recorded:
        page.table(
            ["", ""], [["", "replayed event by event; completeness is that of the recording"]]
        )
        return
    rows = [
        [one.symbol, iso(one.first_ns)[:16], iso(one.last_ns)[:16], f"{one.bars:,}",
         f"{one.missing:,}", f"{one.bars / (one.bars + one.missing):.3%}",
         f"{one.quote_volume:,.0f}"]
        for one in result.recorded
    ]  # fmt: skip
    page.table(["symbol", "first bar", "last", "bars", "missing", "complete", "quote a bar"], rows)
    if result.shares:
        page.table(["minutes of", *LEDGER], [_ledger(one) for one in result.shares])
    ended: dict[str, int] = {}
    for order in result.orders:
        ended[str(order.status)] = ended.get(str(order.status), 0) + 1
    refused = ended.get(str(OrderStatus.REJECTED), 0)
    said = ", ".join(f"{name} {count:,}" for name, count in sorted(ended.items()))
    gone = f"{refused} by the exchange, {len(result.denials)} by the desk's risk engine"
    page.table(["", ""], [["orders", said or "none"], ["refused", gone]], kind="text")


def _ledger(one: DataShares) -> list[str]:
    minutes = {**one.by_state, "unknown": one.unknown}
    whole = max(one.minutes, 1)
    return [f"{one.source} {one.symbol}", *(f"{minutes.get(s, 0) / whole:.3%}" for s in LEDGER)]
