"""The parts of a feed that ask REST, for exchanges of Binance's dialect: books, bars, polls."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from don.feeds.polls import OpenInterestPoll
from don.feeds.repair import BarRepair
from don.feeds.rest import RestClient
from don.feeds.resync import BookLoader
from don.feeds.venues import Fast

if TYPE_CHECKING:
    from don.feeds.core import Core


@dataclass(frozen=True, slots=True)
class RestParts:
    """What was made."""

    loader: BookLoader
    repair: BarRepair


def connect_rest(core: "Core", fast: Fast, rest: RestClient) -> RestParts:
    """Make the parts and start their tasks."""
    config = core.config
    loader = BookLoader(
        fast=fast,
        config=config,
        rest=rest,
        books=core.books,
        sink=core.sink,
        outbox=core.outbox,
        clock=core.clock,
        rng=core.rng,
        spawn=core.spawn,
        note=core.note,
    )
    repair = BarRepair(
        fast=fast,
        config=config,
        interval_ns=core.interval_ns,
        rest=rest,
        keeper=core.keeper,
        sink=core.sink,
        outbox=core.outbox,
        streams={s.symbol: s for s in core.streams.values() if s.channel == "bars"},
        clock=core.clock,
        rng=core.rng,
        note=core.note,
    )
    core.spawn(repair.run(), "bar repair")
    if "open_interest" in config.channels:
        poll = OpenInterestPoll(
            f"{fast.prefix}/openInterest",
            core.add_streams(tuple(("open_interest", symbol) for symbol in config.symbols)),
            config.open_interest_s,
            rest=rest,
            sink=core.sink,
            clock=core.clock,
            note=core.note,
        )
        core.spawn(poll.run(), "open interest")
    return RestParts(loader, repair)
