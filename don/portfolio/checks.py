"""Whether a request makes sense: shapes, names, finite positions. Pure."""

import numpy as np

from don.errors import ConfigError
from don.model.messages import OptimizeRequest, PortfolioInputs
from don.portfolio.config import PortfolioConfig


def check_symbols(config: PortfolioConfig, symbols: tuple[str, ...]) -> None:
    """Refuse limits on symbols that are not there: such a limit would silently limit nothing.

    Raises:
        ConfigError: naming the field and the symbols.
    """
    for field, named in (
        ("neutral_to", config.neutral_to),
        ("bounds", tuple(bound.symbol for bound in config.bounds)),
        ("risk_budgets", tuple(budget.symbol for budget in config.risk_budgets)),
        *((f"groups.{g.name}", g.symbols) for g in config.groups),
    ):
        if unknown := [symbol for symbol in named if symbol not in symbols]:
            raise ConfigError(
                f"portfolio.{field} names {', '.join(unknown)}, which is not among the symbols "
                f"traded: {', '.join(symbols)}"
            )


_SHAPES = {
    "carry": "n", "impact": "n", "margin": "n", "lot": "n", "least": "n", "mu_error": "n",
    "reference": "n", "mu_path": "*n", "cost_path": "*n", "scenarios": "*n", "exposures": "*n",
    "views": "*n", "view_mu": "*", "view_error": "*",
}  # fmt: skip


def checked(request: OptimizeRequest) -> tuple[np.ndarray, np.ndarray]:
    """(w_now, tradable) of a request whose arrays fit its symbols.

    Raises:
        ValueError: naming the array that does not fit, or `w_now` if it is not finite.
    """
    n = len(request.symbols)
    w_now = np.asarray(request.w_now, dtype=float)
    shapes = dict.fromkeys(("mu", "w_now", "w_last", "cost", "tradable", "desired"), (n,))
    for name, shape in (*shapes.items(), ("Sigma", (n, n))):
        value = getattr(request, name)
        if value is not None and np.shape(value) != shape:
            raise ValueError(f"{name} must have shape {shape}, was {np.shape(value)}")
    for name, value in given(request.inputs or PortfolioInputs()):
        kind = _SHAPES[name]
        if value.ndim != len(kind) or (kind[-1] == "n" and value.shape[-1] != n):
            wanted = tuple(n if letter == "n" else "any" for letter in kind)
            raise ValueError(f"inputs.{name} must have shape {wanted}, was {value.shape}")
    if not np.isfinite(w_now).all():
        raise ValueError(f"w_now must be finite, was {w_now.tolist()}")
    return w_now, np.asarray(request.tradable, dtype=bool)


def given(inputs: PortfolioInputs) -> list[tuple[str, np.ndarray]]:
    """The inputs that are there, with their names."""
    named = ((name, getattr(inputs, name)) for name in _SHAPES)
    return [(name, np.asarray(value)) for name, value in named if value is not None]
