"""The journal: exactly once, in order, one writer, durable, and tampering shows."""

import itertools
import os
import signal
import threading
from collections.abc import Callable

import psycopg
import pytest
from support.wire import Wire

from don.errors import DatabaseError, JournalError
from don.storage.database import Database
from don.storage.embedded import EmbeddedPostgres
from don.storage.journal import GENESIS, Head, Journal, Record

pytestmark = pytest.mark.postgres
ACCOUNT = "paper"


def note(key: str, text: str = "") -> Record:
    return Record(kind="Note", key=key, payload=f'"{text or key}"'.encode(), ts_recv=1)


@pytest.fixture
def journal(database: Database) -> Journal:
    journal = Journal(database, ACCOUNT, "s1")
    journal.acquire()
    return journal


def keys(journal: Journal) -> list[str]:
    return [entry.key for entry in journal.read()]


def test_entries_come_back_as_they_went_in(database: Database, journal: Journal) -> None:
    assert journal.head() == Head(seq=0, hash=GENESIS)
    assert journal.append([note("a", 'quotes " and ünïcode'), note("", "first output"), note("b")])
    other = Journal(database, ACCOUNT, "s2")
    other.acquire()
    assert other.append([note("c")])
    everything = list(journal.read())
    assert [entry.seq for entry in everything] == [1, 2, 3, 4]
    assert [entry.key for entry in everything] == ["a", "a/1", "b", "c"]
    assert everything[0].payload == 'quotes " and ünïcode'.join('""').encode()
    assert everything[0].prev_hash == GENESIS
    assert all(b.prev_hash == a.hash for a, b in itertools.pairwise(everything))
    assert list(journal.read("s1")) == everything[:3]
    assert list(journal.read(after_seq=2)) == everything[2:]
    assert list(journal.keys("s2")) == ["c"]
    assert (journal.last_session(), journal.last_session(before="s2")) == ("s2", "s1")
    assert journal.last_session(before="s1") is None
    assert journal.verify().ok and journal.verify().entries == 4


def test_reading_crosses_chunks(journal: Journal) -> None:
    for start in range(0, 2_500, 500):
        journal.append([note(str(n)) for n in range(start, start + 500)])
    assert keys(journal) == [str(n) for n in range(2_500)]
    assert journal.verify().entries == 2_500


def test_known_first_key_writes_nothing(journal: Journal) -> None:
    assert journal.append([note("a"), note("b")])
    head = journal.head()
    assert not journal.append([note("a"), note("c")])
    assert not journal.append([note("b")])
    assert journal.head() == head and keys(journal) == ["a", "b"]
    assert journal.append([note("c")])


def test_known_later_key_writes_nothing_and_is_an_error(journal: Journal) -> None:
    journal.append([note("a")])
    with pytest.raises(JournalError, match="already in the journal"):
        journal.append([note("b"), note("a")])
    with pytest.raises(JournalError, match="already in the journal"):
        journal.append([note("b"), note("b")])
    assert keys(journal) == ["a"]
    assert journal.append([note("b")]) and journal.verify().ok


def test_append_needs_acquire(database: Database) -> None:
    with pytest.raises(JournalError, match="acquire"):
        Journal(database, ACCOUNT, "s1").append([note("a")])


def test_accounts_are_independent(database: Database, journal: Journal) -> None:
    other = Journal(database, "second", "s9")
    other.acquire()
    assert journal.append([note("a")]) and other.append([note("a")]) and journal.append([note("b")])
    assert keys(journal) == ["a", "b"] and keys(other) == ["a"]


def test_older_writer_is_fenced_however_late(database: Database, journal: Journal) -> None:
    journal.append([note("a")])
    successor = Journal(database, ACCOUNT, "s1")
    assert successor.acquire() == journal.head()
    with pytest.raises(JournalError, match="another writer took"):
        journal.append([note("b")])  # the head is still where the old writer left it
    assert successor.append([note("c")])
    with pytest.raises(JournalError, match="another writer took"):
        journal.append([note("d")])
    assert keys(successor) == ["a", "c"]


@pytest.mark.parametrize("statement", ["UPDATE journal SET key = 'x'", "DELETE FROM journal",
                                       "TRUNCATE journal"])  # fmt: skip
def test_entries_cannot_be_changed(database: Database, journal: Journal, statement: str) -> None:
    journal.append([note("a")])
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        with database.connection() as connection:
            connection.execute(statement)
    assert keys(journal) == ["a"]


