"""Samples of what each part knows of itself. Pure: health in, samples out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from don.clock import NS_PER_S
from don.market.coverage import Range, State, StreamKey, by_stream
from don.observe.sample import Sample, sample

if TYPE_CHECKING:  # every actor imports this module, and must not pay for the others
    from don.exchanges.budget import PoolView
    from don.exchanges.service import ExecutionHealth
    from don.feeds.health import FeedHealth
    from don.storage.market.ingest import IngestHealth
    from don.storage.market.stats import StorageStats

_FEED = {
    "connections": "feed_connections",
    "connected": "feed_connected",
    "messages": "feed_messages_total",
    "batches": "feed_batches_total",
    "rows": "feed_rows_total",
    "reconnects": "feed_reconnects_total",
    "queue_depth": "feed_queue_batches",
    "queue_limit": "feed_queue_limit_batches",
    "blocked_s": "feed_blocked_seconds_total",
    "malformed": "feed_malformed_total",
    "duplicates": "feed_duplicates_total",
    "dropped": "feed_dropped_total",
    "gaps": "feed_gaps_total",
    "resyncs": "feed_resyncs_total",
    "bars_repaired": "feed_bars_repaired_total",
    "bars_missing": "feed_bars_missing_total",
    "request_failures": "feed_request_failures_total",
}
_INGEST = {
    "rows": "ingest_rows_total",
    "batches": "ingest_batches_total",
    "inserted": "ingest_inserted_total",
    "duplicates": "ingest_duplicates_total",
    "refused": "ingest_refused_total",
    "queue_rows": "ingest_queue_rows",
    "queue_bytes": "ingest_queue_bytes",
    "lag_s": "ingest_lag_seconds",
    "load_s": "ingest_load_seconds",
    "database_away": "ingest_database_away",
    "spool_rows": "spool_rows",
    "spool_bytes": "spool_bytes",
    "spool_share": "spool_used_ratio",
    "spooled_rows": "spool_rows_total",
    "drained_rows": "spool_drained_rows_total",
    "torn_bytes": "spool_torn_bytes_total",
    "damaged_bytes": "spool_damaged_bytes_total",
}
_EXECUTION = {
    "reconnects": "execution_reconnects_total",
    "queue": "execution_queue_reports",
    "delivered": "execution_delivered_total",
    "delivery_failures": "execution_delivery_failures_total",
    "in_flight": "execution_in_flight",
    "unresolved": "execution_unresolved",
    "live_orders": "execution_live_orders",
    "rate_use": "execution_rate_used_ratio",
}
_DATABASE = {
    "bytes": "database_bytes",
    "hit_ratio": "database_hit_ratio",
    "connections": "database_connections",
    "max_connections": "database_max_connections",
    "deadlocks": "database_deadlocks_total",
    "temp_bytes": "database_temp_bytes_total",
}
_STORAGE = {
    "rows": "storage_rows",
    "heap_bytes": "storage_heap_bytes",
    "index_bytes": "storage_index_bytes",
    "dead_share": "storage_dead_ratio",
    "index_bloat": "storage_index_bloat_ratio",
    "hit_ratio": "storage_hit_ratio",
    "partitions": "storage_partitions",
}
_DESK = ("decisions", "orders", "fills", "denials", "differences")


def feed_samples(health: "FeedHealth", exchange: str | None = None) -> Iterator[Sample]:
    """Of a feed; `exchange` if it is stored under another name than its source's."""
    name = exchange or health.source.partition(":")[0]
    for field, metric in _FEED.items():
        yield sample(metric, getattr(health, field), exchange=name)
    states = Counter(str(stream.state) for stream in health.streams)
    for state, count in sorted(states.items()):
        yield sample("feed_streams", count, exchange=name, state=state)


def ingest_samples(health: "IngestHealth") -> Iterator[Sample]:
    """Of the ingest and its spool."""
    for field, metric in _INGEST.items():
        yield sample(metric, getattr(health, field))


