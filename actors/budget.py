"""The actor that holds the cluster's request budget, and the way of a client to it."""

import asyncio
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import ray
from ray.exceptions import RayError

from actors.runtime import Probe, find
from don.clock import NS_PER_MS, Clock, SystemClock
from don.errors import DependencyError
from don.exchanges.budget import BudgetConfig, ClusterBudget, PoolView, Settle, Settled
from don.exchanges.rates import RateGate, limits_of
from don.log import configure_actor
from don.observe.parts import budget_samples

if TYPE_CHECKING:
    from don.exchanges.wallet import WalletConfig
    from don.feeds.pace import Pace

QUIET_MS = 2_500  # after a restart: two beats of a lessee
SETTLE_S = 2.0


class Budget:
    """All pools of all exchanges. A restart asks the lessees what they used before it lends."""

    def __init__(
        self,
        home: Path,
        session: str = "",
        level: str = "info",
        config: BudgetConfig | None = None,
    ) -> None:
        configure_actor(home, actor="budget", session=session, level=level)
        self._clock = SystemClock()
        again = ray.get_runtime_context().was_current_actor_reconstructed
        quiet_until_ms = self._now_ms() + QUIET_MS if again else 0
        self._budget = ClusterBudget(config or BudgetConfig(), quiet_until_ms)

    async def ping(self) -> Probe:
        """Who answers; each pool as a stream."""
        now = self._now_ms()
        views = self._budget.view(now)
        paused = [view for view in views if view.paused_until_ms]
        return Probe(
            pid=os.getpid(),
            detail="; ".join(_paused(view, self._now_ms()) for view in paused),
            streams=tuple(
                {
                    "stream": view.pool,
                    "state": "stale" if view.paused_until_ms else "live",
                    "events": view.used,
                    "detail": f"{view.used} of {view.limit} used, {view.lessees} clients"
                    + (f"; {_paused(view, self._now_ms())}" if view.paused_until_ms else ""),
                }
                for view in views
            ),
            metrics=tuple(budget_samples(views, now)),
        )

    async def settle(self, message: Settle) -> Settled:
        """Reports and asks of one lessee."""
        return self._budget.settle(message, self._now_ms())

    async def view(self) -> list[PoolView]:
        """All pools."""
        return self._budget.view(self._now_ms())

    def _now_ms(self) -> int:
        return self._clock.now_ns() // NS_PER_MS


class ActorPort:
    """The way to the budget actor; implements `don.exchanges.wallet.BudgetPort`."""

    async def settle(self, message: Settle) -> Settled:
        """Ask the actor.

        Raises:
            DependencyError: if it is away or does not answer in time.
        """
        try:
            async with asyncio.timeout(SETTLE_S):
                answer: Settled = await find("budget").settle.remote(message)
        except (RayError, TimeoutError) as error:
            raise DependencyError(f"rate budget: {type(error).__name__}") from error
        return answer


def budget_gate(
    exchange: str, *, key: str, lessee: str, config: "WalletConfig", clock: Clock
) -> RateGate | None:
    """A client's gate to the cluster's budget; None where no budget actor runs.

    Args:
        exchange: cryptofeed's name.
        key: API key; "" for public calls only.
        lessee: name of the client; each start of it counts as a new one.
        config: how much to keep at hand.
        clock: wall time.
    """
    from don.exchanges.wallet import Wallet

    try:
        find("budget")
    except DependencyError:
        return None
    return Wallet(
        ActorPort(),
        limits_of(exchange),
        key=key,
        lessee=f"{lessee}:{uuid4().hex[:8]}",
        clock=clock,
        rng=random.Random(),
        config=config,
    )


def budget_pace(exchange: str, lessee: str, clock: Clock) -> "Pace":
    """The pace of a feed's REST requests: within the cluster's budget where there is one."""
    from don.exchanges.wallet import WalletConfig
    from don.feeds.pace import BudgetPace, FreePace

    gate = budget_gate(exchange, key="", lessee=lessee, config=WalletConfig(), clock=clock)
    return FreePace() if gate is None else BudgetPace(exchange, gate)


def _paused(view: PoolView, now_ms: int) -> str:
    left_s = (view.paused_until_ms - now_ms) / 1_000
    return f"{view.pool} pauses for {left_s:.0f} s: {view.reason}"
