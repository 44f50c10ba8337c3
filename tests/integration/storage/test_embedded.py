"""The embedded server: started, found, killed, recovered, refused."""

import os
import pwd
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import psycopg
import pytest

from don.errors import ConfigError, DatabaseError
from don.storage import system_user
from don.storage.embedded import EmbeddedPostgres

pytestmark = pytest.mark.postgres
ROOT = Path(__file__).resolve().parents[3]
START = """
import os, sys
from don.storage.embedded import EmbeddedPostgres
server = EmbeddedPostgres(sys.argv[1])
if len(sys.argv) > 2:
    os.setgroups([])
    os.setuid(int(sys.argv[2]))
server.start()
print(server.pid, flush=True)
os._exit(0)
"""


def one(server: EmbeddedPostgres, query: str) -> object:
    with psycopg.connect(server.url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def start_elsewhere(home: Path, *user: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", START, str(home), *map(str, user)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_start_is_idempotent_and_settings_hold(mortal: EmbeddedPostgres) -> None:
    before = mortal.pid
    assert mortal.start() == EmbeddedPostgres(mortal.data.parent).start() == mortal.url
    assert mortal.pid == before and mortal.alive()
    assert one(mortal, "SHOW listen_addresses") == ""
    assert one(mortal, "SHOW fsync") == one(mortal, "SHOW synchronous_commit") == "on"
    assert int(str(one(mortal, "SELECT count(*) FROM pg_stat_statements"))) >= 0
    assert stat.S_IMODE(mortal.data.stat().st_mode) == 0o700


def test_killed_server_with_busy_client_comes_back_with_its_data(mortal: EmbeddedPostgres) -> None:
    with psycopg.connect(mortal.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int PRIMARY KEY)")
        connection.execute("INSERT INTO kept VALUES (1)")
    busy = psycopg.connect(mortal.url, autocommit=True)
    pid = busy.info.backend_pid

    def work() -> None:  # never looks at the world: it would outlive the server by a long time
        with pytest.raises(psycopg.OperationalError):
            busy.execute("SELECT sum(n) FROM generate_series(1, 100000000000) AS n")

    worker = threading.Thread(target=work)
    worker.start()
    while "SELECT sum" not in str(
        one(mortal, f"SELECT query FROM pg_stat_activity WHERE pid = {pid}")
    ):
        pass
    killed = mortal.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    mortal.start()
    worker.join(20)
    assert not worker.is_alive()
    assert mortal.pid != killed
    assert one(mortal, "SELECT n FROM kept") == 1


def test_everything_killed_starts_again(mortal: EmbeddedPostgres) -> None:
    killed = mortal.pid
    assert killed is not None
    server = psutil.Process(killed)
    server.suspend()  # or it would clear its children away before we do
    for process in [*server.children(), server]:
        process.kill()
    assert mortal.start() and mortal.alive()


def test_pid_file_that_names_a_stranger_is_not_believed(mortal: EmbeddedPostgres) -> None:
    old = (mortal.data / "postmaster.pid").read_text()
    mortal.stop()
    assert mortal.pid is None and not mortal.alive()
    stranger = old.replace(old.splitlines()[0], str(os.getpid()), 1)
    (mortal.data / "postmaster.pid").write_text(stranger)
    (mortal.data / ".s.PGSQL.5432.lock").write_text(stranger)
    assert not mortal.alive()
    assert mortal.start() and mortal.alive()


def test_racing_starters_below_a_private_folder(don_home: Path) -> None:
    private = don_home / "private"
    private.mkdir(mode=0o700)
    (private / "readable").write_text("names and contents stay hidden")
    home = private / ("long-" * 20)  # too long for a socket
    racers = [start_elsewhere(home) for _ in range(3)]
    answers = [racer.communicate(timeout=120) for racer in racers]
    server = EmbeddedPostgres(home)
    try:
        assert {out.strip() for out, _ in answers} == {str(server.pid)}, answers
        assert server.alive()  # its starters are gone
        sockets = Path(str(one(server, "SHOW unix_socket_directories")))
        assert len(str(sockets)) < 60
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        commands = (["ls", private], ["cat", private / "readable"])
        for command in commands if system_user.needed() else ():
            tried = subprocess.run(command, user="nobody", capture_output=True, cwd="/")
            assert tried.returncode != 0
    finally:
        server.stop()
    server.stop()  # again: nothing to do
    sockets.rmdir()


def test_normal_user_needs_nothing_special(don_home: Path) -> None:
    if not system_user.needed():
        pytest.skip("these tests run as a normal user already")
    nobody = pwd.getpwnam("nobody")
    home = don_home / "home"
    home.mkdir()
    don_home.chmod(0o711)
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    starter = start_elsewhere(home, nobody.pw_uid)
    out, problem = starter.communicate(timeout=60)
    if "Permission denied" in problem and "pginstall" in problem:
        pytest.skip("another user cannot read this installation")
    server = EmbeddedPostgres(home)
    try:
        assert out.strip() == str(server.pid), problem
        assert psutil.Process(int(out)).uids().effective == nobody.pw_uid
    finally:
        server.stop()
    os.chown(home / "postgres", 0, 0)
    stranger = start_elsewhere(home, nobody.pw_uid)
    assert "belongs to another user" in stranger.communicate(timeout=60)[1]


def test_unusable_home_is_a_clear_error(don_home: Path) -> None:
    (don_home / "file").write_text("")
    with pytest.raises(ConfigError, match=r"state folder .*/file/home cannot be used.*DON_HOME"):
        EmbeddedPostgres(don_home / "file" / "home").start()


def test_foreign_content_is_left_alone(don_home: Path) -> None:
    (don_home / "postgres").mkdir()
    (don_home / "postgres" / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="no PostgreSQL data folder"):
        EmbeddedPostgres(don_home).start()
    assert [path.name for path in (don_home / "postgres").iterdir()] == ["thesis.tex"]


def test_data_of_another_major_version_is_refused(don_home: Path) -> None:
    (don_home / "postgres").mkdir()
    (don_home / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(ConfigError, match="written by PostgreSQL 9, installed is"):
        EmbeddedPostgres(don_home).start()


def test_full_disk_is_a_clear_error_and_leaves_nothing(don_home: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(don_home)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        with pytest.raises(DatabaseError, match="no disk space for the state folder"):
            EmbeddedPostgres(don_home).start()
        assert [path.name for path in don_home.iterdir()] == ["postgres.lock"]
    finally:
        subprocess.run(["umount", str(don_home)], check=True)
