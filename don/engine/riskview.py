"""How the account stands against its limits, as a plain dictionary. Pure.

Amounts are exact and therefore text, estimates numbers. A figure that cannot be told is None.
"""

from decimal import Decimal
from typing import Any

from don.engine.core import Core
from don.model.portfolio import ZERO
from don.risk.exposure import reaches
from don.risk.measures import correlation_break
from don.risk.portfolio import (
    Window,
    filled,
    gross_reach,
    liquidation_distance,
    net_reach,
    tail_of,
    worst_stress,
)
from don.risk.protection import unprotected


class RiskView:
    """Makes the view; what is slow to work out is kept until the account or the market moves."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._key: tuple[int, int, int, int] | None = None
        self._figures: dict[str, Any] = {}

    def view(self) -> dict[str, Any]:
        """States, limits, what was changed by command, and the figures that limits bound."""
        core = self._core
        bare = unprotected(core.ledger, core.orders, core.market.marks)
        return {
            "state": str(core.states.state),
            "states": {
                scope: {"state": str(s.state), "reason": s.reason, "actor": s.actor}
                for scope, s in sorted(core.states.standings.items())
            },
            "limits": core.config.risk.model_dump(mode="json"),
            "changed": core.limits.overrides,
            "figures": self._kept(),
            "unprotected": {
                "now": str(sum(bare.values(), ZERO)),  # quote at mark
                "notional_s": str(core.unprotected),  # quote seconds without Don
            },
        }

    def _kept(self) -> dict[str, Any]:
        core = self._core
        key = (
            core.market.version,
            core.ledger.fill_count,
            core.orders.live,
            core.decision,  # limits and states change with one
        )
        if key != self._key:
            self._key, self._figures = key, self._measured()
        return self._figures

    def _measured(self) -> dict[str, Any]:
        core, config, book = self._core, self._core.config.risk, self._core.book()
        equity = book.equity
        losses = core.risk.losses
        figures: dict[str, Any] = {
            "daily_loss": _rate(losses.loss(equity)),
            "drawdown": _rate(losses.drawdown(equity)) if losses.tracks_peak else None,
            "loss_streak": losses.streak,
            "open_orders": core.orders.live,
        }
        if equity <= 0:
            return figures
        found = reaches(book)
        gross = gross_reach(found)
        distance = liquidation_distance(equity, gross, config.maintenance_rate)
        name, loss = worst_stress(config, found)
        returns = core.market.closes.returns()
        window = Window(symbols=core.symbols, returns=returns)
        said = tail_of(config, window, filled(book), equity)
        return figures | {
            "gross_leverage": _rate(gross / equity),
            "net_leverage": _rate(net_reach(found) / equity),
            "concentration": _rate(max((r.gross for r in found), default=ZERO) / equity),
            "groups": {
                group.name: {
                    "gross": _rate(gross_reach(members) / equity),
                    "net": _rate(net_reach(members) / equity),
                }
                for group in config.groups
                for members in [[r for r in found if r.symbol in group.symbols]]
            },
            "margin": _rate(gross * config.initial_margin_rate / equity),
            "liquidation_distance": None if distance is None else _rate(distance),
            "stress_loss": _rate(loss / equity),
            "stress_scenario": name,
            "var": None if said is None else said.var,
            "cvar": None if said is None else said.cvar,
            "correlation_break": correlation_break(returns, config.correlation_bars),
        }


def _rate(value: Decimal) -> float:
    return float(value)
