"""The heat map over HTTP: cells, gaps with their reasons, shares; errors name the parameter."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from support.coverage_world import MemoryLedger
from support.serving import opened
from support.world import World

from don.market.coverage import MINUTE_NS, Range, State
from don.observe.sample import sample

PATH = "/v1/data/coverage"


def made(start: int, end: int, state: State, reason: str = "", channel: str = "trades") -> Range:
    return Range(
        exchange="OKX", channel=channel, symbol="BTC-USDT-PERP", start=start * MINUTE_NS,
        end=end * MINUTE_NS, state=state, reason=reason,
    )  # fmt: skip


@pytest.fixture(scope="module")
def world() -> World:
    found = World(history=60, length=70)
    day = 1_440
    found.ledger = MemoryLedger(
        [
            made(0, 3 * day, State.COMPLETE),
            made(2 * day + 60, 2 * day + 90, State.GAP, "disconnected: reset"),
            made(0, 2 * day, State.REPAIRED, channel="bars:1m"),
        ]
    )
    return found


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[httpx.Client]:
    with opened(world) as found:
        yield found


def test_the_map_ends_with_the_newest_minute_and_tells_gaps(client: httpx.Client) -> None:
    told = client.get(PATH, params={"span": "1d", "columns": 49}).json()
    assert (told["start"], told["end"]) == ("1970-01-03T00:00:00.000Z", "1970-01-04T00:00:00.000Z")
    assert (told["step_s"], told["columns"], told["streams"]) == (1_800, 48, 2)
    bars, trades = told["rows"]
    assert bars["channel"] == "bars:1m" and bars["runs"] == [] and bars["shares"]["unknown"] == 1
    assert [(r["first"], r["last"], r["state"]) for r in trades["runs"]] == [
        (0, 1, "complete"), (2, 2, "gap"), (3, 47, "complete"),
    ]  # fmt: skip
    assert trades["runs"][1]["minutes"] == {"gap": 30}
    assert trades["shares"]["gap"] == pytest.approx(30 / 1_440)
    assert told["gaps"] == [
        {
            "exchange": "OKX", "channel": "trades", "symbol": "BTC-USDT-PERP",
            "start": "1970-01-03T01:00:00.000Z", "end": "1970-01-03T01:30:00.000Z",
            "state": "gap", "reason": "disconnected: reset",
        }
    ]  # fmt: skip
    assert sum(told["shares"].values()) == pytest.approx(1)


def test_the_map_can_be_narrowed(client: httpx.Client) -> None:
    params = {"channel": "bars:1m", "exchange": "OKX", "span": "2d", "end": "1970-01-03T00:00Z"}
    told = client.get(PATH, params=params).json()
    assert told["streams"] == 1 and told["shares"]["repaired"] == 1
    assert client.get(PATH, params={"symbol": "DOGE-USDT-PERP"}).json()["rows"] == []
    assert len(client.get(PATH, params={"limit": 1}).json()["rows"]) == 1


@pytest.mark.parametrize(
    ("query", "field", "detail"),
    [
        ("span=fast", "query.span", "must be like 30m, 6h, 1h or 1d, was 'fast'"),
        ("span=10s", "query.span", "must be 1m to 7320d"),
        ("columns=1", "query.columns", "greater than or equal to 2"),
        ("end=noon", "query.end", "must be an ISO-8601 time"),
        ("exchange=%00", "query.exchange", "must not contain the character NUL (%00)"),
        ("span=1d&symbol=a%00", "query.symbol", "must not contain the character NUL (%00)"),
    ],
)
def test_bad_questions_name_the_parameter(
    client: httpx.Client, query: str, field: str, detail: str
) -> None:
    answer = client.get(f"{PATH}?{query}")
    assert answer.status_code == 422
    assert answer.json()["field"] == field and detail in answer.json()["detail"]


def test_a_database_that_is_away_is_said(client: httpx.Client, world: World) -> None:
    world.database_away = "database don at localhost: away"
    try:
        assert client.get(PATH).status_code == 503
    finally:
        world.database_away = ""


def test_monitors_read_every_part_and_the_database(client: httpx.Client, world: World) -> None:
    async def put() -> None:
        gaps = sample("feed_gaps_total", 3, exchange="OKX")
        view = {"part": "feed", "state": "live", "restarts": 2, "metrics": [gaps]}
        await world.board.put("health:feed", view)
        await world.start()
        await world.board.put("health:feed", view)

    asyncio.run(put())
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    for line in (
        'don_feed_gaps_total{exchange="OKX"} 3.0',
        'don_part_restarts_total{part="feed"} 2.0',
        'don_part_up{part="feed"} 1.0',
        'don_part_up{part="board"} 1.0',
        'don_part_up{part="database"} 1.0',
        'don_storage_rows{channel="bars"} 7.0',
        "don_desk_halted 0.0",
        "# TYPE don_feed_gaps_total counter",
    ):
        assert line in lines, line
    assert "metrics" not in client.get("/v1/status").json()["health"]["feed"]
    world.away, world.database_away = "the board does not answer", "away"
    try:
        text = client.get("/metrics").text
    finally:
        world.away = world.database_away = ""
    assert 'don_part_up{part="board"} 0.0' in text and 'don_part_up{part="database"} 0.0' in text
