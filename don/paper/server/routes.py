"""What a REST call is: its place, its price, who may call it. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from don.paper.server.params import Params

NS_PER_MS = 1_000_000
_FOREVER_NS = (1 << 62) // NS_PER_MS * NS_PER_MS


class Security(Enum):
    """What a call must bring along."""

    NONE = auto()
    KEY = auto()  # X-MBX-APIKEY
    SIGNED = auto()  # key, time stamp and signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that passed the checks."""

    params: Params
    account: str  # of its key; "" where none is needed
    now_ms: int  # wall time

    def span(self) -> tuple[int | None, int | None]:
        """(start, end) in ns, None where not sent; the end covers its whole millisecond."""
        start = self.params.optional_integer("startTime")
        end = self.params.optional_integer("endTime")
        return (
            None if start is None else min(start * NS_PER_MS, _FOREVER_NS),
            None if end is None else min((end + 1) * NS_PER_MS - 1, _FOREVER_NS),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A REST call of the exchange."""

    method: str
    path: str
    run: Callable[[Call], Any]  # gives what is answered, before it is JSON
    security: Security = Security.NONE
    weight: int = 1
    weigh: Callable[[Params], int] | None = None  # where the weight depends on the parameters
    orders: int = 0  # how many new orders it counts for
    count: Callable[[Params], int] | None = None  # where that depends on the parameters


def by_limit(steps: tuple[tuple[int, int], ...], default: int) -> Callable[[Params], int]:
    """Weight by the `limit` parameter: the first step (limit, weight) that covers it."""

    def weigh(params: Params) -> int:
        limit = params.integer("limit", default)
        return next((weight for top, weight in steps if limit <= top), steps[-1][1])

    return weigh


def by_symbol(one: int, every: int) -> Callable[[Params], int]:
    """Weight of a call that costs more for all symbols than for one."""
    return lambda params: one if "symbol" in params else every
