"""Bench of market data: loading, reading while data come in, size. Its own PostgreSQL; does I/O.

Everything lies in a temporary folder. Loads run in turns with plain COPY of the same rows, encoded
beforehand and sorted by the index, under the same durability. Queries run while a process of its
own writes 5,000 trades a second and 50 bars a second through the live ingest.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from don.bench import storage_data as data
from don.bench.storage_peers import (
    DUCKDB,
    PANDAS_ROWS,
    PLAIN,
    PlainTable,
    Query,
    duckdb_queries,
    plain_queries,
    to_sql_rate,
)
from don.bench.storage_queries import ASKED, Timed, our_queries, timed
from don.clock import SystemClock
from don.market.rows import ordered
from don.model.channels import CHANNELS
from don.storage.database import Database
from don.storage.embedded import EmbeddedPostgres
from don.storage.lake.files import period
from don.storage.lake.lake import Lake
from don.storage.market.blocks import Blocks
from don.storage.market.hot import MarketTables
from don.storage.market.maintain import Maintenance
from don.storage.market.reads import MarketStore

CHUNK_MINUTES = 10_000  # of all symbols: 500,000 bars in one load
CHUNK_TRADES = 500_000
PACE = 5_000  # trades a second beside the queries
PEER_RUNS = 10
HALF_LOADS, HALF_TRADES = 5, 200_000
BARE_CHUNKS = 3  # loads that are repeated into a table without an index


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of what."""

    # minutes after which bars are queried, the last: all; each ends three hours into a span that
    # is copied as a whole, as long as readers have to do without the copy on average
    stages: tuple[int, ...]
    trades: tuple[int, ...]  # rows by then
    runs: int  # of each query at the end
    growth_runs: int  # at the stages before


FULL = Sizes(stages=(19_980, 99_900, 400_140), trades=(1_000_000, 5_000_000, 20_000_000),
             runs=300, growth_runs=100)  # fmt: skip
QUICK = Sizes(stages=(19_980, 43_380), trades=(1_000_000, 2_000_000), runs=150, growth_runs=40)
SMALLEST = Sizes(stages=(3_000,), trades=(60_000,), runs=20, growth_runs=5)


@dataclass(slots=True)
class Load:
    """Seconds that loads of one channel took, ours and the peers', chunk by chunk."""

    ours: list[tuple[int, float]] = field(default_factory=list)
    plain: list[tuple[int, float]] = field(default_factory=list)
    bare: list[tuple[int, float]] = field(default_factory=list)


def rows(full: bool) -> list[dict[str, Any]]:
    """Rows `storage.*`: 20 M bars and 20 M trades, or 2.2 M and 2 M if not full.

    Raises:
        DonError: if the temporary server does not work.
        RuntimeError: if rows are lost, or the writer beside the queries fails.
    """
    return measure(FULL if full else QUICK)


