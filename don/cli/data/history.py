"""`don data backfill`, `import` and `export`. Light: what does the work is imported when asked."""

import typer

from don.cli.data.opened import time_ns
from don.clock import SystemClock, interval_ns
from don.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add this part's commands."""
    app.command()(backfill)


def backfill(
    exchange: str = typer.Argument(help="Exchange, e.g. BINANCE_FUTURES, BYBIT, or ccxt's id."),
    channels: list[str] = typer.Argument(
        help="What: bars, trades, funding, open_interest, marks (mark and index prices)."
    ),
    symbols: str = typer.Option(
        ..., "--symbols", help="Comma-separated, e.g. BTC-USDT-PERP,ETH-USDT-PERP; or `all`."
    ),
    start: str = typer.Option(..., help="First time, UTC, e.g. 2025-01-01."),
    end: str | None = typer.Option(None, help="End, exclusive; default: now."),
    interval: str = typer.Option("1m", help="Of bars, marks and open interest, e.g. 1m, 1h."),
    parallel: int = typer.Option(4, min=1, max=64, help="Series fetched at once."),
    rest_url: str = typer.Option(
        "", help="Address in place of the exchange's own, e.g. of `don paper`."
    ),
    page: int = typer.Option(1_000, min=10, help="Rows asked for at once."),
    as_json: bool = typer.Option(False, "--json", help="One JSON line per change, then a summary."),
) -> None:
    """Fetch history and store it; run it again to go on or to fetch what has come since."""
    now_ns = SystemClock().now_ns()
    start_ns = time_ns(start, "--start")
    end_ns = now_ns if end is None else min(time_ns(end, "--end"), now_ns)
    if start_ns >= end_ns:
        raise UsageError(f"--start must be before --end and before now, was {start!r}")
    try:
        step_ns = interval_ns(interval)
    except ValueError as error:
        raise UsageError(f"--interval: {error}") from error
    from don.cli.data.backfill import run_backfill
    from don.exchanges.ccxt_history import HistoryConfig

    run_backfill(
        exchange,
        channels,
        symbols,
        step_ns,
        (start_ns, end_ns),
        parallel=parallel,
        config=HistoryConfig(rest_url=rest_url, page=page),
        as_json=as_json,
    )
