"""What tests of the API share: a client of an API that reads the module's own `world`."""

from collections.abc import Iterator

import httpx
import pytest
from support.serving import opened
from support.world import World


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[httpx.Client]:
    with opened(world) as found:
        yield found
