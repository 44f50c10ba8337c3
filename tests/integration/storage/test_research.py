"""The research ledger counts every run, and whoever loses some is told."""

import json
from pathlib import Path

import psycopg
import pytest

from don.clock import ReplayClock
from don.errors import JournalError, UsageError
from don.storage.database import Database
from don.storage.research import Research, counted_by
from don.storage.research_notes import NOTES, Notes
from don.storage.research_ratios import Ratio
from don.storage.research_runs import RunKind, RunStatus, begin_payload, end_payload

pytestmark = pytest.mark.postgres


def research(db: Database, folder: Path | None = None, **how: object) -> Research:
    anchor = None if folder is None else folder / "research.json"
    return Research(db, anchor=anchor, clock=ReplayClock(7), **how)  # type: ignore[arg-type]


def execute(db: Database, *statements: str) -> None:
    with db.connection() as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_run_is_counted_when_it_begins(database: Database) -> None:
    ledger = research(database)
    config = {"lr": 1e-3, "net": {"hidden": [64, 64]}, "tape": Path("x.parquet")}
    one = ledger.begin("train", config, "abc", seed=3, lineage=["BTC-USDT-PERP", "BTC-USDT-PERP"])
    two = ledger.begin(RunKind.TRAIN, config, "abc", seed=4)
    assert (one, two) == (1, 2)
    ledger.end(one, "done", {"sharpe": 1.25, "steps": 10})
    first, second = ledger.runs()
    assert (first.status, second.status) == (RunStatus.DONE, RunStatus.OPEN)
    assert first.metrics == {"sharpe": 1.25, "steps": 10}
    assert first.config["net"] == {"hidden": [64, 64]} and first.config["tape"] == "x.parquet"
    assert first.config_hash == second.config_hash and first.lineage == ("BTC-USDT-PERP",)
    assert (first.seed, first.ts_begin, first.ts_end, second.ts_end) == (3, 7, 7, None)
    found = ledger.trials("abc")
    assert (found.count, found.runs, found.sharpes, found.outside) == (2, (1, 2), (1.25,), 0)
    assert ledger.trials("never seen").count == 1
    assert ledger.run(2) == second
    assert ledger.verify().ok and ledger.verify().entries == 3


def test_runs_of_shared_data_are_one_family(database: Database) -> None:
    ledger = research(database)
    ledger.begin("train", {}, "whole", lineage=["BTC"])
    ledger.begin("trial", {}, "cut", lineage=["BTC", "ETH"])
    ledger.begin("sweep", {}, "other", lineage=["ETH"], trials=40)
    ledger.begin("train", {}, "apart", lineage=["DOGE"])
    ledger.begin("evaluate", {}, "whole")
    found = ledger.trials("whole")  # joined to `other` by what `cut` shares with both
    assert (found.count, found.runs, found.looks) == (42, (1, 2, 3, 5), 1)
    assert ledger.trials("DOGE").count == 1
    assert ledger.trials("new", ["DOGE", "ETH"]).count == 43


def test_parts_of_a_counted_run_do_not_count_again(database: Database) -> None:
    ledger = research(database)
    whole = ledger.begin("walk_forward", {}, "d", trials=3)
    with counted_by(whole):
        part = ledger.begin("train", {}, "d")
    after = ledger.begin("train", {}, "d")
    assert ledger.run(part).parent == whole and ledger.run(after).parent is None
    assert ledger.trials("d").count == 4


def test_studies_and_backtests_that_are_over_have_looked_too(database: Database) -> None:
    ledger = research(database)
    study, stopped = (ledger.begin("walk_forward", {}, "d") for _ in range(2))
    with counted_by(study):
        ledger.end(ledger.begin("backtest", {}, "d"), "done")  # a part of the study
    sweep, refused = ledger.begin("sweep", {}, "d", trials=9), ledger.begin("backtest", {}, "d")
    assert (ledger.trials("d").studies, ledger.trials("d").backtests) == (0, 0)  # none told any
    for run, status in ((study, "done"), (stopped, "stopped"), (sweep, "done")):
        ledger.end(run, status)
    ledger.end(refused, "refused")
    found = ledger.trials("d")
    assert (found.looks, found.studies, found.backtests) == (0, 2, 1)


