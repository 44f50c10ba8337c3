"""Targets inside the limits: a reviewed target is nowhere larger than the one given. Pure."""

from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np

from don.risk.config import RiskConfig
from don.risk.measures import tail
from don.risk.portfolio import Window
from don.risk.scenarios import BY_NAME

PASSES = 3  # a cut to one side can press on another limit; what is left, `check` refuses
HEADROOM = 0.98  # of a limit that a reviewed target uses: room for fees and worse prices


def review(
    config: RiskConfig,
    symbols: Sequence[str],
    weights: np.ndarray,
    equity: Decimal,
    held: np.ndarray,
    tradable: np.ndarray,
    *,
    outside: float = 0.0,
    reducing: str = "",
    window: Window | None = None,
) -> tuple[np.ndarray, list[str]]:
    """A target inside the limits.

    Args:
        config: the limits.
        symbols: their names.
        weights: [symbol] fractions of equity.
        equity: quote, positive.
        held: [symbol] current weights: what symbols that cannot be traded go on using.
        tradable: [symbol] bool.
        outside: sum of |weights| held in symbols that the session does not trade.
        reducing: why positions may only become smaller; "" if they may grow.
        window: recent returns, for limits on value at risk.

    Returns:
        [symbol] weights, each of the same sign and at most the size of the one given, and the
        reasons of every change. A target that is not finite becomes all zeros in size, with a
        reason; the caller must not trade on it.
    """
    reasons: list[str] = []
    if not np.isfinite(weights).all():
        return np.zeros_like(weights), ["target refused: a weight is not finite"]
    out = weights
    if reducing:
        same = np.sign(weights) == np.sign(held)
        out = np.where(same, np.sign(weights) * np.minimum(np.abs(weights), np.abs(held)), 0.0)
        if not np.array_equal(out, weights):
            reasons.append(f"reducing only: {reducing}")
    out = _each(config, symbols, out, equity, reasons)
    limit = float(config.max_gross_leverage) * HEADROOM
    pinned = float(np.abs(held[~tradable]).sum()) + outside
    free = float(np.abs(out[tradable]).sum())
    room = max(limit - pinned, 0.0)
    if free > room:
        out = np.where(tradable, out * (room / free), out)
        reasons.append(
            f"target scaled by {room / free:.4f}: gross leverage is limited to "
            f"{config.max_gross_leverage}"
        )
    cuts = _optional(config, symbols, held, tradable, outside, window)
    for _ in range(PASSES if cuts else 0):
        before = out
        for why, cut in cuts:
            smaller = cut(out)
            if (np.abs(smaller) < np.abs(out)).any():
                out = smaller
                if (said := f"target cut: {why}") not in reasons:
                    reasons.append(said)
        if out is before:
            break
    return out, reasons


def _each(
    config: RiskConfig,
    symbols: Sequence[str],
    weights: np.ndarray,
    equity: Decimal,
    reasons: list[str],
) -> np.ndarray:
    """Every weight within the limits of one symbol."""
    cap = float(config.max_position_notional / equity) * HEADROOM
    out = np.clip(weights, -cap, cap)
    if (np.abs(out) < np.abs(weights)).any():
        reasons.append(
            f"weights cut to {cap:.4f}: positions are limited to {config.max_position_notional}"
        )
    for own in config.symbols:
        if own.max_position_notional is not None and own.symbol in symbols:
            i = symbols.index(own.symbol)
            cap = float(own.max_position_notional / equity) * HEADROOM
            if abs(out[i]) > cap:
                out[i] = np.sign(out[i]) * cap
                reasons.append(
                    f"{own.symbol} cut to {cap:.4f}: its position is limited to "
                    f"{own.max_position_notional}"
                )
    if config.max_concentration is not None:
        cap = float(config.max_concentration) * HEADROOM
        if (np.abs(out) > cap).any():
            out = np.clip(out, -cap, cap)
            reasons.append(f"weights cut to {cap:.4f}: concentration is limited")
    return out


Cut = Callable[[np.ndarray], np.ndarray]


