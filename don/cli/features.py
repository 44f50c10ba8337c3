"""`don features list|show|build|verify`: what features there are, build them, certify a session."""

import importlib
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from don.cli.output import err, out, print_json, print_pairs, table
from don.clock import interval_ns, iso
from don.errors import DataError, UsageError
from don.home import home_dir

if TYPE_CHECKING:
    from don.storage.features.source import BarSource

DIFFERENT = 3
Json = typer.Option(False, "--json", help="Print one JSON document.")
Modules = typer.Option("", help="Python modules that register features of your own, by comma.")
Root = typer.Option(None, help="Folder of builds; default: features/ of the state folder.")


def register(app: typer.Typer) -> None:
    """Add this group."""
    group = typer.Typer(
        help="What features there are; build them over a history; certify a session.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    for name, command in (("list", kinds), ("show", show), ("build", build), ("verify", verify)):
        group.command(name)(command)
    app.add_typer(group, name="features")


def kinds(
    family: str = typer.Option("", help="Only of this family."),
    modules: str = Modules,
    as_json: bool = Json,
) -> None:
    """List the features: name with default parameters, formula, warm-up, units, source."""
    cards = [_card(kind) for kind in _known(modules)]
    if family:
        known = sorted({card["family"] for card in cards})
        if family not in known:
            raise UsageError(f"family must be one of {', '.join(known)}, was {family!r}")
        cards = [card for card in cards if card["family"] == family]
    if as_json:
        print_json(cards)
        return
    columns = ("family", "name", "what", "formula", "warm_up", "units", "source")
    out.print(table([c + "#" * (c == "warm_up") for c in columns],
                    [[card[c] for c in columns] for card in cards]))  # fmt: skip
    out.print(f"\n{len(cards)} kinds; any number is a parameter, @1h gives a larger timeframe")


def show(
    what: str = typer.Argument("", help="A feature such as rsi_14, or the key of a build."),
    root: Path = Root,
    modules: str = Modules,
    as_json: bool = Json,
) -> None:
    """Show one feature's card, one build's figures, or (without argument) the list of builds."""
    from don.storage.features.files import FeatureFiles

    files = FeatureFiles(root or home_dir() / "features")
    if not what:
        builds = []
        for key in files.keys():
            try:
                builds.append(_summary(files.describe(key)))
            except DataError as error:  # one that is damaged hides no other
                err.print(f"don: {error}")
        if as_json:
            print_json(builds)
        else:
            columns = ("key", "sets#", "symbols", "features#", "interval_s#", "from", "to")
            out.print(table(columns, [[b[c.rstrip("#")] for c in columns] for b in builds]))
        return
    if any(key.startswith(what) for key in files.keys()):
        _show_build(files.open(what), as_json)
        return
    from don.features.registry import make

    known = {kind.kind: kind for kind in _known(modules)}
    made = make(what)
    card = _card(known[made.spec.kind])
    card |= {"name": made.name, "warm_up": made.warm_up, "version": made.spec.version}
    print_json(card) if as_json else print_pairs(card)


def build(
    bars: Path | None = typer.Argument(None, help="Parquet of bars; default: the market database."),
    symbols: str = typer.Option("", help="Comma-separated; default (files): all."),
    names: str = typer.Option("", help="Features, by comma; default: those of the configuration."),
    interval: str = typer.Option(None, help="Of the bars, such as 1m (files: as they are)."),
    start: str = typer.Option(None, help="ISO-8601, first close (database)."),
    end: str = typer.Option(None, help="ISO-8601, close before which to end (database)."),
    exchange: str = typer.Option(None, help="Of the series (database)."),
    funding: Path | None = typer.Option(None, help="Parquet of funding payments (files)."),
    root: Path = Root,
    modules: str = Modules,
    workers: int = typer.Option(0, min=0, help="Ray tasks at once; 0: in this process."),
    chunk_bars: int = typer.Option(200_000, min=1, help="Bars a part: bounds the memory."),
    as_json: bool = Json,
) -> None:
    """Compute features of a history once; again, only what is new. Prints the key of the build."""
    from contextlib import ExitStack

    from don.config import load_config
    from don.features.plugins import load_modules
    from don.features.sets import FeatureSet
    from don.storage.features.source import ParquetBars

    for name, value in {"start": start, "end": end, "exchange": exchange}.items():
        if bars is not None and value is not None:
            raise UsageError(f"--{name} is for bars of the database: a file is taken whole")
    if bars is None and funding is not None:
        raise UsageError("--funding is for a file of bars: the database has its own")
    chosen = _split(names)
    own = _split(modules)
    if not chosen:
        config = load_config(home_dir()).features
        chosen, own = config.names, (*config.modules, *own)
    load_modules(own)
    folder = root or home_dir() / "features"
    with ExitStack() as stack:
        source: BarSource
        if bars is not None:
            step = _step(interval) if interval else None
            source = ParquetBars(bars, _split(symbols), step, funding)
        else:
            source = _stored(stack, _split(symbols), interval, start, end, exchange)
        features = FeatureSet(chosen, source.interval_ns)
        tell = _Progress(quiet=as_json)
        about, new = _build(source, features, folder, chunk_bars, own, workers, tell)
        told = {**_summary(about), "new_sets": new, "folder": str(folder / about.key)}
        print_json(told) if as_json else print_pairs(told)


def verify(
    session: str = typer.Argument(..., help="Its id, see `don sessions`."),
    as_json: bool = Json,
) -> None:
    """Recompute in batch what a session served live; exit code 3 unless all of it is equal."""
    from don.cli.sessions import database
    from don.storage.features.session import certify_session
    from don.storage.queries import Queries

    with database() as db:
        found = Queries(db).session(session)
        if found is None:
            raise UsageError(f"session {session!r} is not known: see `don sessions`")
        result = certify_session(db, found)
    told = {"session": session, **asdict(result), "share": result.share,
            "certified": result.certified}  # fmt: skip
    if as_json:
        print_json(told)
    else:
        print_pairs({**told, "share": f"{result.share:.4%}"})
    if not result.certified:
        raise typer.Exit(DIFFERENT)


# ---- inside --------------------------------------------------------------------------------------


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _known(modules: str) -> list[Any]:
    from don.features.plugins import load_modules
    from don.features.registry import catalogue

    load_modules(_split(modules))
    return catalogue()


def _card(kind: Any) -> dict[str, Any]:
    from don.features.registry import make

    made = make(kind.name)
    return {
        "family": kind.family,
        "name": kind.name,
        "what": kind.doc,
        "formula": kind.formula,
        "source": kind.source,
        "units": kind.units,
        "warm_up": made.warm_up,
        "reads": getattr(made, "of", "") or ", ".join(getattr(made, "inputs", ())),
        "compiled": getattr(made, "compiled", True),
    }


def _summary(about: Any) -> dict[str, Any]:
    parts = about.parts
    return {
        "key": about.key,
        "feature_set": about.feature_set,
        "sets": sum(part.sets for part in parts),
        "symbols": ", ".join(about.symbols),
        "features": len(about.names),
        "interval_s": about.interval_ns // 10**9,
        "parts": len(parts),
        "from": iso(parts[0].first) if parts else "",
        "to": iso(parts[-1].last) if parts else "",
    }


def _show_build(matrix: Any, as_json: bool) -> None:
    import numpy as np

    lines = []
    for name in matrix.about.names:
        values = np.concatenate([matrix.column(s, name) for s in matrix.about.symbols])
        known = values[np.isfinite(values)]
        figures = [float(f(known)) if len(known) else None
                   for f in (np.mean, np.std, np.min, np.max)]  # fmt: skip
        lines.append([name, len(known) / max(len(values), 1), *figures])
    columns = ("name", "known", "mean", "std", "min", "max")
    told = {**_summary(matrix.about),
            "columns": [dict(zip(columns, line, strict=True)) for line in lines]}  # fmt: skip
    if as_json:
        print_json(told)
        return
    print_pairs({k: v for k, v in told.items() if k != "columns"})
    shown = [[line[0], f"{line[1]:.1%}", *("" if x is None else f"{x:.5g}" for x in line[2:])]
             for line in lines]  # fmt: skip
    out.print()
    out.print(table(["name", *(f"{c}#" for c in columns[1:])], shown))


def _stored(
    stack: Any, symbols: tuple[str, ...], interval: str | None, start: str | None,
    end: str | None, exchange: str | None,
) -> "BarSource":  # fmt: skip
    from don.cli.data.opened import market_database, open_store, time_ns
    from don.storage.features.source import StoreBars

    if not symbols or interval is None or start is None or end is None:
        raise UsageError(
            "from the market database give --symbols, --interval, --start and --end, or give a "
            "Parquet file of bars"
        )
    step, low, high = _step(interval), time_ns(start, "--start"), time_ns(end, "--end")
    if low >= high:
        raise UsageError(f"--end must be after --start, were {end} and {start}")
    store = open_store(stack.enter_context(market_database()))
    return StoreBars(store, symbols, step, low, high, exchange=exchange)


def _step(text: str) -> int:
    try:
        return interval_ns(text)
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def _build(
    source: "BarSource", features: Any, folder: Path, chunk_bars: int, modules: tuple[str, ...],
    workers: int, tell: "_Progress",
) -> tuple[Any, int]:  # fmt: skip
    if workers:
        from experiments.cluster import local_cluster

        with local_cluster(home_dir(), cpus=workers):
            build_parallel = importlib.import_module("experiments.features").build
            about, new = build_parallel(source, features, folder, chunk_bars=chunk_bars,
                                        modules=modules, tell=tell)  # fmt: skip
            return about, int(new)
    from don.storage.features.build import compute_symbol, feed, finish, wanted
    from don.storage.features.files import FeatureFiles

    files = FeatureFiles(folder)
    with files.alone(wanted(source, features, chunk_bars=chunk_bars)):
        plan = feed(source, features, files, chunk_bars=chunk_bars,
                    progress=lambda share: tell("bars", share))  # fmt: skip
        for n, symbol in enumerate(plan.about.symbols):
            compute_symbol(folder, plan, symbol)
            tell("features", (n + 1) / len(plan.about.symbols))
        return finish(files, plan), plan.new_sets


class _Progress:
    """Tells what is being done, how much of it is over, and when it will be."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._what, self._begin = quiet, "", time.monotonic()

    def __call__(self, what: str, share: float) -> None:
        if what != self._what:
            self._what, self._begin = what, time.monotonic()
        if not self._quiet:
            left = (time.monotonic() - self._begin) * (1.0 / share - 1.0) if share else 0.0
            err.print(f"  {what:<9} {share:6.1%}  {left:5.0f} s left")
