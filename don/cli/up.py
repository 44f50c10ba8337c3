"""`don up`: start everything, trade, stop cleanly with a summary."""

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from don.cli.client import run_file
from don.cli.driver import stop_on_signals, tell_parts
from don.cli.output import err, money, out, print_json, print_pairs
from don.errors import UsageError
from don.home import TRADE_LOCK, hold, home_dir
from don.log import configure_actor, get_logger
from don.security.secrets import ensure_token

if TYPE_CHECKING:
    from actors.launch import Launch
    from don.config import DonConfig

FAILED_CLOSING = 1
DIFFERENT = 3


def register(app: typer.Typer) -> None:
    """Add this group's command."""
    app.command()(up)


def up(
    duration: float = typer.Option(None, min=1, help="Stop after this many seconds."),
    tape: list[Path] = typer.Option(
        None, help="Parquet of bars to replay, or raw recordings (repeat); default: the sample."
    ),
    speed: str = typer.Option(None, help="max, tape seconds per second (60), or bars (1bar)."),
    policy: str = typer.Option(
        None,
        help="momentum, mean_reversion, inverse_volatility, hold, manual, model:NAME|FOLDER, or "
        "models: slots for what is live, canary and shadow.",
    ),
    symbols: str = typer.Option(None, help="Comma-separated, such as BTC-USDT-PERP,ETH-USDT-PERP."),
    start: str = typer.Option(None, help="ISO-8601 tape time at which a new replay begins."),
    port: int = typer.Option(None, help="Port of API and console."),
    config: Path = typer.Option(None, help="TOML file instead of the state folder's don.toml."),
    console: bool = typer.Option(True, "--console/--no-console", help="Serve API and console."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document at the end."),
) -> None:
    """Start database, paper exchange, actors and console; trade until Ctrl-C or SIGTERM."""
    from don.config import load_config

    home = home_dir()
    over = _overrides(
        tape=tape, speed=speed, policy=policy, symbols=symbols, start=start, port=port,
    )  # fmt: skip
    if not console:
        over.setdefault("web", {})["enabled"] = False
    settings = load_config(home, path=config, over=over)
    for file in settings.paper.tapes:
        if not file.exists():
            raise UsageError(f"tape {file} does not exist: name a Parquet file of bars")
    with _state_folder(home):
        if settings.web.enabled:
            _check_port(settings.web.port)
        configure_actor(home, actor="driver", level=settings.log.level)
        # Ray tells of workers that died on stdout, where the document must be alone.
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            summary = _run(home, settings, duration, quiet=as_json)
    if as_json:
        print_json(summary)
    else:
        _print_summary(summary)
    if summary["problems"]:
        raise typer.Exit(FAILED_CLOSING)
    if not summary["ledger_equal"]:
        raise typer.Exit(DIFFERENT)


def _run(home: Path, config: "DonConfig", duration: float | None, *, quiet: bool) -> dict[str, Any]:
    # Heavy imports (Ray, numba, ccxt) come after the cheap checks, so that mistakes answer at once.
    from actors import environment

    environment.prepare(home)
    from actors.launch import Launch
    from don.storage.database import external_url

    stop = threading.Event()
    stop_on_signals(stop)
    token, fresh = ensure_token(home / "token")
    if fresh:
        err.print(f"token for commands, shown once (kept in {home / 'token'}): {token.reveal()}")
    launch = Launch(
        home,
        config,
        external=external_url(os.environ),
        progress=tell_parts(quiet=quiet),
        stop=stop,
        after_ray=lambda: stop_on_signals(stop),
    )
    _write_run_file(home, launch.session, "")
    launch.start()
    try:
        if config.web.enabled and not stop.is_set():
            url = _serve(launch)
            _write_run_file(home, launch.session, url)
            if not quiet:
                out.print(f"console  {url}/console/")
                out.print(f"API      {url}/docs")
        if not quiet:
            out.print("trading; Ctrl-C stops")
        launch.wait(duration)
    except BaseException:
        get_logger().exception("driver failed")
        launch.stop()
        raise
    return launch.stop()


def _serve(launch: "Launch") -> str:
    """Start API and console; they are stopped before the actors are."""
    from serve import app
    from serve.settings import ServeConfig

    spec = launch.spec
    assert spec is not None
    launch.at_exit(app.stop)
    return app.deploy(
        app.ServeSpec(
            home=spec.home,
            session=spec.session,
            database_url=spec.database_url,
            config=ServeConfig(port=spec.config.web.port, lake=spec.config.lake.root),
            policies=spec.config.engine.policies,
            models=launch.has_models,
        )
    )


def _overrides(**given: Any) -> dict[str, Any]:
    """Command-line values in the shape of the configuration; what was not given is left out."""
    places = {
        "tape": ("paper", "tape"),
        "speed": ("paper", "speed"),
        "start": ("paper", "start"),
        "port": ("web", "port"),
        "policy": ("policy",),
        "symbols": ("symbols",),
    }
    over: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or value == []:
            continue
        if name == "tape":
            value = value[0] if len(value) == 1 else tuple(value)
        if name == "symbols":
            value = [part.strip() for part in value.split(",") if part.strip()]
        *path, last = places[name]
        table = over
        for part in path:
            table = table.setdefault(part, {})
        table[last] = value
    return over


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(f"port {port} is in use: choose another with --port") from error


@contextmanager
def _state_folder(home: Path) -> Iterator[None]:
    """Hold the state folder: one Don at a time."""
    with hold(home, TRADE_LOCK, f"a Don runs on {home} already: `don status`, `don down`"):
        try:
            yield
        finally:
            run_file(home).unlink(missing_ok=True)


def _write_run_file(home: Path, session: str, url: str) -> None:
    draft = run_file(home).with_suffix(".new")
    draft.write_text(json.dumps({"pid": os.getpid(), "session": session, "url": url}))
    draft.replace(run_file(home))


def _print_summary(summary: dict[str, Any]) -> None:
    shown = {
        name: summary[name]
        for name in (
            "session", "policy", "equity", "pnl", "fees", "funding", "decisions", "orders",
            "fills", "denials", "gaps", "restarts", "ledger_equal",
        )
    }  # fmt: skip
    for name in ("equity", "pnl", "fees", "funding"):
        shown[name] = money(shown[name])
    for name in ("decision_ms", "tick_to_order_ms"):
        shown[name] = f"p50 {summary[name]['p50']}  p99 {summary[name]['p99']}"
    if bare := summary.get("unprotected"):
        shown["unprotected"] = (
            f"{float(bare['now']):.0f} without a stop now, "
            f"{float(bare['notional_s']):.0f} notional-seconds while Don was off"
        )
    out.print()
    print_pairs(shown)
    for difference in summary["ledger_differences"]:
        out.print(Text("differs ", style="red"), difference)
    for problem in summary["problems"]:
        out.print(Text("problem ", style="red"), problem)
