"""How long to wait before trying again: doubling, capped, with full jitter, for ever. Pure."""

from random import Random


class Backoff:
    """Delays of successive tries: the n-th is drawn from [base/4, min(cap, base * 2**n)].

    Full jitter spreads clients that failed together; the cap bounds the wait after a long outage,
    the floor keeps an unlucky row of draws from becoming a storm. It never gives up.
    """

    __slots__ = ("_base_s", "_cap_s", "_rng", "tries")

    def __init__(self, base_s: float, cap_s: float, rng: Random) -> None:
        if not 0 < base_s <= cap_s:
            raise ValueError(f"need 0 < base_s <= cap_s, were {base_s} and {cap_s}")
        self._base_s = base_s
        self._cap_s = cap_s
        self._rng = rng
        self.tries = 0

    def next(self, at_least_s: float = 0.0) -> float:
        """Seconds to wait now; `at_least_s` is the other side's hint (Retry-After)."""
        ceiling = min(self._cap_s, self._base_s * 2.0 ** min(self.tries, 62))
        self.tries += 1
        return max(at_least_s, self._rng.uniform(self._base_s / 4, ceiling))

    def reset(self) -> None:
        """It worked: the next failure starts small again."""
        self.tries = 0