def execution_samples(health: "ExecutionHealth", exchange: str) -> Iterator[Sample]:
    """Of orders and the exchange's clock."""
    yield sample("execution_stream_up", health.stream == "up")
    for field, metric in _EXECUTION.items():
        yield sample(metric, getattr(health, field))
    if health.clock_ahead_s is not None and health.clock_error_s is not None:
        yield sample("exchange_clock_ahead_seconds", health.clock_ahead_s, exchange=exchange)
        yield sample("exchange_clock_error_seconds", health.clock_error_s, exchange=exchange)


def budget_samples(pools: "Iterable[PoolView]", now_ms: int) -> Iterator[Sample]:
    """Of the request budget."""
    for pool in pools:
        for field in ("limit", "used", "held", "foreign"):
            yield sample(f"budget_{field}", getattr(pool, field), pool=pool.pool)
        yield sample("budget_paused", pool.paused_until_ms > now_ms, pool=pool.pool)


def storage_samples(stats: "StorageStats") -> Iterator[Sample]:
    """Of the database and the hot tier."""
    for field, metric in _DATABASE.items():
        yield sample(metric, getattr(stats, field))
    for channel in stats.channels:
        for field, metric in _STORAGE.items():
            yield sample(metric, getattr(channel, field), channel=channel.channel)


def coverage_samples(ranges: Iterable[Range], ends: Mapping[StreamKey, int]) -> Iterator[Sample]:
    """Of the ledger, summed over symbols.

    Args:
        ranges: of the newest day.
        ends: end of what is known, by stream.
    """
    minutes: Counter[tuple[str, str, str]] = Counter()
    gaps: Counter[tuple[str, str]] = Counter()
    for stream, own in by_stream(ranges).items():
        for each in own:
            minutes[stream.exchange, stream.channel, str(each.state)] += each.minutes
            gaps[stream.exchange, stream.channel] += each.state is State.GAP
    for (exchange, channel, state), count in sorted(minutes.items()):
        yield sample("coverage_minutes", count, exchange=exchange, channel=channel, state=state)
    for (exchange, channel), count in sorted(gaps.items()):
        yield sample("coverage_gaps", count, exchange=exchange, channel=channel)
    newest: dict[tuple[str, str], int] = {}
    for stream, end in ends.items():
        key = (stream.exchange, stream.channel)
        newest[key] = max(newest.get(key, 0), end)
    for (exchange, channel), end in sorted(newest.items()):
        yield sample("coverage_end_seconds", end / NS_PER_S, exchange=exchange, channel=channel)


def part_samples(parts: Iterable[Mapping[str, Any]]) -> Iterator[Sample]:
    """Of the parts' health views, their streams and what they told themselves.

    Args:
        parts: as on the board or from the supervisor: part, state, restarts; and age_s, streams,
            metrics, where there are any.
    """
    for part in parts:
        name = str(part["part"])
        yield sample("part_up", part["state"] == "live", part=name)
        yield sample("part_restarts_total", part["restarts"], part=name)
        yield sample("part_view_age_seconds", part.get("age_s", 0.0), part=name)
        for stream in part.get("streams", ()):
            channel, _, symbol = str(stream["stream"]).partition(" ")
            own = {"part": name, "channel": channel, "symbol": symbol}
            yield sample("stream_live", stream.get("state", "live") == "live", **own)
            yield sample("stream_events_total", stream.get("events", 0), **own)
            yield sample("stream_gaps_total", stream.get("gaps", 0), **own)
            last = stream.get("ts_event", 0) / NS_PER_S
            yield sample("stream_last_event_seconds", last, **own)
        yield from part.get("metrics", ())


def desk_samples(view: Mapping[str, Any]) -> Iterator[Sample]:
    """Of the desk's view: equity, halted, reconciled, counts."""
    yield sample("desk_equity", float(view["equity"]))
    yield sample("desk_halted", bool(view["halted"]))
    yield sample("desk_reconciled", bool(view["reconciled"]))
    counts = view["counts"]
    for name in _DESK:
        yield sample(f"desk_{name}_total", counts[name])
