"""Weight-based policies over closed bars, compiled: a whole course in one call. Pure.

For sweeps. The same accounting as the engine over closed bars (`detail = "bars"`): orders by the
planner's rules, the bar's drawn book, lots, least notional, fees, funding, margin, liquidation,
daily-loss halt. Given the weights that the engine decided on, the fills are the engine's, lot for
lot and tick for tick; money is float64 and agrees to rounding.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from don.backtest import vector_kernel
from don.backtest import vector_types as kernel
from don.backtest.config import BacktestConfig, BarFills
from don.backtest.panel import Market
from don.errors import ConfigError
from don.execution.planner import Style
from don.risk.config import RiskConfig
from don.risk.engine import DAY_NS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_KINDS = {BarFills.PESSIMISTIC: 0, BarFills.PATH: 1, BarFills.OPEN: 2}
# limits that the vector mode keeps; others must stand as they come, or it refuses
_KEPT = frozenset(
    {"max_order_notional", "price_collar", "max_orders", "order_window_s", "max_open_orders",
     "max_position_notional", "max_gross_leverage", "max_daily_loss", "initial_margin_rate",
     "maintenance_rate"}
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorResult:
    """One course; T bars, N symbols, F fills."""

    curve: Floats  # [T] equity at bar closes
    fills: Ints  # [F, 4] slot, symbol, signed lots, price in ticks
    positions: Ints  # [N] lots at the end
    flows: Floats  # [N] quote that each symbol brought, its position at cost of nothing
    equity: float  # at the end
    fees: float
    funding: float
    liquidation: float  # what liquidations cost beside their fills; negative
    realized: float
    traded: float  # notional
    orders: int
    denied: int  # by risk checks
    refused: int  # by the exchange
    liquidations: int
    halted: int  # slot at whose close the daily loss halted it; -1: it did not


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A market as the kernel wants it; made once for many courses. S slots, N symbols."""

    bars: kernel.Bars
    days: Floats  # [S] day of each close
    payments: Ints  # [P, 2] slot, symbol, sorted
    rates: Floats  # [P]
    unit: Floats  # [N] quote of one lot at one tick
    scale: tuple[int, ...]  # [N] units in one quote
    fees: Floats  # [N] taker fee as listed
    min_lots: Ints  # [N]
    max_lots: Ints  # [N]
    least: tuple[Decimal, ...]  # [N] least notional
    leverage: tuple[int, ...]  # [N] greatest

    @property
    def nbytes(self) -> int:
        """Memory that the arrays take."""
        own = (*self.bars, self.days, self.payments, self.rates)
        return int(sum(array.nbytes for array in own))


