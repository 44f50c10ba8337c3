"""Cross-margin arithmetic of linear perpetuals, exact. Pure.

One maintenance tier, one-way positions. Margins are rounded to 1e-8 of the quote currency.
"""

from decimal import Decimal

from don.model.portfolio import ZERO, Position, money


def position_margin(notional: Decimal, leverage: int) -> Decimal:
    """Initial margin of a position; `notional` is signed, size * mark."""
    return money(abs(notional) / leverage)


def order_margin(notional: Decimal, buys: Decimal, sells: Decimal, leverage: int) -> Decimal:
    """What open orders add to the initial margin: that of the worst position they could lead to.

    Args:
        notional: of the position, signed, quote.
        buys: notional of open buy orders at their prices, without reduce-only ones.
        sells: the same for sell orders.
        leverage: of the symbol.
    """
    worst = max(abs(notional), abs(notional + buys), abs(notional - sells))
    return money(worst / leverage) - position_margin(notional, leverage)


def maintenance_margin(notional: Decimal, rate: Decimal) -> Decimal:
    """Margin below which a position is liquidated."""
    return money(abs(notional) * rate)


def liquidation_price(position: Position, rest: Decimal, rate: Decimal) -> Decimal:
    """The mark price at which the account would be liquidated, all other marks unchanged.

    Args:
        position: the position in question.
        rest: wallet plus unrealised profit minus maintenance margin of all other positions.
        rate: maintenance rate.

    Returns:
        A price to 1e-8, or 0 when there is none (flat, or too well funded).
    """
    if not position.size:
        return ZERO
    price = (position.cost - rest) / (position.size - abs(position.size) * rate)
    return money(price) if price > 0 else ZERO


def bankruptcy_price(
    position: Position, mark: Decimal, balance: Decimal, gross: Decimal
) -> Decimal:
    """The price at which closing uses up this position's share of the margin balance.

    Args:
        position: not flat.
        mark: its mark price.
        balance: the account's margin balance, may be negative.
        gross: sum of absolute notionals of all positions, > 0; shares are in proportion.
    """
    share = balance * abs(position.size) * mark / gross
    return mark - share / position.size
