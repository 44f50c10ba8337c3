"""Sums by bar agree with their formulas, written out plainly."""

import math
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from don.market.bars import MICRO, STANDING, BarSums
from don.model.schema import DEPTH, SCHEMAS

STEP = 60 * 10**9
SYMBOLS = ("A-USDT-PERP", "B-USDT-PERP")


def table(channel: str, rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, SCHEMAS[channel])


def random_rows(seed: int) -> dict[str, list[dict]]:
    rng = np.random.default_rng(seed)
    rows: dict[str, list[dict]] = defaultdict(list)
    for ts in np.sort(rng.integers(0, 3 * STEP, 400)).tolist():
        head = {"symbol": SYMBOLS[rng.integers(2)], "ts_event": ts, "ts_recv": ts}
        mid = round(100 + rng.normal(), 1)
        sizes = [round(s, 2) for s in rng.uniform(0.1, 5, 2)]
        kind = rng.integers(3)
        if kind == 0:
            buy = bool(rng.integers(2))
            rows["trades"].append({**head, "id": ts, "price": mid, "size": sizes[0], "buy": buy})
        elif kind == 1:
            prices = {"bid": mid - 0.1, "ask": mid + 0.1}
            rows["quotes"].append({**head, **prices, "bid_size": sizes[0], "ask_size": sizes[1]})
        else:
            used = int(rng.integers(1, DEPTH + 1))
            blank = [math.nan] * (DEPTH - used)
            rows["books"].append(
                {
                    **head,
                    "bid_prices": [mid - 0.1 * k for k in range(1, used + 1)] + blank,
                    "bid_sizes": [sizes[0]] * used + blank,
                    "ask_prices": [mid + 0.1 * k for k in range(1, used + 1)] + blank,
                    "ask_sizes": [sizes[1]] * used + blank,
                }
            )
    return rows


def expected(rows: dict[str, list[dict]], symbol: str, close: int) -> dict[str, float]:
    def own(channel: str) -> list[dict]:
        return [
            r
            for r in rows[channel]
            if r["symbol"] == symbol and close - STEP <= r["ts_event"] < close
        ]

    trades, quotes, books = own("trades"), own("quotes"), own("books")
    signed = [
        (math.log(b["price"] / a["price"]), b["price"] * b["size"] * 1e-6 * (1 if b["buy"] else -1))
        for a, b in pairwise(trades)
    ]
    flow = 0.0
    for a, b in pairwise(quotes):
        flow += b["bid_size"] * (b["bid"] >= a["bid"]) - a["bid_size"] * (b["bid"] <= a["bid"])
        flow += a["ask_size"] * (b["ask"] >= a["ask"]) - b["ask_size"] * (b["ask"] <= a["ask"])
    mids = [(q["bid"] + q["ask"]) / 2 for q in quotes]
    micro = [
        (q["bid"] * q["ask_size"] + q["ask"] * q["bid_size"]) / (q["bid_size"] + q["ask_size"])
        for q in quotes
    ]
    sides = [
        [np.nansum(np.array(b[f"{s}_prices"]) * np.array(b[f"{s}_sizes"])) for s in ("bid", "ask")]
        for b in books
    ]
    return {
        "buy_volume": sum(t["size"] for t in trades if t["buy"]),
        "sell_volume": sum(t["size"] for t in trades if not t["buy"]),
        "impact_xy": sum(r * x for r, x in signed),
        "impact_xx": sum(x * x for _, x in signed),
        "spread": np.mean([(q["ask"] - q["bid"]) / m for q, m in zip(quotes, mids, strict=True)]),
        "microprice": np.mean([(p - m) / m for p, m in zip(micro, mids, strict=True)]),
        "quote_imbalance": np.mean(
            [(q["bid_size"] - q["ask_size"]) / (q["bid_size"] + q["ask_size"]) for q in quotes]
        ),
        "ofi": flow / np.mean([(q["bid_size"] + q["ask_size"]) / 2 for q in quotes]),
        "book_imbalance": np.mean([(b - a) / (b + a) for b, a in sides]),
        "book_depth": np.mean([b + a for b, a in sides]),
        "trade_count": len(trades),
        "quote_count": len(quotes),
        "trade_var": sum(r * r for r, _ in signed),
        "trade_bipower": sum(abs(a * b) for (a, _), (b, _) in pairwise(signed)),
        "trade_cov": sum(a * b for (a, _), (b, _) in pairwise(signed)),
        "mid_var": sum(math.log(b / a) ** 2 for a, b in pairwise(mids)),
        "best_depth": np.mean(
            [q["bid"] * q["bid_size"] + q["ask"] * q["ask_size"] for q in quotes]
        ),
    }


@pytest.mark.parametrize("seed", range(3))
def test_micro_structure_agrees_with_the_formulas(seed: int) -> None:
    rows = random_rows(seed)
    sums = BarSums(SYMBOLS, STEP)
    for channel, own in rows.items():
        for start in range(0, len(own), 37):
            sums.add(channel, table(channel, own[start : start + 37]))
    for bar in (1, 2, 3):
        found = sums.finish(bar * STEP)
        for n, symbol in enumerate(SYMBOLS):
            for name, value in expected(rows, symbol, bar * STEP).items():
                assert found[n, MICRO.index(name)] == pytest.approx(value, rel=1e-9, abs=1e-15)
    assert sums.late == 0


def test_nothing_seen_is_nan_and_marks_are_carried_on() -> None:
    sums = BarSums(SYMBOLS, STEP)
    row = {"symbol": SYMBOLS[0], "ts_recv": 0, "mark": 5.0, "rate": 1e-4, "next_ts": 0}
    later = {**row, "ts_event": STEP + 1, "mark": 6.0}
    sums.add("funding", table("funding", [{**row, "ts_event": STEP}, later]))
    first, second = sums.finish(STEP), sums.finish(2 * STEP)
    assert np.isnan(np.delete(first[0], [10, 11])).all() and np.isnan(first[1]).all()
    assert first[0, STANDING].tolist() == [5.0, 1e-4]  # stamped at the close: belongs to the bar
    assert second[0, STANDING].tolist() == [6.0, 1e-4]
    assert sums.marks()[0] == 6.0


def test_late_and_foreign_events_count_for_nothing() -> None:
    sums = BarSums(SYMBOLS, STEP)
    row = {"symbol": SYMBOLS[0], "ts_recv": 0, "id": 1, "price": 1.0, "size": 1.0, "buy": True}
    sums.finish(STEP)
    sums.add("trades", table("trades", [{**row, "ts_event": STEP - 1}]))
    assert sums.late == 1
    sums.add("trades", table("trades", [{**row, "symbol": "C-USDT-PERP", "ts_event": STEP}]))
    assert sums.late == 1 and np.isnan(sums.finish(2 * STEP)).all()
