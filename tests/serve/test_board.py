"""The board: conflated views, a bounded tail, a long poll, and no harm in losing it."""

import asyncio

import pytest

from actors.board import Board, BoardConfig
from don.clock import ReplayClock


@pytest.fixture
def clock() -> ReplayClock:
    return ReplayClock(1_700_000_000_000_000_000)


async def test_views_are_conflated_and_stamped(clock: ReplayClock) -> None:
    board = Board(clock=clock)
    await board.put("desk", {"equity": "1"})
    clock.advance_to(clock.now_ns() + 5)
    seq = await board.put("desk", {"equity": "2"})
    change = await board.wait(0, 0.0)
    assert change.seq == seq
    assert dict(change.views["desk"].view) == {"equity": "2"}
    assert change.views["desk"].ts_put == clock.now_ns()
    assert not change.lost


async def test_wait_returns_only_what_is_new(clock: ReplayClock) -> None:
    board = Board(clock=clock)
    await board.put("desk", {})
    seen = await board.put("market", {})
    await board.put("market", {"n": 1})
    await board.emit([{"kind": "fill", "trade_id": "7"}])
    change = await board.wait(seen, 0.0)
    assert set(change.views) == {"market"}
    assert [event["trade_id"] for event in change.events] == ["7"]
    assert (await board.wait(change.seq, 0.0)).views == {}


async def test_waiters_wake_on_news_and_give_up_in_time() -> None:
    board = Board()
    seq = (await board.wait(0, 0.0)).seq
    waiters = [asyncio.ensure_future(board.wait(seq, 30.0)) for _ in range(3)]
    await asyncio.sleep(0)
    await board.put("desk", {"equity": "1"})
    for change in await asyncio.wait_for(asyncio.gather(*waiters), 120):
        assert "desk" in change.views
    empty = await board.wait((await board.wait(0, 0.0)).seq, 0.01)
    assert (empty.views, empty.events, empty.lost) == ({}, (), False)


async def test_a_reader_that_lags_behind_the_tail_is_told() -> None:
    board = Board(BoardConfig(tail=3))
    seq = await board.put("desk", {})
    await board.emit([{"kind": "fill", "n": n} for n in range(5)])
    change = await board.wait(seq, 0.0)
    assert [event["n"] for event in change.events] == [2, 3, 4]
    assert change.lost
    assert not (await board.wait(change.seq - 1, 0.0)).lost


async def test_a_new_board_is_news_to_readers_of_the_old_one(clock: ReplayClock) -> None:
    old = Board(clock=clock)
    seq = await old.put("desk", {"equity": "1"})
    clock.advance_to(clock.now_ns() + 1_000_000)
    new = Board(clock=clock)
    await new.put("desk", {"equity": "2"})
    change = await new.wait(seq, 0.0)
    assert dict(change.views["desk"].view) == {"equity": "2"}
    assert change.lost  # whatever was emitted between the two lives is in the database only


async def test_a_reader_from_the_future_gets_everything(clock: ReplayClock) -> None:
    board = Board(clock=clock)
    await board.put("desk", {})
    assert "desk" in (await board.wait(2**52, 0.0)).views


async def test_bounds_and_bad_input_are_refused() -> None:
    board = Board(BoardConfig(max_keys=1))
    await board.put("desk", {})
    await board.put("desk", {"again": True})
    with pytest.raises(ValueError, match="at most 1 keys, cannot take 'market'"):
        await board.put("market", {})
    with pytest.raises(ValueError, match="must not be empty"):
        await board.put("", {})
    with pytest.raises(ValueError, match="needs a kind"):
        await board.emit([{"kind": "fill"}, {"trade_id": "1"}])
    assert (await board.wait(0, 0.0)).events == ()


async def test_get_picks_keys() -> None:
    board = Board()
    await board.put("desk", {"a": 1})
    await board.put("market", {})
    assert set(await board.get(["desk", "absent"])) == {"desk"}
    assert set(await board.get()) == {"desk", "market"}
