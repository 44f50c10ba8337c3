"""A process with a Ray cluster of its own: twenty actors that flood an exchange within one budget.

Prints one JSON line: what the exchange answered to each kind of request, and what the budget knew.
Usage: python -m support.budget_cluster HOME URL WEIGHT
"""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from actors.environment import prepare

CLIENTS = 20


class Client:
    """An actor that sends requests until the budget says no."""

    def __init__(self, number: int, weight: int) -> None:
        from actors.budget import budget_gate
        from don.clock import SystemClock
        from don.exchanges.wallet import WalletConfig

        gate = budget_gate(
            "BINANCE_FUTURES",
            key="key",
            lessee=f"client:{number}",
            config=WalletConfig(),
            clock=SystemClock(),
        )
        assert gate is not None, "the budget actor runs"
        self._gate = gate
        row = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        self._gate.set_limits([{**row, "limit": weight}])

    async def flood(self, url: str, priority: str) -> dict[int, int]:
        """How often which status came back."""
        import aiohttp

        from don.exchanges.rates import Priority

        statuses: Counter[int] = Counter()
        async with aiohttp.ClientSession() as session:
            while await self._gate.take(2, 0, Priority[priority]) == 0:
                path = "/fapi/v1/ticker/bookTicker?symbol=BTCUSDT"
                async with session.get(url + path) as answer:
                    statuses[answer.status] += 1
                    self._gate.observe(answer.headers)
        return dict(statuses)


async def run(home: Path, url: str, weight: int) -> dict[str, Any]:
    """The whole course, with a death of the budget in the middle."""
    import ray

    from actors import runtime
    from actors.budget import Budget

    runtime.start_ray(home / "ray")
    try:
        budget = runtime.spawn("budget", Budget, home)
        first = (await budget.ping.remote()).pid
        made = ray.remote(Client).options(num_cpus=0.05)
        clients = [made.remote(number, weight) for number in range(CLIENTS)]

        async def flood(priority: str) -> dict[int, int]:
            total: Counter[int] = Counter()
            for counts in await asyncio.gather(*(c.flood.remote(url, priority) for c in clients)):
                total.update(counts)
            return dict(total)

        answers = {"DATA": await flood("DATA")}
        ray.kill(budget, no_restart=False)
        second = first
        async with asyncio.timeout(120):
            while second == first:
                try:
                    second = (await budget.ping.remote()).pid
                except ray.exceptions.RayError:
                    await asyncio.sleep(0.05)
        answers["OPEN"] = await flood("OPEN")
        answers["CANCEL"] = await flood("CANCEL")
        views = await budget.view.remote()
        return {
            "answers": answers,
            "lessees": [view.lessees for view in views if "weight" in view.pool],
            "used": [view.used for view in views if "weight" in view.pool],
        }
    finally:
        ray.shutdown()


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
    print(json.dumps(asyncio.run(run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))))