def prepare(market: Market) -> Prepared:
    """A loaded market for the kernel."""
    panel = market.panel
    rows = [(slot, n, float(rate)) for slot, due in market.payments.items() for _, n, rate in due]
    rows.sort(key=lambda row: row[0])  # stable: of one bar in the order of the exchange
    instruments = panel.instruments
    steps = [(one.tick_size * one.lot_size) for one in instruments]
    return Prepared(
        bars=kernel.Bars(
            panel.open, panel.high, panel.low, panel.close, panel.volume, market.present
        ),
        days=(market.close_ns // DAY_NS).astype(np.float64),
        payments=np.array([row[:2] for row in rows], np.int64).reshape(-1, 2),
        rates=np.array([row[2] for row in rows]),
        unit=np.array([float(step) for step in steps]),
        scale=tuple(int(1 / step) for step in steps),
        fees=np.array([float(one.taker_fee) for one in instruments]),
        min_lots=np.array([int(one.min_size / one.lot_size) for one in instruments], np.int64),
        max_lots=np.array([int(one.max_size / one.lot_size) for one in instruments], np.int64),
        least=tuple(one.min_notional for one in instruments),
        leverage=tuple(one.max_leverage for one in instruments),
    )


def simulate(
    data: Prepared, config: BacktestConfig, begin: int, stop: int, at: Ints, targets: Floats
) -> VectorResult:
    """Run a course.

    Args:
        data: the market.
        config: fills, fees, exchange and the engine's planner and limits; its policy is not used.
        begin: first slot.
        stop: slot after the last; orders of the last decision still meet it.
        at: [D] slots at whose close is decided, rising.
        targets: [D, N] weights as fractions of equity; NaN leaves a symbol as it is.

    Raises:
        ConfigError: if the configuration has a rule that this mode does not keep.
        ValueError: if shapes or slots do not fit.
    """
    check(config)
    S, N = data.bars.close.shape
    if targets.shape != (len(at), N) or not 0 <= begin < stop < S:
        raise ValueError(
            f"need targets ({len(at)}, {N}) and 0 <= begin < stop < {S}, were {targets.shape}, "
            f"{begin} and {stop}"
        )
    engine, fills, exchange = config.engine, config.fills, config.exchange
    planner, risk = engine.planner, engine.risk
    taker = config.fees.taker
    fees = data.fees.copy() if taker is None else np.full(N, float(taker))
    slip, den = planner.slippage.as_integer_ratio()
    rules = kernel.Rules(
        band=float(planner.band),
        market=planner.style is Style.MARKET,
        max_slices=planner.max_slices,
        max_orders=risk.max_orders,
        max_position=float(risk.max_position_notional),
        max_gross=float(risk.max_gross_leverage),
        max_loss=float(risk.max_daily_loss),
        slip=slip,
        slip_den=den,
        part=fills.participation,
        levels=fills.levels,
        half_spread=fills.half_spread,
        step=fills.step,
        kind=_KINDS[fills.price],
        after=fills.after,
        up=float(exchange.percent_up),
        down=float(exchange.percent_down),
        deposit=float(exchange.deposit),
        maintenance=float(exchange.maintenance_rate),
        liquidation_fee=float(exchange.liquidation_fee),
    )
    scales = data.scale
    symbols = kernel.Symbols(
        unit=data.unit.copy(),
        fee=fees,
        cap=np.array([_units(risk.max_order_notional, scale) for scale in scales], np.int64),
        least=np.array([_units(*pair) for pair in zip(data.least, scales, strict=True)], np.int64),
        min_lots=data.min_lots.copy(),
        leverage=np.array([float(min(exchange.default_leverage, m)) for m in data.leverage]),
    )
    curve = np.zeros(stop - begin)
    room = 4 * len(at) + 1_024
    while True:
        own = kernel.Account(
            pos=np.zeros(N, np.int64),
            cost=np.zeros(N),
            acc=np.zeros(kernel.AMOUNTS),
            counts=np.zeros(kernel.COUNTS, np.int64),
            flows=np.zeros(N),
            log=np.zeros((room, 4), np.int64),
        )
        vector_kernel.run(
            kernel.Bars(*map(_frozen, data.bars)), _frozen(data.days), begin, stop,
            _frozen(data.payments), _frozen(data.rates),
            np.asarray(at, np.int64), np.ascontiguousarray(targets, np.float64), rules, symbols,
            own, curve,
        )  # fmt: skip
        counts, acc, pos = own.counts, own.acc, own.pos
        if counts[kernel.FILLS] <= room:
            break
        room = int(counts[kernel.FILLS])
    close = data.bars.close
    worth = pos * close[stop - 1] * data.unit
    return VectorResult(
        curve=curve,
        fills=own.log[: counts[kernel.FILLS]],
        positions=pos,
        flows=own.flows + worth,
        equity=float(acc[kernel.CASH] + worth.sum()),
        fees=float(acc[kernel.FEES]),
        funding=float(acc[kernel.FUNDING]),
        liquidation=float(acc[kernel.CLEARED]),
        realized=float(acc[kernel.REALIZED]),
        traded=float(acc[kernel.TRADED]),
        orders=int(counts[kernel.ORDERS]),
        denied=int(counts[kernel.DENIED]),
        refused=int(counts[kernel.REFUSED]),
        liquidations=int(counts[kernel.LIQUIDATIONS]),
        halted=int(counts[kernel.HALT_SLOT]),
    )


def check(config: BacktestConfig) -> None:
    """Refuse rules that the vector mode does not keep.

    Raises:
        ConfigError: naming the field.
    """
    planner, risk, plain = config.engine.planner, config.engine.risk, RiskConfig()
    if config.engine.slots:
        raise ConfigError("vector mode has one policy: leave engine.slots out, or use detail bars")
    if planner.style is Style.PASSIVE:
        raise ConfigError("vector mode: engine.planner.style must be limit_ioc or market")
    for name in RiskConfig.model_fields:
        if name not in _KEPT and getattr(risk, name) != getattr(plain, name):
            raise ConfigError(
                f"vector mode does not keep the limit engine.risk.{name}: leave it out, or use "
                "detail bars"
            )


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view: shared memory is read-only, and one kind of array is one compilation."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def _units(amount: Decimal, scale: int) -> int:
    """Quote in whole ticks times lots, which bounds products of the two exactly."""
    return int(min(amount * scale, Decimal(2**62)))
