"""`don backtest --store`: the market database and its lake as the source of a backtest."""

from typing import TYPE_CHECKING

from don.clock import interval_ns
from don.errors import UsageError

if TYPE_CHECKING:
    from don.backtest.config import BacktestConfig


def from_store(settings: "BacktestConfig", exchange: str | None) -> "BacktestConfig":
    """The same configuration over a tape of stored bars, history before its start included.

    Args:
        settings: with symbols, interval, start and end, without a tape.
        exchange: as stored; None: the only one that has the bars.

    Raises:
        UsageError: if it does not say what to read.
        DataError: if it is not stored.
    """
    if settings.tape is not None or settings.funding is not None:
        raise UsageError("--store reads the database: leave --tape and --funding out")
    asked = {"--symbols": settings.symbols, "--interval": settings.interval,
             "--start": settings.start, "--end": settings.end}  # fmt: skip
    if lacking := [name for name, value in asked.items() if not value]:
        raise UsageError(f"--store needs {', '.join(lacking)}")
    from don.backtest.run import moment
    from don.backtest.stored import stored_tape

    try:
        step = interval_ns(str(settings.interval))
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    start, end = moment(settings.start, "start"), moment(settings.end, "end")
    assert start is not None and end is not None
    if start >= end:
        raise UsageError(f"--end must be after --start, were {settings.end} and {settings.start}")
    first = (start // step - settings.history_bars) * step
    end += step  # what is decided on the last bar is carried out in the next
    tape = stored_tape(settings.symbols, step, first, end, exchange=exchange)
    return settings.model_copy(update={"tape": tape})
