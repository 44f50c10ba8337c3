"""From what the books want to the account's orders: cross, review, plan, send. Pure, over the core.

Books trade with each other first, at mark and without a fee; risk reviews what is left as one
account's target; and only the net becomes orders, each claimed by the books that want it.
"""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from don.books import apportion
from don.engine.books import Keeper
from don.engine.core import Core
from don.engine.seeing import obstacle
from don.engine.working import Worker
from don.execution.planner import Ticket, exact, plan
from don.model.portfolio import ZERO


@dataclass(slots=True, kw_only=True)
class Wishes:
    """What the books want to hold, for symbols whose working orders had to end first."""

    sizes: dict[str, dict[str, Decimal]]  # book -> symbol -> signed size
    waiting: frozenset[str]


class Netting:
    """Carries out what the books want, and what of it had to wait."""

    def __init__(self, core: Core, worker: Worker, keeper: Keeper) -> None:
        self._core, self._worker, self._keeper = core, worker, keeper
        self.wishes: Wishes | None = None

    def on_settled(self, symbol: str) -> None:
        """A symbol's order has ended: trade the rest of what is wanted if it waited for that."""
        core, wishes = self._core, self.wishes
        if wishes is None or symbol not in wishes.waiting or core.orders.working(symbol):
            return
        if obstacle(core):
            self.wishes = None
            return
        reasons = [f"{symbol}: working orders ended"]
        self.carry_out(core.next_decision(), "replan", reasons, only=symbol)

    def carry_out(
        self, decision: int, status: str, reasons: list[str], only: str = "", *, snapshot: int = 0
    ) -> None:
        """Cross, review, plan and send for what the books want, of all symbols or one."""
        core, wishes, worker = self._core, self.wishes, self._worker
        if wishes is None:
            raise AssertionError("books must want something before it is carried out")
        by_hand = worker.taken()
        if by_hand:
            reasons = [*reasons, f"worked by hand: {', '.join(sorted(by_hand))}"]
        chosen = core.market.tradable() & np.array(
            [s not in by_hand and (not only or s == only) for s in core.symbols], dtype=bool
        )
        planned = worker.planned()
        wants: dict[str, dict[str, Decimal]] = {}
        for i, symbol in enumerate(core.symbols):
            if not chosen[i]:
                continue
            wants[symbol] = self._wants(symbol, wishes)
            if not core.orders.working(symbol) and symbol not in planned:
                wants[symbol] = self._cross(decision, symbol, wants[symbol], reasons)
        equity = core.equity()
        sizes, reviewed, cuts = self._reviewed(wants, chosen, equity)
        made = plan(
            symbols=core.symbols,
            weights=reviewed,
            tradable=chosen,
            equity=equity,
            ledger=core.ledger,
            orders=core.orders,
            marks=core.market.marks,
            instruments=core.instruments,
            config=core.config.planner.model_copy(update={"band": self._band(equity)}),
            max_notional=core.config.risk.max_order_notional,
            planned=planned,
            sizes=sizes,
        )
        if not only:
            core.target = dict(zip(core.symbols, reviewed.tolist(), strict=True))
        rest = wishes.waiting - {only} if only else frozenset()
        self.wishes = Wishes(sizes=wishes.sizes, waiting=frozenset(made.waiting) | rest)
        for client_id in made.cancels:
            record = core.orders.get(client_id)
            if record is not None:
                core.cancel(record, f"decision {decision} wants something else")
        if made.drops:
            worker.drop(f"decision {decision} wants something else", symbols=made.drops)
        ending = {*made.waiting, *made.drops}
        for symbol, wanted in wants.items():
            if symbol not in ending:
                self._claim_anew(symbol, wanted)
        claims = [self._claim(ticket, wants[ticket.symbol]) for ticket in made.tickets]
        if core.config.planner.style.works:
            for index, claim in enumerate(claims):
                self._keeper.books.claim(f"{core.session}-{decision}-{index}", claim)
            sent, denials, worked = worker.work(made.tickets, decision)
            reasons = [*reasons, *worked]
        else:
            sent, denials = core.submit(made.tickets, decision, claims=claims)
        core.record(
            decision,
            status,
            [*reasons, *cuts, *made.reasons],
            snapshot=snapshot,
            weights=reviewed,
            denials=denials,
            orders=sent,
        )

    def _wants(self, symbol: str, wishes: Wishes) -> dict[str, Decimal]:
        """What each book lacks of what it wants, signed."""
        found = {}
        for name, sizes in wishes.sizes.items():
            book = self._keeper.books.books.get(name)
            if book is not None and symbol in sizes and sizes[symbol] != book.size(symbol):
                found[name] = sizes[symbol] - book.size(symbol)
        return found

    def _cross(
        self, decision: int, symbol: str, wants: dict[str, Decimal], reasons: list[str]
    ) -> dict[str, Decimal]:
        """Books trade with each other at mark first, without a fee: only the net leaves."""
        core = self._core
        mark = core.market.marks[symbol]
        key = f"cross:{core.session}:{decision}:{symbol}"
        left = self._keeper.books.cross(key, symbol, wants, mark, core.market.ts_event)
        crossed = sum((max(w, ZERO) for w in wants.values()), ZERO) - sum(
            (max(w, ZERO) for w in left.values()), ZERO
        )
        if crossed:
            reasons.append(f"{symbol}: {crossed} crossed at {mark} among the books")
        return left

    def _reviewed(
        self, wants: dict[str, dict[str, Decimal]], chosen: np.ndarray, equity: Decimal
    ) -> tuple[dict[str, Decimal], np.ndarray, list[str]]:
        """The account's target within its limits: sizes by symbol, weights, reasons of cuts."""
        core = self._core
        held = core.weights_now(equity)
        weights = held.copy()
        sizes: dict[str, Decimal] = {}
        for i, symbol in enumerate(core.symbols):
            if chosen[i]:
                net = sum(wants[symbol].values(), ZERO)
                sizes[symbol] = core.ledger.position(symbol).size + net
                weights[i] = float(sizes[symbol] * core.market.marks[symbol] / equity)
        reviewed, cuts = core.risk.review(
            weights,
            equity,
            held,
            chosen,
            symbols=core.symbols,
            outside=core.outside(equity),
            reducing=core.limits.reducing()[0],
            window=core.window(),
        )
        for i, symbol in enumerate(core.symbols):
            if symbol in sizes and reviewed[i] != weights[i]:
                sizes[symbol] = exact(reviewed[i]) * equity / core.market.marks[symbol]
        return sizes, reviewed, cuts

    def _claim(self, ticket: Ticket, wants: dict[str, Decimal]) -> dict[str, Decimal]:
        """Which books an order is for; what it is for is wanted no more by the next ticket."""
        side = ticket.side.sign
        lacking = {name: abs(size) for name, size in wants.items() if size * side > 0}
        total = min(ticket.size, sum(lacking.values(), ZERO))
        if not total:
            return {}
        unit = self._core.instruments[ticket.symbol].lot_size
        parts = dict(zip(lacking, apportion.lots(total, list(lacking.values()), unit), strict=True))
        for name, size in parts.items():
            wants[name] -= size * side
        return parts

    def _claim_anew(self, symbol: str, wants: dict[str, Decimal]) -> None:
        """What is left to work, works for the books that want it now: they may be others than
        those that it was sent for.
        """
        core = self._core
        working = {
            record.order.client_order_id: record.remaining * record.order.side.sign
            for record in core.orders.working(symbol)
            if not record.order.parent
        } | self._worker.under_way(symbol)
        net = sum(working.values(), ZERO)
        lacking = {name: abs(size) for name, size in wants.items() if size * net > 0}
        if not lacking or any(size * net < 0 for size in working.values()):
            return
        unit = core.instruments[symbol].lot_size
        left = apportion.lots(abs(net), list(lacking.values()), unit)
        for key, size in working.items():
            if size:
                parts = apportion.lots(abs(size), left, unit)
                self._keeper.books.claim(key, dict(zip(lacking, parts, strict=True)))
                left = [rest - part for rest, part in zip(left, parts, strict=True)]

    def _band(self, equity: Decimal) -> Decimal:
        """The no-trade band of the smallest book, as a part of the account: working orders that
        come so near to what is wanted are left to work.
        """
        keeper = self._keeper
        least = min(max(keeper.capital(slot, equity), ZERO) for slot in keeper.live)
        return self._core.config.planner.band * min(least / equity, Decimal(1))
