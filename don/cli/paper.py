"""`don paper-exchange`: the paper exchange alone, for any client that speaks its protocol."""

from decimal import Decimal
from pathlib import Path

import typer

from don.cli.output import err
from don.home import home_dir


def register(app: typer.Typer) -> None:
    """Add this group's command."""
    app.command(name="paper-exchange")(paper_exchange)


def paper_exchange(
    tape: list[Path] = typer.Option(
        None, help="Parquet of bars, or raw recordings (repeat); default: the sample."
    ),
    port: int = typer.Option(8900, help="REST over HTTP; 0: any free one."),
    stream_port: int = typer.Option(8901, help="Streams over TLS WebSocket; 0: any free one."),
    speed: str = typer.Option("1bar", help="max, tape seconds per second (60), or bars (1bar)."),
    symbols: str = typer.Option("", help="Comma-separated; default: all of the tape."),
    start: str = typer.Option(None, help="ISO-8601 tape time at which a new replay begins."),
    seed: int = typer.Option(0, help="Of the expansion of bars to trades."),
    deposit: str = typer.Option("100000", help="Opening balance of a new account, in USDT."),
    state: Path = typer.Option(None, help="Folder of its books; default: <DON_HOME>/paper."),
    reset: bool = typer.Option(False, "--reset", help="Forget accounts, orders and tape position."),
) -> None:
    """Run the paper exchange: Binance USD-M futures protocol on loopback, a recorded market behind.

    Prints one JSON line with addresses, certificate and state folder when it answers. API keys are
    in api-keys.json in the state folder.
    """
    from don.model.section import parsed
    from don.paper.main import run
    from don.paper.server.config import PaperServerConfig

    folder = state or home_dir() / "paper"
    values = {
        "state_dir": folder,
        "tape": (tape[0] if len(tape) == 1 else tuple(tape)) if tape else None,
        "port": port,
        "stream_port": stream_port,
        "speed": speed,
        "symbols": [part.strip() for part in symbols.split(",") if part.strip()],
        "start": start,
        "seed": seed,
        "reset": reset,
        "exchange": {"deposit": Decimal(deposit) if deposit.isdecimal() else deposit},
    }
    config = parsed(PaperServerConfig, values, "command line")
    err.print(f"books in {folder}; Ctrl-C stops")
    raise typer.Exit(run(config))
