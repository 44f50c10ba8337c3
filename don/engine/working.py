"""Parents under way: orders by hand, execution algorithms and protection. Pure, over the core.

Looks at a parent whenever the market moved or one of its children did; what that leads to goes out
as child orders under a decision of its own, so every child is explained in the journal. Nothing
happens here that was not an input: children, prices and times all come from the engine's log.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from don.clock import NS_PER_S
from don.engine.core import Core
from don.execution import algos, conditional
from don.execution.parents import (
    MISSES,
    Look,
    Parent,
    ParentStatus,
    Part,
    Seen,
    Terms,
    live_of,
    settle,
)
from don.execution.planner import Ticket, exact
from don.execution.requests import OrderKind, OrderRequest
from don.model.messages import FeatureSnapshot
from don.model.order import Denial, Order
from don.model.portfolio import ZERO

ENDED_KEPT = 100  # parents that ended, for those who ask
# these send a child again that was refused, when the market has moved; others end with it
_TRY_AGAIN = frozenset(k for k in OrderKind if k.algorithm) | {OrderKind.OCO, OrderKind.BRACKET}


class Worker:
    """All parents of the account."""

    def __init__(self, core: Core, parents: Iterable[Parent] = ()) -> None:
        """Take up the parents of the session before."""
        self._core = core
        config = core.config
        self._config = config.working
        self._terms = Terms(
            slippage=config.planner.slippage,
            offset=config.planner.passive_offset,
            max_notional=config.risk.max_order_notional,
            emulate=tuple(config.working.emulate),
        )
        self._parents: dict[str, Parent] = {p.parent_id: p for p in parents}
        self._ended: deque[Parent] = deque(maxlen=ENDED_KEPT)
        self._bar: dict[str, tuple[Decimal, Decimal, float]] = {}  # high, low, volume of this bar
        self._round = _Round(core)

    # ---- reading --------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """True if parents work: then no bar is quiet."""
        return bool(self._parents)

    @property
    def parents(self) -> tuple[Parent, ...]:
        """Those that work."""
        return tuple(self._parents.values())

    @property
    def ended(self) -> tuple[Parent, ...]:
        """Those that ended in this session, oldest first; the last hundred."""
        return tuple(self._ended)

    def taken(self) -> frozenset[str]:
        """Symbols that a person works by hand: the policy leaves them alone meanwhile."""
        return frozenset(p.request.symbol for p in self._parents.values() if p.actor)

    def planned(self) -> dict[str, Decimal]:
        """What the policy's parents are still to send, signed, base; by symbol."""
        found: dict[str, Decimal] = {}
        for parent in self._parents.values():
            if not parent.actor and parent.status is ParentStatus.WORKING:
                left = self._left(parent) * parent.request.side.sign
                found[parent.request.symbol] = found.get(parent.request.symbol, ZERO) + left
        return found

    def under_way(self, symbol: str) -> dict[str, Decimal]:
        """What the policy's parents of a symbol may still fill, signed, base; by parent."""
        found = {}
        for parent in self._parents.values():
            if parent.actor or parent.request.symbol != symbol:
                continue
            left = parent.request.size - self.figures(parent)[0]
            if parent.status is not ParentStatus.WORKING:
                live = live_of(parent, self._core.orders)
                left = sum((record.remaining for _, record in live), ZERO)
            found[parent.parent_id] = left * parent.request.side.sign
        return found

    def figures(self, parent: Parent) -> tuple[Decimal, Decimal]:
        """(filled, quote) of a parent, live children counted."""
        live = [record for _, record in live_of(parent, self._core.orders)]
        return (
            parent.filled_by_ended() + sum((r.filled for r in live), ZERO),
            parent.quote + sum((r.quote for r in live), ZERO),
        )

    # ---- new parents ----------------------------------------------------------------------------

    def open(
        self, parent_id: str, request: OrderRequest, *, actor: str = "", decision: int = 0
    ) -> Parent:
        """Take an order on; it is looked at with the next `look`."""
        core = self._core
        now = core.market.ts_event
        parent = Parent(
            parent_id=parent_id,
            request=request,
            actor=actor,
            decision=decision,
            ts_start=now,
            arrival=core.market.marks.get(request.symbol),
            curve=algos.curve_of(
                request, now, core.start.interval_ns, tuple(self._config.volume_profile)
            ),
        )
        self._parents[parent_id] = parent
        return parent

    def work(
        self, tickets: Sequence[Ticket], decision: int
    ) -> tuple[list[str], list[Denial], list[str]]:
        """Carry out the planner's tickets by an algorithm.

        Returns:
            Client order ids of the first children, refusals, and what was done in words.
        """
        config = self._core.config.planner
        round_ = _Round(self._core, decision)
        for index, ticket in enumerate(tickets):
            kind = OrderKind(config.style.value)
            request = OrderRequest(
                kind=kind,
                symbol=ticket.symbol,
                side=ticket.side,
                size=ticket.size,
                reduce_only=ticket.reduce_only,
                duration_s=config.horizon_s,
                participation=config.participation if kind is OrderKind.POV else 0.0,
                urgency=config.urgency,
            )
            parent_id = f"{self._core.session}-{decision}-{index}"
            self.open(parent_id, request, decision=decision)
            round_.say(f"{ticket.symbol}: {kind} of {ticket.size} as {parent_id}")
            self._look(parent_id, round_)
        return round_.sent, round_.denials, round_.reasons

    # ---- inputs ---------------------------------------------------------------------------------

    def on_snapshot(self, snapshot: FeatureSnapshot) -> None:
        """The market has moved on. Prices are taken in already."""
        self._bar = _ranges(snapshot) if self._parents else {}
        for parent_id in list(self._parents):
            self._look(parent_id, self._round)
        self._bar = {}
        self._round.record()

    def on_order(self, client_order_id: str) -> None:
        """Something became of an order; of a child perhaps."""
        record = self._core.orders.get(client_order_id)
        parent_id = record.order.parent if record is not None else ""
        if parent_id in self._parents:
            self._look(parent_id, self._round)
            self._round.record()

    def look(self, parent_id: str, reason: str, status: str) -> None:
        """Look at one parent now, and put on record why."""
        self._round.say(reason)
        self._look(parent_id, self._round)
        self._round.record(status, always=True)

    def change(self, parent_id: str, request: OrderRequest, why: str) -> None:
        """Give a parent another size or price: its children are cancelled and sent anew."""
        parent = self._parents[parent_id]
        look = self._looking(parent, self._seen(parent.request.symbol))
        if look is not None:
            look.cancel(why)
            self._act(look, self._round)
        self._parents[parent_id] = replace(self._parents[parent_id], request=request)
        self.look(parent_id, why, "amend")

    def drop(
        self, why: str, *, only: Iterable[str] | None = None, symbols: Iterable[str] | None = None
    ) -> int:
        """End parents: all, those named, or the policy's of some symbols. How many."""
        chosen = list(self._parents) if only is None else [i for i in only if i in self._parents]
        if symbols is not None:
            wanted = set(symbols)
            chosen = [
                i
                for i in chosen
                if not self._parents[i].actor and self._parents[i].request.symbol in wanted
            ]
        for parent_id in chosen:
            parent = settle(self._parents[parent_id], self._core.orders)
            self._end(parent, ParentStatus.CANCELLED, why, self._round)
        self._round.forget()
        return len(chosen)

    # ---- inside ---------------------------------------------------------------------------------

    def _look(self, parent_id: str, round_: "_Round") -> None:
        core, before = self._core, self._parents[parent_id]
        request, now = before.request, core.market.ts_event
        parent = settle(before, core.orders)
        if parent.misses > before.misses and request.kind in _TRY_AGAIN:
            parent = replace(parent, paused=now)
        self._parents[parent_id] = parent
        if parent.status is ParentStatus.ENDING:
            self._store(parent, round_)
            return
        if parent.misses >= MISSES:
            last = parent.ended[-1].detail if parent.ended else parent.detail
            self._end(parent, ParentStatus.REFUSED, f"{parent.misses} refusals: {last}", round_)
            return
        waits = 0 < now <= parent.paused
        if core.stopping or core.halted or not core.reconciled or waits:
            return
        age = now - parent.ts_start
        if request.good_till_s and age >= request.good_till_s * NS_PER_S:
            why = f"not done within {request.good_till_s} s"
            self._end(parent, ParentStatus.EXPIRED, why, round_)
            return
        look = self._looking(parent, self._seen(request.symbol))
        if look is None or not look.seen.fresh:
            return
        if request.kind.algorithm:
            algos.advance(look)
        else:
            conditional.advance(look)
        look.note(ended=())
        self._act(look, round_)

    def _end(self, parent: Parent, status: ParentStatus, why: str, round_: "_Round") -> None:
        """No more children; those that live are cancelled."""
        for _, record in live_of(parent, self._core.orders):
            if not record.cancelling and not record.status.final:
                self._core.cancel(record, why)
        ending = replace(parent, status=ParentStatus.ENDING, ending=status, detail=why)
        self._store(ending, round_)

    def _looking(self, parent: Parent, seen: Seen | None) -> Look | None:
        if seen is None:
            return None
        live = live_of(parent, self._core.orders)
        return Look(parent=parent, live=live, seen=seen, terms=self._terms)

    def _act(self, look: Look, round_: "_Round") -> None:
        core = self._core
        for client_id, why in look.cancels:
            record = core.orders.get(client_id)
            if record is not None:
                core.cancel(record, why)
                round_.say(f"{look.parent.parent_id}: cancel {client_id}, {why}")
        parent = look.parent
        for ticket in look.places:
            exits = ticket.reduce_only and parent.request.kind in (OrderKind.OCO, OrderKind.BRACKET)
            order, denial = round_.send(ticket, emergency=exits)
            if order is not None:
                part = Part(client_order_id=order.client_order_id, leg=ticket.reason)
                parent = replace(parent, parts=(*parent.parts, part), sent=parent.sent + 1)
            elif denial is not None:
                simple = not parent.sent and not parent.request.kind.algorithm
                parent = replace(
                    parent,
                    misses=MISSES if simple and not _passing(denial) else parent.misses + 1,
                    paused=core.market.ts_event,
                    detail=f"{denial.code}: {denial.detail}",
                )
        if parent.misses >= MISSES and not parent.parts:
            parent = replace(parent, status=ParentStatus.REFUSED)
        self._store(parent, round_)

    def _store(self, parent: Parent, round_: "_Round") -> None:
        """Keep a parent; or let it go, if it has ended and nothing of it lives."""
        if parent.status is ParentStatus.ENDING and not parent.parts:
            parent = replace(parent, status=parent.ending)
        if not parent.status.final:
            self._parents[parent.parent_id] = parent
            return
        self._parents.pop(parent.parent_id, None)
        self._ended.append(parent)
        filled = parent.filled_by_ended()
        detail = f": {parent.detail}" if parent.detail else ""
        round_.say(f"{parent.parent_id} {parent.status}, {filled} filled{detail}")

    def _seen(self, symbol: str) -> Seen | None:
        core = self._core
        instrument, mark = core.instruments.get(symbol), core.market.marks.get(symbol)
        if instrument is None or mark is None:
            return None
        last = core.market.lasts.get(symbol, mark)
        high, low, volume = self._bar.get(symbol, (last, last, 0.0))
        return Seen(
            now=core.market.ts_event,
            instrument=instrument,
            last=last,
            mark=mark,
            high=max(high, last),
            low=min(low, last),
            volume=volume,
            fresh=symbol in core.symbols and symbol not in core.market.stale_now(),
        )

    def _left(self, parent: Parent) -> Decimal:
        live = [record for _, record in live_of(parent, self._core.orders)]
        gone = parent.filled_by_ended() + sum((r.filled + r.remaining for r in live), ZERO)
        return max(parent.request.size - gone, ZERO)


