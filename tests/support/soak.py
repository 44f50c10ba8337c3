"""What a soak of the collector needs: a tape of its own, watched memory, exact comparison."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from don.paper.events import TradePrint
from don.paper.slots import SlotTape
from don.paper.tape import open_tape
from don.storage.database import Database
from don.storage.market.reads import MarketStore

MIB = 2**20
MINUTE_MS = 60_000
DAY_MS = 1_440 * MINUTE_MS
AGO_DAYS = 12  # when a tape begins: more than it plays, so that its clock never meets ours


def write_tape(path: Path, symbols: int, bars: int) -> tuple[str, ...]:
    """Minute bars of the last days of so many symbols; returns their canonical names."""
    start_ms = time.time_ns() // 1_000_000 // DAY_MS * DAY_MS - AGO_DAYS * DAY_MS
    rng = np.random.default_rng(5)
    names = [f"S{number:02d}USDT" for number in range(symbols)]
    tables = []
    for name in names:
        close = 1_000 + np.cumsum(rng.integers(-20, 21, bars)) * 0.01
        opened = np.concatenate([[1_000.0], close[:-1]])
        tables.append(
            pa.table(
                {
                    "symbol": pa.array([name] * bars),
                    "timestamp": pa.array(
                        start_ms + MINUTE_MS * np.arange(bars), pa.timestamp("ms", tz="UTC")
                    ),
                    "open": np.round(opened, 2),
                    "high": np.round(np.maximum(opened, close) + 0.1, 2),
                    "low": np.round(np.minimum(opened, close) - 0.1, 2),
                    "close": np.round(close, 2),
                    "volume": np.round(rng.lognormal(3, 1, bars) + 1, 3),
                }
            )
        )
    pq.write_table(pa.concat_tables(tables), path)
    return tuple(f"{name[:-4]}-USDT-PERP" for name in names)


class ProcessWatch:
    """Own memory (shared pages left out) and CPU time of processes and all below them.

    Args:
        roots: gives the processes' ids at each sample; those that ended are left out.
        every_s: between samples, which a thread takes beside the run.
    """

    def __init__(self, roots: Callable[[], Iterable[int]], every_s: float) -> None:
        self._roots = roots
        self._every_s = every_s
        self._stop = threading.Event()
        self._titles: dict[int, str] = {}
        self._samples: dict[int, list[float]] = defaultdict(list)  # MiB
        self._cpu: dict[int, tuple[float, float]] = {}  # seconds, at the first sample and the last
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join(10)

    @property
    def samples(self) -> dict[str, list[float]]:
        """MiB of each process over time, by id and title."""
        return {f"{pid} {self._titles[pid]}": values for pid, values in self._samples.items()}

    @property
    def cpu_s(self) -> dict[str, float]:
        """Seconds of CPU that each process used while it was watched, by id and title."""
        return {
            f"{pid} {self._titles[pid]}": round(last - first, 2)
            for pid, (first, last) in self._cpu.items()
        }

    def growth(self) -> dict[str, tuple[float, float]]:
        """(median MiB of the third quarter, of the last) of what lived through all of both."""
        longest = max((len(found) for found in self.samples.values()), default=0)
        found = {}
        for name, values in self.samples.items():
            if len(values) < 0.9 * longest or longest < 8:
                continue
            quarter = len(values) // 4
            third, last = values[2 * quarter : 3 * quarter], values[3 * quarter :]
            found[name] = (float(np.median(third)), float(np.median(last)))
        return found

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            for process in self._family():
                try:
                    title = " ".join(process.cmdline())
                    used = process.memory_full_info().uss / MIB
                    times = process.cpu_times()
                except psutil.Error:
                    continue  # it ended
                self._titles[process.pid] = title.split("{")[0][:60]
                self._samples[process.pid].append(used)
                seconds = times.user + times.system
                self._cpu[process.pid] = (self._cpu.get(process.pid, (seconds,))[0], seconds)

    def _family(self) -> list[psutil.Process]:
        found: dict[int, psutil.Process] = {}
        for pid in self._roots():
            try:
                root = psutil.Process(pid)
                found |= {p.pid: p for p in (root, *root.children(recursive=True))}
            except psutil.Error:
                continue  # away, or just ended
        return list(found.values())


Columns = tuple[str, ...]
COLUMNS: Columns = ("id", "ts_event", "price", "size", "buy")


def stored_trades(db: Database, exchange: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each symbol's trades by id, as arrays."""
    store = MarketStore(db)
    for name, symbol in store.series():
        if name != exchange:
            continue
        table = store.read("trades", [symbol], exchange=exchange, columns=COLUMNS)
        order = np.argsort(table["id"].to_numpy())
        yield symbol, {column: table[column].to_numpy()[order] for column in COLUMNS}


def tape_trades(path: Path, wanted: dict[str, tuple[int, int]]) -> dict[str, dict[str, Any]]:
    """The tape's trades of each symbol, as arrays; one pass over the tape for all of them.

    Args:
        path: of the tape.
        wanted: canonical symbol -> id of its first trade, and how many.
    """
    tape = open_tape(path)
    assert isinstance(tape, SlotTape)
    symbols = {i.symbol: i for i in tape.instruments() if i.symbol in wanted}
    names = {i.exchange_symbol: symbol for symbol, i in symbols.items()}
    rows: dict[str, list[tuple[Any, ...]]] = {symbol: [] for symbol in wanted}
    slot = min(tape.slot_of_trade(tape.index(s), first) for s, (first, _) in wanted.items())
    while any(len(rows[symbol]) < count for symbol, (_, count) in wanted.items()):
        for event in tape.market_events(slot)[0]:
            if type(event) is not TradePrint or (symbol := names.get(event.symbol)) is None:
                continue
            first, count = wanted[symbol]
            if event.id >= first and len(rows[symbol]) < count:
                i = symbols[symbol]
                price, size = float(event.price * i.tick_size), float(event.size * i.lot_size)
                rows[symbol].append((event.id, event.ts, price, size, event.buy))
        slot += 1
    return {
        symbol: {n: np.array(v) for n, v in zip(COLUMNS, zip(*found, strict=True), strict=True)}
        for symbol, found in rows.items()
    }
