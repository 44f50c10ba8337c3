"""What the registry's changes mean for a Don that runs: what goes on trading, and is served."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from don.cli.output import err, out
from don.errors import DonError, UsageError
from don.home import home_dir

if TYPE_CHECKING:
    from don.learning.registry import Registry
    from don.learning.resolve import Traded
    from don.learning.stages import Version
    from don.model.messages import Command
    from don.risk.states import TradingState


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a running session has versions that moved, and goes on with them as it began."""

    session: str = ""  # "": none runs, or it is starting
    lower: "tuple[Traded, ...]" = ()  # that may trade no more, or not so
    higher: "tuple[Traded, ...]" = ()  # that may more
    absent: "tuple[Version, ...]" = ()  # that it does not have, but the next one will


def places(registry: "Registry", moved: "list[Version]") -> Places:
    """Places of the running session whose versions stand elsewhere now."""
    from don.books.config import Mode
    from don.cli import client
    from don.learning.demotion import slots_trading
    from don.learning.resolve import MODES

    running = client.running(home_dir())
    if running is None:
        return Places()
    try:
        found = slots_trading(registry, running.session, moved)
    except UsageError:  # it is starting: nothing trades yet, but what it pinned will
        err.print("don: a session is starting; it trades what names meant when it began")
        return Places()
    ranks = (None, Mode.SHADOW, Mode.CANARY, Mode.LIVE)

    def rise(slot: "Traded") -> int:
        assert slot.version is not None
        return ranks.index(MODES.get(slot.version.stage)) - ranks.index(slot.mode)

    there = {slot.label for slot in found}
    return Places(
        session=running.session,
        lower=tuple(slot for slot in found if rise(slot) < 0),
        higher=tuple(slot for slot in found if rise(slot) > 0),
        absent=tuple(one for one in moved if one.stage in MODES and one.label not in there),
    )


def tell_places(found: Places) -> None:
    """Say what the running session goes on with until it ends."""
    for slot in found.lower:
        still(slot)
    for slot in found.higher:
        assert slot.version is not None
        err.print(
            f"don: {slot.label} is {slot.version.stage} in the registry; session {found.session} "
            f"goes on with it as {slot.mode} ({_where(slot)}) until the next `don up`"
        )
    for one in found.absent:
        err.print(
            f"don: {one.label} is {one.stage} in the registry; session {found.session} does not "
            "have it, and goes on without it until the next `don up`"
        )


def still(slot: "Traded") -> None:
    """Say, loudly if it trades, that a place goes on with what it was composed of."""
    from don.books.config import Mode
    from don.risk.states import TradingState

    assert slot.version is not None
    now = f"don: {slot.label} is {slot.version.stage} now"
    if slot.mode is Mode.SHADOW:
        err.print(
            f"{now}; it goes on deciding as shadow ({_where(slot)}), orders nothing, until the "
            "session ends"
        )
        return
    held = {
        TradingState.HALTED: "halted: it trades nothing",
        TradingState.REDUCING: "reducing: it only closes what it holds",
    }.get(_standing(slot))
    if held is not None:
        err.print(
            f"{now}; the running session has it as {slot.mode} ({_where(slot)}), which is {held} "
            "unless somebody sets it going again"
        )
        return
    halt = f"policy:{slot.name}" if slot.slotted else "account"
    err.print(
        f"{now}, but GOES ON TRADING as {slot.mode} ({_where(slot)}) until the session ends; "
        f"`don risk state {halt} halted` stops it at once"
    )


def _standing(slot: "Traded") -> "TradingState":
    """How far the running session lets a place trade; active where it does not answer, so that
    nothing goes on trading without a word.
    """
    from don.cli import client
    from don.risk.states import TradingState

    try:
        told = client.get(home_dir(), "/v1/risk")["states"]
    except DonError:
        return TradingState.ACTIVE
    scopes = ["system", "account", *([f"policy:{slot.name}"] if slot.slotted else [])]
    found = [TradingState(told[scope]["state"]) for scope in scopes if scope in told]
    return max(found, key=lambda one: one.severity, default=TradingState.ACTIVE)


def _where(slot: "Traded") -> str:
    return f"slot {slot.name}" if slot.slotted else "the whole account"


def tell(command: "Command") -> None:
    """Hand a command to the running desk.

    Raises:
        DonError: if it was not taken.
    """
    from don.cli import client

    more = {**json.loads(command.payload), "payload": command.payload}
    if command.key:  # by which a demotion that was left half done is found again
        more["key"] = command.key.removeprefix(f"command:{command.kind}:")
    client.command(home_dir(), command.kind, command.reason, more)


def halt(slot: "Traded", why: str, as_json: bool) -> None:
    """Have the desk close a slot's book, and say so; or that it could not be told."""
    from don.learning.demotion import halting

    try:
        tell(halting(slot, f"{slot.label} is demoted: {why}", "", 0))
    except DonError as error:
        err.print(f"don: slot {slot.name} could not be halted: {error}")
        still(slot)
        return
    if not as_json:
        out.print(f"slot {slot.name} is halted: the desk closes what it holds")


def served(registry: "Registry", moved: "list[Version]") -> "list[Version]":
    """What names of these versions mean over HTTP from now on."""
    from don.learning.stages import nearest

    names = {one.name for one in moved}
    return [one for name, one in nearest(registry.versions()).items() if name in names]


def forget(gone: "Version") -> None:
    """Have a running Don's HTTP side forget a version that was deleted; after `serve`, so that a
    name that means another now never means nothing.
    """
    from don.cli import client

    running = client.running(home_dir())
    if running is None or not running.url:
        return
    try:
        client.post(home_dir(), f"/v1/policies/{gone.name}/unload", {"version": gone.version})
    except DonError as error:
        err.print(f"don: the running Don may go on answering as {gone.label}: {error}")


def serve(meant: "list[Version]", as_json: bool) -> None:
    """Have a running Don's HTTP side let names mean what they mean now; the desk trades what its
    session was composed of.
    """
    from don.cli import client

    running = client.running(home_dir())
    if running is None or not running.url:
        return
    for one in meant:
        try:
            client.post(home_dir(), f"/v1/policies/{one.name}/load", {"version": one.version})
        except DonError as error:
            err.print(f"don: the running Don does not serve {one.label}: {error}")
            continue
        if not as_json:
            out.print(f"{one.label} is what {one.name} means over HTTP now")
