"""How a session that goes on where another stopped found its account. Pure.

What the exchange told before the first bar belongs to the time when nobody was there to hear it: it
is told again as it was recorded, in order, and the exchange's books begin as they were after it.
What the tape would pay a second time from there on is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from don.backtest.carried import carried
from don.engine.state import load as load_state
from don.errors import UsageError
from don.ledger import Ledger
from don.model.messages import (
    AccountReport,
    FeatureSnapshot,
    FillReport,
    FundingReport,
    OrderReport,
    SessionStart,
)
from don.model.portfolio import ZERO
from don.paper.config import PaperConfig
from don.paper.events import FundingRate
from don.paper.types import Counters, ExchangeState, PositionRow, WaitingRow, WalletRow

USED = 10**9  # ids below this may have been given out before the session

Told = OrderReport | FillReport | FundingReport | AccountReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """The beginning of a session on books that existed."""

    books: ExchangeState  # of the exchange
    told: tuple[Told, ...]  # what the desk is told before its first bar, in order
    paid: frozenset[tuple[str, int]]  # exchange's symbol and time of payments that `told` has
    paid_ns: int  # up to here the session before has every payment

    def has(self, event: FundingRate) -> bool:
        """True if the books contain what this would pay."""
        return event.ts <= self.paid_ns or (event.symbol, event.ts) in self.paid


def resumed(
    start: SessionStart, messages: Sequence[object], config: PaperConfig, now: int
) -> Resumed | None:
    """How a session found its account; None if it opened it, or never saw it.

    Args:
        start: the session's first entry.
        messages: its journal.
        config: the exchange's; its first interval is the session's.
        now: tape time at which the backtest begins, ns.

    Raises:
        UsageError: if it held, or had an order open in, what it did not trade.
    """
    accounts = [n for n, m in enumerate(messages) if isinstance(m, AccountReport)]
    if not start.state or not accounts:
        return None
    bars = [n for n, m in enumerate(messages) if isinstance(m, FeatureSnapshot)]
    until = max(accounts[0], bars[0] if bars else 0)
    told = [
        m
        for n, m in enumerate(messages)
        if (n <= until and isinstance(m, Told))
        or (isinstance(m, FundingReport) and m.ts_event <= now)
    ]
    names = {i.symbol: i.exchange_symbol for i in start.instruments}
    return Resumed(
        books=_books(start, told, config, now),
        told=tuple(told),
        paid=frozenset(
            (names[m.symbol], m.ts_event)
            for m in told
            if isinstance(m, FundingReport) and m.symbol in names
        ),
        paid_ns=load_state(start.state).ledger.funding_ts,
    )


def _books(
    start: SessionStart, told: Sequence[Told], config: PaperConfig, now: int
) -> ExchangeState:
    """The exchange's books after what it told: the last account, what followed, open orders."""
    name = config.accounts[0]
    ledger = Ledger()
    for report in told:
        match report:
            case AccountReport():
                ledger = Ledger()
                ledger.adopt(report.balance, report.positions, report.ts_event)
            case FillReport() if ledger.adopted:
                ledger.fill(report.key, report.fill)
            case FundingReport() if ledger.adopted:
                ledger.pay(report.key, report.amount, report.ts_event, report.kind)
            case _:
                pass
    theirs = {i.symbol: i for i in start.instruments}
    rows = []
    for symbol, position in ledger.positions.items():
        instrument = theirs.get(symbol)
        if instrument is None:
            raise UsageError(
                f"session {start.session} held {symbol}, which it did not trade: the backtest has "
                "no market for it"
            )
        rows.append(
            PositionRow(
                account=name,
                symbol=instrument.exchange_symbol,
                size=position.size,
                cost=position.cost,
                realized=ZERO,
                leverage=min(config.default_leverage, instrument.max_leverage),
                ts_updated=now,
            )
        )
    standing = carried(start, told, config, now, USED)
    last = USED + len(standing.orders) + len(standing.algos)
    return ExchangeState(
        counters=Counters(order_id=last, trade_id=USED, tran_id=USED, algo_id=last, now=now),
        wallets=(WalletRow(account=name, wallet=ledger.balance),),
        positions=tuple(rows),
        orders=standing.orders,
        waiting=WaitingRow(requests=standing.waiting),
        algos=standing.algos,
    )
