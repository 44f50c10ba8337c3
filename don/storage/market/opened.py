"""Reads of a state folder's market data: database, lake and blocks together. Does I/O."""

from pathlib import Path

from don.clock import NS_PER_S, Clock
from don.storage.database import Database
from don.storage.lake.lake import Lake
from don.storage.market.blocks import Blocks
from don.storage.market.partitions import Partitions
from don.storage.market.reads import MarketStore
from don.storage.market.seals import SPAN_NS

KEPT = ("bars", "trades")  # channels that are read in bulk
SETTLED_NS = 600 * NS_PER_S  # a span is copied when it has been over for so long
SLICE_NS = 4 * SPAN_NS  # copied at once
DENSE_ROWS = 5_000  # a span with fewer is read as fast without a copy


def blocks_of(db: Database, home: Path) -> Blocks:
    """The blocks in a state folder."""
    return Blocks(db, home / "blocks")


def open_store(db: Database, home: Path, lake: Lake | None) -> MarketStore:
    """One API over database, blocks and lake."""
    return MarketStore(db, lake, blocks=blocks_of(db, home))


def keep_blocks(db: Database, blocks: Blocks, clock: Clock, budget_s: float) -> tuple[int, int]:
    """Copy settled spans of the database that have no block, newest first; drop dead copies.

    Args:
        db: the database.
        blocks: of its state folder.
        clock: wall time and how long it takes.
        budget_s: stop after about so long; the next call goes on.

    Returns:
        How many blocks were made and deleted.

    Raises:
        DatabaseError: if it is away.
    """
    made = gone = 0
    until = clock.monotonic_ns() + int(budget_s * NS_PER_S)
    settled = (clock.now_ns() - SETTLED_NS) // SPAN_NS * SPAN_NS
    for channel in KEPT:
        parts = Partitions(db).list(channel)
        dense = [p for p in parts if p.rows * SPAN_NS >= DENSE_ROWS * (p.span.end - p.span.start)]
        for part in sorted(dense, key=lambda part: -part.span.start):
            end = min(part.span.end, settled)
            while end > part.span.start and clock.monotonic_ns() < until:
                start = max(part.span.start, end - SLICE_NS)
                # one more span: those of bars do not begin where partitions do
                made += blocks.build(channel, start - SPAN_NS, end)
                end = start
        gone += blocks.sweep(channel)
    return made, gone
