"""Equal forced orders of one millisecond are told apart, so that storage keeps each of them."""

from don.clock import NS_PER_MS
from don.feeds.bars import BarKeeper
from don.feeds.health import Stream
from don.feeds.outbox import Outbox
from don.feeds.sink import Sink
from don.market.rows import ordered
from don.model.channels import CHANNELS, from_batch

T0 = 1_746_057_600_000 * NS_PER_MS


class Nobody:
    """Owner of a sink that has nothing to act on."""


async def test_each_of_several_equal_liquidations_is_a_row_of_its_own() -> None:
    outbox = Outbox(
        "BITMEX:1", max_rows=100, max_age_s=60.0, max_batches=4, hold_rows=100,
        monotonic_ns=lambda: 0,
    )  # fmt: skip
    sink = Sink(outbox, BarKeeper((), 1), {}, Nobody(), lambda: T0)  # type: ignore[arg-type]
    btc, eth = (Stream(f"{name}-USD-PERP", "liquidations", name) for name in ("BTC", "ETH"))
    given = [
        (btc, 0, 1.0),
        (btc, 0, 1.0),
        (eth, 0, 1.0),
        (btc, 0, 2.0),
        (btc, 0, 1.0),
        (btc, 1, 1.0),
    ]
    for stream, ms, size in given:
        sink.liquidation(stream, T0 + ms * NS_PER_MS, T0, 100.0, size, True)
    outbox.close()
    batch = await outbox.get()
    assert batch is not None
    table = from_batch("BITMEX", batch)["liquidations"]
    assert (table["ts_event"].to_numpy() - T0).tolist() == [0, 1, 0, 0, 2, NS_PER_MS]
    assert ordered(table, CHANNELS["liquidations"]).num_rows == len(given)
