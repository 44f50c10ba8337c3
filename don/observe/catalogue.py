"""Every metric that Don tells: name, kind, labels, meaning. Pure; the docs hold the same table.

Names are `don_<area>_<what>_<unit>`; counters end in `_total` and begin anew with their part.
"""

from collections.abc import Iterator
from dataclasses import dataclass

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One name."""

    kind: str
    help: str
    labels: tuple[str, ...] = ()


def _c(text: str, *labels: str) -> Metric:
    return Metric(kind=COUNTER, help=text, labels=labels)


def _g(text: str, *labels: str) -> Metric:
    return Metric(kind=GAUGE, help=text, labels=labels)


CATALOGUE: dict[str, Metric] = {
    # parts
    "part_up": _g("1 if the part is live, 0 if starting, stale or down", "part"),
    "part_restarts_total": _c("Times the part came back from the dead", "part"),
    "part_view_age_seconds": _g("Since the part was last heard from", "part"),
    # feeds
    "feed_connections": _g("Sockets wanted", "exchange"),
    "feed_connected": _g("Sockets up", "exchange"),
    "feed_messages_total": _c("Messages received", "exchange"),
    "feed_batches_total": _c("Batches handed on", "exchange"),
    "feed_rows_total": _c("Rows handed on", "exchange"),
    "feed_reconnects_total": _c("Connections lost", "exchange"),
    "feed_queue_batches": _g("Batches that wait to be taken", "exchange"),
    "feed_queue_limit_batches": _g("Batches at which the socket is no longer read", "exchange"),
    "feed_blocked_seconds_total": _c("Time in which sockets were not read", "exchange"),
    "feed_malformed_total": _c("Messages and values refused", "exchange"),
    "feed_duplicates_total": _c("Events known already", "exchange"),
    "feed_dropped_total": _c("Events lost by the feed itself: 0 unless there is a bug", "exchange"),
    "feed_gaps_total": _c("Holes found in what the exchange sent", "exchange"),
    "feed_resyncs_total": _c("Books loaded anew", "exchange"),
    "feed_bars_repaired_total": _c("Bars fetched because the stream had not brought them",
                                   "exchange"),
    "feed_bars_missing_total": _c("Bars that the exchange does not have", "exchange"),
    "feed_request_failures_total": _c("REST requests that failed", "exchange"),
    "feed_streams": _g("Streams by state", "exchange", "state"),
    "feed_latency_seconds": Metric(
        kind=HISTOGRAM, labels=("exchange", "channel"),
        help="From the exchange's time of an event to its arrival, by our clock",
    ),
    "feed_quality_issues_total": _c("Rows that look wrong: crossed, invalid, outlier", "exchange",
                                    "channel", "kind"),
    "stream_live": _g("1 if the stream's data are current", "part", "channel", "symbol"),
    "stream_events_total": _c("Events of a stream", "part", "channel", "symbol"),
    "stream_gaps_total": _c("Holes found in a stream", "part", "channel", "symbol"),
    "stream_last_event_seconds": _g("Exchange time of the last event, Unix time", "part",
                                    "channel", "symbol"),
    # ingest and spool
    "ingest_rows_total": _c("Rows taken in"),
    "ingest_batches_total": _c("Batches committed"),
    "ingest_inserted_total": _c("New rows committed"),
    "ingest_duplicates_total": _c("Rows that the database knew"),
    "ingest_refused_total": _c("Spooled records that the database refused for good"),
    "ingest_queue_rows": _g("Rows in memory that are not durable yet"),
    "ingest_queue_bytes": _g("Their size"),
    "ingest_lag_seconds": _g("Age of the oldest write that is not durable yet"),
    "ingest_load_seconds": _g("What the last batch took"),
    "ingest_database_away": _g("1 while rows go to the spool because the database is away"),
    "spool_rows": _g("Rows in the spool, not drained yet"),
    "spool_bytes": _g("Their size on disk"),
    "spool_used_ratio": _g("Of what the spool may hold"),
    "spool_rows_total": _c("Rows that went through the spool"),
    "spool_drained_rows_total": _c("Rows drained from it"),
    "spool_torn_bytes_total": _c("Cut off its end at the start"),
    "spool_damaged_bytes_total": _c("Unreadable, stepped over: acknowledged rows are lost"),
    # storage
    "database_bytes": _g("Size of the database"),
    "database_hit_ratio": _g("Blocks found in memory, of those asked for"),
    "database_connections": _g("Connections to the server"),
    "database_max_connections": _g("Connections that it allows"),
    "database_deadlocks_total": _c("Deadlocks"),
    "database_temp_bytes_total": _c("Written for sorts that did not fit into memory"),
    "storage_rows": _g("Rows in the hot tier, estimated", "channel"),
    "storage_heap_bytes": _g("Size of a channel's rows", "channel"),
    "storage_index_bytes": _g("Size of its indexes", "channel"),
    "storage_dead_ratio": _g("Dead rows, of all", "channel"),
    "storage_index_bloat_ratio": _g("Bytes of the index beyond what its rows need", "channel"),
    "storage_hit_ratio": _g("Blocks found in memory, of those asked for", "channel"),
    "storage_partitions": _g("Partitions", "channel"),
    # completeness, over the newest 24 hours that the ledger knows
    "coverage_minutes": _g("Minutes of the newest day by state, all symbols together", "exchange",
                           "channel", "state"),
    "coverage_gaps": _g("Ranges of the newest day that are gaps", "exchange", "channel"),
    "coverage_end_seconds": _g("End of what is known, Unix time", "exchange", "channel"),
    # execution
    "execution_stream_up": _g("1 if the user-data stream is up"),
    "execution_reconnects_total": _c("Times it was lost"),
    "execution_queue_reports": _g("Reports that wait for the desk"),
    "execution_delivered_total": _c("Reports delivered"),
    "execution_delivery_failures_total": _c("Deliveries that had to be repeated"),
    "execution_in_flight": _g("Orders and cancels waiting, under way or in doubt"),
    "execution_unresolved": _g("Of these, in doubt"),
    "execution_live_orders": _g("Orders that are open"),
    "execution_rate_used_ratio": _g("Of the exchange's request budget"),
    "exchange_clock_ahead_seconds": _g("Our clock less the exchange's", "exchange"),
    "exchange_clock_error_seconds": _g("At most so far from that", "exchange"),
    # request budget
    "budget_limit": _g("Weight that a pool allows in its window", "pool"),
    "budget_used": _g("Weight used in the running window", "pool"),
    "budget_held": _g("Of it, leased and not known to be spent", "pool"),
    "budget_foreign": _g("Used by others at the same address or key, at least", "pool"),
    "budget_paused": _g("1 while the exchange has paused the pool", "pool"),
    # desk
    "desk_equity": _g("Equity in the quote currency, an estimate for graphs"),
    "desk_halted": _g("1 if the kill switch is on"),
    "desk_reconciled": _g("1 if the books match the exchange's"),
    "desk_decisions_total": _c("Decisions of the session"),
    "desk_orders_total": _c("Orders of the session"),
    "desk_fills_total": _c("Fills of the session"),
    "desk_denials_total": _c("Orders that risk refused"),
    "desk_differences_total": _c("Differences between our books and the exchange's"),
    "desk_decision_lateness_bars": _g("Median lateness of the last decisions, in bars"),
    # about this page
    "metrics_series_dropped": _g("Series left out because a name had too many"),
}  # fmt: skip


def table_rows() -> Iterator[tuple[str, str, str, str]]:
    """Rows of the documentation's table: name, kind, labels, meaning."""
    for name, told in CATALOGUE.items():
        yield f"don_{name}", told.kind, ", ".join(told.labels), told.help
