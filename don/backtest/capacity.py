"""How much capital a strategy carries before its own impact eats what it earns. Pure.

The square-root law: trading the amount Q of a symbol within a day of volume V and volatility sigma
moves its price by Y sigma sqrt(Q / V), and costs two thirds of that on the way (Tóth et al.,
"Anomalous price impact and the critical nature of liquidity", Phys. Rev. X 1, 2011; Almgren, Thum,
Hauptmann & Li, "Direct estimation of equity market impact", Risk 18, 2005). With k times the
capital profits grow by k and impact costs by k^1.5, which gives the answers below in closed form.
What the fill model charged already is not taken out: the estimate is careful.
"""

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from don.backtest.result import BacktestResult
from don.clock import NS_PER_S

Y = 1.0  # of the square-root law; measured between 0.5 and 1 in most markets
PAID = 2.0 / 3.0  # of the final impact, on average while it builds up
DAY_NS = 86_400 * NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Capital in quote; NaN where volumes are not known, 0 where nothing was earned."""

    break_even: float  # impact eats all of the profit
    half: float  # impact eats half of it
    impact: float  # estimated cost of impact at the capital that the run had
    participation: float  # of an order in its symbol's mean daily volume: 95th percentile


def capacity(result: BacktestResult) -> Capacity:
    """Capital at which impact takes all, or half, of what the run earned."""
    nan = math.nan
    volume = {one.symbol: one.quote_volume for one in result.recorded}
    if not volume or not result.fills or not len(result.equity):
        return Capacity(break_even=nan, half=nan, impact=nan, participation=nan)
    bars_a_day = DAY_NS / result.interval_ns
    sigma = {
        symbol: _deviation(result.closes[:, n]) * math.sqrt(bars_a_day)
        for n, symbol in enumerate(result.symbols)
    }
    decision = {one.order.client_order_id: one.order.decision for one in result.orders}
    parents: defaultdict[tuple[int, str], float] = defaultdict(float)
    for fill in result.fills:
        key = decision.get(fill.client_order_id, 0), fill.symbol
        parents[key] += float(fill.price * fill.size)
    shares, cost = [], 0.0
    for (_, symbol), notional in parents.items():
        daily = volume.get(symbol, 0.0) * bars_a_day
        if daily <= 0:
            continue
        share = notional / daily
        shares.append(share)
        cost += PAID * Y * sigma[symbol] * math.sqrt(share) * notional
    profit, capital = float(result.books.pnl), float(np.mean(result.equity))
    earned = max(profit, 0.0)
    scale = (earned / cost) ** 2 if cost > 0 else nan
    return Capacity(
        break_even=capital * scale,
        half=capital * scale / 4.0,
        impact=cost,
        participation=float(np.percentile(shares, 95)) if shares else nan,
    )


def _deviation(closes: np.ndarray) -> float:
    known = closes[np.isfinite(closes)]
    if len(known) < 3:
        return 0.0
    return float(np.std(np.diff(np.log(known)), ddof=1))
