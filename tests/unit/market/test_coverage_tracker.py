"""Live batches to claims: what was missed is found, nothing else is, and repairs are told."""

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from don.clock import NS_PER_S
from don.market.coverage import MINUTE_NS, Range, State, by_stream, ceil_minute, overlay
from don.market.coverage_tracker import CoverageTracker
from don.market.quality import check_fresh
from don.model.schema import SCHEMAS, MarketBatch

DATA = Path(__file__).parents[4] / "shared" / "data"
TRADES = DATA / "binance_usdm_aggtrades_apeusdt_20241018.parquet"
S = NS_PER_S
T0 = 1_700_000_040 * S  # a whole minute
BTC, ETH = "BTC-USDT-PERP", "ETH-USDT-PERP"


class Told:
    """A feed's batches, made by hand; arrival is exchange time plus 5 ms."""

    def __init__(self, **options: Any) -> None:
        settings = {"interval": "1m", "interval_ns": MINUTE_NS, "counted_ids": True, **options}
        self.tracker = CoverageTracker("X", **settings)
        self.known: dict[Any, list[Range]] = {}
        self.seq = count(1)

    def batch(self, **rows: list[tuple[Any, ...]]) -> None:
        tables = {
            channel: pa.Table.from_arrays(
                [pa.array(c, f.type) for c, f in zip(zip(*told, strict=True), SCHEMAS[channel],
                 strict=True)],
                schema=SCHEMAS[channel],
            )
            for channel, told in rows.items()
        }  # fmt: skip
        self.tracker.observe(MarketBatch(source="X:1", seq=next(self.seq), tables=tables))

    def trades(self, *pairs: tuple[float, int], symbol: str = BTC) -> None:
        self.batch(trades=[trade(at, trade_id, symbol) for at, trade_id in pairs])

    def status(
        self, channel: str, state: str, at: float, detail: str = "", since: float | None = None,
        symbol: str = BTC,
    ) -> None:  # fmt: skip
        self.batch(status=[status(channel, state, at, detail, since, symbol)])

    def states(self, channel: str, symbol: str = BTC) -> str:
        """One letter a minute from T0: c g r s d, . unknown."""
        for stream, claims in by_stream(self.tracker.take()).items():
            self.known[stream] = overlay(self.known.get(stream, []), claims)
        found = {}
        for stream, ranges in self.known.items():
            if (stream.channel, stream.symbol) == (channel, symbol):
                for each in ranges:
                    for at in range(each.start, each.end, MINUTE_NS):
                        found[(at - T0) // MINUTE_NS] = str(each.state)[0]
        return "".join(found.get(n, ".") for n in range(max(found, default=-1) + 1))

    def reasons(self, channel: str) -> list[str]:
        return [e.reason for s, r in self.known.items() if s.channel == channel for e in r
                if e.reason]  # fmt: skip


def ns(at: float) -> int:
    return T0 + round(at * S)


def trade(at: float, trade_id: int, symbol: str = BTC) -> tuple[Any, ...]:
    return (symbol, ns(at), ns(at) + 5_000_000, trade_id, 100.0, 1.0, True)


def bar(close: float, origin: str = "stream", symbol: str = BTC) -> tuple[Any, ...]:
    return (symbol, ns(close), ns(close) + 5_000_000, 1.0, 1.0, 1.0, 1.0, 1.0, 1, origin)


def quote(at: float, symbol: str = BTC) -> tuple[Any, ...]:
    return (symbol, ns(at), ns(at) + 5_000_000, 1.0, 1.0, 2.0, 1.0)


def status(
    channel: str, state: str, at: float, detail: str = "", since: float | None = None,
    symbol: str = BTC,
) -> tuple[Any, ...]:  # fmt: skip
    begun = 0 if since is None else ns(since)
    return (symbol, ns(at), ns(at) + 6_000_000, channel, state, detail, begun)


# ---- trades: ids prove ---------------------------------------------------------------------------


def test_a_stream_on_which_nothing_happens_is_complete() -> None:
    told = Told()
    told.status("liquidations", "live", 0)
    told.status("trades", "live", 0)
    told.trades((0.5, 1), (200, 2))
    assert told.states("liquidations") == ".cc"  # it began within the first minute
    assert told.states("trades") == ".cc"
    told.tracker.heartbeat(ns(400))
    assert told.states("liquidations") == ".ccccc"


def test_a_hole_in_the_ids_is_a_gap_until_it_is_filled() -> None:
    told = Told()
    told.trades((0, 1), (70, 2), (130, 3))
    told.trades((190, 7), (250, 8), (310, 9))
    assert told.states("trades") == "ccggc"
    assert told.reasons("trades") == ["trades 4 to 6 missing (3)"]
    repaired = [(*trade(at, n), "repair") for at, n in ((140, 4), (150, 5))]
    told.batch(repaired_trades=repaired)
    assert told.states("trades") == "ccggc"  # one is still missing
    told.batch(repaired_trades=[(*trade(160, 6), "repair")])
    assert told.states("trades") == "ccrrc"


def test_two_holes_in_one_minute_are_repaired_when_both_are() -> None:
    told = Told()
    told.trades((0, 1), (70, 2), (75, 4), (80, 5), (85, 7), (200, 8))
    assert told.states("trades") == "cgc"
    told.batch(repaired_trades=[(*trade(72, 3), "repair")])
    assert told.states("trades") == "cgc"
    told.batch(repaired_trades=[(*trade(83, 6), "repair")])
    assert told.states("trades") == "crc"


def test_a_reconnect_that_missed_nothing_is_no_gap() -> None:
    told = Told()
    told.trades((0, 1), (70, 2))
    told.status("trades", "stale", 130, "disconnected: reset", since=70)
    told.batch(quotes=[quote(185, ETH)])  # time goes on elsewhere
    assert told.states("trades") == "cgg"
    told.status("trades", "live", 185)
    told.trades((190, 3), (250, 4))
    assert told.states("trades") == "cccc"


def test_a_reconnect_that_missed_trades_is_a_gap() -> None:
    told = Told()
    told.trades((0, 1), (70, 2))
    told.status("trades", "stale", 100, "disconnected: reset", since=70)
    told.status("trades", "live", 100)
    told.trades((190, 5), (310, 6))
    told.status("trades", "gap", 190, "trades 3 to 4 missing (2)", since=70)
    assert told.states("trades") == "cgggc"


def test_ids_that_do_not_count_prove_nothing() -> None:
    told = Told(counted_ids=False)
    told.trades((0, 10), (70, 30))
    told.status("trades", "stale", 130, "disconnected: reset", since=70)
    told.status("trades", "live", 130)
    told.trades((190, 31), (310, 90))
    assert told.states("trades") == "cgggc"
    told.status("trades", "repaired", 190, "120 trades fetched", since=70)
    assert told.states("trades") == "crrrc"


# ---- others: the connection proves ---------------------------------------------------------------


def test_a_lost_connection_is_a_gap_for_all_its_streams_from_when_it_last_spoke() -> None:
    told = Told()
    channels = ("quotes", "liquidations", "funding")
    told.batch(status=[status(c, "live", 0) for c in channels], quotes=[quote(0)])
    told.batch(quotes=[quote(at) for at in (60, 120, 239)])
    lost = "disconnected: silent for 30.0 s"
    told.batch(
        status=[
            status("quotes", "stale", 270, lost, since=239),
            status("liquidations", "stale", 270, lost, since=None),  # never an event, yet alive
            status("funding", "stale", 270, lost, since=30),
        ]
    )
    told.batch(quotes=[quote(300, ETH)])
    told.batch(status=[status(c, "live", 300) for c in channels])
    told.batch(quotes=[quote(301), quote(400)])
    for channel in ("quotes", "liquidations", "marks"):
        assert told.states(channel).lstrip(".").lstrip("c") == "ggg", channel
        assert told.reasons(channel) == [lost]
    told.batch(quotes=[quote(500)])
    assert told.states("liquidations").endswith("gggcc")


def test_a_silent_stream_is_a_gap_from_its_last_event() -> None:
    issue = check_fresh(BTC, 0, 30 * S, 10 * S)
    assert issue is not None
    told = Told()
    told.batch(funding=[(BTC, ns(at), ns(at), 1.0, 0.0, 0) for at in (0, 61, 122)])
    told.status("funding", "stale", 152, issue.detail, since=122)
    told.batch(funding=[(BTC, ns(at), ns(at) + 10**10, 1.0, 0.0, 0) for at in (250, 310)])
    assert told.states("marks") == "ccgggc"[:5]
    assert told.reasons("marks") == [issue.detail]


def test_an_empty_side_of_the_market_is_no_gap() -> None:
    told = Told()
    told.batch(quotes=[quote(0), quote(100)])
    told.status("quotes", "stale", 110, "the bid side is empty", since=100)
    told.batch(quotes=[quote(200), quote(250)])
    assert told.states("quotes") == "cccc"


def test_deltas_of_a_book_follow_its_state() -> None:
    told = Told()
    level = (1, 2, True, 1.0, 1.0)
    told.batch(book_deltas=[(BTC, ns(at), ns(at), *level) for at in (0, 100)])
    told.status("books", "gap", 130, "book ids after 2 before 9 missing", since=119)
    told.status("books", "stale", 130, "resynchronising", since=119)
    told.batch(book_deltas=[(BTC, ns(at), ns(at) + 10**9, *level) for at in (131, 260)])
    assert told.states("book_deltas") == "cggc"


def test_a_refused_message_is_a_gap_of_its_minute_alone() -> None:
    told = Told()
    told.batch(quotes=[quote(0)])
    told.status("quotes", "gap", 200, "refused: quote with bid 3 and ask 2", since=0)
    told.batch(quotes=[quote(300)])
    assert told.states("quotes") == "cccgc"


def test_marks_of_others_and_the_time_between_two_runs() -> None:
    known = {("quotes", BTC): ns(60), ("bars:1m", BTC): ns(0), ("trades", BTC): ns(60)}
    told = Told(known=known)
    told.batch(quotes=[quote(130), quote(250)], bars=[bar(240)], trades=[trade(125, 7)])
    told.tracker.mark("quotes", BTC, ns(60), ns(90), State.DOWN, "maintenance")
    assert told.states("quotes") == "gdgc"
    assert told.states("bars:1m") == "gggc"
    assert told.states("trades") == "gggc"
    assert "not collected" in told.reasons("trades")


@pytest.mark.parametrize("counted", [True, False])
def test_what_others_proved_of_a_dead_connection_is_in_doubt_after_a_kill(counted: bool) -> None:
    told = Told(counted_ids=counted)
    told.batch(trades=[trade(-61, 1)], quotes=[quote(-61)])
    told.batch(trades=[trade(50, 2)], quotes=[quote(50)])
    told.batch(quotes=[quote(65)])  # the trades' own connection died silently at 0:51
    assert told.states("trades").endswith("c"), "claimed on the word of the quotes"
    told.tracker = CoverageTracker(
        "X", interval="1m", interval_ns=MINUTE_NS, counted_ids=counted,
        known={("trades", BTC): ns(60), ("bars:1m", BTC): ns(60)},
    )  # fmt: skip
    told.batch(trades=[trade(150, 41)], bars=[bar(120)])
    told.batch(trades=[trade(250, 42)])
    assert told.states("trades") == "gggc", "ids 3 to 40 were never received"
    (bars,) = [r for stream, r in told.known.items() if stream.channel == "bars:1m"]
    found = [(r.start, r.end, r.state) for r in bars]
    assert found[0] == (ns(60), ns(120), State.COMPLETE), "bars prove themselves, and no more"


def test_refused_rows_are_a_gap_that_later_rows_do_not_complete() -> None:
    told = Told()
    told.batch(trades=[trade(-1, 1), trade(70, 2)], quotes=[quote(-1), quote(70)])
    told.tracker.mark("trades", BTC, ns(70), ns(70) + 1, State.GAP, "refused")
    told.tracker.mark("quotes", BTC, ns(70), ns(70) + 1, State.GAP, "refused")
    told.batch(trades=[trade(190, 3)], quotes=[quote(190)])
    assert told.states("trades") == "cgc"
    assert told.states("quotes") == "cgc"


# ---- bars ----------------------------------------------------------------------------------------


def test_bars_that_follow_are_complete_and_holes_are_repaired() -> None:
    told = Told()
    told.batch(bars=[bar(60), bar(120)])
    assert told.states("bars:1m") == "cc"
    told.batch(bars=[bar(300)])
    assert told.states("bars:1m") == "ccggc"
    told.batch(bars=[bar(180, "repair")])
    assert told.states("bars:1m") == "ccrgc"
    told.status("bars", "gap", 301, f"1 bars closing {ns(240)} to {ns(240)} do not exist")
    assert told.states("bars:1m") == "ccrdc"


def test_bars_loaded_at_the_beginning_are_complete_later_ones_repaired() -> None:
    told = Told()
    told.batch(bars=[bar(60, "repair"), bar(120, "repair")])
    told.batch(bars=[bar(180)])
    told.status("bars", "stale", 181, "disconnected: reset", since=180)
    told.batch(bars=[bar(240, "repair"), bar(300)])
    assert told.states("bars:1m") == "cccrc"


def test_bars_that_do_not_come_are_gaps_with_the_reason_and_may_still_come() -> None:
    told = Told()
    told.batch(bars=[bar(60)])
    told.status("bars", "stale", 70, "disconnected: refused", since=60)
    told.tracker.heartbeat(ns(250))
    assert told.states("bars:1m") == "cgg"
    assert told.reasons("bars:1m") == ["disconnected: refused"]
    told.status("bars", "live", 250)
    told.batch(bars=[bar(120, "repair"), bar(180), bar(240)])
    assert told.states("bars:1m") == "crcc"


# ---- recorded trades -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_trades_taken_out_of_a_recorded_day_are_found_and_nothing_else(seed: int) -> None:
    if not TRADES.exists():
        pytest.skip("recorded trades are not here")
    table = pq.read_table(TRADES, columns=["timestamp", "agg_trade_id"])
    times = table["timestamp"].to_numpy().astype("datetime64[ns]").astype(np.int64)
    ids = table["agg_trade_id"].to_numpy()
    rng = np.random.default_rng(seed)
    gone = np.zeros(len(times), bool)
    for at in rng.integers(1, len(times) - 1, 30 if seed else 0):
        gone[at : at + rng.integers(1, 200)] = True
    gone[[0, -1]] = False
    kept = np.flatnonzero(~gone)
    tracker = CoverageTracker("BINANCE", interval="1m", interval_ns=MINUTE_NS)
    known: list[Range] = []
    for seq, part in enumerate(np.array_split(kept, 300), start=1):
        n = len(part)
        columns = [[BTC] * n, times[part], times[part] + S, ids[part], np.ones(n), np.ones(n),
                   np.ones(n, bool)]  # fmt: skip
        rows = pa.Table.from_arrays(
            [pa.array(c, f.type) for c, f in zip(columns, SCHEMAS["trades"], strict=True)],
            schema=SCHEMAS["trades"],
        )
        tracker.observe(MarketBatch(source="X:1", seq=seq, tables={"trades": rows}))
        if seq % 7 == 0:
            known = overlay(known, tracker.take())
    known = overlay(known, tracker.take())
    planted: set[int] = set()
    for at in np.flatnonzero(np.diff(ids[kept]) > 1).tolist():
        low, high = times[kept[at]] // MINUTE_NS, times[kept[at + 1]] // MINUTE_NS
        planted |= set(range(int(low), int(high) + 1))
    found: dict[State, set[int]] = {State.GAP: set(), State.COMPLETE: set()}
    for each in known:
        found[each.state] |= set(range(each.start // MINUTE_NS, each.end // MINUTE_NS))
    whole = set(range(ceil_minute(int(times[0])) // MINUTE_NS, int(times[-1]) // MINUTE_NS))
    assert found[State.GAP] == planted
    assert found[State.COMPLETE] == whole - planted
