"""What a training tells while it runs: `progress.jsonl` and TensorBoard files. Writes them."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

FILE = "progress.jsonl"
LOSSES = {
    "total_loss": "loss",
    "policy_loss": "policy_loss",
    "vf_loss": "value_loss",
    "qf_loss": "value_loss",
    "entropy": "entropy",
    "mean_kl_loss": "kl",
    "vf_explained_var": "explained",
    "alpha_value": "alpha",
    "gradients_default_optimizer_global_norm": "gradient_norm",
}
Row = dict[str, Any]


def losses(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Figures of each policy's last update, of RLlib's result."""
    found = {}
    for policy, told in result.get("learners", {}).items():
        if policy.startswith("__"):
            continue
        own = {name: _number(told[key]) for key, name in LOSSES.items() if key in told}
        if own:
            found[policy] = own
    return found


def returns(result: Mapping[str, Any], agents: int) -> dict[str, float | None]:
    """Mean, least and greatest return of episodes that ended, an agent; None if none did."""
    told = result.get("env_runners", {})
    keys = {"mean": "episode_return_mean", "min": "episode_return_min", "max": "episode_return_max"}
    found: dict[str, float | None] = {}
    for name, key in keys.items():
        value = _number(told.get(key, math.nan))
        found[name] = value / agents if math.isfinite(value) else None
    return found


def sampled(result: Mapping[str, Any]) -> int:
    """Agent-steps of an iteration."""
    told = result.get("env_runners", {}).get("num_agent_steps_sampled", {})
    return int(sum(_number(n) for n in told.values()))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


class Progress:
    """Writes a line an iteration.

    Args:
        folder: of the training.
        after: iterations that stay, of an earlier process; later lines are dropped.
        tensorboard: whether to write its files too.
    """

    def __init__(self, folder: Path, *, after: int = 0, tensorboard: bool = True) -> None:
        path = folder / FILE
        kept = [row for row in read(path) if row["iteration"] <= after]
        draft = path.with_suffix(".new")
        draft.write_text("".join(json.dumps(row) + "\n" for row in kept))
        draft.replace(path)
        self._file = path.open("a", encoding="utf-8")
        self._board = None
        if tensorboard:
            self._board = SummaryWriter(
                str(folder / "tensorboard"), purge_step=after + 1 if after else None, flush_secs=10
            )

    def write(self, row: Row) -> None:
        """Add a line."""
        self._file.write(json.dumps(_plain(row), allow_nan=False) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in _flat(row):
                self._board.add_scalar(name, value, row["iteration"])

    def sync(self) -> None:
        """Have all lines on the disk, before a checkpoint that comes after them."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def read(path: Path) -> list[Row]:
    """The lines of a progress file; one that was being written when its writer died is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _plain(value: Any) -> Any:
    """JSON knows no NaN: None."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _flat(row: Row, before: str = "") -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}/")
        elif isinstance(value, int | float) and math.isfinite(value) and name != "iteration":
            yield before + name, float(value)
