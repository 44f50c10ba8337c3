"""`don data repair`: what the ledger calls a gap is asked of the exchange again."""

import asyncio
import signal
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from don.cli.data.audit import Channel, End, Exchange, Start, Symbols, moment
from don.cli.data.opened import market_database, open_store
from don.cli.output import err, out, print_json, table
from don.clock import SystemClock, iso
from don.errors import Interrupted, UsageError
from don.words import amount

if TYPE_CHECKING:
    from don.market.coverage import Range
    from don.storage.database import Database
    from don.storage.market.repair import Outcome

LEFT = 3  # exit code of --strict when a gap that could have been repaired is left


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(repair)


def repair(
    exchange: str | None = Exchange,
    channel: str | None = Channel,
    symbols: list[str] | None = Symbols,
    start: str | None = Start,
    end: str | None = End,
    ask: str | None = typer.Option(
        None, help="Ask this exchange's history, where the data are stored under another name."
    ),
    rest_url: str = typer.Option("", help="Ask at this address instead of the exchange's own."),
    limit: int = typer.Option(1_000, min=1, help="Most gaps repaired at once, newest first."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only list what would be asked for."),
    strict: bool = typer.Option(False, "--strict", help="Exit with 3 if something stays missing."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Fetch what is missing from the exchange, store it marked as repaired, and judge it anew.

    Bars, trades, mark prices, open interest and funding can be repaired; books, quotes and
    liquidations cannot: no exchange tells them afterwards. It may be repeated and interrupted.
    """
    from don.market.coverage import State
    from don.storage.market.coverage import CoverageLedger
    from don.storage.market.repair import repairable

    low, high = moment("start", start), moment("end", end)
    with market_database() as db:
        gaps = CoverageLedger(db).read(exchange, channel, symbols, low, high, states=[State.GAP])
        wanted = sorted((g for g in gaps if repairable(g)), key=lambda g: -g.end)[:limit]
        if ask is not None and len({gap.exchange for gap in wanted}) > 1:
            raise UsageError("--ask needs --exchange: gaps of several exchanges were found")
        outcomes = [] if dry_run else asyncio.run(_run(db, wanted, ask, rest_url, as_json))
    beyond = len(gaps) - sum(repairable(gap) for gap in gaps)
    if as_json:
        print_json(
            {
                "gaps": [_row(gap, None) for gap in wanted] if dry_run else [],
                "outcomes": [_row(o.gap, o) for o in outcomes],
                "cannot_be_repaired": beyond,
            }
        )
    else:
        _print(wanted, outcomes, beyond, dry_run)
    if strict and any(outcome.state is State.GAP for outcome in outcomes):
        raise typer.Exit(LEFT)


async def _run(
    db: "Database", gaps: "Sequence[Range]", ask: str | None, rest_url: str, quiet: bool
) -> "list[Outcome]":
    from don.exchanges.ccxt_history import CcxtHistory, HistoryConfig
    from don.exchanges.history import History
    from don.storage.market.repair import GapRepair

    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    by_exchange: dict[str, list[Range]] = defaultdict(list)
    for gap in gaps:
        by_exchange[gap.exchange].append(gap)

    def tell(outcome: "Outcome") -> None:
        if not quiet:
            err.print(
                f"{_name(outcome.gap)} {iso(outcome.gap.start)[:16]}: {outcome.state} "
                f"({amount(outcome.inserted, 'row')})"
            )

    outcomes: list[Outcome] = []
    try:
        for name, own in sorted(by_exchange.items()):
            connection = CcxtHistory(ask or name, HistoryConfig(rest_url=rest_url), SystemClock())
            try:
                work = GapRepair(History(connection), db, open_store(db), exchange=name)
                outcomes += await work.run(own, tell)
            finally:
                await connection.close()
    except asyncio.CancelledError as error:
        raise Interrupted("stopped; what was fetched is stored, run it again to go on") from error
    return outcomes


def _print(
    wanted: "Sequence[Range]", outcomes: "Sequence[Outcome]", beyond: int, dry_run: bool
) -> None:
    if not wanted:
        out.print("Nothing to repair.")
    elif dry_run:
        columns = ("from (UTC)", "min#", "exchange", "channel", "symbol", "reason")
        lines = [
            [iso(g.start)[:16], g.minutes, g.exchange, g.channel, g.symbol, g.reason]
            for g in wanted
        ]
        out.print(table(columns, lines))
    else:
        columns = ("from (UTC)", "min#", "stream", "now", "new rows#", "detail")
        out.print(
            table(
                columns,
                [
                    [iso(o.gap.start)[:16], o.gap.minutes, _name(o.gap), o.state, o.inserted,
                     o.detail]
                    for o in outcomes
                ],
            )
        )  # fmt: skip
    if beyond:
        out.print(f"{beyond} more gaps cannot be repaired: no exchange tells them afterwards.")


def _name(gap: "Range") -> str:
    return f"{gap.exchange} {gap.channel} {gap.symbol}"


def _row(gap: "Range", outcome: "Outcome | None") -> dict[str, Any]:
    row: dict[str, Any] = {
        "exchange": gap.exchange, "channel": gap.channel, "symbol": gap.symbol,
        "start": iso(gap.start), "end": iso(gap.end), "minutes": gap.minutes,
    }  # fmt: skip
    if outcome is not None:
        row |= {
            "state": None if outcome.state is None else str(outcome.state),
            "rows": outcome.rows,
            "inserted": outcome.inserted,
            "detail": outcome.detail,
        }
    return row
