"""How much of some history is complete, repaired, synthetic or missing. Reads bars and the ledger.

Bars that are not stored are made of smaller ones, or of trades: what is known of the source that a
read takes for a bar counts for the bar's minutes. Where it gives none nothing is complete, whatever
parts there are.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from don.clock import interval_ns, iso
from don.errors import UsageError
from don.market.coverage import (
    MINUTE_NS,
    WORST,
    Range,
    State,
    StreamKey,
    by_stream,
    ceil_minute,
    floor_minute,
    join,
    shares_of,
)
from don.storage.market.barreads import NONE, TRADES, Given, given_bars
from don.storage.market.coverage import CoverageLedger
from don.storage.market.reads import MarketStore

_CELLS = 500_000  # closes of all symbols that are looked at in one go
_THERE = (State.COMPLETE, State.REPAIRED, State.SYNTHETIC)
_ABSENT = "no bar: no source has all of its parts"


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
        DataError: if bars cannot be read.
        DatabaseError: if the database is away.
    """
    distinct = sorted(set(symbols))
    if not distinct or start >= end:
        raise UsageError(
            f"shares need symbols and start < end, were {len(distinct)} symbols, "
            f"{iso(start)} and {iso(end)}"
        )
    found = known(store, exchange, channel, distinct, start, end)
    return shares_of(found, start, end, len(distinct)).fractions()


def known(
    store: MarketStore, exchange: str, channel: str, symbols: Sequence[str], start: int, end: int
) -> list[Range]:
    """What the ledger says of each symbol's minutes in [start, end), each minute at most once.

    Ranges of sources bear the name of the channel that was asked for. Bars are read to find out
    which source each has.

    Raises:
        UsageError: for `bars` without an interval.
        DataError: if bars cannot be read.
        DatabaseError: if the database is away.
    """
    kind, _, text = channel.partition(":")
    if kind != "bars":
        return CoverageLedger(store.database).read(exchange, channel, symbols, start, end)
    if not text:
        raise UsageError("shares of bars need their interval, such as bars:1m, was 'bars'")
    length = interval_ns(text)
    stored = {symbol for place, symbol in store.series() if place == exchange}
    there = [symbol for symbol in symbols if symbol in stored]
    absent = [symbol for symbol in symbols if symbol not in stored]
    found = [] if not absent else known_of(store, None, exchange, channel, absent, start, end)
    whole = math.lcm(length, MINUTE_NS)
    step = -(-_CELLS * length // (max(1, len(there)) * whole)) * whole
    low = start // whole * whole
    while there and low < end:
        high = min(low + step, end)
        given = given_bars(store, there, length, low + 1, high + 1, exchange)
        found += known_of(store, given, exchange, channel, there, max(low, start), high)
        low = high
    return join(sorted(found, key=lambda each: (each.symbol, each.start)))


def known_of(
    store: MarketStore, given: Given | None, exchange: str, channel: str,
    symbols: Sequence[str], start: int, end: int,
) -> list[Range]:  # fmt: skip
    """As `known`, of bars that were read already: all that close in (start, end].

    Args:
        store: whose ledger.
        given: the bars and their sources; None: there are none.
        exchange: of the symbols.
        channel: of the bars.
        symbols: canonical names.
        start: ns, rounded down to its minute.
        end: ns, exclusive. Minutes of a bar that closes later count by what is known of its parts
            so far.
    """
    length, start = interval_ns(channel.partition(":")[2]), floor_minute(start)
    ledger = CoverageLedger(store.database)
    names = _sources(ledger, exchange, channel, symbols)
    claims = by_stream(
        claim
        for name in names.values()
        for claim in ledger.read(exchange, name, symbols, start, end)
    )
    found: list[Range] = []
    for symbol in symbols:
        pieces: list[Range] = []
        for low, high, step in _runs(given, (exchange, symbol), length, start, end):
            if step is not None:
                own = claims.get(StreamKey(exchange, names.get(step, ""), symbol), ())
                pieces += _cut(own, channel, low, high)
            else:
                merged: list[Range] = []
                for name in names.values():
                    own = claims.get(StreamKey(exchange, name, symbol), ())
                    merged += _unknown_in(merged, _cut(own, channel, low, high))
                pieces += map(_missing, merged) if high <= end // length * length else merged
        # of two bars in one minute the worse counts
        pieces.sort(key=lambda each: WORST.index(each.state))
        told: list[Range] = []
        if length % MINUTE_NS:
            for piece in pieces:
                told += _unknown_in(told, [piece])
        else:
            told = pieces
        found += sorted(told, key=lambda each: each.start)
    return found


def _runs(
    given: Given | None, pair: tuple[str, str], length: int, start: int, end: int
) -> Iterator[tuple[int, int, int | None]]:
    """Stretches of [start, end) with the step of their bars' source; None where there is no bar,
    and apart from these the time behind the last close.
    """
    closes = np.arange(start // length * length + length, end + 1, length, dtype=np.int64)
    codes = np.full(len(closes), NONE, np.int8)
    if given is not None and len(given.closes) and pair in given.series:
        own = given.codes[given.series.index(pair)]
        at = (closes - given.closes[0]) // length
        inside = (at >= 0) & (at < len(own))
        codes[inside] = own[at[inside]]
    cuts = np.flatnonzero(np.diff(codes)) + 1
    for part in np.split(np.arange(len(closes)), cuts):
        if len(part):
            code = int(codes[part[0]])
            step = None if code == NONE or given is None else given.steps[code]
            low, high = int(closes[part[0]]) - length, int(closes[part[-1]])
            yield max(low, start), min(high, end), step
    last = end // length * length
    if last < end:
        yield max(last, start), ceil_minute(end), None


def _cut(claims: Iterable[Range], channel: str, start: int, end: int) -> Iterator[Range]:
    """The claims within [start, end), under a channel's name; only complete minutes are whole."""
    for claim in claims:
        low, high = max(claim.start, start), min(claim.end, end)
        if claim.state is State.COMPLETE:
            low, high = ceil_minute(low), floor_minute(high)
        elif low < high:
            low, high = floor_minute(low), ceil_minute(high)
        if low < high:
            yield replace(claim, channel=channel, start=low, end=high)


def _missing(claim: Range) -> Range:
    """A claim about a part of a bar that there is not."""
    return replace(claim, state=State.GAP, reason=_ABSENT) if claim.state in _THERE else claim


def _sources(
    ledger: CoverageLedger, exchange: str, channel: str, symbols: Sequence[str]
) -> dict[int, str]:
    """The ledger's channels by step: the channel's own, the smaller ones in the order in which
    reads try them, trades.
    """
    length = interval_ns(channel.partition(":")[2])
    stored = {span.channel for span in ledger.streams(exchange, "bars", symbols)}
    lengths = sorted((interval_ns(name.partition(":")[2]), name) for name in stored)
    smaller = {step: name for step, name in lengths if step < length and length % step == 0}
    return {length: channel, **smaller, TRADES: "trades"}


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
