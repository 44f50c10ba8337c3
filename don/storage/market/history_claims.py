"""What loaded history says about completeness, written into the ledger after it. Does I/O.

Bars and trades prove themselves; of other channels the asked source is all that is known.
"""

from collections.abc import Sequence

from don.market.coverage import Range, State, ceil_minute, floor_minute
from don.storage.market.audit import PROVEN, Audited, Store, rebuild
from don.storage.market.coverage import CoverageLedger


def claim_history(
    store: Store,
    ledger: CoverageLedger,
    *,
    exchange: str,
    channel: str,
    symbols: Sequence[str],
    start: int,
    end: int,
    source: str,
) -> list[Audited]:
    """Tell the ledger of history that was loaded; a repeat changes nothing.

    Args:
        store: reads of both tiers.
        ledger: what is written.
        exchange: under which the data are stored.
        channel: of storage, without an interval.
        symbols: canonical.
        start: ns, of what was asked for or held.
        end: ns, exclusive.
        source: where it came from, for people.

    Returns:
        What an audit of bars or trades found; nothing for other channels.
    """
    if start >= end:
        return []
    if channel in PROVEN:
        return rebuild(
            store, ledger, exchange=exchange, channel=channel, symbols=symbols, start=start, end=end
        )
    ledger.add(
        Range(
            exchange=exchange,
            channel=channel,
            symbol=symbol,
            start=floor_minute(start),
            end=ceil_minute(end),
            state=State.FILLED,
            reason=source,
        )
        for symbol in symbols
    )
    return []
