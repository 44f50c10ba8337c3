"""Calls of Binance's Algo Service for conditional orders, through ccxt. Does I/O.

Nothing in an id tells whether an order is conditional, so the names of those that may be open are
remembered with their symbols: after the first listing of all, which is dear (weight 40), only the
symbols are asked for in which there are any (weight 1 each).
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from don.errors import ExchangeRefused
from don.exchanges.binance_errors import NO_SUCH_ORDER
from don.exchanges.ccxt_client import CcxtClient, Endpoint
from don.exchanges.rates import Priority

NEW_ALGO = Endpoint(name="fapiPrivatePostAlgoOrder", weight=1, orders=1)
GET_ALGO = Endpoint(name="fapiPrivateGetAlgoOrder", weight=1)
CANCEL_ALGO = Endpoint(name="fapiPrivateDeleteAlgoOrder", weight=1)
OPEN_ALGOS = Endpoint(name="fapiPrivateGetOpenAlgoOrders", weight=40)
OPEN_ALGOS_OF = Endpoint(name="fapiPrivateGetOpenAlgoOrders", weight=1)

MAX_NAMES = 10_000

Row = Mapping[str, Any]


class AlgoCalls:
    """Conditional orders of one account."""

    def __init__(self, client: CcxtClient) -> None:
        self._client = client
        self._names: OrderedDict[str, str] = OrderedDict()  # may be open: client id -> symbol
        self._listed = False

    def __contains__(self, client_order_id: str) -> bool:
        return client_order_id in self._names

    def note(self, client_order_id: str, symbol: str, *, final: bool) -> None:
        """Remember or forget the client id of a conditional order in the exchange's symbol."""
        if final:
            self._names.pop(client_order_id, None)
            return
        self._names[client_order_id] = symbol
        while len(self._names) > MAX_NAMES:
            self._names.popitem(last=False)

    async def find(self, client_order_id: str) -> Row | None:
        """A conditional order; None if the exchange does not know it."""
        try:
            row: Row = await self._client.call(
                GET_ALGO, {"clientAlgoId": client_order_id}, Priority.REDUCE
            )
        except ExchangeRefused as refused:
            if refused.code == NO_SUCH_ORDER:
                return None
            raise
        return row

    async def cancel(self, client_order_id: str) -> Row | None:
        """Cancel one that was not set off; how it stands then: the answer itself does not say.

        Raises:
            ExchangeRefused: there is none to cancel.
        """
        await self._client.call(CANCEL_ALGO, {"clientAlgoId": client_order_id}, Priority.CANCEL)
        return await self.find(client_order_id)

    async def open(self) -> list[Row]:
        """All that were not set off."""
        symbols = sorted(set(self._names.values()))
        if not self._listed or len(symbols) > OPEN_ALGOS.weight:
            rows: list[Row] = await self._client.call(OPEN_ALGOS, {})
            self._listed = True
            return rows
        found: list[Row] = []
        for symbol in symbols:
            found += await self._client.call(OPEN_ALGOS_OF, {"symbol": symbol})
        return found
