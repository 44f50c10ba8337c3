"""Stored market data over HTTP: Arrow and JSON, in pages, from database and lake."""

import math
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from fastapi import FastAPI
from support.serving import PATIENCE_S
from support.stored import DAY, T0, market_rows

from don.clock import ReplayClock
from don.storage.database import Database
from don.storage.lake.archive import Archiver
from don.storage.lake.lake import Lake
from don.storage.market.hot import MarketTables
from don.storage.market.reads import MarketStore
from serve.marketdata import told
from serve.ports import DataAsked, DataTold
from serve.problems import install
from serve.routes import data
from serve.routes.data import ARROW

pytestmark = pytest.mark.postgres


class Stored:
    """What of `Reader` this route asks for."""

    def __init__(self, store: MarketStore) -> None:
        self.store = store

    async def data(self, asked: DataAsked) -> DataTold:
        return told(self.store, asked)


@pytest.fixture
def store(database: Database, tmp_path: Path) -> MarketStore:
    lake = Lake(str(tmp_path))
    for channel in ("trades", "marks", "features"):
        MarketTables(database).load(channel, market_rows(channel, 200, step=DAY // 24))
    archiver = Archiver(database, lake, ReplayClock(T0))
    archiver.archive(archiver.due("trades", T0 + 99 * DAY, 0)[0])
    return MarketStore(database, lake)


@pytest.fixture
async def client(store: MarketStore) -> Any:
    app = FastAPI()
    install(app)
    app.include_router(data.build(Stored(store)))  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost", timeout=PATIENCE_S
    ) as opened:
        yield opened


async def test_pages_of_arrow_make_the_whole(client: httpx.AsyncClient, store: MarketStore) -> None:
    asked: dict[str, Any] = {"limit": 30, "start": "2025-05-01T03:00:00Z",
                             "symbol": ["BTC-USDT-PERP", "ETH-USDT-PERP"]}  # fmt: skip
    tables = []
    while True:
        answer = await client.get("/v1/data/trades", params=asked, headers={"accept": ARROW})
        assert answer.status_code == 200 and answer.headers["content-type"] == ARROW
        tables.append(pa.ipc.open_stream(answer.content).read_all())
        if "x-next" not in answer.headers:
            break
        asked["next"] = answer.headers["x-next"]
    assert len(tables) > 5
    whole = store.read("trades", asked["symbol"], T0 + 3 * DAY // 24)
    assert pa.concat_tables(tables).equals(whole)


async def test_json_says_null_for_what_is_not_known(
    client: httpx.AsyncClient, store: MarketStore
) -> None:
    answer = (await client.get("/v1/data/marks?limit=20000&column=index&column=ts_event")).json()
    rows = store.read("marks", columns=["ts_event", "index"]).to_pylist()
    for row in rows:
        row["index"] = None if math.isnan(row["index"]) else row["index"]
    assert answer == {"rows": rows, "next": None}
    path = "/v1/data/trades?last=2&exchange=KRAKEN"
    newest = (await client.get(path)).json()["rows"]
    assert newest == store.read("trades", exchange="KRAKEN", last=2).to_pylist()
    as_text = (await client.get(f"{path}&integers=text")).json()["rows"]
    assert as_text == [
        {name: str(v) if type(v) is int else v for name, v in row.items()} for row in newest
    ]
    assert as_text[0]["ts_event"] == str(newest[0]["ts_event"])
    assert (await client.get("/v1/data/features?limit=3")).json()["next"]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("coverages", 404, "must be one of: trades, quotes"),
        ("trades?symbol=BTC", 422, "symbol 'BTC' is not known"),
        ("trades?column=x", 422, "column must be one of"),
        ("trades?start=yesterday", 422, "ISO-8601"),
        ("trades?limit=500000", 422, "at most 20000 in JSON"),
        ("bars?interval=1y", 422, "must be like 1m"),
        ("trades?next=here", 422, "next must be"),
        ("trades?end=3000-01-01", 422, "from 1677-09-22 to 2262-04-11"),
        ("trades?start=2025-05-02&end=2025-05-01", 422, "end must be after start"),
    ],
)
async def test_mistakes_are_named(
    client: httpx.AsyncClient, path: str, status: int, said: str
) -> None:
    answer = await client.get(f"/v1/data/{path}")
    assert answer.status_code == status and said in answer.json()["detail"]
