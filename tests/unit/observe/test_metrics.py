"""Metrics: what a scraper reads is what the parts know, under the names of the catalogue."""

import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from don.clock import NS_PER_S
from don.errors import ConfigError
from don.exchanges.budget import PoolView
from don.exchanges.service import ExecutionHealth
from don.feeds.health import FeedHealth, FeedState, StreamHealth, StreamState
from don.market.coverage import MINUTE_NS, Range, State, StreamKey
from don.model.schema import SCHEMAS, MarketBatch
from don.observe.catalogue import CATALOGUE, COUNTER, table_rows
from don.observe.feed import FeedWatch
from don.observe.metrics import MAX_SERIES, render, serve_metrics
from don.observe.parts import (
    budget_samples,
    coverage_samples,
    desk_samples,
    execution_samples,
    ingest_samples,
    part_samples,
    storage_samples,
)
from don.observe.sample import Sample, sample
from don.storage.market.ingest import IngestHealth
from don.storage.market.stats import ChannelStats, StorageStats

BTC = "BTC-USDT-PERP"
STREAM = StreamHealth(
    symbol=BTC, channel="trades", state=StreamState.LIVE, detail="", last_event_ns=5 * NS_PER_S,
    last_recv_ns=0, events=7, gaps=1,
)  # fmt: skip


