"""What a misspelt name was probably meant to be, for messages. Pure."""

import difflib
import re
from collections.abc import Collection

_QUOTES = ("FDUSD", "USDT", "USDC", "BUSD", "USD")


def meant(name: str, known: Collection[str]) -> str:
    """`; did you mean X?` if one of the known names is like this one, else nothing."""
    plain = {_plain(one): one for one in known}
    found = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.5)
    return f"; did you mean {plain[found[0]]}?" if found else ""


def meant_symbol(name: str, known: Collection[str]) -> str:
    """The same for symbols, which all look alike behind their base."""
    by_base: dict[str, dict[str, str]] = {}
    for one in known:
        by_base.setdefault(_parts(one)[0], {})[_plain(one)] = one
    base = difflib.get_close_matches(_parts(name)[0], by_base, n=1, cutoff=0.6)
    if not base:
        return ""
    own = by_base[base[0]]
    (found,) = difflib.get_close_matches(_plain(name), own, n=1, cutoff=0.0)
    return f"; did you mean {own[found]}?"


def meant_perpetual(name: str) -> str:
    """`; did you mean BTC-USDT-PERP?` for names such as `BTCUSDT`, `BTC/USDT` and `BTC-USDT`."""
    base, quote = _parts(name)
    return f"; did you mean {base}-{quote}-PERP?" if base and quote else ""


def _parts(symbol: str) -> tuple[str, str]:
    """Base and quote, "" where it has none that is known, of a symbol however written."""
    plain = _plain(symbol.partition(":")[0]).removesuffix("PERP").removesuffix("SWAP")
    quote = next((one for one in _QUOTES if plain.endswith(one)), "")
    return plain.removesuffix(quote), quote


def _plain(name: str) -> str:
    """Without case and what separates: names are told apart by the rest."""
    return re.sub(r"[^A-Z0-9]", "", name.upper())
