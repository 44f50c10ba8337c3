"""Losses of the day, from the peak, and in a row; what they call for. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from don.clock import NS_PER_S
from don.model.order import DenialCode
from don.model.portfolio import ZERO
from don.risk.config import RiskConfig
from don.risk.states import TradingState

DAY_NS = 86_400 * NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class DayState:
    """The running day of the daily-loss limit; days are UTC days of exchange time."""

    day: int = -1
    reference: Decimal = ZERO  # equity that losses are counted from


@dataclass(frozen=True, slots=True, kw_only=True)
class LossState:
    """What the other loss limits remember."""

    peak: Decimal = ZERO  # highest equity; zero while no limit asks for it
    streak: int = 0  # losing trades in a row
    open_trades: Mapping[str, Decimal] = field(default_factory=dict)  # profit so far by symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A loss limit that was reached, and the state that it calls for."""

    code: DenialCode
    state: TradingState
    detail: str

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class LossWatch:
    """Equity and trades as they come, against the loss limits."""

    def __init__(
        self, config: RiskConfig, day: DayState | None = None, state: LossState | None = None
    ) -> None:
        self.config = config
        self.day = day or DayState()
        state = state or LossState()
        self.peak, self.streak = state.peak, state.streak
        self._open: dict[str, Decimal] = dict(state.open_trades)

    def dump(self) -> LossState:
        """What to remember beside the day."""
        return LossState(
            peak=self.peak, streak=self.streak, open_trades=dict(sorted(self._open.items()))
        )

    @property
    def tracks_peak(self) -> bool:
        """True if a limit on drawdown is set: only then is the peak kept."""
        config = self.config
        return config.max_drawdown is not None or config.reduce_at_drawdown is not None

    def mark(self, ts_event: int, equity: Decimal) -> None:
        """Equity at a moment of exchange time: opens a new day, raises the peak."""
        day = ts_event // DAY_NS
        if day > self.day.day:
            self.day = DayState(day=day, reference=equity)
        if self.tracks_peak:
            self.peak = max(self.peak, equity)

    def rebase(self, equity: Decimal) -> None:
        """Count losses from here: a person has seen them and resumed."""
        self.day = DayState(day=self.day.day, reference=equity)
        self.peak = equity if self.tracks_peak else ZERO
        self.streak = 0

    def loss(self, equity: Decimal) -> Decimal:
        """Today's loss as a fraction of the reference; zero or less when there is none."""
        if self.day.reference <= 0:
            return ZERO
        return (self.day.reference - equity) / self.day.reference

    def drawdown(self, equity: Decimal) -> Decimal:
        """Fall from the peak as a fraction of it; zero while none is kept."""
        return (self.peak - equity) / self.peak if self.peak > 0 else ZERO

    def traded(
        self, symbol: str, before: Decimal, after: Decimal, realized: Decimal, fee: Decimal
    ) -> None:
        """A fill moved a position from one size to another.

        A trade lasts from flat to flat, or to the other side. Its profit is what it realised less
        its fees; the fee of a fill that turns a position counts for the trade that it ends.
        """
        result = self._open.pop(symbol, ZERO) + realized - fee
        ended = before != 0 and (after == 0 or (after > 0) != (before > 0))
        if ended:
            self.streak = self.streak + 1 if result < 0 else 0
            result = ZERO
        if after != 0:
            self._open[symbol] = result

    def breach(self, equity: Decimal) -> Breach | None:
        """The limit that calls for the most severe state; None if all hold."""
        config = self.config
        loss = self.loss(equity)
        if loss >= config.max_daily_loss:
            return _loss(TradingState.HALTED, loss, config.max_daily_loss)
        fall = self.drawdown(equity) if self.tracks_peak else ZERO
        if config.max_drawdown is not None and fall >= config.max_drawdown:
            return _fall(TradingState.HALTED, fall, config.max_drawdown)
        if config.reduce_at_daily_loss is not None and loss >= config.reduce_at_daily_loss:
            return _loss(TradingState.REDUCING, loss, config.reduce_at_daily_loss)
        if config.reduce_at_drawdown is not None and fall >= config.reduce_at_drawdown:
            return _fall(TradingState.REDUCING, fall, config.reduce_at_drawdown)
        if config.max_loss_streak is not None and self.streak >= config.max_loss_streak:
            return Breach(
                code=DenialCode.LOSS_STREAK,
                state=TradingState.REDUCING,
                detail=f"{self.streak} losing trades in a row, limit {config.max_loss_streak}",
            )
        return None


def _loss(state: TradingState, loss: Decimal, limit: Decimal) -> Breach:
    return Breach(
        code=DenialCode.DAILY_LOSS, state=state, detail=f"down {loss:.4f} today, limit {limit}"
    )


def _fall(state: TradingState, fall: Decimal, limit: Decimal) -> Breach:
    return Breach(
        code=DenialCode.DRAWDOWN,
        state=state,
        detail=f"down {fall:.4f} from the peak, limit {limit}",
    )
