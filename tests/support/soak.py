"""What a soak of the collector needs: a tape of its own, watched memory, exact comparison."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from don.paper.tape import open_tape
from don.storage.database import Database
from don.storage.market.reads import MarketStore

MIB = 2**20
MINUTE_MS = 60_000
START_MS = 1_735_689_600_000  # 2025-01-01


def write_tape(path: Path, symbols: int, bars: int) -> tuple[str, ...]:
    """Minute bars of so many symbols; returns their canonical names."""
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
                        START_MS + MINUTE_MS * np.arange(bars), pa.timestamp("ms", tz="UTC")
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


class MemoryWatch:
    """Own memory (shared pages left out) of a process and all below it, sampled beside the run."""

    def __init__(self, pid: int, every_s: float) -> None:
        self._pid = pid
        self._every_s = every_s
        self._stop = threading.Event()
        self._titles: dict[int, str] = {}
        self._samples: dict[int, list[float]] = defaultdict(list)  # MiB
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
            try:
                family = [psutil.Process(self._pid)]
                family += family[0].children(recursive=True)
            except psutil.Error:
                return
            for process in family:
                try:
                    title = " ".join(process.cmdline())
                    used = process.memory_full_info().uss / MIB
                except psutil.Error:
                    continue  # it ended
                self._titles[process.pid] = title[:60]
                self._samples[process.pid].append(used)


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


def tape_trades(path: Path, symbol: str, first: int, count: int) -> dict[str, Any]:
    """The trades of the tape from an id on, as arrays."""
    tape = open_tape(path)
    instrument = next(i for i in tape.instruments() if i.symbol == symbol)
    rows = []
    for trade in tape.trades(instrument.exchange_symbol, from_id=first):
        if len(rows) == count:
            break
        price = float(trade.price * instrument.tick_size)
        size = float(trade.size * instrument.lot_size)
        rows.append((trade.id, trade.ts, price, size, trade.buy))
    return {
        name: np.array(values)
        for name, values in zip(COLUMNS, zip(*rows, strict=True), strict=True)
    }
