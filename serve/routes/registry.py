"""The registry of trained models, read only: `don models` moves versions."""

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from don.clock import NS_PER_S, Clock
from don.errors import DependencyError, UsageError
from serve.assemble import picture
from serve.ports import Reader
from serve.problems import ApiError
from serve.registered import RUN, ModelsAsked, ModelTold
from serve.schemas import Estimate, Time, View
from serve.settings import ServeConfig

if TYPE_CHECKING:
    from don.learning.stages import Version

SHOWN = ("total_return", "sharpe", "deflated_sharpe", "max_drawdown")


class ModelPlace(View):
    """Where the running session has a version decide."""

    slot: str = Field(examples=["trend.v3"])  # empty: the whole account
    mode: str = Field(examples=["shadow"])  # live, canary or shadow, as the session began
    held: bool  # false: it was moved since the session began, and stands elsewhere now


class ModelRow(View):
    """A version and how it stands. Figures are out of sample; null: not evaluated."""

    model: str = Field(examples=["trend@3"])
    name: str
    version: int
    id: str  # of its content
    stage: str = Field(examples=["candidate"])
    next_stage: str | None  # what a promotion leads to
    deleted: bool
    ts_since: Time  # came to its stage
    ts_import: Time
    algorithm: str
    steps: int  # agent-steps of training
    seed: int
    symbols: tuple[str, ...]
    interval_s: float
    evaluated: bool  # out of sample
    total_return: Estimate
    sharpe: Estimate
    deflated_sharpe: Estimate
    max_drawdown: Estimate
    grade: str  # of the last evaluation; empty if this research ledger does not have it
    places: tuple[ModelPlace, ...]  # in the running session


class Models(View):
    """Versions by name, newest first."""

    session: str | None  # that runs; empty: none; null: not known, the board does not answer
    count: int  # of what was asked for; `models` may be fewer
    models: tuple[ModelRow, ...]


class ModelMove(View):
    """A change of stage; `rule` is empty where a person made it."""

    ts: Time
    before: str
    after: str
    who: str
    why: str
    rule: str


class ModelEvent(View):
    """Who did something, when and why."""

    ts: Time
    who: str
    why: str


class ModelEvaluation(View):
    """What the last evaluation said, of the research ledger."""

    run: int
    ts_end: Time | None
    grade: str = Field(examples=["unproven"])
    answer: str


class ModelShown(View):
    """One version: where it comes from, what it needs, what it was worth, who moved it."""

    session: str | None  # as in the list
    row: ModelRow
    source: str  # folder that it was imported from
    imported: ModelEvent
    moves: tuple[ModelMove, ...]  # oldest first
    deletion: ModelEvent | None
    config_hash: str
    schema_hash: str  # empty: its files cannot be read
    in_sample: dict[str, float]
    out_of_sample: dict[str, float]
    evaluation_run: int | None  # its number; `evaluation` is null where the ledger has it not
    evaluation: ModelEvaluation | None
    card: dict[str, Any]  # as `don models show --json` has it


def build(reader: Reader, config: ServeConfig, clock: Clock) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/v1/models", tags=["models"])

    async def running() -> str | None:
        try:
            views = await reader.views()
        except DependencyError:
            return None
        return picture(views, clock.now_ns(), config.stale_after_s).session.session

    @router.get("")
    async def listed(
        name: Annotated[str | None, Query(max_length=64, examples=["trend"])] = None,
        deleted: Annotated[bool, Query(description="also those that were deleted")] = False,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
    ) -> Models:
        """Versions in the registry and how they stand; of too many, those that trade and the
        newest.
        """
        session = await running()
        told = await reader.models(
            ModelsAsked(name=name, deleted=deleted, limit=limit, session=session or "")
        )
        rows = tuple(_row(each) for each in told.models)
        return Models(session=session, count=told.count, models=rows)

    @router.get("/{model}")
    async def one(model: Annotated[str, Path(max_length=128, examples=["trend@3"])]) -> ModelShown:
        """One version (`NAME`, `NAME@VERSION`, `NAME@STAGE` or an id): card, history, evaluation.

        One that was deleted is found by its number.
        """
        session = await running()
        try:
            told, schema_hash = await reader.model(model, session or "")
        except UsageError as error:
            raise ApiError(404, "not_found", "path.model", str(error)) from error
        return _shown(told, session, schema_hash)

    return router


def _row(told: ModelTold) -> ModelRow:
    from don.learning.stages import next_stage

    one = told.version
    card, figures = one.card, one.outside
    following = None if one.deleted else next_stage(one)
    return ModelRow(
        model=one.label,
        name=one.name,
        version=one.version,
        id=one.id,
        stage=str(one.stage),
        next_stage=None if following is None else str(following),
        deleted=one.deleted,
        ts_since=one.since,
        ts_import=one.ts,
        algorithm=card.algorithm,
        steps=card.trained.steps,
        seed=card.seed,
        symbols=card.symbols,
        interval_s=card.interval_ns / NS_PER_S,
        evaluated=bool(figures),
        **{name: figures.get(name) for name in SHOWN},
        grade="" if told.evaluated is None else told.evaluated.grade,
        places=tuple(
            ModelPlace(slot=place.slot, mode=place.mode, held=place.held) for place in told.places
        ),
    )


def _shown(told: ModelTold, session: str | None, schema_hash: str) -> ModelShown:
    one, said = told.version, told.evaluated
    run = one.outside.get(RUN)
    return ModelShown(
        session=session,
        row=_row(told),
        source=one.source,
        imported=ModelEvent(ts=one.ts, who=one.who, why=one.why),
        moves=_moves(one),
        deletion=None
        if one.deletion is None
        else ModelEvent(ts=one.deletion.ts, who=one.deletion.who, why=one.deletion.why),
        config_hash=one.card.config_hash,
        schema_hash=schema_hash,
        in_sample=dict(one.card.in_sample),
        out_of_sample={name: value for name, value in one.outside.items() if name != RUN},
        evaluation_run=None if run is None else int(run),
        evaluation=None
        if said is None
        else ModelEvaluation(
            run=said.run, ts_end=said.ts_end, grade=said.grade, answer=said.answer
        ),
        card=one.card.model_dump(mode="json"),
    )


def _moves(one: "Version") -> tuple[ModelMove, ...]:
    return tuple(
        ModelMove(
            ts=move.ts,
            before=str(move.before),
            after=str(move.after),
            who=move.who,
            why=move.why,
            rule=move.rule,
        )
        for move in one.moves
    )
