"""What a run was begun with, which must be as it was to go on, and who has its folder. Locks files.

For trainings, searches and studies alike. Beside configuration and data that is what features mean
and what can read its checkpoints. Folders that were begun before these were kept go on without.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from don.envs.config import EnvConfig
from don.envs.rewards import code_hash
from don.errors import UsageError
from experiments.durable import make_folder

FORMAT = 1  # of checkpoints; rises when an older one cannot be gone on from
LOCK = ".lock"
# What is done with a folder: what it is then, and the file by which it is known
_KINDS = {
    "trained": ("training", "progress.jsonl"),
    "studied": ("study", "plan.json"),
    "searched": ("search", "runs.json"),
}


@cache
def ray_version() -> str:
    """Of the Ray that is installed; it is not imported for that."""
    return version("ray")


def versions(features: str, rewards: str = "") -> dict[str, Any]:
    """What is kept beside a run, and compared when it goes on.

    Args:
        features: their hash, as a model's card has it.
        rewards: hash of the code of one's own; none: they are Don's.
    """
    own = {"reward_code": rewards} if rewards else {}
    return {"format": FORMAT, "feature_hash": features, "ray": ray_version(), **own}


def versions_of(config: EnvConfig) -> dict[str, Any]:
    """`versions` of what is trained in an environment.

    Raises:
        ConfigError: if a feature or a reward is none, or a module cannot be loaded.
    """
    return versions(config.observation.feature_set().hash, code_hash(config.reward))


def check_versions(before: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """Make sure that what goes on reads what was written as it was meant.

    Args:
        before: what was kept; what it lacks is of an older Don and not compared.
        now: `versions` here.
        where: folder of the run, or of a checkpoint.

    Raises:
        UsageError: if features, Ray or the format are not as they were.
    """
    words = {
        "feature_hash": "features of hash {}",
        "reward_code": "rewards whose code has the hash {}",
        "ray": "Ray {}, whose checkpoints no other version is sure to read",
        "format": "format {} of checkpoints",
    }
    for name, told in words.items():
        if name in before and before[name] != now.get(name):
            raise UsageError(
                f"{where} was begun with {told.format(before[name])}; here it is "
                f"{now.get(name)}: go on with what it was begun with, or use another --out"
            )


@contextmanager
def alone(out: Path, doing: str = "trained") -> Iterator[None]:
    """Have the folder of a run for oneself, until the block ends or the process is gone.

    Args:
        out: the folder; made if need be.
        doing: what is done with it, for the error.

    Raises:
        UsageError: if another process has it, it is a run's of another kind, or it cannot be
            written.
    """
    for other, (kind, known) in _KINDS.items():
        if other != doing and (out / known).exists():
            raise UsageError(f"{out} holds a {kind}: use another --out")
    make_folder(out)
    with (out / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read().strip()
            raise UsageError(
                f"{out} is being {doing} by process {who or 'unknown'}: wait for it, end it, or "
                "use another --out"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
