"""Pages put together are the whole, each row once."""

from pathlib import Path

import pyarrow as pa
import pytest
from support.stored import DAY, T0, market_rows

from don.clock import ReplayClock
from don.errors import DataError
from don.storage.database import Database
from don.storage.lake.archive import Archiver
from don.storage.lake.lake import Lake
from don.storage.market.hot import MarketTables
from don.storage.market.paging import page, parse_resume, resume_text
from don.storage.market.reads import MarketStore

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize("limit", [1, 7, 64, 1_000])
def test_pages_make_the_whole(database: Database, tmp_path: Path, limit: int) -> None:
    table = market_rows("trades", 150, step=DAY // 4)  # some thirteen rows share each time
    MarketTables(database).load("trades", table)
    lake = Lake(str(tmp_path))
    archiver = Archiver(database, lake, ReplayClock(T0))
    archiver.archive(archiver.due("trades", T0 + 99 * DAY, 0)[0])
    store = MarketStore(database, lake)
    found, after, columns = [], None, ["id", "ts_event"]
    while True:
        part, after = page(store, "trades", None, T0, None, columns, limit=limit, resume=after)
        found.append(part)
        assert len(found) <= 150
        if after is None:
            break
        assert part.num_rows and parse_resume(resume_text(after)) == after
    assert pa.concat_tables(found).equals(
        store.read("trades", columns=columns).select(part.column_names)
    )
    assert page(store, "quotes", limit=1) == (store.read("quotes"), None)


def test_a_wrong_place_is_refused() -> None:
    with pytest.raises(DataError, match="next must be"):
        parse_resume("KRAKEN|x")
