"""Judges the books of models by the rules of demotion. Reads the database.

A session goes on trading what its names meant when it began, whatever the registry says since. So
its books are judged by what it pinned, not by stages; whoever breaks a rule is halted, and becomes
a candidate again if it still stands higher (`don.learning.takedown`).
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from don.books.config import Mode
from don.books.rules import PAPER, Breach, DemotionConfig
from don.engine.state import EngineState, load
from don.errors import JournalError, UsageError
from don.learning.registry import Registry
from don.learning.resolve import Traded, traded
from don.learning.stages import Version
from don.learning.trail import Trail, Worth
from don.log import get_logger
from don.model import codec
from don.model.messages import Command, CommandKind, SessionStart
from don.risk.change import parse_state
from don.risk.states import TradingState
from don.storage.database import Connection

WHO = "don"  # who demotes, where no person does
_CHUNK = 5_000  # rows read at once
_SCOPE = "policy:"
DEMOTED = "command:state:demoted:"  # begins the keys of commands that demotions halt slots with


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A slot that broke a rule."""

    breach: Breach
    slot: Traded
    session: str
    seen: int  # how often a person has set the slot going again: another halt then is a new one
    halted: bool = False  # the desk has it already, the registry perhaps not

    @property
    def label(self) -> str:
        """What trades there, as its version is called if the registry knows it."""
        return self.slot.label

    @property
    def key(self) -> str:
        """Of the command that halts it: a repeat is harmless."""
        name = self.slot.name
        return f"{DEMOTED}{self.session}:{name}:{self.breach.rule}:{self.seen}"

    @property
    def turn(self) -> tuple[str, str, int]:
        """What one demotion ends: of several rules that are broken at once the first does it."""
        return self.session, self.slot.name, self.seen


class Judge:
    """Follows the books of one session's models; each look reads only what came since the last.

    Growth and peak go on from the session before, as the desk carried them over, and nothing of
    the session is left out, however long it is.

    Args:
        session: whose books.
        config: the rules.
    """

    def __init__(self, session: str, config: DemotionConfig) -> None:
        self._session, self._config = session, config
        self._slots: dict[str, Traded] | None = None
        self._trails: dict[str, Trail] = {}
        self._seen: dict[str, int] = {}
        self.unwatched: tuple[str, ...] = ()  # models with the whole account: they have no book
        self._account = ""
        self._at = 0  # journal number up to which everything was read

    def look(self, registry: Registry) -> list[Broken]:
        """Rules that are broken now, by slots that are not halted for them already.

        Raises:
            UsageError: if there is no such session.
            DatabaseError: if the database is away: look again later.
        """
        with registry.db.connection() as connection:
            if self._slots is None:
                self._begin(connection)
            self._follow(connection)
        versions = registry.versions(deleted=True) if self._slots else []
        found = []
        for name, slot in (self._slots or {}).items():
            known = slot.known(versions)
            found += [
                Broken(breach=one, slot=known, session=self._session, seen=self._seen[name])
                for one in self._trails[name].breaches(name, self._config)
            ]
        return found

    # ---- reading ---------------------------------------------------------------------------------

    def _begin(self, connection: Connection) -> None:
        row = connection.execute(
            "SELECT account, policy, config FROM session WHERE id = %s", (self._session,)
        ).fetchone()
        if row is None:
            raise UsageError(f"there is no session {self._session!r}")
        self._account = row[0]
        places = traded(row[1], row[2] or {})
        slots = {one.name: one for one in places if one.slotted}
        self.unwatched = tuple(one.label for one in places if not one.slotted)
        state, first = self._carried(connection)
        books = {b.name: b for b in state.books.books} if state.books else {}
        papers = {b.name: b for b in state.books.shadows} if state.books else {}
        trails, seen = {}, {}
        for name, slot in slots.items():
            own = papers if slot.mode is Mode.SHADOW else books
            standing = state.states.get(_SCOPE + name)
            told = TradingState.ACTIVE if standing is None else standing.state
            told = TradingState.HALTED if state.halted else told
            trails[name] = Trail(own.get(name), papers.get(name + PAPER), told)
            seen[name] = 0
        for seq, name, to in self._commands(connection, slots, first):
            if to is TradingState.ACTIVE:  # the twin went on alone until then
                trails[name].only(self._points_after(connection, name, seq, first))
        self._trails, self._seen, self._slots, self._at = trails, seen, slots, first

    def _carried(self, connection: Connection) -> tuple[EngineState, int]:
        """The state that the session began with, and the journal number of its beginning."""
        row = connection.execute(
            "SELECT seq, kind, payload FROM journal WHERE account = %s AND session = %s "
            "ORDER BY seq LIMIT 1",
            (self._account, self._session),
        ).fetchone()
        if row is None:
            return EngineState(), 0
        start = codec.decode(row[1], row[2].encode())
        if not isinstance(start, SessionStart):
            return EngineState(), row[0]
        try:
            return load(start.state), row[0]
        except JournalError as error:
            get_logger("don.models").warning(
                "books are judged from this session on", error=str(error)
            )
            return EngineState(), row[0]

    def _follow(self, connection: Connection) -> None:
        slots = self._slots or {}
        if not slots:
            return
        # One writer, in order: before this end nothing comes any more
        row = connection.execute(
            "SELECT max(seq) FROM journal WHERE account = %s", (self._account,)
        ).fetchone()
        end = max(self._at, (row and row[0]) or 0)
        told = self._commands(connection, slots, end + 1)
        moment: dict[tuple[str, bool], Worth] = {}
        now = 0
        for seq, book, mode, worth in self._points(connection, slots, end):
            if seq != now:
                self._step(now, moment)
                moment, now = {}, seq
                while told and told[0][0] < seq:
                    self._stand(*told.pop(0))
            moment[book, mode == Mode.SHADOW] = worth
        self._step(now, moment)
        for one in told:
            self._stand(*one)
        self._at = end

    def _step(self, seq: int, moment: dict[tuple[str, bool], Worth]) -> None:
        for name, slot in (self._slots or {}).items():
            own = moment.get((name, slot.mode is Mode.SHADOW))
            if own is not None:
                self._trails[name].add(own, moment.get((name + PAPER, True)))
        self._at = max(self._at, seq)  # whatever fails behind this, it is not counted twice

    def _stand(self, seq: int, name: str, to: TradingState) -> None:
        self._at = seq
        self._trails[name].stand(to)
        self._seen[name] += to is TradingState.ACTIVE

    def _points(
        self, connection: Connection, slots: dict[str, Traded], end: int
    ) -> Iterator[tuple[int, str, str, Worth]]:
        names = [*slots, *(name + PAPER for name in slots)]
        after: tuple[int, str, str] = (self._at + 1, "", "")
        while True:
            rows = connection.execute(
                "SELECT seq, book, mode, equity, pnl FROM book_points WHERE session = %s AND "
                "seq >= %s AND (seq, book, mode) > (%s, %s, %s) AND seq <= %s AND book = ANY(%s) "
                "ORDER BY seq, book, mode LIMIT %s",
                (self._session, after[0], *after, end, names, _CHUNK),
            ).fetchall()
            for seq, book, mode, equity, pnl in rows:
                yield seq, book, mode, Worth(equity=float(equity), pnl=float(pnl))
            if len(rows) < _CHUNK:
                return
            after = rows[-1][:3]

    def _commands(
        self, connection: Connection, slots: dict[str, Traded], before: int
    ) -> list[tuple[int, str, TradingState]]:
        """States that slots were told to take, in order: (journal number, slot, state)."""
        rows = connection.execute(
            "SELECT seq, kind, payload FROM journal WHERE account = %s AND seq > %s AND seq < %s "
            "AND (key LIKE 'command:state:%%' OR key LIKE 'command:halt:%%' "
            "OR key LIKE 'command:resume:%%') ORDER BY seq",
            (self._account, self._at, before),
        ).fetchall()
        found: list[tuple[int, str, TradingState]] = []
        for seq, kind, payload in rows:
            told = codec.decode(kind, payload.encode())
            if isinstance(told, Command):
                found += [(seq, name, to) for name, to in _told(told, slots)]
        return found

    def _points_after(self, connection: Connection, book: str, seq: int, before: int) -> int:
        row = connection.execute(
            "SELECT count(*) FROM book_points WHERE account = %s AND seq > %s AND seq < %s AND "
            "book = %s AND mode <> %s",
            (self._account, seq, before, book, str(Mode.SHADOW)),
        ).fetchone()
        return int(row[0]) if row else 0


