"""`don research list|show|trials|verify`: the ledger of every run that looked for a strategy."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from don.cli.output import err, out, print_json, print_pairs, table
from don.clock import NS_PER_S, iso
from don.errors import UsageError
from don.home import home_dir
from don.model.hints import meant_symbol
from don.words import amount

if TYPE_CHECKING:
    from don.storage.research import Research
    from don.storage.research_runs import Run

DIFFERENT = 3
SHOWN = 10  # labels named where one is unknown
Json = typer.Option(False, "--json", help="Print one JSON document.")


def register(app: typer.Typer) -> None:
    """Add this group."""
    group = typer.Typer(
        help="The ledger of every run that looked for a strategy.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    for name, command in (("list", runs), ("show", show), ("trials", trials), ("verify", verify)):
        group.command(name)(command)
    app.add_typer(group, name="research")


@contextmanager
def _ledger() -> Iterator["Research"]:
    from don.storage.database import external_url
    from don.storage.research import open_research
    from don.storage.research_notes import Notes

    known = (home_dir() / "postgres").exists() or Notes(home_dir()).waiting()
    if external_url(os.environ) is None and not known:
        raise UsageError(f"no research in {home_dir()}: train something first, or set DON_HOME")
    with open_research(warn=lambda text: err.print(f"don: {text}")) as ledger:
        yield ledger


def runs(
    kind: str = typer.Option("", help="Only of this kind, such as train or walk_forward."),
    data: str = typer.Option("", help="Only the family of this data hash, file hash or symbol."),
    limit: int = typer.Option(20, min=1, help="Most runs shown, newest first."),
    as_json: bool = Json,
) -> None:
    """List runs, newest first."""
    from don.storage.research_runs import RunKind, family

    if kind and kind not in set(RunKind):
        raise UsageError(f"kind must be one of {', '.join(RunKind)}, was {kind!r}")
    with _ledger() as ledger:
        found, outside = ledger.runs(), ledger.outside()
    if data:
        _known(data, found)
        found = family(found, [data])
    if kind:
        found = [run for run in found if run.kind == kind]
    shown = found[::-1][:limit]
    if as_json:
        print_json([_told(run) for run in shown])
        return
    rows = [
        [run.run, run.kind, run.status, run.trials, run.parent or "", run.seed, run.config_hash,
         run.data_hash, iso(run.ts_begin), _seconds(run), _brief(run.metrics)]
        for run in shown
    ]  # fmt: skip
    columns = ("run#", "kind", "status", "trials#", "part of#", "seed#", "config", "data",
               "begin", "s#", "result")  # fmt: skip
    out.print(table(columns, rows))
    out.print(f"\n{amount(len(found), 'run')}, {amount(sum(run.trials for run in found), 'trial')}")
    for one in outside:
        out.print(_lost(one.runs, one.ledger, one.why))


def show(run: int = typer.Argument(..., help="Its number."), as_json: bool = Json) -> None:
    """Show one run: configuration, data, what came of it."""
    with _ledger() as ledger:
        told = _told(ledger.run(run))
    if as_json:
        print_json(told)
        return
    print_pairs({k: v for k, v in told.items() if k not in ("config", "metrics")})
    for name in ("metrics", "config"):
        out.print(f"\n{name}")
        out.print(json.dumps(told[name], indent=1), soft_wrap=True)


def trials(
    data: str = typer.Argument(..., help="A data hash, a file's hash, or a symbol."),
    as_json: bool = Json,
) -> None:
    """Say how many trials a result on these data is the best of."""
    with _ledger() as ledger:
        _known(data, ledger.runs())
        found = ledger.trials(data)
        told: dict[str, Any] = {
            "data": data, "trials": found.count, "runs": len(found.runs), "looks": found.looks,
            "outside": found.outside, "told a Sharpe ratio": len(found.sharpes),
            "ledger": ledger.reference(),
        }  # fmt: skip
    print_json(told) if as_json else print_pairs(told)


def verify(as_json: bool = Json) -> None:
    """Recompute the chain of entries; exit code 3 if one is not as it was written."""
    with _ledger() as ledger:
        found, outside = ledger.verify(), ledger.outside()
    told = {
        "ok": found.ok, "entries": found.entries, "broken": found.broken_seq,
        "problem": found.problem, "missing_runs": sum(one.runs for one in outside),
        "missing": "; ".join(_lost(one.runs, one.ledger, one.why) for one in outside),
    }  # fmt: skip
    print_json(told) if as_json else print_pairs(told)
    if not found.ok:
        raise typer.Exit(DIFFERENT)


# ---- inside --------------------------------------------------------------------------------------


def _known(data: str, runs: "list[Run]") -> None:
    """Refuse a label that no run has: mistyped, it would tell that nothing was tried yet.

    Raises:
        UsageError: names what is like it, or what there is.
    """
    labels = {label for run in runs for label in run.labels}
    if data in labels:
        return
    hint = meant_symbol(data, labels)
    if not hint:
        there = sorted({name for run in runs for name in run.lineage})
        more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
        hint = f", which has {', '.join(there[:SHOWN]) or 'none that is named'}{more}"
    raise UsageError(f"no run of the research ledger is on data {data!r}{hint}")


def _told(run: "Run") -> dict[str, Any]:
    from dataclasses import asdict

    told = asdict(run)
    told["begin"] = iso(told.pop("ts_begin"))
    end = told.pop("ts_end")
    told["end"] = iso(end) if end is not None else None
    return told


def _seconds(run: "Run") -> str:
    return "" if run.ts_end is None else f"{(run.ts_end - run.ts_begin) / NS_PER_S:.0f}"


def _brief(metrics: Any) -> str:
    numbers = {k: v for k, v in metrics.items() if isinstance(v, int | float)}
    return ", ".join(f"{k} {v:.4g}" for k, v in list(numbers.items())[:3])


def _lost(count: int, ledger: str, why: str) -> str:
    how = "removed from this ledger" if why == "cut" else f"in ledger {ledger}"
    return f"{amount(count, 'further run')} {how}: counted as trials of everything"
