"""The outbox: at least once, in order, bounded."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from don.exchanges.base import Report
from don.exchanges.outbox import Outbox
from don.model.messages import FundingReport


def report(number: int) -> FundingReport:
    return FundingReport(
        key=f"funding:{number}", symbol="BTC-USDT-PERP", amount=number, ts_event=1, ts_recv=1
    )


@asynccontextmanager
async def running(deliver, **over):
    values = {"size": 10, "batch": 4, "retry_base_s": 0.001, "retry_cap_s": 0.002} | over
    outbox = Outbox(deliver, random.Random(1), **values)
    task = asyncio.create_task(outbox.run())
    yield outbox
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("seed", range(5))
async def test_a_consumer_that_fails_gets_the_same_again_in_order(seed):
    rng = random.Random(seed)
    got: list[int] = []

    async def deliver(reports: list[Report]) -> None:
        for item in reports:
            if rng.random() < 0.3:
                raise ConnectionError("away")
            got.append(int(item.key.removeprefix("funding:")))

    async with running(deliver) as outbox:
        for number in range(100):
            await outbox.put([report(number)])
        async with asyncio.timeout(120):
            await outbox.drained()
        assert outbox.delivered == 100
    last_seen = -1
    for number in got:
        assert number <= last_seen + 1  # repeats go back, nothing is skipped
        last_seen = max(last_seen, number)
    assert last_seen == 99


async def test_whoever_puts_into_a_full_box_waits():
    gate = asyncio.Event()

    async def deliver(reports: list[Report]) -> None:
        await gate.wait()

    async with running(deliver, size=3) as outbox:
        await outbox.put([report(0), report(1), report(2)])
        waiting = asyncio.create_task(outbox.put([report(3)]))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.05)
        assert len(outbox) == 3
        gate.set()
        await waiting
        await outbox.drained()


async def test_a_batch_larger_than_the_box_still_passes():
    got: list[Report] = []

    async def deliver(reports: list[Report]) -> None:
        got.extend(reports)

    async with running(deliver, size=2) as outbox:
        await outbox.put([report(number) for number in range(5)])
        await outbox.drained()
    assert len(got) == 5
