"""The exchange as its last process left it. Reads the database and the tape."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from don.paper.config import PaperConfig
from don.paper.events import Event, PublicTrade
from don.paper.exchange import PaperExchange
from don.paper.store import Displayed, Store
from don.paper.tape import Tape
from don.paper.types import Counters, ExchangeState


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """An exchange that is ready to go on."""

    exchange: PaperExchange
    position: int  # where the tape goes on
    trades: Sequence[Event]  # public trades shortly before
    whole: bool  # books and marks are there as they stood; the tape need not show them first


def recover(store: Store, tape: Tape, config: PaperConfig) -> Recovered:
    """Bring the exchange back, or open it for the first time.

    Accounts, orders and ids come from their rows, as the last transaction left them. Books and bars
    come from the last time they were kept, carried forward by the tape to the same position.
    """
    state = store.load(config.history)
    if state is None:
        exchange = PaperExchange(tape.instruments(), config)
        opening = exchange.take_dirty()
        counters = replace(opening.counters, position=tape.start)
        with store.transaction():
            store.save(replace(opening, counters=counters))
            store.save_displayed(displayed_of(exchange, tape.start))
        return Recovered(exchange=exchange, position=tape.start, trades=(), whole=False)
    position = state.counters.position
    displayed, trades = _carry_forward(store.displayed(), tape, config, position)
    if displayed is not None:
        state = replace(state, books=displayed.books, bars=displayed.bars)
    exchange = PaperExchange(tape.instruments(), config, state)
    whole = displayed is not None
    return Recovered(exchange=exchange, position=position, trades=trades, whole=whole)


def _carry_forward(
    kept: Displayed | None, tape: Tape, config: PaperConfig, position: int
) -> tuple[Displayed | None, list[Event]]:
    """Books and bars at `position`, by an exchange without customers; and the trades on the way."""
    if kept is None or kept.position > position:
        return None, []
    if kept.position == position:
        return kept, []
    scratch = PaperExchange(
        tape.instruments(),
        config,
        ExchangeState(
            counters=Counters(now=kept.now, position=kept.position),
            markets=kept.markets,
            books=kept.books,
            bars=kept.bars,
        ),
    )
    trades: list[Event] = []
    for after, event in tape.events(kept.position):
        if after > position:
            break
        trades += [e for e in scratch.apply(event, after) if isinstance(e, PublicTrade)]
    return displayed_of(scratch, position), trades


def displayed_of(exchange: PaperExchange, position: int) -> Displayed:
    """What is to be kept of the display."""
    markets, books, bars = exchange.display()
    return Displayed(position=position, now=exchange.now, markets=markets, books=books, bars=bars)
