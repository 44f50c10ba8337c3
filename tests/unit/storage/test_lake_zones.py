"""Several sources of one series are one stream by time, of which little is held at once."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from support.channels import START_NS, channel_table

from don.market.rows import ordered
from don.model.channels import CHANNELS, complete
from don.storage.market.zones import merged

TRADES = CHANNELS["trades"]


def rows(moments: list[int], first_id: int = 0) -> pa.Table:
    """Trades at these moments, ascending; equal moments have ids that differ."""
    table = complete(
        "trades", channel_table("trades", len(moments)), exchange="BYBIT", symbol="BTC-USDT-PERP"
    )
    times = pa.array([START_NS + at for at in moments], pa.int64())
    ids = pa.array(range(first_id, first_id + len(moments)), pa.int64())
    table = table.set_column(2, table.schema.field("ts_event"), times)
    return table.set_column(5, table.schema.field("id"), ids)


def pieces(table: pa.Table, size: int) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, size):
        yield table.slice(start, size)


@given(
    given=st.lists(st.lists(st.integers(0, 40), max_size=60), min_size=1, max_size=4),
    size=st.integers(1, 9),
    shared=st.booleans(),
)
def test_merging_gives_what_sorting_all_of_it_gives(
    given: list[list[int]], size: int, shared: bool
) -> None:
    tables = [
        ordered(rows(sorted(moments), 0 if shared else 1_000 * n), TRADES)
        for n, moments in enumerate(given)
    ]
    found = list(merged([pieces(t, size) for t in tables], TRADES, by_time=True))
    whole = ordered(pa.concat_tables(tables), TRADES, by_time=True)
    assert pa.concat_tables([whole.slice(0, 0), *found]).equals(whole)


def test_at_most_one_piece_of_each_source_is_held() -> None:
    size, sources, read, given_out = 100, 3, 0, 0

    def source(n: int) -> Iterator[pa.Table]:
        nonlocal read
        for piece in pieces(rows(list(range(n, 30_000, sources)), n * 100_000), size):
            read += piece.num_rows
            yield piece

    most = 0
    for table in merged([source(n) for n in range(sources)], TRADES, by_time=True):
        most = max(most, read - given_out)
        given_out += table.num_rows
        assert np.all(np.diff(table["ts_event"].to_numpy()) >= 0)
    assert given_out == read == 30_000
    assert most <= sources * (size + 1)
