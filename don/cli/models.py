"""`don models`: the registry of trained models, from candidate to live and back."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from don.cli import models_shown as shown
from don.cli import running_models as running
from don.cli.asked import asked_ns
from don.cli.output import err, out, print_json, print_pairs, table
from don.clock import NS_PER_S, iso
from don.errors import DonError, UsageError
from don.home import home_dir

if TYPE_CHECKING:
    from don.learning.registry import Registry
    from don.learning.stages import Version

DIFFERENT = 3
Json = typer.Option(False, "--json", help="Print one JSON document.")
Why = typer.Option(..., "--reason", help="Why; kept for ever.")
Who = typer.Option("", "--who", help="Who; default: this user.")
Model = typer.Argument(..., help="NAME, NAME@VERSION, NAME@STAGE or an id.")


def register(app: typer.Typer) -> None:
    """Add this group."""
    group = typer.Typer(
        help="Trained models: candidate, shadow, canary, live.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    commands: dict[str, Callable[..., None]] = {
        "list": show_all, "show": show, "compare": compare, "import": import_, "promote": promote,
        "demote": demote, "rollback": rollback, "delete": delete, "history": history,
        "verify": verify, "check": check,
    }  # fmt: skip
    for name, command in commands.items():
        group.command(name)(command)
    app.add_typer(group, name="models")


@contextmanager
def opened(*, make: bool = False) -> Iterator["Registry"]:
    """The registry of the state folder.

    Args:
        make: begin one if there is none.

    Raises:
        UsageError: if there is none.
    """
    from don.learning.registry import open_registry
    from don.storage.database import external_url

    if not make and external_url(os.environ) is None and not (home_dir() / "postgres").exists():
        raise UsageError(f"no models in {home_dir()}: import one with `don models import FOLDER`")
    with open_registry() as registry:
        yield registry


def show_all(
    name: str = typer.Argument("", help="Only versions of this model."),
    deleted: bool = typer.Option(False, help="Also those that were deleted."),
    as_json: bool = Json,
) -> None:
    """List versions and how they stand."""
    with opened() as registry:
        found = shown.versions(registry, name, deleted=deleted)
    if as_json:
        print_json([shown.told(one) for one in found])
        return
    rows = [
        [one.label, "deleted" if one.deleted else one.stage, f"{iso(one.since)[:16]}Z", one.id,
         one.card.algorithm, one.card.trained.steps, one.card.seed, *shown.telling(one)]
        for one in found
    ]  # fmt: skip
    columns = ("model", "stage", "since", "id", "algorithm", "steps#", "seed#", *shown.TELLING)
    out.print(table(columns, rows))
    out.print("\nReturn, Sharpe ratios and drawdown are out of sample; empty: not evaluated.")


def show(model: str = Model, as_json: bool = Json) -> None:
    """Show one version: where it comes from, what it needs, what it was worth, who moved it."""
    from don.envs.completeness import told_in_words

    with opened() as registry:
        one = registry.find(model)
        folder, schema = registry.folder(one), shown.schema(registry, one)
    told = shown.told(one) | {"folder": str(folder), "schema_hash": schema}
    if as_json:
        print_json(told)
        return
    card = one.card
    print_pairs(
        {
            "model": one.label, "stage": one.stage, "since": iso(one.since), "id": one.id,
            "folder": folder, "imported": f"{iso(one.ts)} by {one.who}: {one.why}",
            "from": one.source, "algorithm": card.algorithm,
            "trained": f"{card.trained.steps} agent-steps, {card.trained.seconds:.0f} s",
            "policies": ", ".join(f"{p} ({s.net.kind})" for p, s in card.policies.items()),
            "form": card.env.form, "actions": card.env.action.kind,
            "symbols": ", ".join(card.symbols), "interval_s": card.interval_ns / NS_PER_S,
            "features": ", ".join(card.features), "feature_hash": card.feature_hash,
            "schema_hash": schema or "unknown: its files cannot be read",
            "data": told_in_words(card.data_source, card.data_shares),
            "config_hash": card.config_hash, "data_hash": card.data_hash, "code": card.code_version,
            "seed": card.seed, "parent": card.parent or "none",
        }
    )  # fmt: skip
    for title, figures in (("in sample", card.in_sample), ("out of sample", one.outside)):
        out.print(f"\n{title}{'' if figures else ': not evaluated'}")
        print_pairs({name: f"{value:.6g}" for name, value in figures.items()})
    out.print()
    shown.print_moves([one])


def compare(
    models: list[str] = typer.Argument(..., help="Two or more versions."), as_json: bool = Json
) -> None:
    """Put versions side by side: what differs in how they were made, and what they were worth."""
    with opened() as registry:
        found = [registry.find(text) for text in models]
    if len({one.label for one in found}) < 2:
        there = ", ".join(one.label for one in found)
        raise UsageError(f"compare needs two or more different models, was {there}")
    told = {one.label: shown.flat(shown.told(one)["card"]) for one in found}
    names = dict.fromkeys(name for own in told.values() for name in own)
    differ = [n for n in names if len({repr(own.get(n)) for own in told.values()}) > 1]
    figures = dict.fromkeys(name for one in found for name in one.outside)
    worth = {one.label: one.outside for one in found}
    if as_json:
        print_json(
            {
                "models": list(told),
                "differ": {n: {label: own.get(n) for label, own in told.items()} for n in differ},
                "out_of_sample": worth,
            }
        )
        return
    out.print(table(("", *told), [[n, *(own.get(n, "") for own in told.values())] for n in differ]))
    out.print()
    if not figures:
        out.print("out of sample: not evaluated")
        return
    rows = [
        [n, *(shown.figure(own.get(n)) if own else "not evaluated" for own in worth.values())]
        for n in figures
    ]
    out.print(table(("out of sample", *(f"{label}#" for label in told)), rows))


def import_(
    folder: Path = typer.Argument(..., help="Folder of a model, as training exports it."),
    name: str = typer.Option("", help="Another name than its card says."),
    why: str = typer.Option("imported", "--reason", help="Why; kept."),
    who: str = Who,
    as_json: bool = Json,
) -> None:
    """Take a trained model into the registry as the next version of its name, a candidate."""
    with opened(make=True) as registry:
        one = registry.add(folder, name=name, who=who, why=why)
        served = [v for v in running.served(registry, [one]) if v.label == one.label]
    _say([one], as_json)
    running.serve(served, as_json)


def promote(
    model: str = Model,
    why: str = Why,
    to: str = typer.Option("", help="shadow, canary or live; default: the next stage."),
    force: bool = typer.Option(False, help="Leave stages out."),
    who: str = Who,
    as_json: bool = Json,
    at: Annotated[
        str, typer.Option("--from", help="The stage that you saw it in; in another it stays.")
    ] = "",
) -> None:
    """Move a version up. What held its stage makes room; the next session trades accordingly.

    Asked for twice at once, it moves one stage: without --to or --from, whatever was moved after
    the command began stays where it is.
    """
    from don.learning.stages import SINGLE

    stage, seen, asked = _stage(to), _stage(at, "--from"), asked_ns()
    with opened() as registry:
        moved = registry.promote(
            model, why=why, to=stage, who=who, force=force, at=seen,
            asked=asked if seen is None else None,
        )  # fmt: skip
        served = running.served(registry, moved)
        places = running.places(registry, moved)
        risen = moved[-1]  # after those that made room
        doubt = shown.doubt(registry, risen) if risen.stage in SINGLE else ""
    _say(moved, as_json)
    if doubt:
        err.print(f"don: {risen.label} is {risen.stage}, but {doubt}")
    running.serve(served, as_json)
    running.tell_places(places)


def demote(
    model: str = Model,
    why: str = Why,
    to: str = typer.Option("candidate", help="candidate, shadow or canary."),
    who: str = Who,
    as_json: bool = Json,
) -> None:
    """Move a version down; below canary, its slot in the running session is halted."""
    from don.learning.stages import SINGLE

    stage = _stage(to)
    assert stage is not None
    with opened() as registry:
        moved = registry.demote(model, why=why, to=stage, who=who)
        served = running.served(registry, moved)
        places = running.places(registry, moved)
    _say(moved, as_json)
    for slot in places.lower:
        if stage in SINGLE or not slot.slotted:
            running.still(slot)
        else:
            running.halt(slot, why, as_json)
    running.serve(served, as_json)


def rollback(
    name: str = typer.Argument(..., help="Of the model."),
    why: str = Why,
    who: str = Who,
    as_json: bool = Json,
) -> None:
    """Bring back the version that was live before; asked for twice at once, once."""
    asked = asked_ns()
    with opened() as registry:
        moved = registry.rollback(name, why=why, who=who, asked=asked)
        served = running.served(registry, moved)
        places = running.places(registry, moved)
    _say(moved, as_json)
    running.serve(served, as_json)
    running.tell_places(places)


def delete(model: str = Model, why: str = Why, who: str = Who, as_json: bool = Json) -> None:
    """Take a version out of the registry; who did it and why stays. Sessions that traded it keep
    its files.
    """
    with opened() as registry:
        one = registry.find(model)
        gone = registry.delete(one.label, why=why, who=who, used=bool(registry.sessions(one)))
        served = running.served(registry, [gone])
    if as_json:
        print_json(shown.told(gone) | {"deleted": True})
    else:
        out.print(f"{gone.label} is deleted")
    running.serve(served, as_json)
    running.forget(gone)


def history(
    name: str = typer.Argument("", help="Only of this model."), as_json: bool = Json
) -> None:
    """Say who moved what, when and why."""
    with opened() as registry:
        found = shown.versions(registry, name, deleted=True)
    if as_json:
        print_json([shown.told(one) for one in found])
        return
    shown.print_moves(found)


def verify(as_json: bool = Json) -> None:
    """Check that the registry's record is as it was written, and its files too."""
    problems = []
    with opened() as registry:
        record = registry.verify()
        if not record.ok:
            problems.append(f"entry {record.broken_seq}: {record.problem}")
        versions = registry.versions()
        for one in versions:
            try:
                registry.model(one)
            except DonError as error:
                problems.append(f"{one.label}: {error}")
    told = {"entries": record.entries, "versions": len(versions), "problems": problems}
    if as_json:
        print_json(told)
    else:
        out.print(f"{record.entries} entries and {len(versions)} versions checked")
        for line in problems:
            out.print(line)
    if problems:
        raise typer.Exit(DIFFERENT)


