"""Dividing what cannot be divided evenly: lots and money, exactly and always alike. Pure."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_DOWN, Decimal

from don.model.portfolio import MONEY, ZERO


def lots(total: Decimal, weights: Sequence[Decimal], unit: Decimal) -> list[Decimal]:
    """A size in parts in proportion to weights, each a whole number of units.

    Largest remainder: every part is rounded down, then the units that are left go to the parts that
    were cut most, of equals to the first. What is no whole unit goes to the largest weight. Where
    the total is at most the sum of the weights no part exceeds its weight: if weights are not
    whole, what is beyond one goes to the first that have room, and parts are not whole either.

    Args:
        total: to divide, >= 0.
        weights: one a part, >= 0, not all zero.
        unit: the lot, > 0.

    Returns:
        Parts whose sum is `total`, exactly.

    Raises:
        ValueError: if no weight is positive.
    """
    whole = sum(weights, ZERO)
    if whole <= 0 or min(weights) < 0:
        raise ValueError(f"weights must be >= 0 and not all zero, were {list(map(str, weights))}")
    units = int(total // unit)
    ideal = [units * weight / whole for weight in weights]
    parts = [int(part) for part in ideal]
    order = sorted(range(len(parts)), key=lambda i: (parts[i] - ideal[i], i))
    for i in order[: units - sum(parts)]:
        parts[i] += 1
    found = [part * unit for part in parts]
    found[_largest(weights)] += total - units * unit
    if total <= whole:
        beyond = ZERO
        for i, weight in enumerate(weights):
            beyond += max(found[i] - weight, ZERO)
            found[i] = min(found[i], weight)
        for i, weight in enumerate(weights):
            more = min(beyond, weight - found[i])
            found[i] += more
            beyond -= more
    return found


def among(
    size: Decimal, side: int, wants: Mapping[str, Decimal], unit: Decimal
) -> dict[str, Decimal]:
    """An order in parts for those who want it: never more for one than it lacks.

    Args:
        size: of the order, > 0.
        side: 1 of a buy, -1 of a sale.
        wants: name -> signed size.
        unit: the lot, > 0.
    """
    lacking = {name: abs(want) for name, want in wants.items() if want * side > 0}
    total = min(size, sum(lacking.values(), ZERO))
    if not total:
        return {}
    return dict(zip(lacking, lots(total, list(lacking.values()), unit), strict=True))


def money(amount: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """An amount in parts in proportion to weights, which may have signs but not sum to zero.

    Each part is rounded toward zero to 1e-8; what is left goes to the weight largest in size, of
    equals to the first.

    Returns:
        Parts whose sum is `amount`, exactly.

    Raises:
        ValueError: if the weights sum to zero.
    """
    whole = sum(weights, ZERO)
    if not whole:
        raise ValueError(f"weights must not sum to zero, were {list(map(str, weights))}")
    parts = [(amount * weight / whole).quantize(MONEY, ROUND_DOWN) for weight in weights]
    parts[_largest(weights)] += amount - sum(parts, ZERO)
    return parts


def _largest(weights: Sequence[Decimal]) -> int:
    return max(range(len(weights)), key=lambda i: (abs(weights[i]), -i))