class _Round:
    """What goes out together, under one decision."""

    def __init__(self, core: Core, decision: int = 0) -> None:
        self._core, self._decision = core, decision
        self.sent: list[str] = []
        self.denials: list[Denial] = []
        self.reasons: list[str] = []
        self._tried = 0

    def say(self, reason: str) -> None:
        """Add a reason."""
        self.reasons.append(reason)

    def send(
        self, ticket: Ticket, *, emergency: bool = False
    ) -> tuple[Order | None, Denial | None]:
        """Send a child through the risk checks."""
        if not self._decision:
            self._decision = self._core.next_decision()
        sent, denials = self._core.submit(
            [ticket], self._decision, emergency=emergency, first=self._tried
        )
        self._tried += 1
        self.sent += sent
        self.denials += denials
        record = self._core.orders.get(sent[0]) if sent else None
        at = "" if ticket.price is None else f" at {ticket.price}"
        at += "" if ticket.trigger is None else f" from {ticket.trigger}"
        word = "sends" if sent else "was refused"
        self.say(f"{ticket.parent}: {word} {ticket.reason} {ticket.side} {ticket.size}{at}")
        return (record.order if record else None), (denials[0] if denials else None)

    def record(self, status: str = "work", *, always: bool = False) -> None:
        """Put on record what was done, if anything was; begins the next round."""
        if self.reasons or always:
            decision = self._decision or self._core.next_decision()
            self._core.record(
                decision, status, self.reasons, denials=self.denials, orders=self.sent
            )
        self.forget()

    def forget(self) -> None:
        """Begin the next round; whoever called has put on record what was done."""
        self._decision, self._tried = 0, 0
        self.sent, self.denials, self.reasons = [], [], []


def _ranges(snapshot: FeatureSnapshot) -> dict[str, tuple[Decimal, Decimal, float]]:
    """High, low and volume of the bar by symbol, where they are told."""
    found: dict[str, tuple[Decimal, Decimal, float]] = {}
    if snapshot.high is None or snapshot.low is None or snapshot.volume is None:
        return found
    for n, symbol in enumerate(snapshot.symbols):
        high, low, volume = snapshot.high[n], snapshot.low[n], snapshot.volume[n]
        if np.isfinite(high) and np.isfinite(low):
            traded = float(volume) if np.isfinite(volume) else 0.0
            found[symbol] = (exact(high), exact(low), traded)
    return found


def _passing(denial: Denial) -> bool:
    """Whether waiting may help."""
    return denial.code.value in ("STALE_DATA", "UNRECONCILED", "ORDER_RATE")
