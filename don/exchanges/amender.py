"""Amendments of open orders, repeated until their outcome is known. Does I/O.

Asking twice for the same size and price does no harm: the exchange says that it is so already.
"""

import asyncio
import random

import structlog

from don.errors import ExchangeRefused, ExchangeUnavailable, RateLimited
from don.exchanges.base import Gateway
from don.exchanges.binance_errors import ALREADY_SO
from don.exchanges.reporter import Reporter
from don.model.messages import AmendOrder, OrderReport

_log = structlog.get_logger(__name__)

BASE_S, CAP_S = 0.1, 5.0  # of the delay between repeats


class Amender:
    """Sends amendments and reports how their orders stand."""

    def __init__(self, gateway: Gateway, reporter: Reporter, rng: random.Random) -> None:
        self._gateway = gateway
        self._reporter = reporter
        self._rng = rng

    async def amend(self, request: AmendOrder) -> OrderReport:
        """Amend an order; its state after that.

        Raises:
            ExchangeRefused: it stays as it is, or is no longer open.
        """
        failures = 0
        while True:
            try:
                report = await self._once(request)
            except RateLimited as error:
                await asyncio.sleep(error.retry_after_s)
            except ExchangeUnavailable as error:
                failures += 1
                order = request.client_order_id
                _log.warning("amendment in doubt, asking again", order=order, error=str(error))
                ceiling = min(BASE_S * 2.0 ** min(failures, 30), CAP_S)
                await asyncio.sleep(self._rng.random() * ceiling)
            else:
                await self._reporter.emit([report])
                return report

    async def _once(self, request: AmendOrder) -> OrderReport:
        symbol, name = request.symbol, request.client_order_id
        try:
            return await self._gateway.amend(
                symbol, name, request.side, request.size, request.price
            )
        except ExchangeRefused as refused:
            if refused.code != ALREADY_SO:
                raise
            report = await self._gateway.order(symbol, name)
            if report is None:
                raise
            return report
