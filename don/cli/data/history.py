"""`don data backfill`, `import` and `export`. Light: what does the work is imported when asked."""

from pathlib import Path

import typer

from don.cli.data.opened import time_ns
from don.clock import SystemClock, interval_ns
from don.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add this part's commands."""
    app.command()(backfill)
    app.command("import")(import_files)
    app.command()(export)


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
    step_ns = _interval(interval)
    if rest_url and not rest_url.startswith(("http://", "https://")):
        raise UsageError(f"--rest-url must be like http://127.0.0.1:8900, was {rest_url!r}")
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


def import_files(
    files: list[Path] = typer.Argument(help="Parquet, CSV (also .gz) or Feather files."),
    preset: str = typer.Option(
        "auto", help="A ready mapping by name; `auto` goes by the name of the file."
    ),
    mapping: Path | None = typer.Option(None, help="A mapping as a TOML file."),
    channel: str = typer.Option("", help="What the file holds, e.g. bars, trades, funding."),
    exchange: str = typer.Option("", help="Exchange of all rows, e.g. BINANCE_FUTURES."),
    symbol: str = typer.Option("", help="Symbol of all rows, e.g. BTC-USDT-PERP."),
    symbol_rule: str = typer.Option(
        "", help="How symbols are written: as_is (BTC-USDT-PERP), pair or perp (BTCUSDT), coin."
    ),
    interval: str = typer.Option("", help="Of bars, e.g. 1h."),
    label: str = typer.Option("", help="Which end of a bar its time tells: open or close."),
    time_column: str = typer.Option("", help="Column of the time; default: timestamp."),
    time_unit: str = typer.Option("", help="Of times that are numbers: s, ms, us, ns."),
    column: list[str] = typer.Option([], help="OURS=THEIRS, e.g. rate=funding_rate; repeatable."),
    symbol_map: list[str] = typer.Option([], help="THEIRS=OURS, e.g. XBTUSD=BTC-USD-PERP."),
    on_overlap: str = typer.Option(
        "refuse", help="Rows that contradict stored ones: refuse, or keep what is stored."
    ),
    unsorted: bool = typer.Option(False, "--unsorted", help="Allow a symbol's time to go back."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Read and check only; no database."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Load files into the database; each one wholly or not at all. Repeating it is harmless."""
    from don.cli.data.importing import run_import

    given = {
        "channel": channel,
        "exchange": exchange,
        "symbol": symbol,
        "symbol_rule": symbol_rule,
        "interval": interval,
        "label": label,
        "time_column": time_column,
        "time_unit": time_unit,
        "columns": _pairs(column, "--column"),
        "symbols": _pairs(symbol_map, "--symbol-map"),
    }
    run_import(
        files,
        preset,
        mapping,
        {name: value for name, value in given.items() if value},
        on_overlap=on_overlap,
        sorted_=not unsorted,
        dry_run=dry_run,
        as_json=as_json,
    )


def export(
    channel: str = typer.Argument(help="trades, bars, quotes ..."),
    out: Path = typer.Option(..., "--out", "-o", help="A .parquet, .csv, .feather file."),
    symbols: list[str] | None = typer.Argument(None, help="Such as BTC-USDT-PERP. Default: all."),
    start: str | None = typer.Option(None, help="From this UTC time on."),
    end: str | None = typer.Option(None, help="Up to this UTC time, exclusive."),
    exchange: str | None = typer.Option(None, help="Only this exchange."),
    interval: str | None = typer.Option(None, help="Only stored bars of this length."),
    columns: str | None = typer.Option(None, help="Only these, with commas between."),
    lake: str | None = typer.Option(None, "--lake", help="Folder or s3:// URL of the lake."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Write stored data of any age and amount to a file; `import` reads it back."""
    from don.cli.data.importing import run_export

    run_export(
        channel,
        out,
        symbols or None,
        start=None if start is None else time_ns(start, "--start"),
        end=None if end is None else time_ns(end, "--end"),
        exchange=exchange,
        interval=None if interval is None else _interval(interval),
        columns=[name.strip() for name in columns.split(",")] if columns else None,
        lake=lake,
        as_json=as_json,
    )


def _interval(text: str) -> int:
    try:
        return interval_ns(text)
    except ValueError as error:
        raise UsageError(f"--interval: {error}") from error


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        left, equals, right = text.partition("=")
        if not (left and equals):
            raise UsageError(f"{option} must be like A=B, was {text!r}")
        found[left] = right
    return found
