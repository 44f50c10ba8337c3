"""`don data audit`: what is known about every minute, drawn and listed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from don.cli.data.opened import market_database, open_store
from don.cli.output import console, out, print_json, table
from don.clock import NS_PER_S, iso, parse_iso
from don.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from don.market.coverage import Range, Shares
    from don.storage.database import Database
    from don.storage.market.audit import Audited
    from don.storage.market.coverage import StreamSpan

FOUND = 3  # exit code of --strict when something is missing
STRIP = 60  # columns of the strip that is drawn a stream
_SIGNS = {
    "complete": ("─", "green"),
    "gap": ("X", "bold red"),
    "repaired": ("r", "blue"),
    "synthetic": ("s", "magenta"),
    "down": ("d", "yellow"),
}
_UNKNOWN = ("·", "dim")
_SHARES = ("complete", "repaired", "synthetic", "gap", "down", "unknown")

Exchange = typer.Option(None, help="Only this exchange, such as BINANCE_FUTURES.")
Channel = typer.Option(None, help="Only this channel: trades, quotes, bars, bars:1m ...")
Symbols = typer.Option(None, "--symbol", help="Only this symbol; may be given again.")
Start = typer.Option(None, help="From this UTC time on, such as 2025-05-04T15:33.")
End = typer.Option(None, help="Up to this UTC time, exclusive.")


def register(app: typer.Typer) -> None:
    """Add this part's commands."""
    from don.cli.data import repair

    app.command()(audit)
    repair.register(app)


