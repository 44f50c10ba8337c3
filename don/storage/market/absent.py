"""What to say of market data that are not stored: what there is, and which command fetches more.

Reads the ledger of completeness for that.
"""

from collections.abc import Collection, Sequence

from don.clock import interval_text, iso
from don.errors import DataError
from don.model.hints import meant, meant_symbol
from don.storage.database import Database
from don.storage.market.coverage import CoverageLedger

FILLED_BY = (
    "`don data collect` records a market, `don data backfill` fetches history, `don data import` "
    "reads files"
)
_SHOWN = 6  # streams that are named


def unknown(what: str, value: str, known: Collection[str]) -> DataError:
    """The error for a symbol or an exchange of which nothing is stored."""
    said = f"{what} {value!r} is not known"
    if not known:
        return DataError(f"{said}: no market data are stored yet; {FILLED_BY}")
    few = f"known are {', '.join(sorted(known))}" if len(known) < 10 else f"{len(known)} are known"
    hint = meant_symbol(value, known) if what == "symbol" else meant(value, known)
    return DataError(f"{said}{hint or f'; {few}'}")


def no_bars(
    db: Database, exchange: str | None, symbols: Sequence[str], interval_ns: int,
    start: int, end: int,
) -> DataError:  # fmt: skip
    """The error for bars that are neither stored nor can be made of what is.

    Args:
        db: the database, whose ledger says what there is.
        exchange: as asked for; None: any.
        symbols: canonical, those without bars.
        interval_ns: of the bars.
        start: ns, open time of the first bar.
        end: ns, exclusive, of the last bar's close.
    """
    interval = interval_text(interval_ns)
    known = [
        f"{span.exchange} {span.channel} of {span.symbol} from {iso(span.start)} to {iso(span.end)}"
        for span in CoverageLedger(db).streams(exchange, None, list(symbols))
        if span.channel == "trades" or span.channel.startswith("bars:")
    ]
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    there = f"; known are {', '.join(known[:_SHOWN])}{more}" if known else ""
    return DataError(
        f"no bars of {interval} of {', '.join(symbols)} are stored from {iso(start)} to "
        f"{iso(end)}{there}: see `don data audit`, or fetch them with `don data backfill "
        f"{exchange or 'EXCHANGE'} bars --symbols {','.join(symbols)} --interval {interval} "
        f"--start {iso(start)} --end {iso(end)}`"
    )
