"""What a policy sees of the engine at a decision. Pure."""

import numpy as np

from don.engine.core import Core
from don.model.messages import FeatureSnapshot
from don.policies import Policy, PolicyInput


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
