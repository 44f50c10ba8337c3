"""What a policy sees of the engine at a decision. Pure."""

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
) -> None:
    """Show a bar to a policy that watches; others need not see it.

    Args:
        core: the engine's state, the bar's prices taken in.
        snapshot: of the bar.
        policy: who may watch.
        equity: quote, of the account or of the policy's book.
        positions: of the same.
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
