"""How much of some history is complete, repaired, synthetic or missing. Reads the ledger.

Bars that are not stored are made of smaller ones, or of trades: so where nothing is known of an
interval's bars, what is known of its sources counts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from don.clock import NS_PER_S, interval_ns
from don.errors import UsageError
from don.market.coverage import Range, StreamKey, by_stream, shares_of
from don.storage.market.coverage import CoverageLedger
from don.storage.market.reads import MarketStore


def shares(
    store: MarketStore, exchange: str, channel: str, symbols: Sequence[str], start: int, end: int
) -> dict[str, float]:
    """What a backtest or a training run states about the data that it used.

    Args:
        store: whose data they were.
        exchange: as stored.
        channel: `trades`, `bars:1m` ...
        symbols: canonical names.
        start: ns.
        end: ns, exclusive.

    Returns:
        Fractions of the symbols' minutes, adding up to 1: complete, gap, repaired, synthetic, down
        (the exchange had nothing) and unknown.

    Raises:
        UsageError: without symbols or time, or for `bars` without an interval.
        DatabaseError: if the database is away.
    """
    distinct = sorted(set(symbols))
    if not distinct or start >= end:
        raise UsageError(
            f"shares need symbols and start < end, were {len(distinct)} symbols, {start}, {end}"
        )
    found = known(store, exchange, channel, distinct, start, end)
    return shares_of(found, start, end, len(distinct)).fractions()


def known(
    store: MarketStore, exchange: str, channel: str, symbols: Sequence[str], start: int, end: int
) -> list[Range]:
    """What the ledger says of each symbol's minutes in [start, end), each minute once.

    Ranges of sources bear the name of the channel that was asked for.

    Raises:
        UsageError: for `bars` without an interval.
        DatabaseError: if the database is away.
    """
    if channel == "bars":
        raise UsageError("shares of bars need their interval, such as bars:1m, was 'bars'")
    ledger = CoverageLedger(store.database)
    found: list[Range] = []
    for name in _sources(ledger, exchange, channel, symbols):
        more = ledger.read(exchange, name, symbols, start, end)
        found += _unknown_in(found, (replace(each, channel=channel) for each in more))
    return sorted(found, key=lambda each: (each.symbol, each.start))


def _sources(
    ledger: CoverageLedger, exchange: str, channel: str, symbols: Sequence[str]
) -> list[str]:
    """The channel itself; of bars then the smaller ones, smallest first, as reads do; trades."""
    kind, _, interval = channel.partition(":")
    if kind != "bars":
        return [channel]
    length = interval_ns(interval)
    stored = {span.channel for span in ledger.streams(exchange, "bars", symbols)}
    lengths = sorted((interval_ns(name.partition(":")[2]), name) for name in stored)
    smaller = [name for step, name in lengths if step < length and length % step == 0]
    return [channel, *smaller, *(("trades",) if length % NS_PER_S == 0 else ())]


def _unknown_in(known: Sequence[Range], more: Iterable[Range]) -> Iterator[Range]:
    """The parts of `more` of which nothing is known yet."""
    taken: dict[StreamKey, list[Range]] = by_stream(known)
    for claim in more:
        at = claim.start
        for other in sorted(taken.get(claim.stream, ()), key=lambda each: each.start):
            if other.end <= at or other.start >= claim.end:
                continue
            if other.start > at:
                yield replace(claim, start=at, end=other.start)
            at = other.end
        if at < claim.end:
            yield replace(claim, start=at)
