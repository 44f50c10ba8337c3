"""Numbers and times as the exchange writes them. Pure."""

from decimal import Decimal

NS_PER_MS = 1_000_000
_AVERAGE = Decimal("0.00000001")


def number(value: Decimal) -> str:
    """A decimal in plain notation, every digit kept: what is owed is never rounded on the wire."""
    text = str(value)  # several times faster than format(), and nearly always plain already
    return format(value, "f") if "E" in text else text


def average(value: Decimal) -> str:
    """An average price; it may have no end, so it is cut to eight decimals."""
    return format(value.quantize(_AVERAGE).normalize(), "f")


def ms(ts_ns: int) -> int:
    """Milliseconds of a time in ns."""
    return ts_ns // NS_PER_MS


def decimals(step: Decimal) -> int:
    """Decimals that multiples of a step have."""
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