def test_ratios_come_with_their_records_in_the_order_they_were_told(database: Database) -> None:
    ledger = research(database)
    slow, quick = ledger.begin("walk_forward", {}, "d"), ledger.begin("backtest", {}, "d")
    far = ledger.begin("backtest", {}, "elsewhere")
    ledger.end(far, "done", {"sharpe": 9.0, "returns": 96, "days": 4.0})
    ledger.end(quick, "done", {"sharpe": 2.0, "returns": 48, "days": 2.0})
    ledger.end(slow, "done", {"sharpe": 1.0, "returns": 1_000, "days": 0.0})
    look = ledger.begin("evaluate", {}, "d")
    ledger.end(look, "done", {"sharpe": 7.0, "returns": 30, "days": 30.0})  # no trial
    refused = ledger.begin("backtest", {}, "d")
    ledger.end(refused, "refused", {"sharpe": 8.0})
    with counted_by(slow):
        part = ledger.begin("train", {}, "d")
    ledger.end(part, "done", {"sharpe": 6.0})
    own = (Ratio(sharpe=2.0, returns=48, days=2.0), Ratio(sharpe=1.0))
    found = ledger.trials("d")
    assert (found.ratios, found.sharpes, found.count) == (own, (2.0, 1.0), 2)
    last = ledger.begin("backtest", {}, "d", lineage=["BTC"])
    ledger.begin("sweep", {}, "elsewhere", lineage=["BTC"])  # what it joins is told last
    ledger.end(last, "done", {"sharpe": 0.5, "returns": True, "days": 3.0})
    later = (Ratio(sharpe=9.0, returns=96, days=4.0), Ratio(sharpe=0.5))
    assert ledger.trials("d").ratios == own + later


def test_bad_runs_are_refused(database: Database) -> None:
    ledger = research(database)
    with pytest.raises(UsageError, match="kind must be one of train"):
        ledger.begin("gamble", {}, "d")
    with pytest.raises(UsageError, match="trials must not be negative, was -1"):
        ledger.begin("train", {}, "d", trials=-1)
    with pytest.raises(UsageError, match="run 1 never began: the ledger has 0"):
        ledger.end(1)
    run = ledger.begin("train", {}, "d")
    with pytest.raises(UsageError, match="failed, stopped or refused, was 'open'"):
        ledger.end(run, "open")
    ledger.end(run, "failed", {"error": "NaN"})
    ledger.end(run, "failed", {"error": "NaN"})  # the same again: a retry, nothing happens
    with pytest.raises(UsageError, match="run 1 has ended already"):
        ledger.end(run, "done")
    with pytest.raises(UsageError, match="run 9 is not in the research ledger"):
        ledger.run(9)
    assert ledger.verify().entries == 2


@pytest.mark.parametrize("statement", [
    "UPDATE research_entry SET run = 9", "DELETE FROM research_entry", "TRUNCATE research_entry",
    "DELETE FROM research_head", "TRUNCATE research_head",
])  # fmt: skip
def test_entries_cannot_be_changed(database: Database, statement: str) -> None:
    ledger = research(database)
    ledger.begin("train", {}, "d")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        execute(database, statement)
    assert ledger.trials("d").count == 1


FREE = "ALTER TABLE research_entry DISABLE TRIGGER ALL"


@pytest.mark.parametrize(("statement", "broken"), [
    ("UPDATE research_entry SET payload = replace(payload, '\"d\"', '\"e\"') WHERE seq = 2", 2),
    ("UPDATE research_entry SET ts = 8 WHERE seq = 1", 1),
    ("DELETE FROM research_entry WHERE seq = 2", 2),
    ("DELETE FROM research_entry WHERE seq = 3", 3),
])  # fmt: skip
def test_tampering_is_found(database: Database, statement: str, broken: int) -> None:
    ledger = research(database)
    for _ in range(3):
        ledger.begin("train", {}, "d")
    execute(database, FREE, statement)
    assert ledger.verify().broken_seq == broken
    if "DELETE" in statement and broken == 3:
        with pytest.raises(JournalError, match="entry 3 was acknowledged"):
            ledger.begin("train", {}, "d")


def test_a_ledger_cut_with_its_head_goes_on_counting(database: Database, don_home: Path) -> None:
    heard: list[str] = []
    ledger = research(database, don_home, warn=heard.append)
    for _ in range(5):
        ledger.begin("train", {}, "d")
    before = ledger.runs()
    for lost in (3, 5):  # put back to two runs, twice
        execute(
            database, FREE, "DELETE FROM research_entry WHERE seq > 2",
            "UPDATE research_head SET seq = 2, runs = 2, "
            "hash = (SELECT hash FROM research_entry WHERE seq = 2)",
        )  # fmt: skip
        assert ledger.verify().ok  # inside the database nothing tells
        ledger.begin("train", {}, "d")
        ledger.begin("train", {}, "d")
        found = ledger.trials("d")
        assert (found.outside, found.count) == (lost, lost + 4)
        assert ledger.trials("unrelated").outside == found.outside  # who knows what they were on
    assert ledger.runs()[:2] == before[:2]
    assert len(heard) == 2 and "misses 3 runs that it had" in heard[0]
    assert ledger.verify().ok


