"""Recorded trades and books are replayed as they were recorded; bars are built from the trades."""

import gzip
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from don.errors import DataError
from don.paper.events import BarClose, BookUpdate, MarkPrice, TapeEvent, TradePrint
from don.paper.tape import Tape, open_tape

SHARED = Path(__file__).parents[4] / "shared" / "data"
DEPTH = SHARED / "raw/binance_depth/usdm_ethusdt_20240808.gz"
PRINTS = SHARED / "binance_usdm_aggtrades_apeusdt_20241018.parquet"
MINUTE = 60 * 10**9


def opened(path: Path) -> Tape:
    if not path.exists():
        pytest.skip(f"no recorded data at ../shared/data/{path.relative_to(SHARED)}")
    return open_tape(path)


@pytest.fixture(scope="module")
def depth() -> Tape:
    return opened(DEPTH)


@pytest.fixture(scope="module")
def prints() -> Tape:
    return opened(PRINTS)


def check_restart(tape: Tape, events: list[tuple[int, TapeEvent]], places: list[int]) -> None:
    for place in places:
        position = events[place][0]
        rest = islice(tape.events(position), 300)
        found = [(at, event) for at, event in rest if at != position]
        assert found == events[place + 1 : place + 1 + len(found)] and len(found) > 250


def check_bars(tape: Tape, events: list[TapeEvent]) -> list[BarClose]:
    trades = [e for e in events if isinstance(e, TradePrint)]
    bars = [e for e in events if isinstance(e, BarClose)]
    for bar in bars:
        own = [t for t in trades if bar.ts - MINUTE <= t.ts < bar.ts]
        prices = [t.price for t in own]
        assert (bar.open, bar.close) == (prices[0], prices[-1])
        assert (bar.high, bar.low) == (max(prices), min(prices))
        assert bar.volume == sum(t.size for t in own) and bar.trades == len(own)
        assert bar.buy_volume == sum(t.size for t in own if t.buy)
    assert [b.ts for b in bars] == [bars[0].ts + i * MINUTE for i in range(len(bars))]
    assert tape.history(tape.symbols[0], "1m", bars[-1].ts, len(bars)) == bars
    return bars


@pytest.mark.warm
def test_depth_is_replayed_as_recorded(depth: Tape) -> None:
    events = list(depth.events())
    market = [e for at, e in events if at != depth.start]
    (instrument,) = depth.instruments()
    assert instrument.symbol == "ETH-USDT-PERP"
    assert (str(instrument.tick_size), str(instrument.lot_size)) == ("0.01", "0.001")
    assert [e.ts for e in market] == sorted(e.ts for e in market)
    trades = [e for e in market if isinstance(e, TradePrint)]
    assert [t.id for t in trades] == list(range(trades[0].id, trades[0].id + len(trades)))
    assert len(trades) > 14_000
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    books = 0
    for event in market:
        if isinstance(event, BookUpdate):
            books += 1
            if event.snapshot:
                bids, asks = {}, {}
            for side, changes in ((bids, event.bids), (asks, event.asks)):
                side.update(changes)
                for price, size in changes:
                    if not size:
                        del side[price]
            assert max(bids) < min(asks)
    assert books > 6_500 and 1000 < len(bids) < 5000
    assert len(check_bars(depth, market)) == 5
    check_restart(depth, events, [2, 500, 9_000, 20_000])


def test_restart_of_a_recording_begins_with_the_book_as_it_stands(depth: Tape) -> None:
    events = list(islice(depth.events(), 9_000))
    bids: dict[int, int] = {}
    for _, event in events:
        if isinstance(event, BookUpdate):
            bids = {} if event.snapshot else bids
            bids.update(event.bids)
    head = [e for at, e in depth.events(events[-1][0]) if at == events[-1][0]]
    assert [type(e) for e in head] == [BookUpdate, MarkPrice] and head[0].snapshot
    assert dict(head[0].bids) == {p: q for p, q in bids.items() if q}


def test_prints_are_replayed_with_a_book_around_them(prints: Tape) -> None:
    table = pq.read_table(PRINTS).to_pandas()
    events = list(islice(prints.events(), 12_000))
    market = [e for at, e in events if at != prints.start]
    best: tuple[int, int] = (0, 0)
    trades = []
    for event in market:
        if isinstance(event, BookUpdate):
            best = (event.bids[0][0], event.asks[0][0])
            assert event.snapshot and best[1] == best[0] + 1 and len(event.asks) == 10
        elif isinstance(event, TradePrint):
            assert event.price == best[event.buy]
            trades.append(event)
    first = table.index[table["agg_trade_id"] == trades[0].id][0]
    own = table.iloc[first : first + len(trades)]
    (instrument,) = prints.instruments()
    assert [t.id for t in trades] == own["agg_trade_id"].tolist()
    assert np.array_equal([float(t.price * instrument.tick_size) for t in trades], own["price"])
    assert np.array_equal([float(t.size * instrument.lot_size) for t in trades], own["quantity"])
    assert [t.buy for t in trades] == (~own["is_buyer_maker"]).tolist()
    assert len(check_bars(prints, market)) > 100
    assert len(prints.history("APEUSDT", "5m", prints.time_of(prints.start))) == 99
    check_restart(prints, events, [2, 700, 11_000])


