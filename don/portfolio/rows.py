"""The named limits of a configuration beyond bounds, gross and turnover, as rows. Pure."""

import numpy as np

from don.model.messages import OptimizeRequest, PortfolioInputs
from don.portfolio.config import PortfolioConfig
from don.portfolio.linalg import one_thread
from don.portfolio.problem import Row


def rows_for(config: PortfolioConfig, request: OptimizeRequest, Sigma: np.ndarray) -> list[Row]:
    """The rows over all symbols of a request.

    Args:
        config: the limits.
        request: symbols and inputs, finite.
        Sigma: (N, N) positive semidefinite, for betas and principal factors.
    """
    N = len(request.symbols)
    ones = np.ones(N)
    inputs = request.inputs or PortfolioInputs()
    rows: list[Row] = []
    if config.budget is not None:
        rows.append(Row(name="invested", low=config.budget, high=config.budget, on_w=ones))
    if config.min_net is not None or config.max_net is not None:
        rows.append(_net("net", ones, config.min_net, config.max_net))
    for group in config.groups:
        member = np.isin(request.symbols, group.symbols).astype(float)
        if not member.any():
            continue
        if group.min_net is not None or group.max_net is not None:
            rows.append(_net(f"group:{group.name}:net", member, group.min_net, group.max_net))
        if group.max_gross is not None:
            rows.append(
                Row(
                    name=f"group:{group.name}:gross",
                    low=-np.inf,
                    high=group.max_gross,
                    on_size=member,
                )
            )
    if config.max_margin is not None:
        rate = np.full(N, config.margin_rate) if inputs.margin is None else inputs.margin
        rows.append(Row(name="max_margin", low=-np.inf, high=config.max_margin, on_size=rate))
    return rows + _neutral(config, request, Sigma, inputs)


def _net(name: str, member: np.ndarray, low: float | None, high: float | None) -> Row:
    return Row(
        name=name,
        low=-np.inf if low is None else low,
        high=np.inf if high is None else high,
        on_w=member,
    )


def _neutral(
    config: PortfolioConfig, request: OptimizeRequest, Sigma: np.ndarray, inputs: PortfolioInputs
) -> list[Row]:
    exposures: list[tuple[str, np.ndarray]] = []
    for symbol in config.neutral_to:
        if symbol in request.symbols:
            i = request.symbols.index(symbol)
            if Sigma[i, i] > 0:
                exposures.append((f"neutral_to:{symbol}", Sigma[i] / Sigma[i, i]))
    if config.neutral_factors:
        with one_thread():
            _, vectors = np.linalg.eigh(Sigma)
        for k in range(min(config.neutral_factors, len(Sigma))):
            exposures.append((f"neutral_factor:{k + 1}", vectors[:, -1 - k]))
    if inputs.exposures is not None:
        for k, exposure in enumerate(np.asarray(inputs.exposures, dtype=float)):
            exposures.append((f"exposure:{k + 1}", exposure))
    width = config.neutral_tolerance
    return [Row(name=name, low=-width, high=width, on_w=on) for name, on in exposures]