def halting(slot: Traded, why: str, key: str, now: int) -> Command:
    """The command that has the desk close a slot's book and leave it."""
    told = {"scope": _SCOPE + slot.name, "state": str(TradingState.HALTED)}
    return Command(
        key=key, kind=CommandKind.STATE, actor=WHO, reason=why, ts_recv=now,
        payload=json.dumps(told),
    )  # fmt: skip


def _told(command: Command, slots: Iterable[str]) -> list[tuple[str, TradingState]]:
    """Slots that a command sets a state of, and which."""
    match command.kind:
        case CommandKind.HALT:
            return [(name, TradingState.HALTED) for name in slots]
        case CommandKind.RESUME:  # ends every halt
            return [(name, TradingState.ACTIVE) for name in slots]
        case CommandKind.STATE:
            try:
                scope, to = parse_state(command.payload)
            except UsageError:
                return []  # the desk refused it too
            return [(name, to) for name in slots if scope == _SCOPE + name]
    return []


def slots_trading(registry: Registry, session: str, versions: list[Version]) -> list[Traded]:
    """Slots of a session in which one of these versions trades or shadows; twins on paper aside.

    Raises:
        UsageError: if there is no such session.
    """
    with registry.db.connection() as connection:
        row = connection.execute(
            "SELECT policy, config FROM session WHERE id = %s", (session,)
        ).fetchone()
    if row is None:
        raise UsageError(f"there is no session {session!r}")
    ever = registry.versions(deleted=True)
    moved = {one.label: one for one in versions}
    found = []
    for one in traded(row[0], row[1] or {}):
        own = one.known(ever)  # of several of one content the one that was pinned
        if own.version is None or not own.pinned_by_name:  # a folder is its content, of any version
            own = one.known(versions)
        elif own.label not in moved:
            continue
        if own.version is not None:
            found.append(replace(own, version=moved[own.label]))
    return found