@pytest.mark.parametrize(
    ("statement", "broken", "problem"),
    [
        ("UPDATE journal SET payload = '\"x\"' WHERE seq = 3", 3, "content"),
        ("UPDATE journal SET ts_recv = 2 WHERE seq = 1", 1, "content"),
        ("UPDATE journal SET session = 's1k', kind = 'Note' WHERE seq = 2", 2, "content"),
        ("UPDATE journal SET session = 's1N', kind = 'ote' WHERE seq = 2", 2, "content"),
        ("DELETE FROM journal WHERE seq = 2", 2, "missing"),
        ("DELETE FROM journal WHERE seq = 5", 5, "end is missing"),
        ("DELETE FROM journal", 1, "end is missing"),
        ("UPDATE journal SET hash = sha256('x') WHERE seq = 4", 4, "content"),
        ("UPDATE journal_head SET hash = sha256('x')", 5, "acknowledged"),
    ],
)
def test_tampering_is_found(
    database: Database, journal: Journal, statement: str, broken: int, problem: str
) -> None:
    journal.append([note(str(n)) for n in range(5)])
    with database.connection() as connection:
        connection.execute("ALTER TABLE journal DISABLE TRIGGER journal_append_only")
        connection.execute(statement)
    found = journal.verify()
    assert (found.ok, found.broken_seq, found.entries) == (False, broken, broken - 1)
    assert problem in found.problem


def test_writer_does_not_build_on_a_cut_off_chain(database: Database, journal: Journal) -> None:
    journal.append([note("a"), note("b")])
    with database.connection() as connection:
        connection.execute("ALTER TABLE journal DISABLE TRIGGER journal_append_only")
        connection.execute("DELETE FROM journal WHERE seq = 2")
    with pytest.raises(JournalError, match="entry 2 was acknowledged"):
        Journal(database, ACCOUNT, "s2").acquire()


@pytest.mark.parametrize(
    ("marker", "lose", "committed"),
    [
        (b"the-marker", "request", False),
        (b"the-marker", "answer", False),
        (b"COMMIT", "request", False),
        (b"COMMIT", "answer", True),
    ],
)
def test_connection_lost_in_an_append_counts_once(
    wire: Wire, database: Database, marker: bytes, lose: str, committed: bool
) -> None:
    reader = Journal(database, ACCOUNT, "s1")
    with Database(wire.url) as cut:
        journal = Journal(cut, ACCOUNT, "s1")
        journal.acquire()
        assert journal.append([note("a")])
        wire.arm(marker, lose, lambda: reader.head().seq == (3 if committed else 1))
        assert journal.append([note("b", "the-marker"), note("")])
        assert wire.cuts == 1
        assert not journal.append([note("b")])
        assert journal.append([note("c")])
        journal.close()
    assert keys(reader) == ["a", "b", "b/1", "c"] and reader.verify().ok


def test_fenced_while_the_answer_was_lost(wire: Wire, database: Database) -> None:
    successor = Journal(database, ACCOUNT, "s2")

    def taken_over() -> bool:
        successor.acquire()
        return True

    with Database(wire.url) as cut:
        journal = Journal(cut, ACCOUNT, "s1")
        journal.acquire()
        wire.arm(b"COMMIT", "answer", taken_over)
        with pytest.raises(JournalError, match="another writer took"):
            journal.append([note("b", "the-marker")])
        journal.close()
    assert successor.append([note("c")]) and successor.verify().ok


def test_database_that_stays_away_is_given_up_in_time(wire: Wire, database: Database) -> None:
    with Database(wire.url) as cut:
        journal = Journal(cut, ACCOUNT, "s1", patience_s=0.3)
        journal.acquire()
        wire.arm(b"the-marker", "request")
        wire.close()
        with pytest.raises(DatabaseError):
            journal.append([note("a", "the-marker")])
    assert keys(Journal(database, ACCOUNT, "s1")) == []


def test_server_killed_again_and_again_loses_and_doubles_nothing(
    mortal: EmbeddedPostgres, until: Callable[[Callable[[], bool]], None]
) -> None:
    acknowledged: list[str] = []
    problems: list[BaseException] = []
    stop = threading.Event()
    with Database(mortal.url) as database:
        database.migrate()
        journal = Journal(database, ACCOUNT, "s1")
        journal.acquire()

        def write() -> None:
            try:
                for number in itertools.count():
                    if stop.is_set():
                        return
                    assert journal.append([note(f"in{number}"), note(""), note("")])
                    acknowledged.append(f"in{number}")
            except BaseException as error:
                problems.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(3):
            before = len(acknowledged)
            until(lambda before=before: len(acknowledged) >= before + 20 or bool(problems))
            pid = mortal.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            mortal.start()
        before = len(acknowledged)
        until(lambda: len(acknowledged) > before or bool(problems))
        stop.set()
        writer.join(30)
        assert not problems, problems
        expected = [f"in{n}{tail}" for n in range(len(acknowledged)) for tail in ("", "/1", "/2")]
        assert keys(journal) == expected
        assert journal.verify().ok
        journal.close()
