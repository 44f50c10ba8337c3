"""Twenty clients of one exchange that enforces its limits: no 429, cancels first. Real HTTP."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from support.paper import api_key, raw, served

from don.clock import NS_PER_MS, NS_PER_S, Clock, SystemClock
from don.errors import DependencyError, RateLimited
from don.exchanges.budget import BudgetConfig, ClusterBudget, Settle, Settled
from don.exchanges.ccxt_client import CcxtClient, Endpoint
from don.exchanges.config import GatewayConfig
from don.exchanges.rates import LIMITS, Priority
from don.exchanges.wallet import Wallet, WalletConfig
from don.paper.server.config import LimitsConfig, Ready

CLIENTS = 20
WEIGHT = 400
LIMIT = LimitsConfig(weight_per_minute=WEIGHT, orders_per_10s=40, orders_per_minute=200)
TICKER = Endpoint(name="fapiPublicGetTickerBookTicker", weight=2)
LISTED = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": WEIGHT},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 40},
    {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 200},
]


class WindowClock(SystemClock):
    """The machine's clock, moved so that a minute began a second ago: no window ends meanwhile."""

    def __init__(self) -> None:
        self._ahead_ns = NS_PER_S - super().now_ns() % (60 * NS_PER_S)

    def now_ns(self) -> int:
        return super().now_ns() + self._ahead_ns


class Port:
    """The budget behind a call that takes its time, and that can be away."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.budget = ClusterBudget(BudgetConfig())
        self.away = False

    async def settle(self, message: Settle) -> Settled:
        await asyncio.sleep(0.001)
        if self.away:
            raise DependencyError("away")
        return self.budget.settle(message, self.clock.now_ns() // NS_PER_MS)


def client(ready: Ready, port: Port, number: int, **wallet: int) -> tuple[CcxtClient, Wallet]:
    key = api_key(ready)
    gate = Wallet(
        port,
        LIMITS["BINANCE_FUTURES"],
        key=key.key,
        lessee=f"client-{number}",
        clock=port.clock,
        rng=random.Random(number),
        config=WalletConfig(**wallet),
    )
    gate.set_limits(LISTED)
    config = GatewayConfig(
        rest_url=ready.rest_url, ws_url=ready.stream_url, api_key=key.key, api_secret=key.secret
    )
    made = CcxtClient(config, SystemClock(), random.Random(number), live_confirmed=False, gate=gate)
    return made, gate


async def test_twenty_clients_never_see_429_and_cancels_pass_when_all_else_waits(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, limits=LIMIT) as ready:
        port = Port(WindowClock())
        clients = [client(ready, port, number) for number in range(CLIENTS)]
        sent: Counter[Priority] = Counter()
        refused: Counter[str] = Counter()

        async def flood(one: CcxtClient, priority: Priority) -> None:
            """Send until our own budget says no."""
            while True:
                try:
                    await one.call_now(TICKER, {"symbol": "BTCUSDT"}, priority)
                except RateLimited as error:
                    if "own request budget" not in str(error):
                        refused[str(error)] += 1
                    return
                sent[priority] += 1

        for priority in (Priority.DATA, Priority.OPEN, Priority.CANCEL):
            await asyncio.gather(*(flood(one, priority) for one, _ in clients))
        assert refused == {}
        assert all(sent[priority] > 0 for priority in (Priority.DATA, Priority.OPEN))
        assert sent[Priority.CANCEL] > 10, "room is kept for cancels"
        calls = sum(gate.calls for _, gate in clients)
        assert calls < sent.total() + 3 * 20 * 5, "most requests pay from what is at hand"
        async with raw(ready) as rest:
            status, _, headers = await rest("GET", "/fapi/v1/ping")
        assert status == 200
        assert int(headers["X-MBX-USED-WEIGHT-1M"]) <= WEIGHT
        for one, _ in clients:
            await one.close()
        (pool,) = [
            view
            for view in port.budget.view(port.clock.now_ns() // NS_PER_MS)
            if "weight" in view.pool
        ]
        assert pool.held == 0, "closed clients gave back what they had not used"


async def test_a_429_of_the_exchange_pauses_its_pool_for_all_clients(tmp_path: Path) -> None:
    limits = LIMIT.model_copy(update={"weight_per_minute": 40})  # and nobody told us
    async with served(tmp_path, limits=limits) as ready:
        left_s = 60 - SystemClock().now_ns() / NS_PER_S % 60
        # the pause ends with the minute, and in its last and first moments our own budget waits
        await asyncio.sleep(left_s + 1 if left_s < 15 else max(0, left_s - 59))
        port = Port()
        (one, _), (other, other_gate) = (client(ready, port, number) for number in range(2))
        with pytest.raises(RateLimited, match="-1003"):
            while True:
                await one.call_now(TICKER, {"symbol": "BTCUSDT"}, Priority.OPEN)
        await one.limiter.take(1, 0, Priority.OPEN)
        await one.close()  # its last report tells
        assert await other_gate.take(1, 0, Priority.CANCEL) > 1_000
        (view,) = [
            view
            for view in port.budget.view(port.clock.now_ns() // NS_PER_MS)
            if view.paused_until_ms
        ]
        assert "weight" in view.pool and "-1003" in view.reason
        await other.close()


async def test_orders_and_cancels_at_hand_leave_without_a_call_to_the_budget() -> None:
    port = Port(WindowClock())
    gate = Wallet(
        port,
        LIMITS["BINANCE_FUTURES"],
        key="k",
        lessee="execution",
        clock=port.clock,
        rng=random.Random(1),
        config=WalletConfig(keep_cancels=10, keep_orders=5, beat_s=60.0),
    )
    assert await gate.take(1, 0, Priority.POLL) == 0
    for _ in range(500):  # until the background has filled up what is to be kept
        await asyncio.sleep(0.01)
        if gate.calls >= 2:
            break
    await asyncio.sleep(0.01)
    calls = gate.calls
    assert [await gate.take(1, 1, Priority.OPEN) for _ in range(4)] == [0] * 4
    assert [await gate.take(1, 0, Priority.CANCEL) for _ in range(8)] == [0] * 8
    assert gate.calls == calls
    await gate.close()


async def test_without_the_budget_cancels_still_leave_and_are_reported_later() -> None:
    port = Port(WindowClock())
    gate = Wallet(
        port,
        LIMITS["BINANCE_FUTURES"],
        key="k",
        lessee="execution",
        clock=port.clock,
        rng=random.Random(1),
        config=WalletConfig(patience_s=0.05, beat_s=0.05),
    )
    port.away = True
    assert await gate.take(1, 1, Priority.OPEN) > 0
    await asyncio.wait_for(gate.acquire(1, 0, Priority.CANCEL), 120)
    assert await gate.take(1, 1, Priority.OPEN) > 0
    port.away = False
    await gate.close()
    views = port.budget.view(port.clock.now_ns() // NS_PER_MS)
    assert [view.used for view in views if "weight" in view.pool] == [1]
