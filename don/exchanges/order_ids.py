"""Which of our client order ids an exchange's order id belongs to. Pure, bounded.

Fills name only the exchange's id. And the order that a conditional one became may carry another
client id than the one that we gave: reports about it come back under ours.
"""

from collections import OrderedDict
from dataclasses import replace

from don.exchanges.base import StreamEvent
from don.exchanges.binance_wire import renamed
from don.model.messages import FillReport, OrderReport

MAX_IDS = 50_000  # the oldest are forgotten; they can be asked for again

Key = tuple[str, str]  # symbol, exchange order id


class Names:
    """Client order ids by symbol and exchange order id."""

    def __init__(self) -> None:
        self._ids: OrderedDict[Key, str] = OrderedDict()
        self._became: OrderedDict[Key, str] = OrderedDict()

    def get(self, symbol: str, order_id: str) -> str | None:
        """Our id of an order, None if it is not remembered."""
        return self._ids.get((symbol, order_id))

    def became(self, symbol: str, order_id: str, client_order_id: str) -> None:
        """Note which order a conditional one became."""
        _put(self._became, (symbol, order_id), client_order_id)
        _put(self._ids, (symbol, order_id), client_order_id)

    def order(self, report: OrderReport) -> OrderReport:
        """A report under our name of the order; remembers it."""
        key = (report.symbol, report.exchange_order_id)
        name = self._became.get(key)
        report = report if name is None else renamed(report, name)
        _put(self._ids, key, report.client_order_id)
        return report

    def own(self, item: StreamEvent) -> StreamEvent:
        """An event of the stream under our name of its order."""
        if isinstance(item, OrderReport):
            return self.order(item)
        if isinstance(item, FillReport):
            fill = item.fill
            name = self._became.get((fill.symbol, fill.exchange_order_id))
            return item if name is None else replace(item, fill=replace(fill, client_order_id=name))
        return item


def _put(ids: OrderedDict[Key, str], key: Key, name: str) -> None:
    ids[key] = name
    while len(ids) > MAX_IDS:
        ids.popitem(last=False)
