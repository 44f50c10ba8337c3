"""Kill -9 of the execution service while orders are on their way: no order lost, none doubled."""

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest
from support import execution_process
from support.execution_process import Journal, cut_short
from support.probe import eventually, finish, gateway_config, running
from support.venue import Fault, Venue
from support.venue_book import Book

TESTS = Path(__file__).resolve().parents[2]
WORSE = [Fault.NONE, Fault.NONE, Fault.NONE, Fault.LATE, Fault.DROP_AFTER, Fault.FAIL_AFTER]


@pytest.fixture
async def venue():
    venue = Venue()
    await venue.start()
    yield venue
    await venue.stop()


async def trade_and_kill(venue: Venue, journal: Path, number: int, rng: random.Random) -> None:
    options = {
        "journal": str(journal),
        "number": number,
        "gateway": gateway_config(venue).model_dump(mode="json")
        | {"api_key": "test-key", "api_secret": "test-secret"},
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        execution_process.__file__,
        json.dumps(options),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(120):
            while (line := await process.stdout.readline()) != b"trading\n":
                assert line, "the process ended before it traded"
            sent = venue.calls["POST v1/order"] + rng.randint(1, 25)
            await eventually(lambda: venue.calls["POST v1/order"] >= sent, 60)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


@pytest.mark.fault
async def test_kill_minus_nine_in_mid_submit(venue, tmp_path):
    rng = random.Random(7)
    venue.faults.extend(rng.choice(WORSE) for _ in range(300))
    journal = tmp_path / "journal"
    for number in range(1, 4):
        await trade_and_kill(venue, journal, number, rng)
        await venue.act(Book.fund)
    cut_short(journal)
    probe = Journal.read(journal)
    assert len(probe.intents) > 10
    async with running(venue, probe, probe.known()) as service:
        await finish(service)
        await service.cancel_all("test")
        await finish(service)
    probe.check(venue)
