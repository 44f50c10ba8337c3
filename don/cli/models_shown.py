"""How `don models` shows versions: as JSON, side by side, and who moved them."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from don.cli.output import out, table
from don.clock import iso
from don.errors import UsageError

if TYPE_CHECKING:
    from don.learning.registry import Registry
    from don.learning.stages import Version

# of a list: a column and the figure under it, in a width that leaves a terminal room for them
_TELLING = {
    "return#": ("total_return", ".1%"), "Sharpe#": ("sharpe", ".2f"),
    "deflated#": ("deflated_sharpe", ".2f"), "drawdown#": ("max_drawdown", ".1%"),
}  # fmt: skip
TELLING = tuple(_TELLING)


def versions(registry: "Registry", name: str, *, deleted: bool) -> "list[Version]":
    """Those of a name; of all if it is empty.

    Raises:
        UsageError: if the registry never had one of that name.
    """
    found = registry.versions(deleted=True)
    if name and all(one.name != name for one in found):
        known = ", ".join(sorted({one.name for one in found})) or "none"
        raise UsageError(f"model {name!r} is not in the registry, which has {known}")
    return [one for one in found if name in ("", one.name) and (deleted or not one.deleted)]


def schema(registry: "Registry", one: "Version") -> str:
    """The hash of what its observations mean; "" if its files cannot be read."""
    try:
        return registry.model(one).schema_hash
    except UsageError:
        return ""


def told(one: "Version") -> dict[str, Any]:
    """A version as JSON has it."""
    return {
        "model": one.label, "name": one.name, "version": one.version, "id": one.id,
        "config_hash": one.card.config_hash, "stage": str(one.stage), "since": one.since,
        "deleted": one.deleted,
        "imported": {"ts": one.ts, "who": one.who, "why": one.why, "from": one.source},
        "moves": [
            {"ts": m.ts, "from": str(m.before), "to": str(m.after), "who": m.who, "why": m.why,
             "rule": m.rule}
            for m in one.moves
        ],
        "deletion": None if one.deletion is None else asdict(one.deletion),
        "out_of_sample": one.outside,
        "card": one.card.model_dump(mode="json"),
    }  # fmt: skip


def flat(value: Any, begin: str = "") -> dict[str, Any]:
    """Nested values under names with dots."""
    if isinstance(value, dict):
        return {
            k: v for name, own in value.items() for k, v in flat(own, f"{begin}{name}.").items()
        }
    return {begin.rstrip("."): value}


def figure(value: float | None) -> str:
    """A figure, or nothing."""
    return "" if value is None else f"{value:.4g}"


def telling(one: "Version") -> list[str]:
    """What it was worth out of sample, by the columns of `TELLING`; "" for what is not known."""
    figures = one.outside
    return [f"{figures[n]:{form}}" if n in figures else "" for n, form in _TELLING.values()]


def doubt(registry: "Registry", one: "Version") -> str:
    """Why it is not known to be worth trading: what its last evaluation said; "" if *better*."""
    from don.storage.research import Research

    figures = one.outside
    if not figures:
        return f"never evaluated out of sample: `don evaluate {one.label}` first"
    answer = "its answer is not in this research ledger"
    if "run" in figures:
        try:
            run = Research(registry.db).run(int(figures["run"]))
        except UsageError:  # it was evaluated under another ledger
            pass
        else:
            if run.metrics.get("grade") == "better" and "deflated_sharpe" in figures:
                return ""
            answer = str(run.metrics.get("answer", answer)).rstrip(".")
            if "deflated_sharpe" not in figures:  # what judges one model by itself
                answer = f"never judged by itself; of all of run {run.run} together: {answer}"
    told = [
        f"{name} {figures[key]:.4g}"
        for key, name in (("total_return", "return"), ("deflated_sharpe", "deflated Sharpe ratio"))
        if key in figures
    ]
    return f"not shown to be better out of sample: {answer} ({', '.join(told) or 'no figures'})"


def print_moves(found: "list[Version]") -> None:
    """Print who moved versions, when and why."""
    rows = [[iso(one.ts), one.label, "", "candidate", one.who, one.why] for one in found]
    rows += [
        [iso(m.ts), one.label, str(m.before), str(m.after), m.who,
         f"{m.why} (rule: {m.rule})" if m.rule else m.why]
        for one in found
        for m in one.moves
    ]  # fmt: skip
    rows += [
        [iso(gone.ts), one.label, str(one.stage), "deleted", gone.who, gone.why]
        for one in found
        if (gone := one.deletion) is not None
    ]
    rows.sort(key=lambda row: row[0])
    out.print(table(("when", "model", "from", "to", "who", "why"), rows))
