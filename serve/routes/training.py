"""Trainings: which there are, how far they are, and their learning curves."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from don.clock import NS_PER_S, Clock
from don.learning.trainings import TrainingState, figures
from serve.ports import Reader, Row, TrainingTold
from serve.problems import ApiError
from serve.schemas import Estimate, Time, View

MAX_SERIES = 64
_AXES = ("iteration", "steps")  # what series are drawn over


class TrainingRow(View):
    """A training, and what its last line of progress said."""

    id: str
    kind: str = Field(examples=["train", "tune", "trial"])
    name: str
    state: TrainingState
    detail: str  # why it failed
    parent: str  # of a trial: the search it belongs to
    folder: str
    ts_start: Time
    ts_end: Time | None
    ts_progress: Time  # of its last line
    iteration: int | None
    steps: int | None  # agent-steps
    seconds: Estimate  # of training
    episode_return: Estimate  # mean reward, an agent, in sample while it explores
    episode_bars: int | None  # length of an episode; null: to the end of the data, or not told
    steps_per_s: Estimate
    eta_s: Estimate  # while it runs


class Series(View):
    """One figure over the iterations of a curve; null where there was none."""

    name: str = Field(examples=["episode_return/mean", "losses/trader/policy_loss"])
    values: tuple[Estimate, ...]


class Trainings(View):
    """Newest first."""

    trainings: tuple[TrainingRow, ...]


class Curve(View):
    """A training's figures by iteration, thinned to what was asked for."""

    training: TrainingRow
    iterations: tuple[int, ...]
    steps: tuple[int, ...]
    series: tuple[Series, ...]


def build(reader: Reader, clock: Clock) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/v1/training", tags=["training"])

    @router.get("")
    async def listed() -> Trainings:
        """Trainings and searches that this state folder knows, newest first."""
        found = await reader.trainings()
        return Trainings(trainings=tuple(_row(told, clock) for told in found))

    @router.get("/{run}")
    async def curve(
        run: Annotated[str, Path(max_length=128, examples=["3f2a9c0d1b7e"])],
        points: Annotated[int, Query(ge=10, le=2_000)] = 500,
    ) -> Curve:
        """The learning curve: returns, losses and evaluations by iteration."""
        told = await reader.training(run, points)
        if told is None:
            raise ApiError(404, "not_found", "path.run", f"was {run!r}: see /v1/training")
        return Curve(
            training=_row(told, clock),
            iterations=tuple(row["iteration"] for row in told.rows),
            steps=tuple(_whole(row.get("steps")) or 0 for row in told.rows),
            series=_series(told.rows),
        )

    return router


def _row(told: TrainingTold, clock: Clock) -> TrainingRow:
    entry, last = told.entry, told.last or {}
    running = entry.state is TrainingState.RUNNING
    left = _number(last.get("eta_s"))
    if left is not None:  # counted from when it was said
        left = max(0.0, left - (clock.now_ns() - told.written_ns) / NS_PER_S)
    gained = last.get("episode_return")
    return TrainingRow(
        id=entry.id,
        kind=entry.kind,
        name=entry.name,
        state=entry.state,
        detail=entry.detail,
        parent=entry.parent,
        folder=entry.out,
        ts_start=entry.started_ns,
        ts_end=entry.ended_ns,
        ts_progress=told.written_ns,
        iteration=_whole(last.get("iteration")),
        steps=_whole(last.get("steps")),
        seconds=_number(last.get("seconds")),
        episode_return=_number(gained.get("mean") if isinstance(gained, dict) else None),
        episode_bars=_whole(last.get("episode_bars")),
        steps_per_s=_number(last.get("steps_per_s")) if running else None,
        eta_s=left if running else None,
    )


def _series(rows: Sequence[Row]) -> tuple[Series, ...]:
    told = [dict(figures(row)) for row in rows]
    names = dict.fromkeys(name for row in told for name in row if name not in _AXES)
    return tuple(
        Series(name=name, values=tuple(row.get(name) for row in told))
        for name in list(names)[:MAX_SERIES]
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None
