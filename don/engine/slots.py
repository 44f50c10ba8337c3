"""Decisions of several policies on one account. Pure, over the engine's core.

Each slot asks the optimizer by itself, with its own book's weights and within its own capital: so a
slot decides the same whatever runs beside it, a shadow as if it were live. When all have been
answered, `netting` carries out what the books want.
"""

from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from don.engine.books import Keeper, Slot
from don.engine.core import Core
from don.engine.inputs import inputs_for
from don.engine.netting import Netting, Wishes
from don.engine.seeing import costs, obstacle, recall, see, show
from don.engine.working import Worker
from don.execution.planner import exact
from don.model.messages import FeatureSnapshot, History, OptimizeRequest, Target
from don.model.portfolio import ZERO, money
from don.policies import Watcher, check_features
from don.risk.states import TradingState


@dataclass(slots=True, kw_only=True)
class Part:
    """One slot's part in a decision."""

    slot: Slot
    number: int  # of its own decision
    capital: Decimal
    status: str = "skipped"
    reasons: list[str] = field(default_factory=list)
    forecast: np.ndarray | None = None  # [symbol]
    weights: np.ndarray | None = None  # [symbol] fractions of its capital
    tradable: np.ndarray | None = None  # [symbol] bool
    cost: np.ndarray | None = None  # [symbol] per unit of turnover
    sizes: dict[str, Decimal] = field(default_factory=dict)  # positions wanted; others stay


@dataclass(slots=True, kw_only=True)
class Round:
    """A decision on one snapshot, while answers are waited for."""

    decision: int  # the account's
    snapshot: int
    parts: list[Part]
    reasons: list[str]
    open: dict[int, Part]  # questions not answered yet


