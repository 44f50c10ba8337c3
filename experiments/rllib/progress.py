"""What a training tells while it runs: `progress.jsonl` and TensorBoard files. Writes them."""

import json
import math
import os
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

FILE = "progress.jsonl"
_RECENT = 5  # iterations that speed is told of
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
    "default_optimizer_learning_rate": "lr",
    "policy_learning_rate": "lr",
}
Row = dict[str, Any]


def losses(result: Mapping[str, Any], *, kl: bool = True) -> dict[str, dict[str, float]]:
    """Figures of each policy's last update, of RLlib's result.

    Args:
        result: of an iteration.
        kl: whether the divergence of the update was measured; where it was not, RLlib tells a 0.
    """
    found = {}
    for policy, told in result.get("learners", {}).items():
        if policy.startswith("__"):
            continue
        own = {name: _number(told[key]) for key, name in LOSSES.items()
               if key in told and (kl or name != "kl")}  # fmt: skip
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


def ended(result: Mapping[str, Any]) -> int:
    """Episodes that ended in an iteration."""
    told = _number(result.get("env_runners", {}).get("num_episodes", 0))
    return int(told) if math.isfinite(told) else 0


def sampled(result: Mapping[str, Any]) -> int:
    """Agent-steps of an iteration."""
    told = result.get("env_runners", {}).get("num_agent_steps_sampled", {})
    return int(sum(_number(n) for n in told.values()))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


class Pace:
    """How fast a training went lately, and when it will be over."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RECENT)  # seconds, agent-steps
        self._warm = False

    def add(self, took: float, steps: int) -> None:
        """Take in an iteration; the first of a process compiles, and counts till there is more."""
        if len(self._recent) == 1 and not self._warm:
            self._recent.clear()
            self._warm = True
        self._recent.append((took, steps))

    @property
    def steps_per_s(self) -> float:
        """Agent-steps."""
        return sum(n for _, n in self._recent) / max(sum(s for s, _ in self._recent), 1e-9)

    def left(
        self, *, steps: int | None = None, seconds: float | None = None,
        iterations: int | None = None,
    ) -> float | None:  # fmt: skip
        """Seconds until the first of these is used up, if it goes on as lately; None: no bound."""
        each = sum(s for s, _ in self._recent) / max(len(self._recent), 1)
        ends = [
            None if steps is None else steps / max(self.steps_per_s, 1e-9),
            seconds,
            None if iterations is None else iterations * each,
        ]
        known = [end for end in ends if end is not None]
        return round(max(min(known), 0.0), 1) if known else None


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
