"""What a backtest can be told. Pure; imports nothing heavy."""

from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from don.engine.config import EngineConfig
from don.features.config import FeatureConfig
from don.model.section import Section
from don.paper.config import PaperConfig


class Detail(StrEnum):
    """How finely the market is replayed."""

    EXCHANGE = "exchange"  # every trade, quote and book change through the paper exchange
    BARS = "bars"  # closed bars; orders meet a book drawn around a price of the bar


class BarFills(StrEnum):
    """At which price of the bar an order meets the market, where only bars are replayed."""

    PESSIMISTIC = "pessimistic"  # the worst that the path may have seen by then
    PATH = "path"  # on the path open, first extreme, second extreme, close
    OPEN = "open"  # the bar's open


class BarFillConfig(Section):
    """The book that orders meet where only bars are replayed."""

    price: BarFills = BarFills.PESSIMISTIC
    half_spread: float = Field(default=0.0001, ge=0, lt=0.1)  # fraction of price, one tick at least
    levels: int = Field(default=5, ge=1, le=50)  # of the book, a side
    step: float = Field(default=0.0004, gt=0, lt=0.1)  # distance of levels, fraction of price
    participation: float = Field(default=0.1, gt=0, le=1)  # of the bar's volume that the book shows
    after: float = Field(default=0.25, ge=0, lt=1)  # part of the bar after which orders arrive


class LatencyConfig(Section):
    """How long an order is on its way, in tape time; `exchange.order_latency` comes before it."""

    constant_ms: float = Field(default=0.0, ge=0)
    measured_ms: tuple[float, ...] = ()  # drawn from these, seeded, instead of the constant

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if any(not 0 <= ms < 86_400_000 for ms in self.measured_ms):
            raise ValueError("measured_ms must be from 0 to a day, in milliseconds")
        return self


class FeeConfig(Section):
    """Fees of the account's tier, fractions of notional; None: as the instruments list them."""

    maker: Decimal | None = Field(default=None, gt=-1, lt=1)  # negative is a rebate
    taker: Decimal | None = Field(default=None, ge=0, lt=1)


class BacktestConfig(Section):
    """Everything that shapes a backtest; the result is a function of this and of the data."""

    tape: Path | tuple[Path, ...] | None = None  # as of `don up`; None: Don's own sample
    funding: Path | None = None  # Parquet of funding payments; None: beside the tape, if there
    symbols: tuple[str, ...] = ()  # empty: all of the tape
    interval: str | None = None
    start: str | None = None  # ISO-8601; None: as `don up` begins, after some history
    end: str | None = None  # ISO-8601, exclusive; None: the end of the tape
    seed: int = 0
    policy: str = "momentum"
    history_bars: int = Field(default=500, ge=1)  # known before the first decision
    detail: Detail = Detail.EXCHANGE
    engine: EngineConfig = EngineConfig()
    features: FeatureConfig = Field(default_factory=FeatureConfig)
    exchange: PaperConfig = PaperConfig()
    fees: FeeConfig = FeeConfig()
    latency: LatencyConfig = LatencyConfig()
    fills: BarFillConfig = BarFillConfig()
    # tape seconds in a second of the wall clock that ages of data are measured on; None: at once
    speed: float | None = Field(default=1.0, gt=0)
    session: str = Field(default="backtest", pattern="^[a-z0-9_-]{1,16}$")
    account_bars: int = Field(default=100, ge=1)  # bars between comparisons of the books

    @property
    def tapes(self) -> tuple[Path, ...]:
        """The tape's files; empty for the sample."""
        if self.tape is None:
            return ()
        return self.tape if isinstance(self.tape, tuple) else (self.tape,)