def read(text: bytes) -> dict[str, float]:
    """`name{label=value,...}` -> figure, as a scraper sees it."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for each in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(each.labels.items()))
            found[f"{each.name}{{{labels}}}" if labels else each.name] = each.value
    return found


def filled(cls: type, **given: object) -> object:
    """An instance with zeros and empty texts where nothing is given."""
    empty = {int: 0, float: 0.0, str: "", bool: False}
    values = {
        name: given[name] if name in given else empty.get(kind, ())
        for name, kind in cls.__annotations__.items()
    }
    return cls(**values)


def feed_health(**given: object) -> FeedHealth:
    return filled(  # type: ignore[return-value]
        FeedHealth, source="OKX:1f", state=FeedState.LIVE, streams=(STREAM,), **given
    )


def batch(**rows: list[tuple]) -> MarketBatch:
    tables = {
        channel: pa.Table.from_arrays(
            [pa.array(c, f.type) for c, f in zip(zip(*given, strict=True), SCHEMAS[channel],
             strict=True)],
            schema=SCHEMAS[channel],
        )
        for channel, given in rows.items()
    }  # fmt: skip
    return MarketBatch(source="OKX:1f", seq=1, tables=tables)


def test_every_part_tells_names_of_the_catalogue() -> None:
    ranges = [
        Range(exchange="OKX", channel="trades", symbol=BTC, start=0, end=3 * MINUTE_NS,
              state=State.GAP)
    ]  # fmt: skip
    channel = filled(ChannelStats, channel="bars", rows=9, hit_ratio=0.5)
    stats = filled(StorageStats, bytes=1_000, channels=(channel,))
    pool = filled(PoolView, pool="ip:x", limit=2_400, used=7, paused_until_ms=10)
    feed = FeedWatch("OKX")
    told: list[Sample] = [
        *feed.samples(feed_health(messages=12, queue_depth=3)),
        *ingest_samples(filled(IngestHealth, inserted=5, spool_share=0.25)),  # type: ignore[arg-type]
        *execution_samples(filled(ExecutionHealth, stream="up", in_flight=2, clock_ahead_s=0.1,
                                  clock_error_s=0.01), "OKX"),  # type: ignore[arg-type]
        *storage_samples(stats),  # type: ignore[arg-type]
        *budget_samples([pool], now_ms=9),  # type: ignore[list-item]
        *coverage_samples(ranges, {StreamKey("OKX", "trades", BTC): 3 * MINUTE_NS}),
        *desk_samples(
            {"equity": "10.5", "halted": False, "reconciled": True,
             "counts": dict.fromkeys(("decisions", "orders", "fills", "denials", "differences"), 4)}
        ),
    ]  # fmt: skip
    part = {
        "part": "feed", "state": "live", "restarts": 1, "age_s": 0.5,
        "streams": [{"stream": f"trades {BTC}", "state": "live", "events": 7, "gaps": 1,
                     "ts_event": 5 * NS_PER_S}],
        "metrics": told,
    }  # fmt: skip
    found = read(render(part_samples([part])))
    expected = {
        "don_feed_messages_total{exchange=OKX}": 12,
        "don_feed_queue_batches{exchange=OKX}": 3,
        "don_feed_streams{exchange=OKX,state=live}": 1,
        "don_ingest_inserted_total": 5,
        "don_spool_used_ratio": 0.25,
        "don_execution_in_flight": 2,
        "don_execution_stream_up": 1,
        "don_storage_rows{channel=bars}": 9,
        "don_database_bytes": 1_000,
        "don_budget_used{pool=ip:x}": 7,
        "don_budget_paused{pool=ip:x}": 1,
        "don_coverage_minutes{channel=trades,exchange=OKX,state=gap}": 3,
        "don_coverage_gaps{channel=trades,exchange=OKX}": 1,
        "don_coverage_end_seconds{channel=trades,exchange=OKX}": 180,
        "don_desk_equity": 10.5,
        "don_desk_fills_total": 4,
        "don_part_up{part=feed}": 1,
        "don_part_restarts_total{part=feed}": 1,
        f"don_stream_events_total{{channel=trades,part=feed,symbol={BTC}}}": 7,
        f"don_stream_last_event_seconds{{channel=trades,part=feed,symbol={BTC}}}": 5,
        "don_metrics_series_dropped": 0,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_latency_and_quality_of_what_a_feed_sends() -> None:
    watch = FeedWatch("OKX")
    prices = [100.0] * 40 + [170.0]
    rows = [
        (BTC, n * NS_PER_S, n * NS_PER_S + (3_000_000 if n else 20 * NS_PER_S), n, price, 1.0, True)
        for n, price in enumerate(prices)
    ]
    for row in rows:
        watch.observe(batch(trades=[row]))
    watch.observe(
        batch(quotes=[(BTC, 5, 4, 10.0, 1.0, 9.0, 1.0), (BTC, 6, 6, 9.0, 1.0, 10.0, 1.0)])
    )
    empty = [float("nan")] * 10
    one = [5.0, *empty[1:]]
    watch.observe(
        batch(books=[(BTC, 5, 5, empty, empty, one, one), (BTC, 6, 6, one, one, one, one)])
    )
    found = read(render(watch.samples(feed_health())))
    own = "channel=trades,exchange=OKX"
    assert found[f"don_feed_latency_seconds_bucket{{{own},le=0.0025}}"] == 0
    assert found[f"don_feed_latency_seconds_bucket{{{own},le=0.005}}"] == 40
    assert found[f"don_feed_latency_seconds_bucket{{{own},le=+Inf}}"] == 41
    assert found[f"don_feed_latency_seconds_sum{{{own}}}"] == pytest.approx(20 + 40 * 0.003)
    # a clock that differs is no negative latency
    assert found["don_feed_latency_seconds_sum{channel=quotes,exchange=OKX}"] == 0
    issues = {name: value for name, value in found.items() if "quality" in name}
    assert issues == {
        "don_feed_quality_issues_total{channel=books,exchange=OKX,kind=crossed}": 1,
        "don_feed_quality_issues_total{channel=quotes,exchange=OKX,kind=crossed}": 1,
        "don_feed_quality_issues_total{channel=trades,exchange=OKX,kind=outlier}": 1,
    }


def test_labels_are_bounded_and_escaped() -> None:
    many = [sample("feed_gaps_total", n, exchange=f"X{n}") for n in range(MAX_SERIES + 9)]
    found = read(render(many))
    assert found["don_metrics_series_dropped"] == 9
    assert len(found) == MAX_SERIES + 1
    odd = 'a"b\\c\n' + "x" * 200
    text = render([sample("feed_gaps_total", 1, exchange=odd)])
    assert len(text.decode().splitlines()) == len([line for line in text.split(b"\n") if line])
    assert next(iter(read(text))).startswith("don_feed_gaps_total")


def test_a_name_or_label_that_is_not_in_the_catalogue_is_refused() -> None:
    with pytest.raises(ValueError, match="'nothing' is not in the catalogue"):
        render([sample("nothing", 1)])
    with pytest.raises(ValueError, match="has labels exchange, were"):
        render([sample("feed_gaps_total", 1, symbol="X")])


def test_the_endpoint_serves_what_it_is_given_at_each_scrape() -> None:
    told = [sample("ingest_rows_total", 1)]
    server = serve_metrics(lambda: told, 0)
    try:
        address = f"http://127.0.0.1:{server.port}/metrics"
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert read(answer.read())["don_ingest_rows_total"] == 1
        told[0] = replace(told[0], value=2.0)
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert read(answer.read())["don_ingest_rows_total"] == 2
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address.replace("metrics", "else"), timeout=60)
        told[0] = sample("unheard", 1)
        with pytest.raises(urllib.error.HTTPError, match="500"):
            urllib.request.urlopen(address, timeout=60)
        with pytest.raises(ConfigError, match=f"metrics port {server.port}"):
            serve_metrics(lambda: told, server.port)
    finally:
        server.close()


def test_names_follow_the_rules_and_the_guide_lists_them_all() -> None:
    for name, told in CATALOGUE.items():
        assert (told.kind == COUNTER) == name.endswith("_total"), name
        assert told.help and not told.help.endswith(".")
    guide = Path(__file__).parents[3] / "docs" / "completeness.md"
    text = guide.read_text()
    for name, kind, labels, meaning in table_rows():
        assert f"| `{name}` | {kind} | {labels} | {meaning} |" in text, name
