"""Closing the books of halted slots at once: market orders beside what others work. Pure.

Whatever `planner.style` says, a halted book does not wait for an algorithm or for somebody to take
a resting order. Orders that only others want are left alone. Those that were for a halted book too
are cancelled, and what they may still close is sent when they have ended: never the same twice.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from don.books import apportion
from don.engine.books import Keeper
from don.engine.core import Core
from don.engine.working import Worker
from don.execution.orders import OrderBookkeeper
from don.execution.planner import Style, Ticket, plan
from don.model.order import Denial
from don.model.portfolio import ZERO
from don.risk.states import TradingState

Wants = dict[str, dict[str, Decimal]]  # symbol -> book -> signed size that it lacks
Review = Callable[[Wants, np.ndarray, Decimal], tuple[dict[str, Decimal], np.ndarray, list[str]]]
Cross = Callable[[int, str, dict[str, Decimal], list[str]], dict[str, Decimal]]


@dataclass(slots=True, kw_only=True)
class Closed:
    """What was done about halted books."""

    orders: list[str] = field(default_factory=list)
    denials: list[Denial] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    tried: Wants = field(default_factory=dict)  # where orders went out: what was lacking then


class Closer:
    """Brings the books of halted slots to flat."""

    def __init__(self, core: Core, worker: Worker, keeper: Keeper) -> None:
        self._core, self._worker, self._keeper = core, worker, keeper

    def halted(self) -> frozenset[str]:
        """Books whose slot orders and is HALTED."""
        keeper = self._keeper
        return frozenset(s.name for s in keeper.live if keeper.state(s) is TradingState.HALTED)

    def under_way(self, symbol: str) -> dict[str, Decimal]:
        """What policies' orders and parents of a symbol may still fill, signed; by id."""
        return {
            record.order.client_order_id: record.remaining * record.order.side.sign
            for record in self._core.orders.working(symbol)
            if not record.order.parent
        } | self._worker.under_way(symbol)

    def coming(self, symbol: str, book: str, side: int = 0) -> Decimal:
        """What of that is for one book, signed; on one side if given."""
        total = ZERO
        for key, left in self.under_way(symbol).items():
            sign = (left > 0) - (left < 0)
            if sign and side in (0, sign):
                part = self._keeper.books.pending(key).get(book, ZERO)
                total += min(part, abs(left)) * sign
        return total

    def busy(self, symbol: str) -> bool:
        """True while something works for a halted book."""
        halted, pending = self.halted(), self._keeper.books.pending
        return any(
            left and any(pending(key).get(name) for name in halted)
            for key, left in self.under_way(symbol).items()
        )

    def release(self, why: str, symbols: Iterable[str], *, again: bool) -> set[str]:
        """Cancel what rests or is worked for halted books. In which symbols there was any.

        `again` repeats cancellations already asked for: one may have been lost on its way.
        """
        core, halted = self._core, self.halted()
        found = set()
        for symbol in symbols if halted else ():
            for key, left in self.under_way(symbol).items():
                pending = self._keeper.books.pending(key)
                if not left or not any(pending.get(name) for name in halted):
                    continue
                record = core.orders.get(key)
                if record is None:
                    self._worker.drop(why, only=[key])
                elif record.status.final or not record.rests:
                    continue  # it ends by itself
                elif again or not record.cancelling:
                    core.cancel(record, why)
                found.add(symbol)
        return found

    def close(self, decision: int, wants: Wants, cross: Cross, review: Review) -> Closed:
        """Send what closes these books beside everything that works already.

        Args:
            decision: a number that has no orders yet.
            wants: of halted books alone, in symbols that may be traded now.
            cross: halted books trade with each other first, as `Netting` lets them.
            review: of an account's target by risk; what only reduces needs none.
        """
        core, done = self._core, Closed()
        now: Wants = {}
        for symbol, of in wants.items():
            left = cross(decision, symbol, self._lacking(symbol, of), done.reasons)
            if left:
                now[symbol] = left
        equity = core.equity()
        sizes: dict[str, Decimal] = {}
        enlarge: Wants = {}
        for symbol, of in now.items():
            held, net = core.ledger.position(symbol).size, sum(of.values(), ZERO)
            sizes[symbol] = held + net
            if not (held * net < 0 and abs(net) <= abs(held)):
                enlarge[symbol] = of
        if enlarge:
            chosen = np.array([s in enlarge for s in core.symbols], dtype=bool)
            within, _, cuts = review(enlarge, chosen, equity)
            done.reasons += cuts
            for symbol in enlarge:  # never further than wanted, never the other way
                held = core.ledger.position(symbol).size
                low, high = sorted((held, sizes[symbol]))
                sizes[symbol] = min(max(within[symbol], low), high)
        if sizes:
            self._send(decision, now, sizes, equity, done)
            done.tried = {symbol: dict(wants[symbol]) for symbol in sizes}
        return done

    def _lacking(self, symbol: str, of: Mapping[str, Decimal]) -> dict[str, Decimal]:
        """Wants less what is on its way to the same end."""
        found = {}
        for name, want in of.items():
            sign = 1 if want > 0 else -1
            rest = want - self.coming(symbol, name, sign)
            if rest * sign > 0:
                found[name] = rest
        return found

    def _send(
        self, decision: int, now: Wants, sizes: dict[str, Decimal], equity: Decimal, done: Closed
    ) -> None:
        core, config = self._core, self._core.config
        made = plan(
            symbols=core.symbols,
            weights=np.zeros(len(core.symbols)),
            tradable=np.array([s in sizes for s in core.symbols], dtype=bool),
            equity=equity,
            ledger=core.ledger,
            orders=OrderBookkeeper(),  # what works is for others, or counted already
            marks=core.market.marks,
            instruments=core.instruments,
            config=config.planner.model_copy(update={"style": Style.MARKET}),
            max_notional=config.risk.max_order_notional,
            sizes=sizes,
        )
        done.reasons += made.reasons
        claims = [claimed(core, ticket, now[ticket.symbol]) for ticket in made.tickets]
        sent, denials = core.submit(made.tickets, decision, claims=claims)
        done.orders += sent
        done.denials += denials


def claimed(core: Core, ticket: Ticket, wants: dict[str, Decimal]) -> dict[str, Decimal]:
    """Which books an order is for; what it is for is wanted no more by the next ticket."""
    unit, side = core.instruments[ticket.symbol].lot_size, ticket.side.sign
    parts = apportion.among(ticket.size, side, wants, unit)
    for name, size in parts.items():
        wants[name] -= size * side
    return parts