def check(
    session: str = typer.Option("", help="Whose books; default: the last session."),
    apply: bool = typer.Option(False, "--apply", help="Demote those that broke a rule."),
    as_json: bool = Json,
) -> None:
    """Hold the books of models against the rules of demotion; exit code 3 if one is broken.

    A running `don up` does this by itself. With `--apply` its slots are halted, too.
    """
    from don.cli import client
    from don.clock import SystemClock
    from don.config import load_config
    from don.learning.demotion import Judge
    from don.learning.takedown import Takedown, owed
    from don.model.messages import Command

    trades = client.running(home_dir())

    def send(command: Command) -> None:
        if trades is not None and trades.session == chosen:  # else nothing trades any more
            running.tell(command)

    takedown = Takedown(send)
    with opened() as registry:
        chosen = session or registry.last_session()
        judge = Judge(chosen, load_config(home_dir()).models)
        found = [*owed(registry), *judge.look(registry)]
        served: list[Version] = []
        if apply:
            takedown.act(registry, found, SystemClock().now_ns())
            moved = [one.slot.version for one in found if takedown.recorded(one)]
            served = running.served(registry, [one for one in moved if one is not None])
    told = [
        {"model": one.label, "slot": one.slot.name, "rule": one.breach.rule,
         "value": one.breach.value, "limit": one.breach.limit, "demoted": takedown.recorded(one)}
        for one in found
    ]  # fmt: skip
    if as_json:
        print_json({"session": chosen, "broken": told})
    else:
        out.print(f"session {chosen}: {len(found)} rules broken")
        for one in found:
            left = f"; halted in session {one.session}, not demoted" if one.halted else ""
            out.print(f"{one.label} ({one.slot.name}): {one.breach.why}{left if not apply else ''}")
    for label in judge.unwatched:
        err.print(f"don: {label} has the whole account, no slot: no rule watches it")
    for line in takedown.failures:
        err.print(
            f"don: {line}; `don models check --apply` tries again, `don risk state policy:SLOT "
            "halted` halts it"
        )
    running.serve(served, as_json)
    if found:
        raise typer.Exit(DIFFERENT)


# ---- shown ---------------------------------------------------------------------------------------


def _stage(text: str, option: str = "--to") -> Any:
    from don.learning.stages import LADDER, Stage

    if not text:
        return None
    allowed = tuple(Stage) if option == "--from" else LADDER
    if text not in {str(stage) for stage in allowed}:
        raise UsageError(f"{option} must be one of {', '.join(allowed)}, was {text!r}")
    return Stage(text)


def _say(moved: "list[Version]", as_json: bool) -> None:
    if as_json:
        print_json([shown.told(one) for one in moved])
        return
    for one in moved:
        out.print(f"{one.label} is {one.stage}")
