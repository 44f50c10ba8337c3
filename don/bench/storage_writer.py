"""Steady ingest beside the queries of the bench of storage. Its own process; does I/O.

Run as `python -m don.bench.storage_writer URL SPOOL START_NS ROWS_PER_S`. Writes trades at that
pace and each second a bar of every symbol, through the live ingest. Prints a line of JSON when the
first rows are durable, and totals when its standard input ends.
"""

import json
import select
import sys
from pathlib import Path

from don.bench import storage_data as data
from don.clock import NS_PER_S, SystemClock
from don.storage.database import Database
from don.storage.market.config import IngestConfig
from don.storage.market.ingest import MarketIngest

TICK_S = 0.1


def main(url: str, spool: str, start_ns: int, rows_per_s: int) -> None:
    """Write until told to stop; raises when rows are refused."""
    clock = SystemClock()
    with Database(url, name="don-bench-writer") as db:
        ingest = MarketIngest(db, Path(spool), IngestConfig(), clock)
        ingest.start()
        step = max(1, round(rows_per_s * TICK_S))
        ticks = 0
        began = clock.monotonic_ns()
        while not select.select([sys.stdin], [], [], _left_s(clock, began, ticks))[0]:
            tables = {
                "trades": data.trades(ticks * step, step, start_ns=start_ns, per_s=rows_per_s)
            }
            second, part = divmod(ticks, round(1 / TICK_S))
            if not part:
                tables["bars"] = data.bars(second, 1, start_ns=start_ns, origin="stream")
            done = ingest.write(tables, where="bench")
            if not ticks:
                done.result(60)
                print(json.dumps({"ready": True}), flush=True)
            ticks += 1
        seconds = (clock.monotonic_ns() - began) / NS_PER_S
        ingest.flush(60)
        health = ingest.health()
        ingest.close()
    print(
        json.dumps(
            {
                "rows": health.inserted,
                "seconds": seconds,
                "duplicates": health.duplicates,
                "spooled": health.spooled_rows,
            }
        ),
        flush=True,
    )


def _left_s(clock: SystemClock, began: int, ticks: int) -> float:
    due = began + ticks * TICK_S * NS_PER_S
    return max(0.0, (due - clock.monotonic_ns()) / NS_PER_S)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