def test_another_database_inherits_what_was_tried(
    database: Database, empty_database_url: str, don_home: Path
) -> None:
    heard: list[str] = []
    first = research(database, don_home)
    for _ in range(4):
        first.begin("train", {}, "d")
    with Database(empty_database_url) as fresh:
        fresh.migrate()
        second = research(fresh, don_home, warn=heard.append)
        second.begin("train", {}, "d")
        second.begin("train", {}, "d")
        assert (second.trials("d").outside, second.trials("d").count) == (4, 6)
        assert len(heard) == 1 and "misses 4 runs that ledger" in heard[0]
        assert json.loads((don_home / "research.json").read_text()).keys() == {
            first.reference()["ledger"], second.reference()["ledger"],
        }  # fmt: skip
    first.begin("train", {}, "d")  # and back: the two runs there count, its own do not twice
    assert (first.trials("d").outside, first.trials("d").count) == (2, 7)


def test_two_at_once_are_both_counted(database: Database, don_home: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    ledger = research(database, don_home)
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda n: ledger.begin("trial", {"n": n}, "d"), range(20)))
    assert sorted(numbers) == list(range(1, 21))
    assert ledger.verify().ok and ledger.trials("d").count == 20 and ledger.outside() == []


def test_what_was_noted_without_a_database_is_counted_once(
    database: Database, don_home: Path
) -> None:
    said: list[str] = []
    ledger, notes = research(database, don_home, warn=said.append), Notes(don_home, said.append)
    told = begin_payload("backtest", {"policy": "x"}, "abc", lineage=["tape"], ts=3)
    done, killed, goes_on, refused = (notes.begin(told) for _ in range(4))
    notes.end(refused, end_payload("refused", {"error": "no bars"}))
    notes.end(done, end_payload("done", {"sharpe": 1.5}, lineage=["BTC-USDT-PERP"], ts=5))
    kept = (don_home / NOTES).read_bytes()
    assert ledger.take_in(notes) == 4 and not notes.waiting() and ledger.take_in(notes) == 0
    (don_home / NOTES).write_bytes(kept)  # it was killed before the notes were gone
    ledger.take_in(notes)
    assert ledger.trials("BTC-USDT-PERP").count == 3  # joined by what the result told
    assert ledger.trials("abc").sharpes == (1.5,)
    with (don_home / NOTES).open("ab") as file:  # killed in the middle of a line
        file.write(b'{"key": "')
    notes.end(goes_on, end_payload("stopped", {}))
    ledger.take_in(notes)
    assert ["cannot be read" in line for line in said] == [True]
    first, second, third, fourth = ledger.runs()
    assert (fourth.status, fourth.trials) == ("refused", 0)
    assert (first.kind, first.ts_begin, first.ts_end) == (RunKind.BACKTEST, 3, 5)
    assert [run.status for run in (first, second, third)] == ["done", "open", "stopped"]
    assert killed and ledger.verify().ok
    (don_home / "file").write_text("")
    with pytest.raises(UsageError, match="counts every backtest"):
        Notes(don_home / "file").begin(told)


def noted(folder: Path, count: int) -> None:
    """Backtests that ran, each two notes."""
    for n in range(count):
        notes = Notes(folder)
        key = notes.begin(begin_payload("backtest", {"n": n}, "abc", ts=n))
        notes.end(key, end_payload("done", {"sharpe": float(n)}, ts=n + 1))


def without(folder: Path, *lines: int) -> None:
    kept = (folder / NOTES).read_bytes().splitlines(keepends=True)
    (folder / NOTES).write_bytes(b"".join(one for n, one in enumerate(kept) if n not in lines))


