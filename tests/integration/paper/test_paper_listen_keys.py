"""Listen keys: an hour of life, extended by their owner, kept over restarts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from don.clock import NS_PER_MS, ReplayClock
from don.errors import ExchangeRefused
from don.paper.server.listen_keys import LIFETIME_MS, ListenKeys
from don.paper.store import Store

START_MS = 1_700_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def test_a_key_lives_an_hour_from_its_last_extension(store: Store) -> None:
    clock = ReplayClock(START_MS * NS_PER_MS)
    heard: list[dict[str, list[str]]] = []
    keys = ListenKeys(store, clock, heard.append)
    key = keys.create("paper")
    assert keys.create("paper") == key
    assert keys.create("other") != key
    assert key in keys
    clock.advance_to((START_MS + LIFETIME_MS - 1) * NS_PER_MS)
    assert keys.expire() == []
    assert keys.extend("paper") == key
    clock.advance_to((START_MS + LIFETIME_MS) * NS_PER_MS)
    (over,) = keys.expire()
    assert over != key
    assert heard[-1] == {"paper": [key]}
    with pytest.raises(ExchangeRefused, match="-1125"):
        keys.extend("other")
    clock.advance_to((START_MS + 2 * LIFETIME_MS) * NS_PER_MS)
    assert keys.expire() == [key]
    assert key not in keys


def test_keys_outlive_the_process(store: Store) -> None:
    clock = ReplayClock(START_MS * NS_PER_MS)
    key = ListenKeys(store, clock, lambda keys: None).create("paper")
    again = ListenKeys(store, clock, lambda keys: None)
    assert key in again
    again.close("paper")
    assert key not in ListenKeys(store, clock, lambda keys: None)
