"""A Ray cluster of this machine that takes jobs: `python -m experiments.head`, until Ctrl-C.

Started as `don up` starts its own, on loopback and with the state folder's token, but with Ray's
dashboard, which takes the jobs of `ray job submit`.
"""

import argparse
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from don.errors import DependencyError, DonError, UsageError
from don.home import home_dir
from experiments.cluster import STORE_BYTES, local_cluster

AGENT_S = 600.0  # for the agent of jobs to come up
KV_NAMESPACE = b"dashboard"
PORT = 8265  # as Ray's commands expect it
# Seconds for a job that is stopped to write its checkpoint, and for the dashboard of a busy machine
# to come up. Ray's own are 3 and 60.
PATIENCE = {"RAY_JOB_STOP_WAIT_TIME_S": "120", "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "600"}


def serve(home: Path, port: int, cpus: int | None, store_bytes: int = STORE_BYTES) -> None:
    """Take jobs until a signal comes.

    Args:
        home: the state folder; its token is what jobs are submitted with.
        port: where they are taken, on loopback.
        cpus: tasks of one CPU that run at once; None: the machine's.
        store_bytes: size of the object store.

    Raises:
        UsageError: if RAY_ADDRESS names another cluster, or the port is taken.
        DependencyError: if the cluster does not come up.
    """
    if other := os.environ.get("RAY_ADDRESS"):
        raise UsageError(f"RAY_ADDRESS names a cluster already, {other}: unset it")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(f"--port {port} cannot be used: {error.strerror}") from error
    over = threading.Event()

    def stop(*_: Any) -> None:
        over.set()

    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    # jobs inherit it: the same Python
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with local_cluster(home, cpus=cpus, store_bytes=store_bytes, jobs_port=port):
        for which in (signal.SIGINT, signal.SIGTERM):
            signal.signal(which, stop)
        until = time.monotonic() + AGENT_S
        while not _takes_jobs():
            if over.wait(0.5):
                return
            if time.monotonic() > until:
                raise DependencyError(f"Ray's agent of jobs did not come up within {AGENT_S} s")
        print(
            f"takes jobs at http://127.0.0.1:{port} until Ctrl-C; to submit some, first\n"
            f"export RAY_API_SERVER_ADDRESS=http://127.0.0.1:{port} RAY_AUTH_MODE=token "
            f"RAY_AUTH_TOKEN_PATH={home / 'ray-token'}",
            flush=True,
        )
        over.wait()


def _takes_jobs() -> bool:
    """Whether the agent that runs jobs, which comes up last, has said where it is."""
    import ray
    from ray.dashboard.consts import DASHBOARD_AGENT_ADDR_NODE_ID_PREFIX as AGENT
    from ray.experimental.internal_kv import _internal_kv_get

    key = f"{AGENT}{ray.get_runtime_context().get_node_id()}"
    return _internal_kv_get(key.encode(), namespace=KV_NAMESPACE) is not None


def main(words: list[str]) -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="experiments.head", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--cpus", type=int, help="tasks at once; default: the machine's cores")
    given = parser.parse_args(words)
    serve(home_dir(), given.port, given.cpus)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DonError as error:
        print(f"head: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
