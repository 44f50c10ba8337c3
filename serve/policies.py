"""Asks the desk's own policies. Pure: an observation in, a forecast out, nothing remembered."""

import inspect
from collections.abc import Sequence

import numpy as np

from don.errors import UsageError
from don.policies import POLICIES, PoliciesConfig, PolicyInput, make_policy
from serve.asking import ActRequest, ActResponse, PolicyInfo


class DeskPolicies:
    """The policies of `don.policies`, with the parameters that the desk uses.

    Args:
        config: each policy's parameters.

    Raises:
        ConfigError: if the parameters of a policy do not fit together.
    """

    def __init__(self, config: PoliciesConfig | None = None) -> None:
        config = config or PoliciesConfig()
        self._policies = {name: make_policy(name, config) for name in sorted(POLICIES)}

    def list(self) -> Sequence[PolicyInfo]:
        """All of them."""
        return [
            PolicyInfo(
                name=name,
                summary=(inspect.getdoc(type(policy)) or "").split("\n\n")[0].replace("\n", " "),
                features=policy.features,
            )
            for name, policy in self._policies.items()
        ]

    def act(self, name: str, observation: ActRequest) -> ActResponse:
        """What a policy makes of an observation; the symbols are taken as uncorrelated."""
        policy = self._policies[name]
        symbols = tuple(observation.features)
        for symbol in symbols:
            if symbol not in observation.volatility:
                raise UsageError(f"volatility of {symbol} is missing")
            absent = [f for f in policy.features if f not in observation.features[symbol]]
            if absent:
                raise UsageError(
                    f"{symbol} lacks {', '.join(absent)}; policy {name} needs "
                    f"{', '.join(policy.features)}"
                )
        features = {
            feature: np.array(
                [observation.features[symbol][feature] for symbol in symbols], dtype=np.float64
            )
            for feature in policy.features
        }
        sigma = np.array([observation.volatility[symbol] for symbol in symbols])
        seen = PolicyInput(
            symbols=symbols,
            features=features,
            Sigma=np.diag(sigma**2),
            tradable=np.ones(len(symbols), dtype=bool),
        )
        said = policy.forecast(seen)
        desired = said.desired
        return ActResponse(
            policy=name,
            forecast=dict(zip(symbols, said.mu.tolist(), strict=True)),
            usable=dict(zip(symbols, said.usable.tolist(), strict=True)),
            weights=None if desired is None else dict(zip(symbols, desired.tolist(), strict=True)),
            reason=said.reason,
        )
