"""Where remoteness is added: the local cluster; names, options and handles of Don's actors."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private import parameter
from ray._private.utils import write_ray_address
from ray.actor import ActorHandle

from don.errors import DependencyError
from don.log import get_logger
from don.observe.sample import Sample

NAMESPACE = "don"
LATE = "timed out during startup"  # how Ray says that its processes took too long
TRIES = 3
STORE_BYTES = 256 * 2**20
Progress = Callable[[str, str, float], None]  # part, state, seconds that it took

# Every resource is stated. Actors restart for ever and rebuild themselves from the database; calls
# are never retried by Ray, because their order matters: senders repeat what was not acknowledged.
_ALWAYS: dict[str, Any] = {"lifetime": "detached", "max_restarts": -1, "max_task_retries": 0}
OPTIONS: dict[str, dict[str, Any]] = {
    # many readers wait on the board at once
    "board": {**_ALWAYS, "num_cpus": 0.05, "max_concurrency": 1000, "max_pending_calls": 10_000},
    # every lessee settles here once a second at most, plus refills
    "budget": {**_ALWAYS, "num_cpus": 0.05, "max_concurrency": 256, "max_pending_calls": 10_000},
    "feed": {**_ALWAYS, "num_cpus": 0.3, "max_concurrency": 16, "max_pending_calls": 1000},
    "cache": {**_ALWAYS, "num_cpus": 0.3, "max_concurrency": 16, "max_pending_calls": 1000},
    # sync: one message at a time, in the order of arrival
    "desk": {**_ALWAYS, "num_cpus": 0.3, "max_pending_calls": 1000},
    "optimizer": {**_ALWAYS, "num_cpus": 0.3, "max_pending_calls": 16},
    "collector": {**_ALWAYS, "num_cpus": 0.05, "max_concurrency": 16, "max_pending_calls": 1000},
    "writer": {**_ALWAYS, "num_cpus": 0.3, "max_concurrency": 256, "max_pending_calls": 1000},
    "execution": {**_ALWAYS, "num_cpus": 0.3, "max_concurrency": 64, "max_pending_calls": 1000},
}


def start_ray(
    temp_dir: Path,
    *,
    cpus: int | None = None,
    store_bytes: int = STORE_BYTES,
    niceness: int = 0,
    jobs_port: int | None = None,
) -> None:
    """Start this process's own local cluster, bound to loopback.

    Token authentication comes from `actors.environment.prepare`, which must have run before.

    Args:
        temp_dir: where Ray keeps sockets and logs; must be short, socket paths are limited.
        cpus: what actors and tasks share; default: enough for all actors, whatever the machine.
        store_bytes: size of the object store.
        niceness: of the processes of actors and tasks. Ray's own default, 15, lets whatever else
            runs on the machine starve a desk; it suits what computes in the background.
        jobs_port: where Ray's dashboard takes jobs, on loopback; None: there is none.

    Raises:
        DependencyError: if the cluster does not come up.
    """
    _private(temp_dir)
    try:
        with contextlib.nullcontext() if jobs_port is None else _agent_port():
            _init(temp_dir, cpus or max(4, os.cpu_count() or 1), store_bytes, niceness, jobs_port)
    except Exception as error:  # it raises bare ones, e.g. when the machine is too slow
        said = next(filter(str.strip, str(error).splitlines()), type(error).__name__)
        raise DependencyError(f"Ray did not start: {said}") from error
    if jobs_port is not None:  # else a job joins whatever Ray it finds on this machine
        write_ray_address(ray.get_runtime_context().gcs_address, str(temp_dir))


@contextlib.contextmanager
def _agent_port() -> Iterator[None]:
    """Have Ray's agent, which runs jobs, listen where there is room.

    `ray.init` cannot be told where; of several Rays on a machine only the first would take jobs.
    """
    kind = parameter.RayParams
    parameter.RayParams = partial(kind, dashboard_agent_listen_port=0)
    try:
        yield
    finally:
        parameter.RayParams = kind


def _init(
    temp_dir: Path, cpus: int, store_bytes: int, niceness: int, jobs_port: int | None
) -> None:
    """`ray.init`, again if need be.

    Ray gives its own processes half a minute, which cannot be changed and is too little while much
    else starts on the same cores.
    """
    begin = partial(
        ray.init,
        address="local",
        namespace=NAMESPACE,
        include_dashboard=jobs_port is not None,
        dashboard_host="127.0.0.1",
        dashboard_port=jobs_port,
        num_cpus=cpus,
        object_store_memory=store_bytes,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=str(temp_dir),
        _node_ip_address="127.0.0.1",
        _system_config={"worker_niceness": niceness},
    )
    for _ in range(TRIES - 1):
        try:
            begin()
            return
        except Exception as error:
            if LATE not in str(error):
                raise
            get_logger("don.runtime").warning("ray is late, starting it again")
            _end_started(temp_dir)
    begin()


def _end_started(temp_dir: Path) -> None:
    """End what a start that failed left running: our children that work in this folder."""
    left: list[psutil.Process] = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(str(temp_dir) in part for part in child.cmdline()):
                left += [child, *child.children(recursive=True)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=30)


def _private(folder: Path) -> None:
    """Have the folder, owned by us and closed to all others: whoever writes there owns the cluster.

    Raises:
        DependencyError: if it belongs to somebody else.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise DependencyError(f"{folder} belongs to somebody else: remove it")
    folder.chmod(0o700)


def actor_name(role: str, key: str = "") -> str:
    """The cluster-wide name of an actor, e.g. `feed:BINANCE_FUTURES`."""
    return f"{role}:{key}" if key else role


def spawn(role: str, cls: type, *args: Any, key: str = "") -> ActorHandle:
    """The handle of the actor `role:key`, created if it is not there."""
    options = {**OPTIONS[role], "name": actor_name(role, key), "namespace": NAMESPACE}
    return ray.remote(cls).options(get_if_exists=True, **options).remote(*args)


@cache
def find(role: str, key: str = "") -> ActorHandle:
    """The handle of a running actor; asked once, because handles survive restarts.

    Raises:
        DependencyError: if there is none of that name.
    """
    name = actor_name(role, key)
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError as error:
        raise DependencyError(f"actor {name} is not running") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Answer of an actor to `ping`: who answers and how it is."""

    pid: int
    state: str = "live"  # live | starting | stale, as the board's health views say it
    detail: str = ""
    streams: tuple[dict[str, Any], ...] = ()  # rows of `serve.schemas.StreamHealth`
    metrics: tuple[Sample, ...] = ()  # what monitors are told
