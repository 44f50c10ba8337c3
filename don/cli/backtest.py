"""`don backtest`: the desk's own engine over recorded markets, as fast as the machine goes."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from don.cli import backtest_results
from don.cli.backtest_store import from_store
from don.cli.output import err, money, out, print_json, print_pairs, table
from don.errors import UsageError
from don.home import home_dir

if TYPE_CHECKING:
    from don.backtest.config import BacktestConfig

DIFFERENT = 3
TELL_EVERY_S = 1.0
SHOWN = (
    "policy", "detail", "start", "end", "bars", "decisions", "orders", "fills", "denials",
    "equity", "pnl", "fees", "funding", "turnover", "hit_rate", "books_equal", "digest",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add this group's commands: alone it runs a backtest."""
    group = typer.Typer(help=backtest.__doc__, invoke_without_command=True)
    group.callback()(backtest)
    backtest_results.register(group)
    app.add_typer(group, name="backtest")


def backtest(
    context: typer.Context,
    tape: list[Path] = typer.Option(
        None, help="Parquet of bars, or raw recordings (repeat); default: the sample."
    ),
    data: list[Path] = typer.Option(None, help="The same as --tape."),
    store: bool = typer.Option(
        False, "--store", help="Bars of the market database and its lake instead of a tape."
    ),
    exchange: str | None = typer.Option(
        None, help="With --store: whose bars; default: the only one."
    ),
    interval: str = typer.Option(None, help="Of the bars, such as 1h; default: the tape's."),
    funding: Path = typer.Option(None, help="Parquet of funding payments."),
    policy: str = typer.Option(
        None,
        help="momentum, mean_reversion, inverse_volatility, hold, manual, or model:NAME|FOLDER.",
    ),
    symbols: str = typer.Option(None, help="Comma-separated, such as BTC-USDT-PERP,ETH-USDT-PERP."),
    start: str = typer.Option(None, help="ISO-8601; default: after some history."),
    end: str = typer.Option(None, help="ISO-8601; default: the end of the tape."),
    detail: str = typer.Option(None, help="exchange: every event; bars: closed bars, fast."),
    order_latency: float = typer.Option(
        None, help="Part of a bar after which requests take effect, as of the paper exchange."
    ),
    seed: int = typer.Option(None, help="Of everything that is drawn."),
    config: Path = typer.Option(None, help="TOML with the fields of the configuration."),
    save: Path = typer.Option(None, help="Write the result to a .json file, or into a folder."),
    report: Path = typer.Option(None, help="Write the report as well: one HTML file."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Run the desk over a recorded market and say what came of it, and what that rests on."""
    if context.invoked_subcommand is not None:
        return
    settings = _settings(
        config, tape=tape or data, funding=funding, policy=policy, symbols=symbols, start=start,
        end=end, detail=detail, order_latency=order_latency, seed=seed, interval=interval,
    )  # fmt: skip
    settings = _pinned(settings)
    if store:
        settings = from_store(settings, exchange)
    elif exchange is not None:
        raise UsageError("--exchange is for --store")
    elif settings.interval is not None and settings.tape is None:
        raise UsageError(
            "--interval is for --store (bars of the market database) or for a --tape of trades or "
            "recordings: neither was given, and the sample's bars have their own"
        )
    from don.backtest import run
    from don.backtest.counted import counted
    from don.backtest.files import save as write

    with counted(settings, home_dir()) as counting:
        result = run(settings, counting.watched(_Progress(quiet=as_json)))
        told = counting.done(result)
    if save is not None:
        told["saved"] = str(write(result, save, tables=save.suffix != ".json"))
    if report is not None:
        from don.backtest.report import report as made

        told["report"] = str(backtest_results.write(report, made(result)))
    if as_json:
        print_json(told)
    else:
        _print(told)
    if result.differences:
        raise typer.Exit(DIFFERENT)


def _settings(path: Path | None, **given: Any) -> "BacktestConfig":
    from don.backtest.config import BacktestConfig
    from don.config import read_toml
    from don.model.section import parsed

    values = read_toml(path) if path is not None else {}
    for name, value in given.items():
        if value is None or value == []:
            continue
        if name == "tape":
            value = value[0] if len(value) == 1 else tuple(value)
        elif name == "symbols":
            value = [part.strip() for part in value.split(",") if part.strip()]
        elif name == "order_latency":
            name, value = "exchange", {**values.get("exchange", {}), "order_latency": value}
        values[name] = value
    return parsed(BacktestConfig, values, str(path) if path is not None else "command line")


def _pinned(settings: "BacktestConfig") -> "BacktestConfig":
    """The same with learned policies pinned to what they mean now."""
    named = (settings.policy, *(slot.policy for slot in settings.engine.slots))
    if not any(":" in name or name == "models" for name in named):
        return settings
    from don.learning.registry import open_registry
    from don.learning.resolve import pinned

    policy, engine = pinned(settings.policy, settings.engine, open_registry)
    return settings.model_copy(update={"policy": policy, "engine": engine})


class _Progress:
    """Tells how much is done and when it will be over."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._begin = self._told = time.monotonic()

    def __call__(self, done: float) -> None:
        now = time.monotonic()
        if self._quiet or now - self._told < TELL_EVERY_S or done <= 0:
            return
        self._told = now
        left = (now - self._begin) * (1.0 / done - 1.0)
        err.print(f"  {done:6.1%}  {left:5.0f} s left")


def _number(value: float) -> str:
    return f"{value:.4f}" if value == value else "–"


def _books(policies: list[dict[str, Any]]) -> None:
    """What each of several policies brought; all but shadows sum to the account."""
    amounts = ("pnl", "fees", "funding", "traded", "equity")
    rows = [
        [one["book"], one["mode"], one["policy"], *(money(one[name]) for name in amounts)]
        for one in policies
    ]
    out.print()
    out.print(table(("book", "mode", "policy", *(f"{name}#" for name in amounts)), rows, "books"))


def _data(told: dict[str, Any]) -> str:
    """Share of each state among the minutes used, in words."""
    if "unknown" not in told:
        missing = told["missing"]
        lacks = "" if missing is None else f", {missing:.2%} of its bars missing"
        return f"{told['source']}{lacks}; of repairs nothing is known"
    parts = [f"{share:.2%} {state}" for state, share in told.items()
             if state != "source" and (share or state == "complete")]  # fmt: skip
    return f"{told['source']}: {', '.join(parts)}"


def _print(told: dict[str, Any]) -> None:
    from don.performance import COMPOUNDED, DAY_NS, SCALED, too_short

    shown = {name: told[name] for name in SHOWN}
    shown |= {name: money(told[name]) for name in ("equity", "pnl", "fees", "funding")}
    shown |= {name: _number(told[name]) for name in ("turnover", "hit_rate")}
    print_pairs({**shown, "data": _data(told["data"])})
    if told["halted"]:
        out.print(Text(f"{'halted':<12}", style="yellow"), f"{told['halted']}")
    out.print()
    columns = told["performance"]
    names = list(next(iter(columns.values())))
    brief = too_short(round(told["days"] * DAY_NS))
    left_out, marked = (COMPOUNDED, SCALED) if brief else ((), ())
    lines = [
        [
            f"{name} *" if name in marked else name,
            *("–" if name in left_out else _number(columns[c][name]) for c in columns),
        ]
        for name in names
    ]
    out.print(table(["", *(f"{column}#" for column in columns)], lines))
    if brief:
        out.print(f"* {brief}")
    if told["policies"]:
        _books(told["policies"])
    out.print()
    for topic, text in told["assumptions"].items():
        out.print(Text(f"{topic:<11}", style="dim"), str(text))
    if "saved" in told:
        out.print(f"\nsaved to {told['saved']}", soft_wrap=True)
    if "report" in told:
        out.print(f"report written to {told['report']}", soft_wrap=True)
