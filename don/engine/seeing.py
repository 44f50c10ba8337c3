"""What is seen at a decision: a policy's input, costs, what stands in the way. Pure."""

from collections.abc import Mapping
from decimal import Decimal

import numpy as np

from don.engine.core import Core
from don.model.messages import FeatureSnapshot, History
from don.model.portfolio import Position
from don.policies import BarSeen, Policy, PolicyInput, Watcher


def see(
    core: Core, snapshot: FeatureSnapshot, policy: Policy, Sigma: np.ndarray, fresh: np.ndarray
) -> PolicyInput:
    """The input of a policy for a snapshot whose prices are taken in already.

    Args:
        core: the engine's state.
        snapshot: the one that is decided on.
        policy: whose features are picked.
        Sigma: [symbol, symbol] covariance per bar.
        fresh: [symbol] bool, priced and fresh.
    """
    return PolicyInput(
        symbols=core.symbols,
        features=core.market.features(snapshot, policy.features),
        Sigma=Sigma,
        tradable=fresh,
    )


def show(
    core: Core,
    snapshot: FeatureSnapshot,
    policy: Policy,
    equity: Decimal,
    positions: Mapping[str, Position],
    capital: Decimal,
) -> None:
    """Show a bar to a policy that watches; others need not see it.

    Args:
        core: the engine's state, the bar's prices taken in.
        snapshot: of the bar.
        policy: who may watch.
        equity: quote, of the account or of the policy's book.
        positions: of the same.
        capital: put into it less taken out.
    """
    if not isinstance(policy, Watcher):
        return
    order = [snapshot.symbols.index(symbol) for symbol in core.symbols]
    none = np.zeros(len(order))
    held = [positions.get(symbol) for symbol in core.symbols]
    policy.watch(
        BarSeen(
            ts_event=snapshot.ts_event,
            features=core.market.features(snapshot, policy.features),
            close=snapshot.close[order],
            volume=none if snapshot.volume is None else snapshot.volume[order],
            equity=float(equity),
            sizes=np.array([float(p.size) if p else 0.0 for p in held]),
            costs=np.array([float(p.cost) if p else 0.0 for p in held]),
            capital=float(capital),
        )
    )


def recall(core: Core, history: History, policy: Policy) -> None:
    """Show a policy that watches what was before the session."""
    if not isinstance(policy, Watcher) or history.values is None:
        return
    if any(s not in history.symbols for s in core.symbols):
        return
    order = [history.symbols.index(symbol) for symbol in core.symbols]
    column = {name: i for i, name in enumerate(history.names)}
    rows = min(policy.rows, len(history.values), len(history.ts))
    if not rows or any(name not in column for name in policy.features):
        return
    told = history.values[-rows:][:, order]
    policy.recall(history.ts[-rows:], {name: told[:, :, column[name]] for name in policy.features})


def obstacle(core: Core) -> str:
    """Why the desk must not trade right now; empty if it may."""
    config = core.config
    if core.halted:
        return f"halted: {core.halt_reason}"
    if core.stopping:
        return "the session is stopping"
    if not core.reconciled:
        return "UNRECONCILED: the books are not yet compared with the exchange"
    age = core.market.age_s(core.wall)
    if age > config.max_snapshot_age_s:
        return f"STALE_DATA: market data are {age:.1f} s old, limit {config.max_snapshot_age_s}"
    if core.market.silent:
        return "STALE_DATA: the feed is silent"
    bars = core.market.covariance.count
    if bars < config.covariance.min_bars:
        return f"warming up: {bars} of {config.covariance.min_bars} returns seen"
    if core.equity() <= 0:
        return f"equity must be positive, was {core.equity()}"
    return ""


def costs(core: Core, snapshot: FeatureSnapshot) -> np.ndarray:
    """[symbol] what a unit of turnover costs: taker fee and half the spread, as observed."""
    config = core.config
    fees = np.array([float(core.instruments[s].taker_fee) for s in core.symbols])
    half = np.full(len(core.symbols), config.half_spread)
    if config.spread_feature in snapshot.names:
        seen = core.market.features(snapshot, [config.spread_feature])[config.spread_feature]
        half = np.where(np.isfinite(seen) & (seen > 0), 0.5 * seen, half)
    return np.maximum(fees + half, 0.0)