# ---- bad input -----------------------------------------------------------------------------------


def line(stamp: int, **message: object) -> str:
    return f"{stamp} {json.dumps(message)}\n"


def diff(stamp: int, first: int, last: int, previous: int) -> str:
    data = {"e": "depthUpdate", "E": stamp, "T": stamp, "s": "BTCUSDT", "U": first, "u": last}
    levels = {"b": [["100.0", "1"]], "a": [["100.5", "2"]]}
    return line(stamp, stream="btcusdt@depth", data={**data, "pu": previous, **levels})


def trade(stamp: int, number: int) -> str:
    data = {"e": "trade", "E": stamp, "T": stamp, "s": "BTCUSDT", "t": number, "p": "100.5"}
    return line(stamp, stream="btcusdt@trade", data={**data, "q": "0.5", "m": False})


SNAPSHOT = line(1000, lastUpdateId=10, E=1000, T=1000, bids=[["100.0", "3"]], asks=[["100.5", "4"]])


def write(path: Path, *lines: str) -> Path:
    with gzip.open(path, "wt") as file:
        file.writelines(lines)
    return path


def test_a_small_recording_plays(tmp_path: Path) -> None:
    text = (diff(990, 5, 9, 4), SNAPSHOT, diff(1100, 8, 12, 7), trade(1150, 1), trade(61_000, 2))
    tape = open_tape(write(tmp_path / "a.gz", *text))
    market = [e for at, e in tape.events() if at != tape.start]
    kinds = [type(e) for e in market if not isinstance(e, MarkPrice)]
    assert kinds == [BookUpdate, BookUpdate, TradePrint, TradePrint]
    assert market[0] == BookUpdate(
        symbol="BTCUSDT", ts=10**9, bids=((1000, 30),), asks=((1005, 40),), snapshot=True
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((SNAPSHOT, diff(1100, 12, 13, 9), trade(1200, 1)), "a depth diff is missing before 12"),
        (
            (SNAPSHOT, diff(1100, 9, 12, 8), diff(1200, 15, 16, 14), trade(1300, 1)),
            "a depth diff is missing before 15",
        ),
        ((diff(1100, 9, 12, 8), trade(1200, 1)), "no depth snapshot of BTCUSDT"),
        ((SNAPSHOT, "1100 {nonsense\n"), r"a\.gz, line 2: expected a receive time"),
        ((SNAPSHOT, 'x {"stream": "s", "data": {}}\n'), r"a\.gz, line 2: expected a receive time"),
    ],
)
def test_bad_recordings_are_named(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_tape(write(tmp_path / "a.gz", *lines))


def test_a_file_that_is_not_gzip_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_text("hello")
    with pytest.raises(DataError, match=r"a\.gz, line 0: expected"):
        open_tape(tmp_path / "a.gz")
    with pytest.raises(DataError, match=r"b\.gz does not exist"):
        open_tape(tmp_path / "b.gz")
    with pytest.raises(DataError, match="one Parquet file or"):
        open_tape([tmp_path / "a.gz", tmp_path / "c.parquet"])


def test_decoded_recordings_are_kept_and_a_damaged_file_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (SNAPSHOT, diff(1100, 8, 12, 7), trade(1150, 1), trade(61_000, 2))
    path, folder = write(tmp_path / "a.gz", *text), tmp_path / "tapes"
    first = list(open_tape(path).events())
    assert list(open_tape(path, kept=folder).events()) == first
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    with monkeypatch.context() as patched:
        patched.delattr("don.paper.decoded.load_depth")  # nothing may be decoded now
        assert list(open_tape(path, kept=folder).events()) == first
    middle = whole.index(b".lots.npy") + 200
    damaged = (whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], whole[:99], b"")
    for content in damaged:
        file.write_bytes(content)
        assert list(open_tape(path, kept=folder).events()) == first
        assert file.read_bytes() != content
    write(path, *text[:-1], trade(62_000, 2))
    assert list(open_tape(path, kept=folder).events()) != first
    assert len(list(folder.iterdir())) == 2
    with pytest.raises(DataError, match="cannot be written"):
        open_tape(path, kept=file / "tapes")
