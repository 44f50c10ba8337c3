"""`don data collect`: several exchanges at once, into the database."""

import json
import os
import signal
import sys
import threading
from contextlib import nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from don.cli.driver import stop_on_signals, tell_parts
from don.cli.output import err, out, print_json, print_pairs
from don.errors import DependencyError, UsageError
from don.home import COLLECT_LOCK, held, hold, home_dir
from don.log import configure_actor

if TYPE_CHECKING:
    from don.config import DonConfig

FAILED_CLOSING = 1
STATUS_EVERY = 15  # views between two lines of status


def register(app: typer.Typer) -> None:
    """Add this part's commands."""
    app.command()(collect)
    app.command()(stop)


def collect(
    duration: float = typer.Option(None, min=1, help="Stop after this many seconds."),
    exchange: str = typer.Option(None, help="One exchange instead of those of [collect]."),
    symbols: str = typer.Option(None, help="With --exchange: such as BTC-USDT-PERP,ETH-USDT-PERP."),
    channels: str = typer.Option(None, help="With --exchange: such as trades,books,bars."),
    paper: bool = typer.Option(False, "--paper", help="Collect from Don's own paper exchange."),
    speed: str = typer.Option(None, help="With --paper: max, tape seconds per second, or bars."),
    metrics_port: int = typer.Option(None, help="Serve Prometheus metrics on this port."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document at the end."),
) -> None:
    """Collect the sources of [collect] into the database until Ctrl-C or SIGTERM.

    Without sources, and with --paper, Don's own paper exchange is collected.
    """
    from don.config import load_config

    home = home_dir()
    over: dict[str, Any] = {}
    if exchange:
        feed: dict[str, Any] = {"exchange": exchange, "symbols": _parts(symbols)}
        if not feed["symbols"]:
            raise UsageError("--exchange needs --symbols, such as BTC-USDT-PERP")
        if channels:
            feed["channels"] = _parts(channels)
        over["collect"] = {"feeds": [feed], "names": []}
    elif paper:
        over["collect"] = {"feeds": [], "names": []}
    if speed:
        over["paper"] = {"speed": speed}
    if metrics_port is not None:
        over.setdefault("collect", {})["metrics_port"] = metrics_port
    config = load_config(home, over=over)
    with hold(home, COLLECT_LOCK, f"a Don collects into {home} already: `don data stop`"):
        configure_actor(home, actor="collection", level=config.log.level)
        pid = home / "collect.pid"
        pid.write_text(str(os.getpid()))
        try:
            with redirect_stdout(sys.stderr) if as_json else nullcontext():
                summary = _run(home, config, duration, quiet=as_json)
        finally:
            pid.unlink(missing_ok=True)
    if as_json:
        print_json(summary)
    else:
        _print(summary)
    if summary["problems"]:
        raise typer.Exit(FAILED_CLOSING)


def stop() -> None:
    """Stop the collection that runs on the state folder; returns when it has been told."""
    home = home_dir()
    if not held(home, COLLECT_LOCK):
        raise DependencyError(f"nothing collects into {home}: start it with `don data collect`")
    os.kill(int((home / "collect.pid").read_text()), signal.SIGTERM)
    out.print("told to stop; what is under way is stored first")


def _run(home: Any, config: "DonConfig", duration: float | None, *, quiet: bool) -> dict[str, Any]:
    # Heavy imports (Ray, numba) come after the cheap checks, so that mistakes answer at once.
    from actors import environment

    environment.prepare(home)
    from actors.collection import Collection
    from don.storage.database import external_url

    asked = threading.Event()

    stop_on_signals(asked)
    collection = Collection(
        home,
        config,
        external=external_url(os.environ),
        progress=tell_parts(quiet=quiet),
        stop=asked,
        after_ray=lambda: stop_on_signals(asked),
    )
    spec = collection.start()
    if not quiet:
        out.print(f"collecting {', '.join(name for name, _ in spec.sources)}; Ctrl-C stops")
    try:
        collection.wait(duration, _teller(quiet))
    except BaseException:
        collection.stop()
        raise
    return collection.stop()


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _teller(quiet: bool) -> Any:
    told = 0

    def tell(views: dict[str, dict[str, Any]]) -> None:
        nonlocal told
        told += 1
        if quiet or told % STATUS_EVERY != 1:
            return
        for name, view in sorted(views.items()):
            if name == "writer" or name.startswith("collector:"):
                live = sum(row["state"] == "live" for row in view["streams"])
                streams = f"{live}/{len(view['streams'])} streams live; " if view["streams"] else ""
                err.print(f"  {view['state']:<8} {name}: {streams}{view['detail']}")

    return tell


def _print(summary: dict[str, Any]) -> None:
    out.print()
    print_pairs(
        {
            "seconds": summary["seconds"],
            "rows": ", ".join(f"{n} {c}" for c, n in summary.get("rows", {}).items()) or "none",
            "inserted": summary.get("inserted"),
            "duplicates": summary.get("duplicates"),
            "spooled": summary.get("spooled"),
            "refused": summary.get("refused"),
            "restarts": json.dumps(summary["restarts_by_part"]),
            "clocks": ", ".join(
                f"{name} {clock['ahead_ms']:+.1f} ms (± {clock['error_ms']:.1f})"
                for name, clock in summary.get("clocks", {}).items()
            )
            or "not compared",
        }
    )
    for problem in summary["problems"]:
        out.print(Text("problem ", style="red"), problem)
