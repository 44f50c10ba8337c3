"""Fixtures: a misbehaving exchange, and feeds whose batches are collected as they come."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from support.fault_exchange import FaultExchange
from support.feed import SYMBOLS, Collected, feed_config

from don.clock import SystemClock
from don.feeds.live import LiveFeed


@pytest.fixture
async def exchange(tmp_path) -> AsyncIterator[FaultExchange]:
    server = FaultExchange(SYMBOLS, tmp_path)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def open_feed(exchange) -> AsyncIterator[Callable]:
    opened: list[Collected] = []

    async def open_one(**changes) -> Collected:
        feed = LiveFeed(feed_config(exchange, **changes), SystemClock(), "TEST:1")
        await asyncio.wait_for(feed.start(), 120)
        collected = Collected(feed)
        opened.append(collected)
        return collected

    yield open_one
    for collected in opened:
        await collected.close()
