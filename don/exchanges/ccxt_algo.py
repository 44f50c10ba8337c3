"""Calls of Binance's Algo Service for conditional orders, through ccxt. Does I/O.

Nothing in an id tells whether an order is conditional, so the names of those that may be open are
remembered; listing all is dear (weight 40) and left out while there are none.
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

MAX_NAMES = 10_000

Row = Mapping[str, Any]


class AlgoCalls:
    """Conditional orders of one account."""

    def __init__(self, client: CcxtClient) -> None:
        self._client = client
        self._names: OrderedDict[str, None] = OrderedDict()  # client ids that may be open
        self._listed = False

    def __contains__(self, client_order_id: str) -> bool:
        return client_order_id in self._names

    def note(self, client_order_id: str, *, final: bool) -> None:
        """Remember or forget the client id of a conditional order."""
        if final:
            self._names.pop(client_order_id, None)
            return
        self._names[client_order_id] = None
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
        if self._listed and not self._names:
            return []
        rows: list[Row] = await self._client.call(OPEN_ALGOS, {})
        self._listed = True
        return rows
