"""The execution actor: orders and cancels out over the exchange's protocol, reports back."""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from actors.budget import budget_gate
from actors.delivery import deliver, run_or_die
from actors.runtime import Probe, find
from actors.spec import SessionSpec
from don.clock import SystemClock
from don.exchanges.base import KnownState, Report
from don.log import configure_actor
from don.model.messages import CancelOrder
from don.model.order import Order
from don.observe.parts import execution_samples


class Execution:
    """One account at one exchange. At every start the desk's journal tells what is unfinished."""

    def __init__(self, spec: SessionSpec) -> None:
        configure_actor(
            spec.home, actor="execution", session=spec.session, level=spec.config.log.level
        )
        # Imported here: whoever holds this actor's handle imports its module, and must not pay.
        from don.exchanges.ccxt_binance import BinanceGateway
        from don.exchanges.service import ExecutionService
        from don.exchanges.wallet import WalletConfig

        clock = SystemClock()
        self._exchange = spec.feed.exchange
        gate = budget_gate(
            spec.feed.exchange,
            key=spec.gateway.api_key.reveal(),
            lessee=f"execution:{spec.account}",
            config=WalletConfig(keep_cancels=10, keep_orders=5),
            clock=clock,
        )
        gateway = BinanceGateway(spec.gateway, clock, live_confirmed=spec.live_confirmed, gate=gate)
        self._service = ExecutionService(gateway, spec.config.execution, clock, self._deliver)
        self._started = asyncio.Event()
        self._task = run_or_die(self._run(), "execution")

    async def ping(self) -> Probe:
        """Who answers, and how the private stream is."""
        health = self._service.health()
        up = health.stream == "up"
        detail = f"{health.live_orders} live orders, {health.in_flight} in flight"
        if health.clock:
            detail = f"{detail}; our clock is {health.clock}"
        return Probe(
            pid=os.getpid(),
            state="live" if up and self._started.is_set() else "starting",
            detail=f"{detail}; {health.last_error}" if health.last_error else detail,
            streams=(
                {
                    "stream": "user data",
                    "state": "live" if up else "stale",
                    "events": health.delivered,
                    "reconnects": health.reconnects,
                    "detail": health.stream_detail,
                },
            ),
            metrics=tuple(execution_samples(health, self._exchange)),
        )

    async def submit(self, orders: Sequence[Order]) -> None:
        """Send orders; a repeat of a client order id sends nothing."""
        await self._started.wait()
        await self._service.submit(orders)

    async def cancel(self, requests: Sequence[CancelOrder]) -> None:
        """Cancel orders; a repeat is harmless."""
        await self._started.wait()
        await self._service.cancel(requests)

    async def resolve(self, known: KnownState) -> None:
        """Find out what became of intents: adopt them, or prove that they never arrived."""
        await self._started.wait()
        await self._service.start(known)

    async def check_account(self, final: bool) -> None:
        """Report the account to the desk as soon as nothing moves; returns when it has it."""
        await self._started.wait()
        await self._service.check_account(final=final)
        await self._service.settled()

    async def close(self) -> None:
        """Hand on what is left and close the connections."""
        await self._service.close()
        self._task.cancel()

    async def _run(self) -> None:
        async def ask() -> Any:
            return await find("desk").known.remote()

        await self._service.start(await deliver(ask, "ask the desk what is unfinished"))
        self._started.set()
        await self._service.join()

    async def _deliver(self, reports: list[Report]) -> None:
        await find("desk").take_all.remote(reports)
