"""The process environment that Ray reads while it is imported. Imports no Ray itself."""

import os
from pathlib import Path

from don.security.secrets import ensure_token


def prepare(home: Path) -> None:
    """Set Ray's authentication and threads up; must run before anything imports Ray.

    Args:
        home: the state folder; the cluster's token lives there, readable by its owner alone.

    Raises:
        ConfigError: if the token cannot be kept there.
    """
    token, _ = ensure_token(home / "ray-token")
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = token.reveal()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # the history of calls, for Ray's own dashboard: its server grows by 130 MiB an hour with it
    os.environ["RAY_task_events_report_interval_ms"] = "0"
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # one process a role already fills the cores; nested thread pools only fight each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
