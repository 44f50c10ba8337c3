"""Numbers of trades that are the same by whichever way a trade comes: stream or history.

Pure. An exchange's own number is kept; of any other id, and where there is none, a hash is made.
"""

from hashlib import blake2b

from don.clock import NS_PER_MS

DIGITS_MOST = 18  # of a number that fits int64


def trade_id(given: object) -> int:
    """The number of a trade that its exchange names.

    Args:
        given: the exchange's id, a number or any text.

    Returns:
        The number itself, or 63 bits of the text's hash.
    """
    text = str(given)
    if text.isascii() and text.isdigit() and len(text) <= DIGITS_MOST:
        return int(text)
    return _hash(text)


def unnamed_trade_id(ts_event: int, price: float, size: float, buy: bool, nth: int) -> int:
    """The number of a trade without an id.

    Args:
        ts_event: ns; only its ms counts, because history of many exchanges tells no more.
        price: of the trade.
        size: of the trade.
        buy: whether the aggressor bought.
        nth: counts from 1 those that are equal in all this, in the exchange's order.
    """
    return _hash(f"{ts_event // NS_PER_MS} {price!r} {size!r} {buy} {nth}")


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