def audit(
    exchange: str | None = Exchange,
    channel: str | None = Channel,
    symbols: list[str] | None = Symbols,
    start: str | None = Start,
    end: str | None = End,
    rebuild: bool = typer.Option(
        False, "--rebuild", help="First read stored bars and trades, and claim what they prove."
    ),
    strict: bool = typer.Option(False, "--strict", help="Exit with 3 if there is a gap."),
    limit: int = typer.Option(50, min=1, help="Most gaps listed, newest first."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Tell of every minute of what is stored whether it is complete, and list what is missing.

    Complete, gap, repaired (fetched afterwards), synthetic, down (the exchange has nothing) or
    unknown. Without --start and --end each stream is told from its first known minute to its last.
    """
    low, high = moment("start", start), moment("end", end)
    if low is not None and high is not None and low >= high:
        raise UsageError(f"--end must be after --start, were {end} and {start}")
    from don.model.hints import meant_symbol
    from don.storage.market.absent import FILLED_BY
    from don.storage.market.coverage import CoverageLedger

    with market_database() as db:
        ledger = CoverageLedger(db)
        audited = _rebuild(db, ledger, exchange, channel, symbols, low, high) if rebuild else []
        spans = ledger.streams(exchange, channel, symbols)
        ranges = ledger.read(exchange, channel, symbols, low, high) if spans else []
        known = spans if spans and not symbols else ledger.streams(exchange, channel)
        known = known or ledger.streams()
    if symbols and not known:
        raise UsageError(f"nothing is known yet: {FILLED_BY}")
    if symbols and (lost := set(symbols) - {span.symbol for span in spans}):
        raise UsageError(
            f"nothing is known of symbol {', '.join(sorted(lost))}"
            f"{meant_symbol(min(lost), {span.symbol for span in known})}; see `don data audit`"
        )
    if known and not spans:
        streams = sorted({f"{span.exchange} {span.channel}" for span in known})
        asked = " ".join(part for part in (exchange, channel) if part)
        raise UsageError(f"nothing is known of {asked!r}, but of {', '.join(streams)}")
    missing = [each for each in ranges if each.state.value == "gap"]
    missing.sort(key=lambda each: (-each.end, each.exchange, each.channel, each.symbol))
    told = _told(spans, ranges, low, high)
    if as_json:
        print_json(_document(told, missing, ranges, audited))
    else:
        _print(told, missing[:limit], len(missing), ranges, audited)
    if strict and missing:
        raise typer.Exit(FOUND)


# ---- inside --------------------------------------------------------------------------------------

_Told = tuple["StreamSpan", int, int, "Shares"]  # stream, start, end, shares


def moment(name: str, text: str | None) -> int | None:
    """A time of the command line.

    Raises:
        UsageError: naming the option.
    """
    try:
        return None if text is None else parse_iso(text)
    except ValueError as error:
        raise UsageError(f"--{name} {str(error).removeprefix('time ')}") from error


def _rebuild(
    db: "Database",
    ledger: Any,
    exchange: str | None,
    channel: str | None,
    symbols: Sequence[str] | None,
    start: int | None,
    end: int | None,
) -> "list[Audited]":
    from don.storage.market import audit as auditor

    return auditor.rebuild(
        open_store(db), ledger, exchange=exchange, channel=channel,
        symbols=symbols or None, start=start, end=end,
    )  # fmt: skip


def _told(
    spans: "Sequence[StreamSpan]", ranges: "Sequence[Range]", low: int | None, high: int | None
) -> list[_Told]:
    from don.market.coverage import StreamKey, by_stream, shares_of

    found = by_stream(ranges)
    told = []
    for span in spans:
        start, end = span.start if low is None else low, span.end if high is None else high
        key = StreamKey(span.exchange, span.channel, span.symbol)
        if start < end:
            told.append((span, start, end, shares_of(found.get(key, ()), start, end)))
    return told


def _document(
    told: Sequence[_Told],
    missing: "Sequence[Range]",
    ranges: "Sequence[Range]",
    audited: "Sequence[Audited]",
) -> dict[str, Any]:
    return {
        "streams": [
            {
                "exchange": span.exchange, "channel": span.channel, "symbol": span.symbol,
                "start": iso(start), "end": iso(end), "minutes": shares.minutes,
                "shares": shares.fractions(),
            }
            for span, start, end, shares in told
        ],
        "gaps": [_as_json(each) for each in missing],
        "other": [
            _as_json(each) for each in ranges if each.state.value not in ("complete", "gap")
        ],
        "rebuilt": [
            {
                "exchange": each.stream.exchange, "channel": each.stream.channel,
                "symbol": each.stream.symbol, "rows": each.rows, "gaps": each.gaps,
                "skipped": each.skipped or None,
            }
            for each in audited
        ],
    }  # fmt: skip


def _as_json(each: "Range") -> dict[str, Any]:
    return {
        "exchange": each.exchange, "channel": each.channel, "symbol": each.symbol,
        "start": iso(each.start), "end": iso(each.end), "minutes": each.minutes,
        "state": str(each.state), "reason": each.reason,
    }  # fmt: skip


def _print(
    told: Sequence[_Told],
    missing: "Sequence[Range]",
    count: int,
    ranges: "Sequence[Range]",
    audited: "Sequence[Audited]",
) -> None:
    for each in audited:
        if each.skipped:
            name = f"{each.stream.exchange} {each.stream.channel} {each.stream.symbol}"
            out.print(f"{name}: not audited, {each.skipped}", style="yellow")
    if not told:
        out.print("Nothing is known yet: collect, backfill or import data, or use --rebuild.")
        return
    columns = ("exchange", "channel", "symbol", *(f"{name} %#" for name in _SHARES))
    rows = []
    for span, _, _, shares in told:
        fractions = shares.fractions()
        figures = [_percent(fractions[name]) for name in _SHARES]
        rows.append([span.exchange, span.channel, span.symbol, *figures])
    _draw(table([c.replace(" %#", "#") for c in columns], rows))
    _print_strips(told, ranges)
    if not count:
        out.print("\nNo gaps.")
        return
    of = "" if len(missing) == count else f" (the newest {len(missing)})"
    out.print(f"\n{count} gap{'s' if count > 1 else ''}{of}:")
    columns = ("from (UTC)", "to", "min#", "exchange", "channel", "symbol", "reason")
    lines = [
        [_short(e.start), _short(e.end), e.minutes, e.exchange, e.channel, e.symbol, e.reason]
        for e in missing
    ]
    _draw(table(columns, lines))


def _print_strips(told: Sequence[_Told], ranges: "Sequence[Range]") -> None:
    """One character a column of time, the worst state of each."""
    from rich.text import Text

    from don.market.coverage import StreamKey, by_stream
    from don.market.coverage_grid import grid

    start, end = min(row[1] for row in told), max(row[2] for row in told)
    keys = [StreamKey(span.exchange, span.channel, span.symbol) for span, *_ in told]
    drawn = grid(keys, by_stream(ranges), start, end, STRIP)
    minutes = drawn.step_ns // (60 * NS_PER_S)
    out.print(f"\n{_short(drawn.start)} to {_short(drawn.end)} UTC, {minutes} min a column:")
    width = max(len(_name(row)) for row in drawn.rows)
    for row in drawn.rows:
        cells = [_UNKNOWN] * drawn.columns
        for run in row.runs:
            cells[run.first : run.last + 1] = [_SIGNS[run.state]] * (run.last - run.first + 1)
        line = Text(f"{_name(row):<{width}}  ")
        for sign, style in cells:
            line.append(sign, style=style)
        out.print(line, soft_wrap=True)
    legend = Text()
    for name, (sign, style) in {**_SIGNS, "unknown": _UNKNOWN}.items():
        legend.append(sign, style=style)
        legend.append(f" {name}   ")
    out.print(legend)


def _draw(drawn: "Table") -> None:
    """Without cutting names or reasons, however narrow the window or where there is none."""
    wide = out.measure(drawn, options=out.options.update(max_width=10_000)).maximum
    console(max(out.width, wide)).print(drawn, no_wrap=True)


def _name(row: "Any") -> str:
    return f"{row.exchange} {row.channel} {row.symbol}"


def _percent(share: float) -> str:
    """Two decimals; never rounded up to everything or down to nothing."""
    if 0 < share < 0.0001:
        return "<0.01"
    return ">99.99" if 0.9999 < share < 1 else f"{share * 100:.2f}"


def _short(ts: int) -> str:
    return iso(ts)[:16].replace("T", " ")
