"""The spool: in order, bounded, whole after kill -9, a torn end, damage and a full disk."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.channels import channel_table

from don.errors import UsageError
from don.storage.market.spool import Spool, SpoolFull

ROWS = 5


def record(number: int) -> dict[str, pa.Table]:
    return {"trades": channel_table("trades", ROWS, seed=number)}


def fill(folder: Path, count: int, *, segment_bytes: int = 3_000) -> None:
    spool = Spool(folder, max_bytes=2**24, segment_bytes=segment_bytes)
    for number in range(count):
        spool.append(record(number))
    spool.close()


def drained(spool: Spool) -> list[dict[str, pa.Table]]:
    found = []
    while records := spool.peek(ROWS * 2):
        for place, tables in records:
            found.append(tables)
            spool.drop(place)
    return found


def test_records_come_back_in_order_over_segments_and_restarts(tmp_path: Path) -> None:
    fill(tmp_path, 7)
    spool = Spool(tmp_path, max_bytes=2**24, segment_bytes=3_000)
    assert spool.rows == 7 * ROWS and spool.bytes > 0
    assert len(list(tmp_path.glob("*.spool"))) > 1
    (place, first), *_ = spool.peek(1)
    assert first == record(0)
    spool.drop(place)
    spool.append(record(7))
    assert drained(spool) == [record(number) for number in range(1, 8)]
    assert spool.empty and spool.rows == spool.bytes == 0
    assert list(tmp_path.glob("*.spool")) == []
    with pytest.raises(UsageError, match="another process"):
        Spool(tmp_path, max_bytes=1)
    spool.close()
    Spool(tmp_path, max_bytes=2**24).close()


def test_bound_is_kept_and_nothing_of_a_refused_record_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=6_000, segment_bytes=2_000)
    taken = 0
    with pytest.raises(SpoolFull, match="of at most 6000"):
        while True:
            spool.append(record(taken))
            taken += 1
    assert 0 < sum(path.stat().st_size for path in tmp_path.glob("*.spool")) <= 6_000
    assert drained(spool) == [record(number) for number in range(taken)]
    spool.append(record(0))
    assert spool.rows == ROWS
    spool.close()


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.floats(0, 1, exclude_max=True), junk=st.binary(max_size=40))
def test_torn_end_is_cut_off_wherever_it_tore(tmp_path: Path, cut: float, junk: bytes) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    fill(tmp_path, 2, segment_bytes=2**20)
    (segment,) = tmp_path.glob("*.spool")
    whole = segment.read_bytes()
    spool = Spool(tmp_path, max_bytes=2**24)
    second = spool.peek(100)[1][0]
    spool.close()
    segment.write_bytes(whole[: second.offset + int(cut * (len(whole) - second.offset))] + junk)
    spool = Spool(tmp_path, max_bytes=2**24)
    assert spool.rows == ROWS and spool.damaged_bytes == 0
    spool.append(record(9))
    assert drained(spool) == [record(0), record(9)]
    spool.close()


@pytest.mark.parametrize("running", [False, True])
def test_damage_costs_one_record_and_is_kept_to_look_at(tmp_path: Path, running: bool) -> None:
    fill(tmp_path, 3, segment_bytes=2**20)
    (segment,) = tmp_path.glob("*.spool")
    spool = Spool(tmp_path, max_bytes=2**24)
    place = spool.peek(100)[1][0]
    if not running:
        spool.close()
    data = bytearray(segment.read_bytes())
    data[place.end - 40] ^= 0xFF
    segment.write_bytes(data)
    if not running:
        spool = Spool(tmp_path, max_bytes=2**24)
    assert drained(spool) == [record(0), record(2)]
    assert spool.damaged_bytes == place.end - place.offset
    assert sorted(path.suffix for path in tmp_path.glob("0*")) == [".damaged", ".lost"]
    (gap, *_) = spool.losses.ranges()
    times = record(1)["trades"]["ts_event"].to_pylist()
    assert (gap.channel, gap.state) == ("trades", "gap")
    assert gap.start <= min(times) and gap.end > max(times)
    spool.close()
    spool = Spool(tmp_path, max_bytes=2**24)
    assert gap in spool.losses.ranges(), "known until it was told"
    spool.losses.forgive()
    assert not spool.losses and not list(tmp_path.glob("*.lost"))
    spool.close()


def test_record_can_be_set_aside(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    spool = Spool(tmp_path, max_bytes=2**24)
    kept = spool.set_aside(spool.peek(1)[0][0])
    assert kept.stat().st_size > 0 and kept.suffix == ".refused"
    assert drained(spool) == [record(1)]
    spool.close()


def test_what_was_set_aside_is_not_overwritten_by_later_runs(tmp_path: Path) -> None:
    kept = []
    for number in range(3):
        spool = Spool(tmp_path, max_bytes=2**24)
        spool.append(record(number))
        ((place, _),) = spool.peek(1)
        if number == 1:  # damaged while it runs
            data = bytearray(place.segment.read_bytes())
            data[-40] ^= 0xFF
            place.segment.write_bytes(data)
            assert spool.peek(1) == [] and spool.empty
        else:
            kept.append(spool.set_aside(place))
        spool.close()
    assert len({path.name for path in kept}) == 2 and all(path.exists() for path in kept)
    assert len(list(tmp_path.glob("*.damaged"))) == len(list(tmp_path.glob("*.lost"))) == 1
    (first, last) = (path.read_bytes() for path in kept)
    assert first != last


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("running", [False, True])
def test_a_loss_is_known_though_the_disk_is_full(tmp_path: Path, running: bool) -> None:
    fill(tmp_path, 2, segment_bytes=2**20)
    (segment,) = tmp_path.glob("*.spool")
    full = tmp_path / f".{segment.name}-0.lost.tmp"
    full.symlink_to("/dev/full")
    spool = Spool(tmp_path, max_bytes=2**24)
    places = [place for place, _ in spool.peek(100)]
    if not running:
        spool.close()
    data = bytearray(segment.read_bytes())
    for place in places:
        data[place.end - 40] ^= 0xFF
    segment.write_bytes(data)
    if not running:
        spool = Spool(tmp_path, max_bytes=2**24)
    assert spool.peek(100) == [] and spool.damaged_bytes == len(data)
    known = set(spool.losses.ranges())
    times = [time for n in range(2) for time in record(n)["trades"]["ts_event"].to_pylist()]
    assert all(any(gap.start <= time < gap.end for gap in known) for time in times)
    assert not list(tmp_path.glob("*.lost"))
    spool.close()
    spool = Spool(tmp_path, max_bytes=2**24)
    assert set(spool.losses.ranges()) == known, "the damage is found again"
    full.unlink()
    spool.settle()
    assert len(list(tmp_path.glob("*.lost"))) == 2 and not segment.exists()
    assert segment.with_suffix(".damaged").exists()
    spool.close()
    spool = Spool(tmp_path, max_bytes=2**24)
    assert set(spool.losses.ranges()) == known
    spool.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_record_stays_where_it_is_if_it_cannot_be_set_aside(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    spool = Spool(tmp_path, max_bytes=2**24)
    ((place, _),) = spool.peek(1)
    target = tmp_path / f"{place.segment.stem}-0.refused"
    target.symlink_to("/dev/full")
    with pytest.raises(SpoolFull, match=r"refused cannot be written: .*; free disk space"):
        spool.set_aside(place)
    target.unlink()
    assert spool.set_aside(spool.peek(1)[0][0]) == target and spool.empty
    spool.close()


WRITER = """
    import resource, signal, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from support.channels import channel_table
    from don.storage.market.spool import Spool, SpoolFull
    if {limit}:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    spool = Spool(Path({folder!r}), max_bytes=2**30, segment_bytes=2**20)
    number = 0
    try:
        while True:
            spool.append({{"trades": channel_table("trades", 5, seed=number)}})
            number += 1
            print(number, flush=True)
    except SpoolFull as error:
        print(str(error), flush=True)
"""


def writer(folder: Path, limit: int) -> subprocess.Popen[str]:
    tests = str(Path(__file__).resolve().parents[2])
    code = textwrap.dedent(WRITER).format(tests=tests, folder=str(folder), limit=limit)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_killed_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    process = writer(tmp_path, 0)
    assert process.stdout is not None
    for _ in range(20):
        acknowledged = json.loads(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
    process.wait()
    process.stdout.close()
    spool = Spool(tmp_path, max_bytes=2**30)
    found = drained(spool)
    assert len(found) in (acknowledged, acknowledged + 1)
    assert found == [record(number) for number in range(len(found))]
    spool.close()


def test_full_disk_refuses_clearly_and_keeps_the_rest(tmp_path: Path) -> None:
    process = writer(tmp_path, 20_000)
    output, _ = process.communicate(timeout=240)
    *numbers, message = output.splitlines()
    assert "cannot be written" in message and "free disk space" in message
    assert process.returncode == 0
    spool = Spool(tmp_path, max_bytes=2**30)
    assert spool.torn_bytes == spool.damaged_bytes == 0
    assert drained(spool) == [record(number) for number in range(len(numbers))]
    spool.close()
