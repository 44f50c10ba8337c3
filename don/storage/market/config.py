"""What the ingest of market data can be told. Pure."""

from pydantic import Field

from don.model.section import Section


class IngestConfig(Section):
    """How market data are batched, and how much may wait."""

    batch_rows: int = Field(default=50_000, ge=1, le=1_000_000)
    batch_age_s: float = Field(default=0.5, gt=0, le=60)
    queue_rows: int = Field(default=500_000, ge=1)  # in memory, not yet durable
    queue_bytes: int = Field(default=256 * 2**20, ge=2**20)
    spool_bytes: int = Field(default=4 * 2**30, ge=2**16)  # on disk
    segment_bytes: int = Field(default=16 * 2**20, ge=2**12)
    probe_s: float = Field(default=1.0, gt=0, le=60)  # between looks for a database that is away
    write_wait_s: float = Field(default=30.0, ge=0)  # longest that a write waits for room
