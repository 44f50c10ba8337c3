"""A lake in an S3-compatible store: the commands as a user runs them, against a real server."""

import importlib.util
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from click.testing import Result
from support.stored import market_rows
from typer.testing import CliRunner

from don.cli.main import app
from don.errors import ConfigError, DonError
from don.storage.database import Database
from don.storage.lake.lake import Lake
from don.storage.market.hot import MarketTables

SECRET = "never-to-be-seen-anywhere"
pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("moto", "flask_cors")),
        reason="no object store here: pip install 'don[s3]' brings moto's server",
    ),
]


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """Address of an S3 server of our own on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        answers(f"http://127.0.0.1:{port}/", server)
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def answers(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until it does."""
    for _ in range(1_200):
        assert server.poll() is None, "the object store ended by itself"
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            try:
                server.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
    raise AssertionError(f"{url} did not answer")


@pytest.fixture
def don(
    store: str, database: Database, database_url: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Result]:  # fmt: skip
    """`don data` on a state folder whose lake is in a new bucket of the store."""
    monkeypatch.setenv("DON_DATABASE_URL", database_url)
    monkeypatch.setenv("DON_HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "desk")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    root = f"s3://lake/market?region=us-east-1&endpoint_override={store}&scheme=http"
    (tmp_path / "don.toml").write_text(f'[lake]\nroot = "{root}"\ngrace_s = 0\n')
    files(store).create_dir("lake")
    for channel in ("trades", "books"):
        MarketTables(database).load(channel, market_rows(channel, 300))

    def run(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, ["data", *words])
        assert SECRET not in result.output + str(result.exception)
        if isinstance(result.exception, DonError):
            assert result.exception.exit_code == code, result.exception
        else:
            assert result.exit_code == code, (result.output, result.exception)
        return result

    yield run
    files(store).delete_dir_contents("lake")


def files(store: str) -> pafs.S3FileSystem:
    return pafs.S3FileSystem(
        endpoint_override=store, scheme="http", region="us-east-1", access_key="desk",
        secret_key=SECRET, allow_bucket_creation=True,
    )  # fmt: skip


def test_partitions_go_to_the_store_and_back(don: Callable[..., Result], store: str) -> None:
    before = don("query", "trades", "--format", "csv").output
    assert len(before.splitlines()) == 301
    moved = json.loads(don("archive", "--older-than", "0", "--json").output)
    assert sum(row["rows"] for row in moved if row["channel"] == "trades") == 300
    assert json.loads(don("query", "--sql", "SELECT count(*) AS n FROM md_trades",
                          "--format", "json").output) == {"n": 0}  # fmt: skip
    assert don("query", "trades", "--format", "csv").output == before
    assert json.loads(don("verify", "--json").output) == {"files": 18, "faults": []}
    joined = json.loads(don("compact", "--json").output)["trades"]
    assert (joined["joined"], joined["made"], joined["deleted"]) == (9, 3, 9)
    there = files(store).get_file_info(pafs.FileSelector("lake/market/trades", recursive=True))
    objects = sorted(info.path for info in there if info.type == pafs.FileType.File)
    assert len(objects) == 3 and all("date=2025-05-01/part-" in path for path in objects)
    span = ("--start", "2025-05-01", "--end", "2025-05-09")
    assert "brought back 300 rows of 3 files" in don("unarchive", "trades", *span).output
    assert don("query", "trades", "--format", "csv").output == before


def test_damage_is_found_and_an_absence_is_no_damage(
    don: Callable[..., Result], store: str
) -> None:
    books = len(don("query", "books", "--format", "csv").output.splitlines()) - 1
    don("archive", "trades", "--older-than", "0")
    found = files(store).get_file_info(pafs.FileSelector("lake/market/trades", recursive=True))
    bad, gone = [info.path for info in found if info.path.endswith(".parquet")][:2]
    with files(store).open_output_stream(bad) as sink:
        sink.write(b"nonsense")
    files(store).delete_file(gone)
    said = don("verify", code=3).output
    assert "9 files, 2 wrong" in said and "is missing" in said and "has 8 bytes" in said
    asked = str(don("query", "trades", "--format", "csv", code=2).exception)
    assert "lake file trades/exchange=" in asked
    away = "s3://lake/market?region=us-east-1&endpoint_override=127.0.0.1:1&scheme=http"
    lost = str(don("verify", "trades", "--lake", away, code=4).exception)
    assert lost.startswith("lake s3://lake/market?region") and "does not answer or refuses" in lost
    don("archive", "books", "--older-than", "0", "--lake", away, code=4)
    left = don("query", "--sql", "SELECT count(*) AS n FROM md_books", "--format", "json").output
    assert json.loads(left) == {"n": books}, "what the store did not take stays in the database"


@pytest.mark.parametrize("part", ["access_key=a", "secret_key=a", "session_token=a"])
def test_an_address_with_keys_is_refused(part: str) -> None:
    with pytest.raises(ConfigError, match="must not hold keys"):
        Lake(f"s3://lake/market?region=us-east-1&{part}")
