"""Execution against a misbehaving exchange: no order doubled or lost, every fill told."""

import asyncio
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.probe import Probe, eventually, finish, order, running
from support.venue import Fault, Glitch, Venue
from support.venue_book import Book

from don.model.messages import CancelOrder
from don.model.order import OrderStatus, Side


@pytest.fixture
async def venue():
    venue = Venue()
    await venue.start()
    yield venue
    await venue.stop()


async def test_orders_fill_and_the_account_agrees(venue):
    probe = Probe()
    async with running(venue, probe) as service:
        probe.intents = [order(1), order(2, Side.SELL, "0.030"), order(3, symbol="ETH-USDT-PERP")]
        await service.submit(probe.intents)
        await finish(service)
        await venue.act(Book.fund)
        await probe.until(lambda: any("funding" in report.key for report in probe.reports))
        await finish(service)
    probe.check(venue)
    assert probe.in_order
    assert all(report.ts_sent > 0 for report in probe.orders.values())


@pytest.mark.parametrize("fault", [f for f in Fault if f is not Fault.NONE], ids=lambda f: f.name)
async def test_a_submit_meets_one_fault(venue, fault):
    probe = Probe()
    venue.faults.append(fault)
    async with running(venue, probe) as service:
        probe.intents = [order(1)]
        await service.submit(probe.intents)
        await finish(service)
    probe.check(venue)
    never = fault in (Fault.DROP_BEFORE, Fault.FAIL_BEFORE)
    assert probe.orders["don-t-1-0"].status is (OrderStatus.LOST if never else OrderStatus.FILLED)


@pytest.mark.parametrize("fault", [f for f in Fault if f is not Fault.NONE], ids=lambda f: f.name)
async def test_a_cancel_meets_one_fault(venue, fault):
    probe = Probe()
    async with running(venue, probe) as service:
        probe.intents = [order(1, price="100")]
        await service.submit(probe.intents)
        await probe.until(lambda: "don-t-1-0" in probe.orders)
        venue.faults.append(fault)
        await service.cancel(
            [CancelOrder(client_order_id="don-t-1-0", symbol="BTC-USDT-PERP", reason="test")]
        )
        await finish(service)
    probe.check(venue)
    assert probe.orders["don-t-1-0"].status is OrderStatus.CANCELLED


@pytest.mark.parametrize(
    "glitch", [g for g in Glitch if g is not Glitch.NONE], ids=lambda g: g.name
)
async def test_the_stream_glitches(venue, glitch):
    probe = Probe()
    async with running(venue, probe) as service:
        venue.glitches.extend([Glitch.NONE, glitch, Glitch.NONE, glitch])
        probe.intents = [order(1), order(2, price="100"), order(3, Side.SELL)]
        await service.submit(probe.intents)
        await finish(service)
        resting = venue.book.resting()[0]
        venue.glitches.append(glitch)
        await venue.act(lambda book: book.fill(resting, resting.size))
        await probe.until(lambda: probe.orders["don-t-2-0"].status is OrderStatus.FILLED)
        await finish(service)
    probe.check(venue)


async def test_a_wrong_clock_is_mended(venue):
    venue.skew_ms = 4_000
    probe = Probe()
    async with running(venue, probe) as service:
        venue.skew_ms = -4_000
        probe.intents = [order(1)]
        await service.submit(probe.intents)
        await finish(service)
    probe.check(venue)


async def test_what_happened_while_the_stream_was_down_is_told_in_order(venue):
    probe = Probe()
    async with running(venue, probe, poll_s=60.0, account_s=60.0) as service:
        probe.intents = [order(1, price="100"), order(2, price="99")]
        await service.submit(probe.intents)
        await probe.until(lambda: len(probe.orders) == 2)
        first, second = venue.book.resting()
        venue.glitches.extend([Glitch.CUT_BEFORE] * 4)
        await venue.act(lambda book: book.fill(second, second.size / 2))
        await venue.act(lambda book: book.fill(first, first.size))
        await venue.act(lambda book: book.fill(second, second.size / 2))
        await probe.until(
            lambda: all(report.status is OrderStatus.FILLED for report in probe.orders.values())
        )
        await finish(service)
    probe.check(venue)
    assert probe.in_order


async def test_a_hole_in_the_live_stream_is_found_by_polling(venue):
    probe = Probe()
    async with running(venue, probe) as service:
        probe.intents = [order(1, price="100")]
        await service.submit(probe.intents)
        await probe.until(lambda: "don-t-1-0" in probe.orders)
        venue.glitches.append(Glitch.LOSE)
        resting = venue.book.resting()[0]
        await venue.act(lambda book: book.fill(resting, resting.size))
        await probe.until(lambda: probe.orders["don-t-1-0"].status is OrderStatus.FILLED)
        await finish(service)
    probe.check(venue)


async def test_the_same_order_is_never_sent_twice(venue):
    probe = Probe()
    async with running(venue, probe) as service:
        probe.intents = [order(1)]
        await service.submit(probe.intents)
        await service.submit(probe.intents)
        await finish(service)
        await service.submit(probe.intents)
        await finish(service)
    probe.check(venue)
    assert venue.calls["POST v1/order"] == 1


