"""What is known of the minutes that a tape's bars cover: complete, repaired, synthetic, missing.

Reads the file that `don.storage.market.tapes` writes beside a tape of stored bars.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from don.backtest.result import DataShares
from don.errors import DataError
from don.market.coverage import TAPE_FILE, Range, State, shares_of
from don.paper.tape_data import exchange_symbol


def shares_beside(
    tapes: Sequence[Path], symbols: Sequence[str], start: int, end: int
) -> tuple[DataShares, ...]:
    """Minutes of each symbol in [start, end) by state; empty where nobody has told.

    Args:
        tapes: files of the market.
        symbols: canonical names.
        start: ns.
        end: ns, exclusive.

    Raises:
        DataError: if the file beside the tape cannot be read.
    """
    if len(tapes) != 1 or not (path := tapes[0].parent / TAPE_FILE).is_file():
        return ()
    try:
        told = json.loads(path.read_text())
        states = {name: told["states"].get(name) for name in map(exchange_symbol, symbols)}
        found = []
        for symbol, known in zip(symbols, states.values(), strict=True):
            if known is None:
                return ()
            ranges = [
                Range(
                    exchange=told["exchange"], channel=told["channel"], symbol=symbol,
                    start=low, end=high, state=State(state),
                )
                for low, high, state in known
            ]  # fmt: skip
            shares = shares_of(ranges, start, end)
            minutes = {str(state): count for state, count in sorted(shares.by_state.items())}
            found.append(
                DataShares(
                    symbol=symbol,
                    source=f"{told['exchange']} {told['channel']}",
                    minutes=shares.minutes,
                    by_state=minutes,
                )
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read, make the tape anew: {error}") from error
    return tuple(found)
