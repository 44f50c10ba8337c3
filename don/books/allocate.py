"""How much capital each policy gets: the portfolio optimizer over the books' own returns. Pure.

The problem is the one of symbols with books in their place: long only, shares as weights. Shares
are rounded to 1e-4 or lie on a bound, so that no machine's last bit reaches the books.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np

from don.books.config import AllocationConfig, Method, SlotConfig
from don.model.messages import OptimizeRequest, TargetStatus
from don.model.portfolio import ZERO
from don.portfolio.config import Bound, Objective, PortfolioConfig

STEP = Decimal("0.0001")
_OBJECTIVES = {
    Method.RISK_PARITY: Objective.RISK_PARITY,
    Method.MAX_SHARPE: Objective.MAX_SHARPE,
    Method.MEAN_VARIANCE: Objective.MEAN_VARIANCE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Fractions of the account's equity by slot, and how they came about."""

    shares: dict[str, Decimal]
    reason: str


def share_out(
    slots: Sequence[SlotConfig],
    config: AllocationConfig,
    returns: Mapping[str, Sequence[float]],
    before: Mapping[str, Decimal],
) -> Shares:
    """The share of every slot that orders.

    Args:
        slots: those that order.
        config: method, history, reserve.
        returns: by slot, of its book, one a decision, oldest first.
        before: shares as they are; kept where the optimizer has no answer. Empty at the beginning.

    Returns:
        Shares within the slots' bounds that sum to at most 1 - reserve.
    """
    fixed = {s.name: Decimal(repr(s.share)) for s in slots if s.share is not None}
    open_ = [s for s in slots if s.share is None]
    room = max(1.0 - config.reserve - float(sum(fixed.values(), ZERO)), 0.0)
    if not open_:
        return Shares(shares=fixed, reason="fixed shares")
    equal = _equal(open_, room)
    best, why = None, "equal shares"
    if config.method is not Method.EQUAL and len(open_) > 1:
        best, why = _optimal(open_, config, returns, equal, room)
    kept = config.method is not Method.EQUAL and all(s.name in before for s in open_)
    found = best or ([float(before[s.name]) for s in open_] if kept else equal)
    rounded = {s.name: _rounded(s, w) for s, w in zip(open_, found, strict=True)}
    whole = 1 - Decimal(repr(config.reserve)) - sum(fixed.values(), ZERO)
    over = max(sum(rounded.values(), ZERO) - max(whole, ZERO), ZERO)
    for slot in sorted(open_, key=lambda s: -rounded[s.name]):
        less = min(over, rounded[slot.name] - Decimal(repr(slot.min_share)))
        rounded[slot.name] -= less
        over -= less
    given = {**fixed, **rounded}
    return Shares(shares={s.name: given[s.name] for s in slots}, reason=why)


def _rounded(slot: SlotConfig, share: float) -> Decimal:
    """A share to the step, or on the bound that the step would break."""
    near = Decimal(repr(float(share))).quantize(STEP, ROUND_HALF_EVEN)
    return min(max(near, Decimal(repr(slot.min_share))), Decimal(repr(slot.max_share)))


def _equal(slots: Sequence[SlotConfig], room: float) -> list[float]:
    """Equal shares within bounds: whoever meets a bound leaves the rest to the others."""
    found = [s.min_share for s in slots]
    level = _level(slots, room)
    return [min(max(level, f), s.max_share) for s, f in zip(slots, found, strict=True)]


def _level(slots: Sequence[SlotConfig], room: float) -> float:
    """The share at which shares clipped to their bounds sum to the room; the largest if none do."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        total = sum(min(max(middle, s.min_share), s.max_share) for s in slots)
        low, high = (middle, high) if total <= room else (low, middle)
    return low


def _optimal(
    slots: Sequence[SlotConfig],
    config: AllocationConfig,
    returns: Mapping[str, Sequence[float]],
    equal: list[float],
    room: float,
) -> tuple[list[float] | None, str]:
    """The optimizer's shares and how it ended; None if it has no answer."""
    count = min(min(len(returns.get(s.name, ())) for s in slots), config.window)
    if count < config.min_history:
        return None, f"{count} of {config.min_history} returns of every book seen"
    history = np.array([list(returns[s.name])[-count:] for s in slots])
    Sigma = np.atleast_2d(np.cov(history, bias=True))
    variances = np.diag(Sigma)
    if not (variances > 0).all():
        idle = [s.name for s, v in zip(slots, variances, strict=True) if not v > 0]
        return None, f"books that have not moved yet: {', '.join(idle)}"
    Sigma = (1 - config.shrinkage) * Sigma + config.shrinkage * np.diag(variances)
    # imported here: solvers cost an import, which a desk with one policy must not pay
    from don.portfolio.optimizer import PortfolioOptimizer

    names = tuple(s.name for s in slots)
    most = min(room, sum(s.max_share for s in slots))
    optimizer = PortfolioOptimizer(
        PortfolioConfig(
            objective=_OBJECTIVES[config.method],
            risk_aversion=config.risk_aversion,
            horizon_bars=1.0,
            max_gross=room,
            max_weight=room,
            max_turnover=2.0,
            allow_short=False,
            invested=None if config.method is Method.MEAN_VARIANCE else most,
            bounds=tuple(
                Bound(symbol=s.name, lower=s.min_share, upper=min(s.max_share, room)) for s in slots
            ),
        )
    )
    solution = optimizer.solve(
        OptimizeRequest(
            decision=0,
            ts_event=0,
            symbols=names,
            mu=history.mean(axis=1),
            Sigma=Sigma,
            w_now=np.array(equal),
            w_last=np.array(equal),
            cost=np.zeros(len(names)),
            tradable=np.ones(len(names), dtype=bool),
        )
    )
    if solution.status is not TargetStatus.OPTIMAL:
        return None, f"{config.method}: {solution.detail}"
    return [
        min(max(float(w), s.min_share), s.max_share)
        for w, s in zip(solution.weights, slots, strict=True)
    ], f"{config.method} over {count} returns"
