"""What the API asks of the world: three small protocols. Pure.

`serve.gateway` fulfils them with actor handles and the database, tests with plain objects.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from actors.board import Change, Stamped
from don.execution.tca import OrderCost
from don.learning.trainings import Entry
from don.market.coverage import Range
from don.market.coverage_grid import Grid
from don.model.messages import CommandKind
from don.observe.sample import Sample
from serve.asking import (
    ActRequest,
    ActResponse,
    ModelActRequest,
    ModelActResponse,
    PolicyInfo,
)
from serve.episodes import EpisodeTold
from serve.registered import ModelsAsked, ModelsTold, ModelTold
from serve.schemas import ClockView

if TYPE_CHECKING:
    from don.envs.shown import Shown

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which rows: newest first, at most `limit`, before the journal's entry `before`."""

    session: str
    limit: int
    before: int | None = None  # journal seq, exclusive; every row carries its own
    symbol: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageAsked:
    """Which part of the completeness ledger; None: all, or up to its newest minute."""

    exchange: str | None
    channel: str | None
    symbol: str | None
    span_ns: int
    end: int | None
    columns: int
    limit: int  # most streams shown
    gaps: int  # most gaps listed


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageTold:
    """The heat map, and what is missing in it."""

    grid: Grid
    streams: int  # how many fit what was asked, shown or not
    gaps: Sequence[Range]  # newest first


@dataclass(frozen=True, slots=True, kw_only=True)
class DataAsked:
    """Which rows of stored market data."""

    channel: str
    symbols: Sequence[str] | None
    exchange: str | None
    start: int | None  # ns
    end: int | None
    interval_ns: int | None  # of bars
    columns: Sequence[str] | None
    last: int | None  # the newest so many of each series, instead of pages
    limit: int  # rows of a page
    next: str | None  # what the page before said
    most: int  # rows of an answer, over all series


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTold:
    """A page of stored market data."""

    table: pa.Table
    next: str | None  # None: there is no more


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTold:
    """A training, and the lines it wrote about its progress."""

    entry: Entry
    last: Row | None  # newest line
    written_ns: int  # when that was; 0: not yet
    rows: Sequence[Row] = ()  # of its curve, where that was asked for


class Reader(Protocol):
    """Reads; every method may raise `DependencyError` when what it needs is away."""

    async def views(self) -> Mapping[str, Stamped]:
        """All views of the board."""
        ...

    async def wait(self, seq: int, timeout_s: float) -> Change:
        """The board's long poll."""
        ...

    async def sessions(self, limit: int) -> Sequence[Row]:
        """Sessions, newest first."""
        ...

    async def orders(self, page: Page) -> Sequence[Row]:
        """Orders with their last known status, newest first."""
        ...

    async def fills(self, page: Page) -> Sequence[Row]:
        """Fills, newest first."""
        ...

    async def decisions(self, page: Page) -> Sequence[Row]:
        """Decisions, newest first."""
        ...

    async def equity(self, session: str, start: int | None, end: int | None) -> Sequence[Row]:
        """Points of the equity curve, oldest first."""
        ...

    async def bars(
        self, symbol: str, interval_ns: int, start: int | None, end: int | None, limit: int
    ) -> Sequence[Row]:
        """The newest `limit` closed bars that open in [start, end), oldest first."""
        ...

    async def coverage(self, asked: CoverageAsked) -> CoverageTold:
        """What is known of every minute of what was collected."""
        ...

    async def metrics(self) -> Sequence[Sample]:
        """What the database tells monitors."""
        ...

    async def data(self, asked: DataAsked) -> DataTold:
        """A page of stored market data."""
        ...

    async def trainings(self) -> Sequence[TrainingTold]:
        """Trainings that are known, newest first."""
        ...

    async def training(self, run: str, points: int) -> TrainingTold | None:
        """One of them with at most so many points of its curve; None if there is none such."""
        ...

    async def episodes(self) -> Sequence[EpisodeTold]:
        """Recorded episodes of the state folder, newest first."""
        ...

    async def episode(
        self, name: str, told: "Callable[[EpisodeTold, Shown], bytes]"
    ) -> bytes | None:
        """One of them, run again, as `told` puts it, beside everything else; None: none such.

        Raises:
            DataError: if it cannot be read or run again.
        """
        ...

    async def models(self, asked: ModelsAsked) -> ModelsTold:
        """Versions in the registry of models."""
        ...

    async def model(self, text: str, session: str) -> tuple[ModelTold, str]:
        """The version that a text means, and the hash of its schema ("": files cannot be read).

        Raises:
            UsageError: if there is none, or it is not clear which.
        """
        ...

    async def clocks(self) -> Sequence[ClockView]:
        """Clock comparisons of processes beside this Don: of `don data collect`."""
        ...

    async def costs(self, session: str) -> Sequence[OrderCost]:
        """What each order of a session cost, oldest first.

        Raises:
            UsageError: if there is no such session.
        """
        ...


class Commander(Protocol):
    """Changes; only what a person may tell the desk."""

    async def command(
        self, kind: CommandKind, *, actor: str, reason: str, key: str, payload: str = ""
    ) -> None:
        """Return once the desk has journalled the command; a repeated key changes nothing.

        Raises:
            UsageError: if the desk cannot carry it out as it stands; nothing was journalled.
            DependencyError: if the desk did not answer: the outcome is unknown, repeat the key.
        """
        ...


class Policies(Protocol):
    """Asks policies; pure, nothing is traded."""

    def list(self) -> Sequence[PolicyInfo]:
        """The policies that can be asked."""
        ...

    def act(self, name: str, observation: ActRequest) -> ActResponse:
        """What a policy makes of an observation.

        Raises:
            UsageError: if the policy is unknown or a feature is missing; names it.
        """
        ...


class Models(Protocol):
    """Asks trained models; nothing is traded. Methods may raise `DependencyError`, and `ApiError`
    for what is wrong with a question.
    """

    async def names(self) -> Mapping[str, str]:
        """Name -> `name@version` that it means."""
        ...

    async def describe(self, name: str) -> Mapping[str, Any]:
        """What a model reads and says."""
        ...

    async def act(self, name: str, request: ModelActRequest) -> ModelActResponse:
        """What a model does."""
        ...

    async def unload(self, name: str) -> None:
        """Forget `NAME@VERSION`, which is deleted; requests that are being answered are."""
        ...

    async def load(self, name: str) -> Sequence[str]:
        """Let a name mean another version, `name@version`, in every replica."""
        ...