def _optional(
    config: RiskConfig,
    symbols: Sequence[str],
    held: np.ndarray,
    tradable: np.ndarray,
    outside: float,
    window: Window | None,
) -> list[tuple[str, Cut]]:
    """The cuts of the limits that are configured; each only makes weights smaller."""
    cuts: list[tuple[str, Cut]] = []
    kept = np.where(tradable, 0.0, held)  # what stays whatever the target says

    def gross_to(limit: float, among: np.ndarray, more: float = 0.0) -> Cut:
        def cut(out: np.ndarray) -> np.ndarray:
            moved = among & tradable
            free = float(np.abs(out[moved]).sum())
            room = max(limit - float(np.abs(kept[among]).sum()) - more, 0.0)
            return np.where(moved, out * (room / free), out) if free > room else out

        return cut

    def net_to(limit: float, among: np.ndarray) -> Cut:
        def cut(out: np.ndarray) -> np.ndarray:
            """Only the side that is too large shrinks."""
            moved = among & tradable
            net = float(out[moved].sum() + kept[among].sum())
            if abs(net) <= limit:
                return out
            side = moved & (np.sign(out) == np.sign(net))
            large = float(np.abs(out[side]).sum())
            excess = abs(net) - limit
            scale = max(1.0 - excess / large, 0.0) if large > 0 else 1.0
            return np.where(side, out * scale, out)

        return cut

    everything = np.ones(len(symbols), dtype=bool)
    for group in config.groups:
        among = np.array([s in group.symbols for s in symbols])
        if group.max_gross is not None:
            limit = float(group.max_gross) * HEADROOM
            why = f"gross of group {group.name} is limited to {group.max_gross}"
            cuts.append((why, gross_to(limit, among)))
        if group.max_net is not None:
            limit = float(group.max_net) * HEADROOM
            why = f"net of group {group.name} is limited to {group.max_net}"
            cuts.append((why, net_to(limit, among)))
    if config.max_net_leverage is not None:
        why = f"net leverage is limited to {config.max_net_leverage}"
        cuts.append((why, net_to(float(config.max_net_leverage) * HEADROOM, everything)))
    if config.max_margin is not None:
        limit = float(config.max_margin / config.initial_margin_rate) * HEADROOM
        why = f"margin is limited to {config.max_margin} of equity"
        cuts.append((why, gross_to(limit, everything, outside)))
    if config.min_liquidation_distance is not None:
        # (1 - rate L) / (L (1 + rate)) >= d, solved for the leverage L
        rate, least = float(config.maintenance_rate), float(config.min_liquidation_distance)
        limit = HEADROOM / (rate + least * (1.0 + rate))
        why = f"liquidation is to stay {config.min_liquidation_distance} away"
        cuts.append((why, gross_to(limit, everything, outside)))
    if config.max_stress_loss is not None:
        limit = float(config.max_stress_loss) * HEADROOM
        for name in config.scenarios:
            shock = np.array([BY_NAME[name].shock(s) for s in symbols])
            cuts.append(
                (
                    f"{name} may cost {config.max_stress_loss} of equity at most",
                    _loss_to(limit, shock, kept, tradable),
                )
            )
    if window is not None:
        for what in ("var", "cvar"):
            limit_of = config.max_var if what == "var" else config.max_cvar
            if limit_of is not None:
                why = f"{what} of a bar is limited to {limit_of}"
                limit = float(limit_of) * HEADROOM
                cuts.append((why, _tail_to(limit, what, config, window, kept, tradable)))
    return cuts


def _loss_to(limit: float, shock: np.ndarray, kept: np.ndarray, tradable: np.ndarray) -> Cut:
    """Weights that lose in a scenario shrink until its loss is inside a limit."""

    def cut(out: np.ndarray) -> np.ndarray:
        loss = -(np.where(tradable, out, kept) * shock)
        excess = float(loss.sum()) - limit
        if excess <= 0:
            return out
        losing = tradable & (loss > 0)
        total = float(loss[losing].sum())
        scale = max(1.0 - excess / total, 0.0) if total > 0 else 1.0
        return np.where(losing, out * scale, out)

    return cut


def _tail_to(
    limit: float,
    what: str,
    config: RiskConfig,
    window: Window,
    kept: np.ndarray,
    tradable: np.ndarray,
) -> Cut:
    """The whole target shrinks by steps until its tail is inside a limit; else to nothing."""

    def measure(out: np.ndarray) -> float:
        said = tail(np.where(tradable, out, kept), window.returns, config)
        if said is None:
            return np.inf if out[tradable].any() else 0.0
        return said.var if what == "var" else said.cvar

    def cut(out: np.ndarray) -> np.ndarray:
        scale = 1.0
        for _ in range(20):
            now = measure(np.where(tradable, out * scale, out))
            if now <= limit:
                return np.where(tradable, out * scale, out) if scale < 1.0 else out
            scale *= min(limit / now, 0.95) if np.isfinite(now) else 0.0
        return np.where(tradable, 0.0, out)

    return cut