async def test_cancels_overtake_and_take_back_orders_that_have_not_left(venue):
    probe = Probe()
    venue.faults.append(Fault.HANG_AFTER)  # keeps the lane busy
    async with running(venue, probe) as service:
        probe.intents = [order(1), order(2), order(3, Side.SELL, reduce_only=True)]
        await service.submit([probe.intents[0]])
        await eventually(lambda: venue.accepted.total() == 1)
        await service.submit(probe.intents[1:])
        await service.cancel(
            [CancelOrder(client_order_id="don-t-2-0", symbol="BTC-USDT-PERP", reason="test")]
        )
        await finish(service)
    probe.check(venue)
    assert probe.orders["don-t-2-0"].status is OrderStatus.LOST
    assert [item.client_id for item in venue.book.orders] == ["don-t-1-0", "don-t-3-0"]


async def test_a_cancel_that_comes_before_its_order_stops_it_for_good(venue):
    probe = Probe()
    venue.faults.append(Fault.HANG_AFTER)  # keeps the lane busy
    async with running(venue, probe) as service:
        probe.intents = [order(1), order(2)]
        await service.submit(probe.intents[:1])
        await eventually(lambda: venue.accepted.total() == 1)
        await service.cancel(
            [CancelOrder(client_order_id="don-t-2-0", symbol="BTC-USDT-PERP", reason="test")]
        )
        await service.submit(probe.intents[1:])
        await finish(service)
    probe.check(venue)
    assert probe.orders["don-t-2-0"].status is OrderStatus.LOST
    assert venue.accepted.keys() == {"don-t-1-0"}


async def test_cancel_all_leaves_other_peoples_orders_alone(venue):
    book = venue.book

    def rest(name):
        book.place(
            {"symbol": "BTCUSDT", "quantity": "0.01", "newClientOrderId": name, "side": "BUY",
             "type": "LIMIT", "price": "10"}
        )  # fmt: skip
        book.events.clear()

    rest("don-lost-1-0")
    rest("somebody")
    probe = Probe()
    async with running(venue, probe) as service:
        # the journal does not know it: it has nobody to look after it
        await eventually(lambda: [one.client_id for one in book.resting()] == ["somebody"])
        rest("don-old-1-0")
        probe.intents = [order(1, price="100"), order(2, price="99", symbol="ETH-USDT-PERP")]
        await service.submit(probe.intents)
        await probe.until(lambda: len(probe.orders) == 2)
        await probe.until(lambda: any("don-old-1-0" in a.open_orders for a in probe.accounts))
        await service.cancel_all("halt")
        await finish(service)
    assert [item.client_id for item in book.resting()] == ["somebody"]
    assert {report.status for report in probe.orders.values()} == {OrderStatus.CANCELLED}


FAULTS = st.lists(st.sampled_from(list(Fault)), min_size=4, max_size=14)
GLITCHES = st.lists(st.sampled_from(list(Glitch)), min_size=4, max_size=20)


@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(FAULTS, FAULTS, GLITCHES), min_size=6, max_size=6), st.integers(0, 99))
def test_any_schedule_of_faults_ends_equal(schedules, seed):
    async def all_at_once() -> None:
        await asyncio.gather(
            *(troubled(*schedule, seed * 100 + n) for n, schedule in enumerate(schedules))
        )

    asyncio.run(all_at_once())


async def troubled(
    faults: list[Fault], read_faults: list[Fault], glitches: list[Glitch], seed: int
) -> None:
    """One session of random orders under a schedule of faults."""
    rng = random.Random(seed)
    venue = Venue()
    await venue.start()
    probe = Probe(refusals=random.Random(seed))
    try:
        async with running(venue, probe) as service:
            venue.faults.extend(faults)
            venue.read_faults.extend(read_faults)
            venue.glitches.extend(glitches)
            for decision in range(1, 7):
                await trade(service, venue, probe, rng, decision)
                await asyncio.sleep(rng.random() * 0.1)
            await finish(service, timeout_s=60.0)
        probe.check(venue)
    finally:
        await venue.stop()


async def trade(service, venue: Venue, probe: Probe, rng: random.Random, decision: int) -> None:
    batch = [
        order(
            decision * 10 + index,
            rng.choice(list(Side)),
            f"0.0{rng.randint(10, 99)}",
            symbol=rng.choice(["BTC-USDT-PERP", "ETH-USDT-PERP"]),
            price=rng.choice([None, None, "1000", "100000"]),
            reduce_only=rng.random() < 0.1,
        )
        for index in range(rng.randint(1, 3))
    ]
    probe.intents += batch
    if probe.intents and rng.random() < 0.5:
        victim = rng.choice(probe.intents)
        await service.cancel(
            [
                CancelOrder(
                    client_order_id=victim.client_order_id, symbol=victim.symbol, reason="test"
                )
            ]
        )
    await service.submit(batch)
    if venue.book.resting() and rng.random() < 0.5:
        resting = rng.choice(venue.book.resting())
        await venue.act(lambda book: book.fill(resting, resting.size - resting.filled))
    if rng.random() < 0.3:
        await venue.act(Book.fund)
