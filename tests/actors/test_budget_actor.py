"""The request budget as an actor: twenty actors of one exchange, over real HTTP. No 429."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paper import Process, raw

from don.paper.server.config import LimitsConfig

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]
WEIGHT = 400
TESTS = str(Path(__file__).resolve().parents[1])


async def test_twenty_actors_share_one_budget_and_a_restart_of_it_is_harmless(
    don_home: Path, tmp_path: Path
) -> None:
    limits = LimitsConfig(weight_per_minute=WEIGHT)
    async with Process.started(tmp_path, limits=limits.model_dump()) as process:
        run = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "support.budget_cluster"),
            *(str(don_home), process.ready.rest_url, str(WEIGHT)),
            env={**os.environ, "PYTHONPATH": TESTS},
            stdout=subprocess.PIPE,
        )
        output, _ = await run.communicate()
        assert run.returncode == 0
        told = json.loads(output.splitlines()[-1])
        assert {status for counts in told["answers"].values() for status in counts} == {"200"}
        assert told["answers"]["DATA"]["200"] > 20
        assert told["answers"]["CANCEL"]["200"] > 0, "room is kept for cancels"
        assert told["lessees"] == [20]
        async with raw(process.ready) as rest:
            status, _, headers = await rest("GET", "/fapi/v1/ping")
        assert status == 200
        assert int(headers["X-MBX-USED-WEIGHT-1M"]) <= WEIGHT
