"""From what the books want to the account's orders: cross, review, plan, send. Pure, over the core.

Books trade with each other first, at mark and without a fee; risk reviews what is left as one
account's target; and only the net becomes orders, each claimed by the books that want it. Books of
halted slots are closed in haste before that, see `closing`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from don.books import apportion
from don.books.config import DESK
from don.engine.books import Keeper
from don.engine.closing import Closer, Wants, claimed
from don.engine.core import Core
from don.engine.seeing import obstacle
from don.engine.working import Worker
from don.execution.planner import exact, plan
from don.model.portfolio import ZERO


@dataclass(slots=True, kw_only=True)
class Wishes:
    """What the books want to hold, for symbols whose working orders had to end first."""

    sizes: dict[str, dict[str, Decimal]]  # book -> symbol -> signed size
    waiting: frozenset[str]
    # of those that wait for orders of halted books alone: what these lacked when it was tried
    tried: Mapping[str, dict[str, Decimal]] = field(default_factory=dict)


class Netting:
    """Carries out what the books want, and what of it had to wait."""

    def __init__(self, core: Core, worker: Worker, keeper: Keeper) -> None:
        self._core, self._worker, self._keeper = core, worker, keeper
        self._closer = Closer(core, worker, keeper)
        self.wishes: Wishes | None = None

    def on_settled(self, symbol: str) -> None:
        """A symbol's order has ended: trade the rest of what is wanted if it waited for that."""
        core, wishes = self._core, self.wishes
        if wishes is None or symbol not in wishes.waiting:
            return
        if self._closer.busy(symbol) if symbol in wishes.tried else core.orders.working(symbol):
            return
        if obstacle(core):
            self.wishes = None
            return
        reasons = [f"{symbol}: working orders ended"]
        self.carry_out(core.next_decision(), "replan", reasons, only=symbol)

    def halt(self, decision: int, why: str, *, status: str = "halt") -> None:
        """Close the books of HALTED slots now. The others' orders and wishes stay; what was worked
        for them and for a halted one together is sent anew for them.
        """
        core, old = self._core, self.wishes or Wishes(sizes={}, waiting=frozenset())
        sizes = {book: dict(of) for book, of in old.sizes.items()}
        halted = self._closer.halted()
        for book in self._keeper.books.books.values():
            if book.name == DESK:
                continue
            kept = sizes.setdefault(book.name, {})
            for symbol in core.symbols:
                if book.name in halted:
                    kept[symbol] = ZERO
                elif symbol not in old.waiting or symbol not in kept:
                    kept[symbol] = book.size(symbol) + self._closer.coming(symbol, book.name)
        self.wishes = Wishes(sizes=sizes, waiting=old.waiting, tried=old.tried)
        released = self._closer.release(why, core.symbols, again=True)
        symbols, remarks = self._chosen("")
        lacking = self._of_halted({s: self._wants(s, self.wishes) for s in symbols})
        done = self._closer.close(decision, lacking, self._cross, self._reviewed)
        busy = {s: done.tried.get(s, {}) for s in core.symbols if self._closer.busy(s)}
        self.wishes = Wishes(
            sizes=sizes, waiting=old.waiting | busy.keys(), tried={**old.tried, **busy}
        )
        core.record(
            decision,
            status,
            [why, *remarks, *done.reasons],
            weights=core.weights_now(core.equity()),
            denials=done.denials,
            orders=done.orders,
        )
        for symbol in core.symbols:  # their algorithm has ended with what it was to send for it
            if symbol in released and symbol not in busy:
                self.carry_out(core.next_decision(), "replan", [why], only=symbol)

    def _of_halted(self, wants: Wants) -> Wants:
        """What halted books lack, where there is a point in trying: not after a try that came to
        nothing, until the next decision.
        """
        halted, tried = self._closer.halted(), self.wishes.tried if self.wishes else {}
        lacking = {s: {n: w for n, w in of.items() if n in halted} for s, of in wants.items()}
        return {s: of for s, of in lacking.items() if of and of != tried.get(s)}

    def _chosen(self, only: str) -> tuple[tuple[str, ...], list[str]]:
        """Symbols, or the one, that may be traded and that nobody works by hand; and a remark."""
        core, by_hand = self._core, self._worker.taken()
        reasons = [f"worked by hand: {', '.join(sorted(by_hand))}"] if by_hand else []
        fresh = zip(core.symbols, core.market.tradable(), strict=True)
        found = (s for s, ok in fresh if ok and s not in by_hand and (not only or s == only))
        return tuple(found), reasons

    def carry_out(
        self, decision: int, status: str, reasons: list[str], only: str = "", *, snapshot: int = 0
    ) -> None:
        """Cross, review, plan and send for what the books want, of all symbols or one."""
        core, wishes, worker = self._core, self.wishes, self._worker
        if wishes is None:
            raise AssertionError("books must want something before it is carried out")
        symbols, remarks = self._chosen(only)
        reasons = [*reasons, *remarks]
        whole = (only,) if only else core.symbols
        self._closer.release(f"decision {decision}: halted", whole, again=not only)
        planned = worker.planned()
        wants: Wants = {}
        for symbol in symbols:
            wants[symbol] = self._wants(symbol, wishes)
            if not core.orders.working(symbol) and symbol not in planned:
                wants[symbol] = self._cross(decision, symbol, wants[symbol], reasons)
        if not only:
            wishes.tried = {}
        waits = self._hasten(wants)
        chosen = np.array([s in wants and s not in waits for s in core.symbols], dtype=bool)
        wants = {symbol: of for symbol, of in wants.items() if symbol not in waits}
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
        self.wishes = Wishes(
            sizes=wishes.sizes,
            waiting=frozenset(made.waiting) | rest | waits.keys(),
            tried={**{s: of for s, of in wishes.tried.items() if s in rest}, **waits},
        )
        for client_id in made.cancels:
            record = core.orders.get(client_id)
            if record is not None:
                core.cancel(record, f"decision {decision} wants something else")
        if made.drops:
            worker.drop(f"decision {decision} wants something else", symbols=made.drops)
        going, halted = {*made.waiting, *made.drops}, self._closer.halted()
        for symbol, wanted in wants.items():
            if symbol not in going:
                others = {name: size for name, size in wanted.items() if name not in halted}
                self._claim_anew(symbol, others)
        claims = [claimed(core, ticket, wants[ticket.symbol]) for ticket in made.tickets]
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

    def _hasten(self, wants: Wants) -> Wants:
        """Close halted books, under a decision of its own. In which symbols that has to end before
        anything else is done there.
        """
        core, halted = self._core, self._closer.halted()
        lacking, tried = self._of_halted(wants), {}
        if lacking:
            decision = core.next_decision()
            done = self._closer.close(decision, lacking, self._cross, self._reviewed)
            tried = done.tried
            core.record(
                decision,
                "close",
                [f"halted: {', '.join(sorted(halted))}", *done.reasons],
                weights=core.weights_now(core.equity()),
                denials=done.denials,
                orders=done.orders,
            )
        return {s: tried.get(s, {}) for s in wants if self._closer.busy(s)}

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

    def _claim_anew(self, symbol: str, wants: dict[str, Decimal]) -> None:
        """What is left to work, works for the books that want it now: they may be others than
        those that it was sent for.
        """
        core = self._core
        working = self._closer.under_way(symbol)
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