def measure(sizes: Sizes) -> list[dict[str, Any]]:
    """See `rows`."""
    folder = Path(tempfile.mkdtemp(prefix="don-bench-"))
    server = EmbeddedPostgres(folder)
    try:
        server.start()
        with Database(server.url, statement_timeout_s=0) as db:
            db.migrate()
            return _Bench(db, folder, sizes).run()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class _Bench:
    """One run, from empty tables to rows."""

    def __init__(self, db: Database, folder: Path, sizes: Sizes) -> None:
        self._db = db
        self._folder = folder
        self._sizes = sizes
        self._clock = SystemClock()
        self._tables = MarketTables(db)
        self._blocks = Blocks(db, folder / "blocks")
        self._store = MarketStore(db, blocks=self._blocks)
        self._loads = {"bars": Load(), "trades": Load()}
        self._plain = {c: PlainTable(db, c) for c in self._loads}
        self._bare = {c: PlainTable(db, c, "") for c in self._loads}
        self._written: dict[str, int] = {"bars": 0, "trades": 0}  # rows
        self._ends: dict[str, tuple[int, int]] = {}
        self._paces: list[float] = []
        self._block_s = 0.0
        self._made: list[dict[str, Any]] = []

    def run(self) -> list[dict[str, Any]]:
        sizes = self._sizes
        growth: list[tuple[int, dict[str, Timed]]] = []
        minutes = 0
        for number, (until, trades) in enumerate(zip(sizes.stages, sizes.trades, strict=True)):
            self._load("bars", lambda at, n: data.bars(at, n), minutes, until, CHUNK_MINUTES)
            start = self._written["trades"]
            self._load("trades", lambda at, n: data.trades(at, n), start, trades, CHUNK_TRADES)
            minutes = until
            self._settle()
            last = number == len(sizes.stages) - 1
            growth.append((number, self._ask(number, sizes.runs if last else sizes.growth_runs)))
        self._report_loads()
        self._report_half_known()
        self._report_queries(growth)
        self._report_sizes()
        return self._made

    # ---- loading --------------------------------------------------------------------------------

    def _load(
        self, channel: str, make: Callable[[int, int], pa.Table], at: int, until: int, step: int
    ) -> None:
        load = self._loads[channel]
        while at < until:
            count = min(step, until - at)
            table = make(at, count)
            chunks = self._plain[channel].prepared(table)

            def ours(table: pa.Table = table) -> float:
                started = time.perf_counter()
                loaded = self._tables.load(channel, table, where="bench")
                seconds = time.perf_counter() - started
                if loaded.inserted != table.num_rows:
                    raise RuntimeError(f"{loaded.duplicates} of {table.num_rows} rows were known")
                return seconds

            def plain(chunks: list[bytes] = chunks) -> float:
                return self._plain[channel].copy(chunks)

            turns = [(load.ours, ours), (load.plain, plain)]
            for kept, work in turns if len(load.ours) % 2 else turns[::-1]:
                kept.append((table.num_rows, work()))
            if len(load.bare) < BARE_CHUNKS:
                load.bare.append((table.num_rows, self._bare[channel].copy(chunks)))
            self._written[channel] += table.num_rows
            times = table["ts_event"].to_numpy()
            first = self._ends.get(channel, (int(times.min()), 0))[0]
            self._ends[channel] = (first, int(times.max()) + 1)
            at += count

    def _settle(self) -> None:
        """What the upkeep of a collector has done by the time that somebody asks."""
        with self._db.connect(autocommit=True) as connection:
            for plain in self._plain.values():
                connection.execute(f"VACUUM (FREEZE, ANALYZE) {plain.name}")
        Maintenance(self._db, self._clock).run()
        started = time.perf_counter()
        for channel, (first, end) in self._ends.items():
            self._blocks.build(channel, first, end)
        self._block_s += time.perf_counter() - started

    # ---- asking ---------------------------------------------------------------------------------

    def _ask(self, stage: int, runs: int) -> dict[str, Timed]:
        queries = our_queries(self._store)
        with self._writing(stage):
            return {name: timed(name, queries[name], self._ends, runs) for name in ASKED}

    @contextmanager
    def _writing(self, stage: int) -> Iterator[None]:
        """A process that writes beside."""
        start = data.LIVE_NS + stage * data.DAY_NS
        command = [sys.executable, "-m", "don.bench.storage_writer", self._db.url.reveal(),
                   str(self._folder / f"spool{stage}"), str(start), str(PACE)]  # fmt: skip
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdin is not None and writer.stdout is not None
            try:
                if not writer.stdout.readline():
                    raise RuntimeError("the writer beside the queries did not start")
                yield
            finally:
                writer.stdin.close()
                line = writer.stdout.readline()
        if not line:
            raise RuntimeError("the writer beside the queries failed")
        totals = json.loads(line)
        if totals["spooled"] or totals["duplicates"]:
            raise RuntimeError(f"the writer beside the queries could not store all: {totals}")
        self._paces.append(totals["rows"] / totals["seconds"])

    # ---- results --------------------------------------------------------------------------------

    def _row(self, name: str, value: float, unit: str, n: int, low: float, high: float, *,
             peer: str | None = None, peer_value: float | None = None, less: bool = False,
             **more: Any) -> None:  # fmt: skip
        ratio = None
        if peer_value:
            ratio = peer_value / value if less else value / peer_value
        self._made.append({"area": "storage", "name": f"storage.{name}", "value": value,
                           "unit": unit, "n": n, "min": low, "max": high, "peer": peer,
                           "peer_value": peer_value, "ratio": ratio, **more})  # fmt: skip

    def _report_loads(self) -> None:
        for channel, load in self._loads.items():
            ours, low, high = _rates(load.ours)
            n = self._written[channel]
            plain = _rates(load.plain)[0]
            self._row(f"ingest_{channel}", ours, "rows/s", n, low, high,
                      peer="plain COPY, one index, encoded beforehand",
                      peer_value=plain)  # fmt: skip
            bare = len(load.bare)
            ours, low, high = _rates(load.ours[:bare])
            self._row(f"ingest_{channel}_bare", ours, "rows/s", sum(r for r, _ in load.ours[:bare]),
                      low, high, peer="plain COPY, no index, encoded beforehand",
                      peer_value=_rates(load.bare)[0])  # fmt: skip
            sample = data.bars(0, 1_000) if channel == "bars" else data.trades(0, PANDAS_ROWS)
            rate = to_sql_rate(self._db, sample)
            self._row(f"ingest_{channel}_to_sql", _rates(load.ours)[0], "rows/s", n, low, high,
                      peer=f"pandas to_sql, {PANDAS_ROWS} rows", peer_value=rate)  # fmt: skip
        rows = sum(self._written.values())
        rate = rows / self._block_s
        self._row("blocks", rate, "rows/s", rows, rate, rate)
        pace = float(np.median(self._paces))
        self._row("concurrent_ingest", pace, "rows/s", len(self._paces), min(self._paces),
                  max(self._paces))  # fmt: skip

    def _report_half_known(self) -> None:
        """A load every other row of which is there already, beside COPY of all of them anew."""
        peer = PlainTable(self._db, "trades", "key")
        ours, plain = [], []
        for number in range(HALF_LOADS):
            start = data.LIVE_NS + (100 + number) * data.DAY_NS
            table = data.trades(0, HALF_TRADES, start_ns=start)
            self._tables.load("trades", table.take(pa.array(np.arange(0, HALF_TRADES, 2))))
            began = time.perf_counter()
            loaded = self._tables.load("trades", table, where="bench")
            ours.append((HALF_TRADES, time.perf_counter() - began))
            if loaded.inserted != HALF_TRADES // 2:
                raise RuntimeError(f"half of {HALF_TRADES} rows are new, were {loaded.inserted}")
            plain.append((HALF_TRADES, peer.copy(peer.prepared(table))))
        rate, low, high = _rates(ours)
        self._row("ingest_trades_half_known", rate, "rows/s", HALF_LOADS * HALF_TRADES, low, high,
                  peer="plain COPY of new rows, same primary key, encoded beforehand",
                  peer_value=_rates(plain)[0])  # fmt: skip

    def _report_queries(self, growth: list[tuple[int, dict[str, Timed]]]) -> None:
        final = growth[-1][1]
        duck, reason = self._lake_and_duckdb()
        plain = plain_queries(self._db)
        for name, ours in final.items():
            by_plain = timed(name, plain[name], self._ends, PEER_RUNS, warm=1)
            self._query_row(f"{name}_p99_ms", ours, 99, PLAIN, by_plain)
            self._query_row(f"{name}_p50_ms", ours, 50, PLAIN, by_plain)
            by_duck = timed(name, duck[name], self._ends, PEER_RUNS, warm=1) if duck else None
            self._query_row(f"{name}_duckdb_p99_ms", ours, 99, DUCKDB, by_duck, reason=reason)
            for stage, found in growth[:-1]:
                millions = self._sizes.trades[stage] / 1e6
                self._query_row(f"{name}_at_{millions:g}m_p99_ms", found[name], 99,
                                "at the full size", ours)  # fmt: skip

    def _query_row(self, name: str, ours: Timed, percent: float, peer: str, other: Timed | None,
                   *, reason: str = "") -> None:  # fmt: skip
        more = {"rows": ours.rows, **({"reason": reason} if other is None else {})}
        self._row(name, ours.at(percent), "ms", len(ours.ms), min(ours.ms), max(ours.ms),
                  peer=None if other is None else peer,
                  peer_value=None if other is None else other.at(percent), less=True,
                  **more)  # fmt: skip

    def _lake_and_duckdb(self) -> tuple[dict[str, Query], str]:
        """Write what was loaded into a lake, without taking it out of the database."""
        lake = Lake(str(self._folder / "lake"))
        for channel, (first, end) in self._ends.items():
            width, at = CHANNELS[channel].partition, first
            while at < end:
                start, stop = period(width, at)
                found = self._store.read(channel, None, start, min(stop, end),
                                         exchange=data.EXCHANGE)  # fmt: skip
                for symbol in data.SYMBOLS:
                    own = found.filter(pc.equal(found["symbol"], symbol))
                    if own.num_rows:
                        lake.write(channel, ordered(own, CHANNELS[channel]), start, stop)
                at = stop
        return duckdb_queries(self._folder / "lake")

    def _report_sizes(self) -> None:
        for channel in self._loads:
            n, unit = self._written[channel], f"per_{channel.removesuffix('s')}"
            hot = self._hot_bytes(channel) / n
            self._row(f"bytes_{unit}_hot", hot, "bytes", n, hot, hot, peer=PLAIN,
                      peer_value=self._plain[channel].bytes() / n, less=True)  # fmt: skip
            cold = _bytes(self._folder / "lake" / channel) / n
            self._row(f"bytes_{unit}_cold", cold, "bytes", n, cold, cold,
                      peer="pyarrow's Parquet by default",
                      peer_value=self._plain_parquet(channel), less=True)  # fmt: skip
            block = _bytes(self._folder / "blocks" / channel) / n
            self._row(f"bytes_{unit}_block", block, "bytes", n, block, block)

    def _hot_bytes(self, channel: str) -> int:
        """Of the partitions that hold what was loaded, not what was written beside the queries."""
        parts = self._tables.partitions.list(channel)
        return sum(part.bytes for part in parts if part.span.start < data.LIVE_NS)

    def _plain_parquet(self, channel: str) -> float:
        table = data.bars(0, 2_000) if channel == "bars" else data.trades(0, 100_000)
        path = self._folder / "plain.parquet"
        pq.write_table(table, path)
        return path.stat().st_size / table.num_rows


def _rates(loads: list[tuple[int, float]]) -> tuple[float, float, float]:
    """Rows per second of all loads together, of the slowest and of the fastest."""
    each = [rows / seconds for rows, seconds in loads]
    total = sum(rows for rows, _ in loads) / sum(seconds for _, seconds in loads)
    return total, min(each), max(each)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
