"""What an account held before it was ours is worth its first marks: no profit of ours. Pure.

Sessions that began under older rules (`SessionStart.rules`) count it from its entry price, as they
did when they ran.
"""

from decimal import Decimal

from don.engine.core import Core


def priced(core: Core) -> dict[str, Decimal]:
    """Marks told in this session, and the last known ones of symbols that it does not trade."""
    market, own = core.market, set(core.symbols)
    return {s: p for s, p in market.marks.items() if s in market.lasts or s not in own}


def value(core: Core) -> None:
    """Value what was taken over without a mark, as far as there is one by now."""
    waiting = core.ledger.unvalued
    if core.keeper is not None:
        waiting |= core.keeper.books.unvalued
    if not waiting:
        return
    known = priced(core)
    for symbol in sorted(waiting & known.keys()):
        value_at(core, symbol, known[symbol])


def value_at(core: Core, symbol: str, price: Decimal) -> None:
    """Value what was taken over in a symbol, if nobody has yet: the first price known of it."""
    core.ledger.value(symbol, price)
    if core.keeper is not None:
        core.keeper.books.value(symbol, price, core.market.ts_event)
