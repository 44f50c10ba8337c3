"""Looks at what a feed sends for values that can hardly be true: crossed, invalid, odd. Pure.

It changes nothing and drops nothing: what is found is counted and told. A price out of line is
checked once a batch and symbol (lowest, highest and last price), so that it costs little.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from don.market.quality import Issue, PriceCheck, check_quote

KEPT = 50  # newest issues


class QualityWatch:
    """Folds the tables of a feed's batches; `counts` and `newest` say what was found."""

    def __init__(self) -> None:
        self._prices: dict[str, PriceCheck] = {}
        self.counts: Counter[tuple[str, str]] = Counter()  # (channel, kind) -> rows
        self.newest: deque[Issue] = deque(maxlen=KEPT)

    def observe(self, tables: Mapping[str, pa.Table]) -> list[Issue]:
        """The issues of a batch."""
        found: list[Issue] = []
        for channel, table in tables.items():
            if not table.num_rows:
                continue
            if channel == "trades":
                found += self._trades(table)
            elif channel == "quotes":
                bid, ask = table["bid"].to_numpy(), table["ask"].to_numpy()
                found += _quotes(channel, table, bid, ask)
            elif channel == "books":
                bid, ask = _best(table["bid_prices"]), _best(table["ask_prices"])
                found += _quotes(channel, table, bid, ask, empty_is_fine=True)
        for issue in found:
            self.counts[issue.channel, str(issue.kind)] += 1
        self.newest.extend(found)
        return found

    def _trades(self, table: pa.Table) -> list[Issue]:
        coded = table["symbol"].combine_chunks().dictionary_encode()
        codes, prices = coded.indices.to_numpy(), table["price"].to_numpy()
        times = table["ts_event"].to_numpy()
        found = []
        for number, symbol in enumerate(coded.dictionary.to_pylist()):
            own = np.flatnonzero(codes == number)
            check = self._prices.get(symbol)
            if check is None:
                check = self._prices[symbol] = PriceCheck(symbol)
            low, high = own[np.argmin(prices[own])], own[np.argmax(prices[own])]
            for at in sorted({int(low), int(high), int(own[-1])}):
                issue = check.check(float(prices[at]), int(times[at]))
                if issue is not None:
                    found.append(replace(issue, channel="trades"))
        return found


def _quotes(
    channel: str, table: pa.Table, bid: np.ndarray, ask: np.ndarray, *, empty_is_fine: bool = False
) -> list[Issue]:
    right = (bid > 0) & (bid < ask) & (ask < np.inf)
    if empty_is_fine:
        right |= np.isnan(bid) | np.isnan(ask)
    found = []
    for at in np.flatnonzero(~right).tolist():
        symbol, ts = table["symbol"][at].as_py(), table["ts_event"][at].as_py()
        issue = check_quote(symbol, float(bid[at]), float(ask[at]), ts)
        if issue is not None:
            found.append(replace(issue, channel=channel))
    return found


def _best(levels: pa.ChunkedArray) -> np.ndarray:
    """The best level of each row of a side; NaN where it is empty."""
    side = levels.combine_chunks()
    if not pa.types.is_fixed_size_list(side.type):
        firsts = [row[0] if row else float("nan") for row in side.to_pylist()]
        return np.array(firsts, float)
    depth = side.type.list_size
    return np.asarray(side.flatten().to_numpy(zero_copy_only=False)).reshape(-1, depth)[:, 0]
