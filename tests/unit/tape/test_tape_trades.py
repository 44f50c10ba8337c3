"""The trades of a tape by id and by time are those that it replays."""

from itertools import islice

import pytest

from don.paper.events import TradePrint
from don.paper.tape import open_tape


@pytest.mark.warm
def test_trades_by_id_and_time_are_the_replayed_ones() -> None:
    tape = open_tape()
    symbol = tape.symbols[1]
    events = (event for _, event in tape.events(tape.start))
    replayed = list(
        islice((e for e in events if isinstance(e, TradePrint) and e.symbol == symbol), 300)
    )
    first = replayed[0]
    for begin in (0, 1, 57, 299):
        rest = replayed[begin:]
        by_id = tape.trades(symbol, from_id=rest[0].id)
        assert list(islice(by_id, len(rest))) == rest
        by_time = tape.trades(symbol, start_ns=rest[0].ts)
        assert (
            list(islice(by_time, len(rest)))
            == [e for e in replayed if e.ts >= rest[0].ts][: len(rest)]
        )
    assert next(tape.trades(symbol)).id == 1
    before = next(tape.trades(symbol, from_id=first.id - 1))
    assert before.id == first.id - 1 and before.ts <= first.ts
