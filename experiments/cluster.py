"""One way to a Ray cluster for everything that computes in parallel: experiments, builds, sweeps.

Imports Ray late, so that importing this costs nothing; starts and stops processes.
"""

import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.environment import prepare
from don.errors import DependencyError

STORE_BYTES = 256 * 2**20
BACKGROUND = 15  # niceness: a Don that trades on the same machine goes first


@contextmanager
def local_cluster(
    home: Path, *, cpus: int | None = None, store_bytes: int = STORE_BYTES,
    jobs_port: int | None = None,
) -> Iterator[None]:  # fmt: skip
    """Have Ray inside the block: what is there already, else a cluster of this process's own.

    A connection that this process has is used and left as it is. If RAY_ADDRESS names a cluster,
    as it does in a Ray job, that one is joined, and `cpus` and `store_bytes` are its own affair.
    Else one starts on this machine as `don up` starts its: on loopback, with token authentication,
    without usage reports, without dashboard unless jobs are taken, in a folder of its own that is
    removed afterwards.

    Args:
        home: the state folder; the token of an own cluster is kept there.
        cpus: tasks of one CPU that an own cluster runs at once; default: the machine's.
        store_bytes: size of an own cluster's object store.
        jobs_port: where an own cluster takes jobs; None: nowhere.

    Raises:
        DependencyError: if the cluster does not come up, or the one named cannot be joined.
        ConfigError: if the token cannot be kept in `home`.
    """
    join = os.environ.get("RAY_ADDRESS")
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        yield
        return
    if not join:
        _authenticate(home)
    import ray

    terminated = signal.getsignal(signal.SIGTERM)
    # Not the folder that `don up` of this home uses: both may run. Short: socket paths are limited.
    folder = None if join else Path(tempfile.mkdtemp(prefix=f"don-{os.getuid()}-"))
    try:
        if folder is None:
            _join(str(join))
        else:
            from actors.runtime import start_ray

            start_ray(
                folder,
                cpus=cpus or os.cpu_count() or 1,
                store_bytes=store_bytes,
                niceness=BACKGROUND,
                jobs_port=jobs_port,
            )
        if callable(terminated) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminated)  # Ray has put its own exit in its place
        yield
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)  # its processes may still write a log line


def _authenticate(home: Path) -> None:
    """Have this process use the state folder's token, also if Ray was imported before."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    prepare(home)
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    # Ray reads both from the environment once, when it is imported; its own set-up renews them so
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _join(address: str) -> None:
    import ray

    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # it raises bare ones
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DependencyError(f"no Ray cluster at RAY_ADDRESS={address!r}: {said}") from error