def test_notes_that_are_removed_go_on_counting(database: Database, don_home: Path) -> None:
    said: list[str] = []
    ledger = research(database, don_home, warn=said.append)
    noted(don_home, 3)
    (don_home / NOTES).unlink()
    assert Notes(don_home).waiting()  # nobody may say that there is nothing
    ledger.take_in(Notes(don_home))
    assert said.pop().startswith("6 notes removed before") and not Notes(don_home).waiting()
    found = ledger.trials("abc")
    assert (found.count, found.outside, found.runs) == (3, 3, ())
    assert [(one.runs, one.why) for one in ledger.outside()] == [(3, "cut")]
    assert ledger.take_in(Notes(don_home)) == 0 and ledger.trials("abc").count == 3
    noted(don_home, 2)
    (don_home / NOTES).unlink()
    noted(don_home, 3)  # what is noted after it does not hide it
    without(don_home, 4, 5)  # the last run
    ledger.take_in(Notes(don_home))
    assert "6 notes removed" in said[0] and "3 runs of them go on counting" in said[0]
    assert (ledger.trials("abc").count, ledger.trials("abc").outside) == (8, 6)
    noted(don_home, 1)
    without(don_home, 1)  # what came of it
    ledger.take_in(Notes(don_home))
    assert "1 note removed" in said[1] and ledger.trials("abc").count == 10  # one at least
    run = ledger.begin("train", {}, "abc")
    assert ledger.trials("abc").count == 11 and ledger.verify().ok and len(said) == 2
    execute(
        database, FREE, "DELETE FROM research_entry WHERE seq > 1",
        "UPDATE research_head SET seq = 1, runs = 0, "
        "hash = (SELECT hash FROM research_entry WHERE seq = 1)",
    )  # fmt: skip
    assert ledger.begin("train", {}, "abc") != run  # all of it is known, of notes as well
    assert ledger.trials("abc").count == 12


def test_notes_that_are_changed_go_on_counting(database: Database, don_home: Path) -> None:
    said: list[str] = []
    ledger = research(database, don_home, warn=said.append)
    noted(don_home, 3)
    lines = (don_home / NOTES).read_text().splitlines()
    lines[2] = lines[2].replace('"abc"', '"xyz"')  # of other data, it says now
    last = json.loads(lines[5])
    last["payload"]["metrics"]["sharpe"] = -5.0
    lines[5] = json.dumps(last)
    (don_home / NOTES).write_text("\n".join(lines) + "\n")
    ledger.take_in(Notes(don_home))
    assert said[0].startswith("2 notes changed") and len(said) == 2  # an end without a begin
    assert ledger.trials("abc").count == 3 and ledger.trials("xyz").count == 1 + 0
    assert ledger.trials("abc").sharpes == (0.0,) and ledger.trials("abc").outside == 1


def test_whoever_dies_while_noting_loses_nothing_and_misses_nothing(
    database: Database, don_home: Path
) -> None:
    said: list[str] = []
    ledger, anchor = research(database, don_home, warn=said.append), don_home / "research.json"
    for last in (1, 2, 3):
        before = anchor.read_bytes() if anchor.exists() else b"{}"
        noted(don_home, 1)
        Notes(don_home).begin(begin_payload("backtest", {}, "abc"))
        if last == 1:  # as by a Don that chained none
            before = b"{}"
        anchor.write_bytes(before)  # killed before the anchor: here even three notes long
        with (don_home / NOTES).open("ab") as file:
            file.write(b'{"key": "torn')
    kept, known = (don_home / NOTES).read_bytes(), anchor.read_bytes()
    assert ledger.take_in(Notes(don_home, said.append)) == 6
    assert ["cannot be read" in line for line in said] == [True] * 3
    (don_home / NOTES).write_bytes(kept)  # killed before the notes were gone
    ledger.take_in(Notes(don_home))
    anchor.write_bytes(known)  # or before the anchor knew of it
    (don_home / NOTES).write_bytes(kept)
    ledger.take_in(Notes(don_home))
    assert ledger.trials("abc").count == 6 and len(said) == 3 and not ledger.outside()
    noted(don_home, 1)
    anchor.unlink()  # what is there speaks for itself
    noted(don_home, 1)
    assert ledger.take_in(Notes(don_home)) == 2
    assert ledger.trials("abc").count == 8 and len(said) == 3 and not ledger.outside()


def test_notes_of_an_older_don_are_taken_in(database: Database, don_home: Path) -> None:
    ledger = research(database, don_home)
    ledger.begin("train", {}, "abc")
    for ended, told in enumerate(
        (begin_payload("backtest", {}, "abc"), end_payload("done", {"sharpe": 1.0}))
    ):
        with (don_home / NOTES).open("a") as file:
            file.write(json.dumps({"key": "k", "ended": bool(ended), "payload": told}) + "\n")
    noted(don_home, 1)
    assert ledger.take_in(Notes(don_home)) == 2 and not ledger.outside()
    assert ledger.trials("abc").sharpes == (1.0, 0.0)


def test_many_may_note_at_once(database: Database, don_home: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    ledger = research(database, don_home)
    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(noted, don_home, 4) for _ in range(4)]
        begun = sum(ledger.take_in(Notes(don_home)) for _ in range(3))
        for n in range(4):
            ledger.begin("train", {"n": n}, "abc")
        for one in writing:
            one.result()
    begun += ledger.take_in(Notes(don_home))
    assert begun == 16 and ledger.trials("abc").count == 20
    assert not ledger.outside() and ledger.verify().ok
