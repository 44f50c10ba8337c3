"""A desk and its execution service as a process of its own, to be killed at any moment.

`python execution_process.py JSON`: trades under the number given, writing each intent to its
journal before it submits it, and each report before it takes it. Prints `trading` when it has
started.
"""

import asyncio
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

from support.probe import Probe, execution_config, order

from don.clock import SystemClock
from don.exchanges.base import KnownState, Report
from don.exchanges.ccxt_binance import BinanceGateway
from don.exchanges.config import GatewayConfig
from don.exchanges.service import ExecutionService
from don.model.codec import decode, decode_as, encode, kind_of
from don.model.messages import CancelOrder
from don.model.order import Order, Side


class Journal:
    """Intents and reports in a file, durable line by line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")

    def append(self, kind: str, values: list[Any]) -> None:
        for value in values:
            self._file.write(kind.encode() + b" " + encode(value) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    @staticmethod
    def read(path: Path) -> Probe:
        """A desk that knows what the journal says; a line cut short was never taken."""
        probe = Probe()
        if not path.exists():
            return probe
        data = path.read_bytes()
        for line in data[: data.rfind(b"\n") + 1].splitlines():
            kind, _, text = line.partition(b" ")
            if kind == b"Order":
                probe.intents.append(decode_as(Order, text))
            else:
                probe.take(decode(kind.decode(), text))
        return probe


def cut_short(path: Path) -> None:
    """Drop what was written half when the process died."""
    data = path.read_bytes()
    path.write_bytes(data[: data.rfind(b"\n") + 1])


async def trade(options: dict[str, Any], probe: Probe, journal: Journal) -> None:
    async def deliver(reports: list[Report]) -> None:
        for report in reports:
            journal.append(kind_of(report), [report])

    rng = random.Random(options["number"])
    gateway = BinanceGateway(GatewayConfig(**options["gateway"]), SystemClock())
    service = ExecutionService(gateway, execution_config(), SystemClock(), deliver)
    known: KnownState = probe.known()
    await service.start(known)
    print("trading", flush=True)
    for decision in range(10_000):
        batch = [
            order(
                options["number"] * 100_000 + decision * 10 + index,
                rng.choice(list(Side)),
                f"0.0{rng.randint(10, 99)}",
                symbol=rng.choice(["BTC-USDT-PERP", "ETH-USDT-PERP"]),
                price=rng.choice([None, None, "1000"]),
            )
            for index in range(3)
        ]
        journal.append("Order", batch)
        await service.submit(batch)
        await service.cancel(
            [
                CancelOrder(client_order_id=item.client_order_id, symbol=item.symbol, reason="test")
                for item in batch
                if rng.random() < 0.3
            ]
        )
        await asyncio.sleep(rng.random() * 0.05)


def main() -> None:
    options = json.loads(sys.argv[1])
    path = Path(options["journal"])
    if path.exists():
        cut_short(path)
    asyncio.run(trade(options, Journal.read(path), Journal(path)))


if __name__ == "__main__":
    main()
