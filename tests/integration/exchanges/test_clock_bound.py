"""A clock that is too far off: nothing is signed, until it is right again. Real sockets."""

import asyncio

import pytest
from support.probe import gateway_config
from support.venue import Venue

from don.clock import SystemClock
from don.errors import ExchangeUnavailable
from don.exchanges.ccxt_binance import BinanceGateway
from don.exchanges.clock_offset import ClockUnsafe
from don.exchanges.clock_probe import probe


async def test_signing_is_refused_past_the_bound_and_works_again_when_the_clock_is_right():
    venue = Venue()
    await venue.start()
    gateway = BinanceGateway(gateway_config(venue, max_clock_offset_s=2.0), SystemClock())
    try:
        venue.skew_ms = 1_500
        await gateway.instruments()
        await gateway.account()  # corrected for the offset
        reading = gateway.clock()
        assert reading is not None
        assert abs(reading.ahead_ns + 1_500_000_000) < 200_000_000
        venue.skew_ms = -60_000
        with pytest.raises(ClockUnsafe, match=r"ahead of the exchange.*not signed beyond 2 s"):
            await gateway.account()  # the exchange refuses the stamp: the clocks are compared
    finally:
        await gateway.close()
        await venue.stop()


async def test_the_clock_can_be_asked_for_without_a_gateway():
    venue = Venue()
    await venue.start()
    try:
        venue.skew_ms = 700
        url = f"{venue.urls['rest_url']}/fapi/v1/time"
        offset = await asyncio.to_thread(probe, url)
        assert offset.reading is not None
        assert abs(offset.reading.ahead_ns + 700_000_000) < 200_000_000
    finally:
        await venue.stop()
    with pytest.raises(ExchangeUnavailable, match="does not tell its time"):
        probe(url)
