"""Starting the paper exchange with bad input: one clear line, exit code 2, nothing left behind."""

import asyncio
import datetime
import json
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from support.paper import Process, config, raw, served

from don.errors import UsageError
from don.paper.main import READY_FILE, main
from don.paper.server.identity import ensure_certificate


async def attempt(folder: Path, **changes: Any) -> None:
    async with served(folder, **changes):
        pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speed": "fast"}, "speed must be max, .* was 'fast'"),
        ({"speed": "-1"}, "speed must be max"),
        ({"symbols": ["NOPEUSDT"]}, "NOPE"),
        ({"tape": "/nowhere/tape.parquet"}, "/nowhere/tape.parquet"),
        ({"start": "yesterday"}, "start must be an ISO-8601 time, was 'yesterday'"),
        ({"start": "1999-01-01"}, "start must be from"),
        ({"host": "256.0.0.1"}, "port 0 on 256.0.0.1 cannot be opened"),
    ],
)
async def test_bad_input_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        await attempt(tmp_path, **changes)
    assert not (tmp_path / READY_FILE).exists()
    await attempt(tmp_path)  # nothing half-started is in the way


@pytest.mark.parametrize("field", ["port", "stream_port"])
async def test_a_port_in_use_is_named(tmp_path: Path, field: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"^{field} {port} on 127.0.0.1 is in use"):
            await attempt(tmp_path, **{field: port})
    await attempt(tmp_path)


async def test_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UsageError, match=r"state folder .*file.* cannot be written"):
        await attempt(blocked)


async def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "exchange.sqlite").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(Exception, match=r"exchange database .*exchange.sqlite"):
        await attempt(tmp_path)


async def test_the_process_ends_with_code_2_and_one_line(tmp_path: Path) -> None:
    text = config(tmp_path, speed="fast").model_dump_json()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "don.paper.main", text),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert (process.returncode, out) == (2, b"")
    assert err.decode().splitlines()[-1].startswith("error: speed must be max")
    assert len(err.decode().splitlines()) == 1


@pytest.mark.parametrize("text", ["{", '{"state_dir": "x", "sped": 1}', "/nowhere.json"])
def test_a_bad_configuration_is_named(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([text]) == 2
    assert capsys.readouterr().err.startswith("error: config")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    async with Process.started(tmp_path, hold=False) as exchange:
        content = json.loads((tmp_path / READY_FILE).read_text())
        assert content["rest_url"] == exchange.ready.rest_url
        assert await exchange.end(number) == 0
    assert not (tmp_path / READY_FILE).exists()


async def test_keys_and_certificate_outlive_a_restart_and_a_reset(tmp_path: Path) -> None:
    names = ("api-keys.json", "exchange-cert.pem", "exchange-key.pem")
    await attempt(tmp_path)
    before = [(tmp_path / name).read_bytes() for name in names]
    await attempt(tmp_path, reset=True)
    assert [(tmp_path / name).read_bytes() for name in names] == before


def test_a_certificate_is_renewed_before_it_ends(tmp_path: Path) -> None:
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    first = ensure_certificate(tmp_path, now).certificate.read_bytes()
    assert ensure_certificate(tmp_path, now).certificate.read_bytes() == first
    later = now + datetime.timedelta(days=380)
    assert ensure_certificate(tmp_path, later).certificate.read_bytes() != first
    (tmp_path / "exchange-key.pem").write_text("damaged")
    assert ensure_certificate(tmp_path, later).private_key.read_text() != "damaged"


async def test_status_without_a_key(tmp_path: Path) -> None:
    async with served(tmp_path) as ready, raw(ready) as rest:
        status, answer, _ = await rest("GET", "/paper/v1/status", key="")
    assert status == 200
    assert (answer["state"], answer["interval"], answer["speed"]) == ("held", "30m", "1bar")
