"""The wallet: a cancel waits for no other request, and for no budget that does not answer."""

import asyncio
import random

from don.clock import NS_PER_MS, SystemClock
from don.errors import DependencyError
from don.exchanges.budget import BudgetConfig, ClusterBudget, Settle, Settled
from don.exchanges.rates import LIMITS, Priority
from don.exchanges.wallet import Wallet, WalletConfig


class Held:
    """A budget that answers a message only when it is let."""

    def __init__(self) -> None:
        self.budget = ClusterBudget(BudgetConfig())
        self.let = asyncio.Semaphore(0)
        self.asked: asyncio.Queue[Settle] = asyncio.Queue()
        self.away = False

    async def settle(self, message: Settle) -> Settled:
        self.asked.put_nowait(message)
        await self.let.acquire()
        if self.away:
            raise DependencyError("away")
        return self.budget.settle(message, SystemClock().now_ns() // NS_PER_MS)


def wallet(port: Held, patience_s: float) -> Wallet:
    return Wallet(
        port, LIMITS["BINANCE_FUTURES"], key="k", lessee="one", clock=SystemClock(),
        rng=random.Random(1), config=WalletConfig(patience_s=patience_s, beat_s=3_600.0),
    )  # fmt: skip


async def waiting(one: Wallet, port: Held) -> list[asyncio.Task[None]]:
    """Ten data requests, the first of which has asked."""
    tasks = [asyncio.create_task(one.acquire(50, 0, Priority.DATA)) for _ in range(10)]
    await asyncio.wait_for(port.asked.get(), 120)
    return tasks


async def ended(one: Wallet, port: Held, tasks: list[asyncio.Task[None]]) -> None:
    port.away = False
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for _ in range(100):
        port.let.release()
    await asyncio.wait_for(one.close(), 120)


async def test_a_cancel_leaves_while_the_budget_hangs_and_others_wait() -> None:
    port = Held()
    one = wallet(port, patience_s=0.05)
    tasks = await waiting(one, port)
    await asyncio.wait_for(one.acquire(1, 0, Priority.CANCEL), 120)  # nothing was ever answered
    assert not any(task.done() for task in tasks)
    port.away = True
    port.let.release()
    await asyncio.wait_for(port.asked.get(), 120)  # the first was told that it is away
    assert await asyncio.wait_for(one.take(1, 0, Priority.CANCEL), 120) == 0
    assert not one._refills or port.asked.empty(), "known to be away: nobody is asked"
    await ended(one, port, tasks)


async def test_a_cancel_is_next_however_many_data_requests_wait() -> None:
    port = Held()
    one = wallet(port, patience_s=60.0)
    tasks = await waiting(one, port)
    cancel = asyncio.create_task(one.take(1, 0, Priority.CANCEL))
    asked: list[Priority] = []
    while not cancel.done():
        port.let.release()
        message = asyncio.create_task(port.asked.get())
        await asyncio.wait({message, cancel}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if message.done():
            asked += [ask.priority for ask in message.result().asks]
        message.cancel()
    assert cancel.result() == 0
    assert asked.count(Priority.DATA) <= 1, "the one that was next already"
    await ended(one, port, tasks)
