"""From snapshot to orders in two steps: ask the optimizer, act on its answer. Pure."""

from dataclasses import dataclass

import numpy as np

from don.engine.core import Core
from don.engine.inputs import inputs_for
from don.engine.seeing import costs, obstacle, recall, see, show
from don.engine.working import Worker
from don.execution.planner import plan
from don.model.messages import FeatureSnapshot, History, OptimizeRequest, Target
from don.policies import Watcher, check_features


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A question to the optimizer that is not answered yet."""

    decision: int
    snapshot: int
    forecast: np.ndarray  # [symbol] expected return per bar, or the weights wanted
    tradable: np.ndarray  # [symbol] bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The target acted on last, for symbols whose working orders had to end first."""

    decision: int
    weights: np.ndarray  # [symbol]
    tradable: np.ndarray
    waiting: frozenset[str]


class Decider:
    """Decides on each snapshot once."""

    def __init__(self, core: Core, worker: Worker) -> None:
        self._core, self._worker = core, worker
        self._pending: Pending | None = None
        self._standing: Standing | None = None
        self._watches = isinstance(core.policy, Watcher)  # slow to ask: not on every bar

    @property
    def deciding(self) -> bool:
        """True while a question to the optimizer is open."""
        return self._pending is not None

    def drop(self, why: str) -> None:
        """End the open question, if any, and whatever was left to do of the last target."""
        pending, self._pending, self._standing = self._pending, None, None
        if pending is not None:
            self._core.record(
                pending.decision,
                "skipped",
                [*pending.reasons, why],
                snapshot=pending.snapshot,
                forecast=pending.forecast,
            )

    def halt(self, name: str, why: str) -> None:
        """Close one slot's book: where one policy has the account there is none."""
        raise AssertionError(f"slot {name} cannot be halted, one policy has the account: {why}")

    @property
    def watching(self) -> bool:
        """True if a policy has to see every bar: then none is quiet."""
        return self._watches

    def watch(self, snapshot: FeatureSnapshot) -> None:
        """Show a bar to the policy if it watches, whether it is decided on or not."""
        if not self._watches:
            return
        core = self._core
        ledger = core.ledger
        show(core, snapshot, core.policy, core.equity(), ledger.positions, ledger.put_in)

    def on_history(self, history: History) -> None:
        """Show what was before the session."""
        recall(self._core, history, self._core.policy)

    def on_snapshot(self, snapshot: FeatureSnapshot) -> None:
        """Ask for a target, or say why not. Prices are taken in already."""
        core = self._core
        decision = core.next_decision()
        found = obstacle(core)
        if not found and snapshot.superseded:
            found = "STALE_DATA: a later bar is known already"
        if found:
            core.record(decision, "skipped", [found], snapshot=snapshot.version)
            return
        check_features(core.policy, snapshot.names)
        equity = core.equity()
        Sigma = core.market.covariance.estimate(core.config.covariance)
        fresh = core.market.tradable()
        said = core.policy.forecast(see(core, snapshot, core.policy, Sigma, fresh))
        tradable = fresh & said.usable
        forecast = said.mu if said.desired is None else said.desired
        reasons = [said.reason] if said.reason else []
        held_back = [s for s, ok in zip(core.symbols, tradable, strict=True) if not ok]
        if held_back:
            reasons.append(f"not tradable: {', '.join(held_back)}")
        if not tradable.any():
            core.record(decision, "skipped", reasons, snapshot=snapshot.version, forecast=forecast)
            return
        self._pending = Pending(
            decision=decision,
            snapshot=snapshot.version,
            forecast=forecast,
            tradable=tradable,
            reasons=tuple(reasons),
        )
        core.out.append(
            OptimizeRequest(
                decision=decision,
                ts_event=snapshot.ts_event,
                symbols=core.symbols,
                mu=said.mu,
                Sigma=Sigma,
                w_now=core.weights_now(equity),
                w_last=np.array([core.target.get(s, 0.0) for s in core.symbols]),
                cost=costs(core, snapshot),
                tradable=tradable,
                desired=said.desired,
                inputs=inputs_for(core, snapshot, Sigma, equity),
            )
        )

    def on_target(self, target: Target) -> None:
        """Act on the answer to the open question; any other is outdated and changes nothing."""
        core, pending = self._core, self._pending
        if pending is None or target.decision != pending.decision:
            return
        found = obstacle(core)
        if not found and set(target.symbols) != set(core.symbols):
            found = f"target is for {', '.join(target.symbols)}"
        if found:
            self.drop(found)
            return
        self._pending = None
        given = dict(zip(target.symbols, target.weights.tolist(), strict=True))
        weights = np.array([given[s] for s in core.symbols])
        equity = core.equity()
        tradable = pending.tradable & core.market.tradable()
        reviewed, cuts = core.risk.review(
            weights,
            equity,
            core.weights_now(equity),
            tradable,
            symbols=core.symbols,
            outside=core.outside(equity),
            reducing=core.limits.reducing()[0],
            window=core.window(),
        )
        reasons = [*pending.reasons, *cuts]
        if target.detail and target.detail != target.status:
            reasons.append(target.detail)
        if not np.isfinite(weights).all():
            core.record(
                pending.decision,
                "skipped",
                reasons,
                snapshot=pending.snapshot,
                forecast=pending.forecast,
            )
            return
        core.target = dict(zip(core.symbols, reviewed.tolist(), strict=True))
        self._standing = Standing(
            decision=pending.decision,
            weights=reviewed,
            tradable=tradable,
            waiting=frozenset(core.symbols),
        )
        self._carry_out(
            pending.decision,
            str(target.status),
            reasons,
            snapshot=pending.snapshot,
            forecast=pending.forecast,
        )

    def on_settled(self, symbol: str) -> None:
        """A symbol's order has ended: trade the rest of the target if it waited for that."""
        core, standing = self._core, self._standing
        if standing is None or symbol not in standing.waiting or core.orders.working(symbol):
            return
        if obstacle(core):
            self._standing = None
            return
        self._carry_out(core.next_decision(), "replan", [f"{symbol}: working orders ended"], symbol)

    def _carry_out(
        self,
        decision: int,
        status: str,
        reasons: list[str],
        only: str = "",
        *,
        snapshot: int = 0,
        forecast: np.ndarray | None = None,
    ) -> None:
        """Plan and send orders for the standing target, for all its symbols or one of them."""
        core, standing = self._core, self._standing
        if standing is None:
            raise AssertionError("a target must stand before it is carried out")
        chosen = standing.tradable & core.market.tradable()
        if only:
            chosen = chosen & np.array([s == only for s in core.symbols])
        if by_hand := self._worker.taken():
            chosen = chosen & np.array([s not in by_hand for s in core.symbols])
            reasons = [*reasons, f"worked by hand: {', '.join(sorted(by_hand))}"]
        made = plan(
            symbols=core.symbols,
            weights=standing.weights,
            tradable=chosen,
            equity=core.equity(),
            ledger=core.ledger,
            orders=core.orders,
            marks=core.market.marks,
            instruments=core.instruments,
            config=core.config.planner,
            max_notional=core.config.risk.max_order_notional,
            planned=self._worker.planned(),
        )
        waiting = frozenset(made.waiting) | (standing.waiting - {only} if only else frozenset())
        self._standing = Standing(
            decision=standing.decision,
            weights=standing.weights,
            tradable=standing.tradable,
            waiting=waiting,
        )
        for client_id in made.cancels:
            record = core.orders.get(client_id)
            if record is not None:
                core.cancel(record, f"decision {decision} wants something else")
        if made.drops:
            self._worker.drop(f"decision {decision} wants something else", symbols=made.drops)
        if core.config.planner.style.works:
            sent, denials, worked = self._worker.work(made.tickets, decision)
            reasons = [*reasons, *worked]
        else:
            sent, denials = core.submit(made.tickets, decision)
        core.record(
            decision,
            status,
            [*reasons, *made.reasons],
            snapshot=snapshot,
            forecast=forecast,
            weights=standing.weights,
            denials=denials,
            orders=sent,
        )