class SlotDecider:
    """Decides on each snapshot once, for every slot. Stands where `Decider` stands."""

    def __init__(self, core: Core, worker: Worker, keeper: Keeper) -> None:
        self._core, self._worker, self._keeper = core, worker, keeper
        self._round: Round | None = None
        self._netting = Netting(core, worker, keeper)

    @property
    def deciding(self) -> bool:
        """True while a question to the optimizer is open."""
        return self._round is not None

    def drop(self, why: str) -> None:
        """End the open round, if any, and whatever was left to do of the last one."""
        found, self._round, self._netting.wishes = self._round, None, None
        if found is None:
            return
        for part in found.parts:
            part.status, part.weights = "skipped", None
            self._record(part, [why])
        self._core.record(found.decision, "skipped", [*found.reasons, why], snapshot=found.snapshot)

    @property
    def watching(self) -> bool:
        """True if a policy has to see every bar: then none is quiet."""
        return any(isinstance(slot.policy, Watcher) for slot in self._keeper.slots)

    def watch(self, snapshot: FeatureSnapshot) -> None:
        """Show a bar to the policies that watch, each with its own book."""
        core, keeper = self._core, self._keeper
        for slot in keeper.slots:
            if isinstance(slot.policy, Watcher):
                book = keeper.book(slot)
                equity = book.equity(core.market.marks)
                show(core, snapshot, slot.policy, equity, book.positions, book.capital)

    def on_history(self, history: History) -> None:
        """Show what was before the session."""
        for slot in self._keeper.slots:
            recall(self._core, history, slot.policy)

    def on_snapshot(self, snapshot: FeatureSnapshot) -> None:
        """Ask for each slot's target, or say why not. Prices are taken in already."""
        core, keeper = self._core, self._keeper
        late = [s for s in keeper.live if keeper.state(s) is TradingState.HALTED]
        decision = core.next_decision()
        breaches = keeper.mark()
        found = obstacle(core)
        if not found and snapshot.superseded:
            found = "STALE_DATA: a later bar is known already"
        if found:
            said = [found, *(why for _, why in breaches)]
            core.record(decision, "skipped", said, snapshot=snapshot.version)
            return
        left = [slot.name for slot in late if keeper.book(slot).positions]
        if left:  # it does not wait for anybody's answer
            why = f"halted and not flat: {', '.join(left)}"
            self._netting.halt(core.next_decision(), why, status="close")
        reasons = [*(why for _, why in breaches), *keeper.allocate(decision)]
        Sigma = core.market.covariance.estimate(core.config.covariance)
        equity, fresh = core.equity(), core.market.tradable()
        made = Round(
            decision=decision, snapshot=snapshot.version, parts=[], reasons=reasons, open={}
        )
        requests = []
        for slot in keeper.slots:
            part = Part(
                slot=slot, number=core.next_decision(), capital=keeper.capital(slot, equity)
            )
            made.parts.append(part)
            request = self._ask(part, snapshot, Sigma, fresh)
            if request is not None:
                made.open[part.number] = part
                requests.append(request)
        self._round = made
        core.out += requests
        if not made.open:
            self._finish()

    def on_target(self, target: Target) -> None:
        """Take the answer to one open question; any other is outdated and changes nothing."""
        core, found = self._core, self._round
        part = found.open.pop(target.decision, None) if found is not None else None
        if found is None or part is None:
            return
        stop = obstacle(core)
        if stop:
            self.drop(stop)
            return
        if set(target.symbols) != set(core.symbols):
            part.reasons.append(f"target is for {', '.join(target.symbols)}")
        else:
            given = dict(zip(target.symbols, target.weights.tolist(), strict=True))
            weights = np.array([given[s] for s in core.symbols])
            if target.detail and target.detail != target.status:
                part.reasons.append(target.detail)
            if np.isfinite(weights).all():
                part.status, part.weights = str(target.status), weights
            else:
                part.reasons.append("target refused: a weight is not finite")
        if not found.open:
            self._finish()

    def on_settled(self, symbol: str) -> None:
        """A symbol's order has ended."""
        self._netting.on_settled(symbol)

    def halt(self, name: str, why: str) -> None:
        """Close one slot's book, whose state is HALTED now, at once and whatever the style; the
        others stay as they are: their orders, and what they are asked at the moment.
        """
        core, keeper = self._core, self._keeper
        slot = next(slot for slot in keeper.slots if slot.name == name)
        decision = core.next_decision()
        if slot.shadow:
            sizes = dict.fromkeys(core.symbols, ZERO)
            self._paper(Part(slot=slot, number=decision, capital=ZERO, sizes=sizes))
            core.record(decision, "halt", [why])
            return
        stop = obstacle(core)
        if stop:
            self.drop(stop)
            core.record(decision, "halt", [why, stop])
            return
        self._netting.halt(decision, why)
        found = self._round
        if found is None:
            return
        for part in found.parts:
            if part.slot is slot:
                found.open.pop(part.number, None)
                part.reasons.append(f"halted: {why}")
                part.status, part.weights = "halted", np.zeros(len(core.symbols))
                part.tradable = core.market.tradable()
        if not found.open:
            self._finish()

    # ---- one slot -------------------------------------------------------------------------------

    def _ask(
        self, part: Part, snapshot: FeatureSnapshot, Sigma: np.ndarray, fresh: np.ndarray
    ) -> OptimizeRequest | None:
        """A slot's question, or None if it needs no answer."""
        core, keeper, slot = self._core, self._keeper, part.slot
        part.cost, part.tradable = costs(core, snapshot), fresh
        standing = core.states.of_slot(slot.name)
        if standing is not None and standing.state is TradingState.HALTED:
            part.reasons.append(f"halted: {standing.reason}")
            part.status, part.weights = "halted", np.zeros(len(core.symbols))
            return None
        if part.capital <= 0:
            part.reasons.append(f"capital must be positive, was {part.capital}")
            part.status, part.weights = "skipped", np.zeros(len(core.symbols))
            return None
        check_features(slot.policy, snapshot.names)
        said = slot.policy.forecast(see(core, snapshot, slot.policy, Sigma, fresh))
        part.tradable = fresh & said.usable
        part.forecast = said.mu if said.desired is None else said.desired
        if said.reason:
            part.reasons.append(said.reason)
        held_back = [s for s, ok in zip(core.symbols, part.tradable, strict=True) if not ok]
        if held_back:
            part.reasons.append(f"not tradable: {', '.join(held_back)}")
        if not part.tradable.any():
            return None
        target = keeper.book(slot).target
        return OptimizeRequest(
            decision=part.number,
            ts_event=snapshot.ts_event,
            symbols=core.symbols,
            mu=said.mu,
            Sigma=Sigma,
            w_now=keeper.weights_now(slot, part.capital),
            w_last=np.array([target.get(s, 0.0) for s in core.symbols]),
            cost=part.cost,
            tradable=part.tradable,
            desired=said.desired,
            inputs=inputs_for(core, snapshot, Sigma, part.capital),
        )

    def _size(self, part: Part) -> None:
        """From weights to whole lots: within the slot's state, and worth trading for its book."""
        core, slot = self._core, part.slot
        if part.weights is None or part.tradable is None:
            return
        book, state = self._keeper.book(slot), self._keeper.state(slot)
        fresh = core.market.tradable()
        band = core.config.planner.band * part.capital
        for i, symbol in enumerate(core.symbols):
            if not (part.tradable[i] and fresh[i]):
                continue
            mark, held = core.market.marks[symbol], book.size(symbol)
            wanted = exact(part.weights[i]) * max(part.capital, ZERO) / mark
            rules = core.instruments[symbol]
            size = rules.round_size(abs(wanted)) * (1 if wanted > 0 else -1)
            if state is TradingState.HALTED:
                part.sizes[symbol] = ZERO
                continue
            if state is TradingState.REDUCING:
                same = size * held > 0
                size = min(abs(size), abs(held)) * (1 if held > 0 else -1) if same else ZERO
            if part.weights[i] != 0.0 and abs(size - held) * mark < band:
                size = held
            part.sizes[symbol] = size
        if state is TradingState.REDUCING:
            part.reasons.append("reducing only")

    def _paper(self, part: Part) -> None:
        """A shadow trades at mark, paying the taker fee and half the spread, on paper."""
        core, slot = self._core, part.slot
        book = self._keeper.book(slot)
        for i, (symbol, size) in enumerate(part.sizes.items()):
            change, mark = size - book.size(symbol), core.market.marks.get(symbol)
            if not change or mark is None:
                continue
            notional = abs(change) * mark
            if size and notional < core.instruments[symbol].min_notional:
                continue
            rate = (
                exact(part.cost[core.symbols.index(symbol)])
                if part.cost is not None
                else core.instruments[symbol].taker_fee
            )
            self._keeper.books.paper(
                f"paper:{core.session}:{part.number}:{i}", slot.name, symbol, change, mark,
                money(notional * rate), core.market.ts_event,
            )  # fmt: skip

    def _record(self, part: Part, why: list[str] | None = None) -> None:
        mode = str(part.slot.config.mode)
        self._core.record(
            part.number,
            part.status,
            [*part.reasons, *(why or []), f"{mode}, capital {part.capital:.2f}"],
            snapshot=self._core.market.version,
            forecast=part.forecast,
            weights=part.weights,
            policy=part.slot.name,
        )

    # ---- the account ----------------------------------------------------------------------------

    def _finish(self) -> None:
        """All have been answered: from the slots' targets to the account's orders."""
        core, keeper = self._core, self._keeper
        found, self._round = self._round, None
        if found is None:
            raise AssertionError("a round must be open before it is finished")
        sizes: dict[str, dict[str, Decimal]] = {}
        for part in found.parts:
            self._size(part)
            self._record(part)
            if part.weights is not None and part.status != "skipped":
                keeper.book(part.slot).target = dict(
                    zip(core.symbols, part.weights.tolist(), strict=True)
                )
            if part.slot.shadow:
                self._paper(part)
            else:
                sizes[part.slot.name] = part.sizes
        for book in keeper.closing():
            sizes[book.name] = dict.fromkeys(core.symbols, ZERO)
            if book.positions:
                found.reasons.append(f"the book of {book.name} has no slot: it is closed")
        keeper.prune(frozenset(p.parent_id for p in self._worker.parents))
        self._netting.wishes = Wishes(sizes=sizes, waiting=frozenset(core.symbols))
        status = "netted" if any(p.weights is not None for p in found.parts) else "skipped"
        self._netting.carry_out(found.decision, status, found.reasons, snapshot=found.snapshot)
        for what, ours, theirs in keeper.books.off(core.ledger):
            core.difference(what, ours, theirs, core.market.ts_event)
