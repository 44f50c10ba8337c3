"""A lessee's share of the request budget: what it may spend now without asking. Pure.

Leases end with their window and carry the priority they were granted for: a request spends what
was granted for its own priority or for a lower one, so the room kept for cancels stays theirs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from don.exchanges.budget import Grant, PoolReport, Settled
from don.exchanges.rates import Counts, ExchangeLimits, PoolSpec, Priority, pool_id

LATE_MS = 1_000  # before a window's end; a request may take that long to reach the exchange

_MINUTES_MS = {"SECOND": 1_000, "MINUTE": 60_000, "DAY": 86_400_000}


@dataclass(slots=True)
class _Share:
    """Of one pool, in the window `index`."""

    spec: PoolSpec
    index: int = -1
    spent: int = 0
    late: int = 0
    late_before: int = 0
    seen: int = -1
    leases: dict[Priority, int] = field(default_factory=dict)
    paused_until_ms: int = 0
    reason: str = ""

    def roll(self, now_ms: int) -> None:
        index = now_ms // self.spec.length_ms
        if index != self.index:
            self.late_before = self.late if index == self.index + 1 else 0
            self.index, self.spent, self.late, self.seen = index, 0, 0, -1
            self.leases.clear()

    def available(self, priority: Priority) -> int:
        return sum(n for tag, n in self.leases.items() if tag.value <= priority.value)

    def spend(self, amount: int, priority: Priority, now_ms: int) -> None:
        left = amount
        for tag in sorted(self.leases, key=lambda tag: -tag.value):
            if tag.value > priority.value or not left:
                continue
            part = min(left, self.leases[tag])
            self.leases[tag] -= part
            left -= part
        self.spent += amount
        if now_ms >= (self.index + 1) * self.spec.length_ms - LATE_MS:
            self.late += amount

    @property
    def held(self) -> int:
        return sum(self.leases.values())


class Purse:
    """Shares of all pools that a client's requests count in.

    Args:
        limits: of the exchange.
        address: name of the address that the exchange sees.
        key: API key; "" without one: then there are no order pools.
    """

    def __init__(self, limits: ExchangeLimits, *, address: str, key: str) -> None:
        self._shares = {
            pool_id(limits.exchange, spec, address=address, key=key): _Share(spec=spec)
            for spec in limits.pools
            if key or spec.counts is Counts.WEIGHT
        }

    def spend(self, weight: int, orders: int, priority: Priority, now_ms: int) -> bool:
        """Count a request if the leases cover it; all pools or none."""
        charges = self._charges(weight, orders)
        for share, amount in charges.values():
            share.roll(now_ms)
            if share.paused_until_ms > now_ms or share.available(priority) < amount:
                return False
        for share, amount in charges.values():
            share.spend(amount, priority, now_ms)
        return True

    def overdraw(self, weight: int, orders: int, now_ms: int) -> bool:
        """Count a request that no lease covers; False while the exchange has us pause."""
        charges = self._charges(weight, orders)
        for share, _ in charges.values():
            share.roll(now_ms)
            if share.paused_until_ms > now_ms:
                return False
        for share, amount in charges.values():
            share.spend(amount, Priority.CANCEL, now_ms)
        return True

    def missing(self, weight: int, orders: int, priority: Priority, now_ms: int) -> dict[str, int]:
        """Pool -> how much the leases lack for a request."""
        found = {}
        for name, (share, amount) in self._charges(weight, orders).items():
            share.roll(now_ms)
            if share.available(priority) < amount:
                found[name] = amount - share.available(priority)
        return found

    def shortage(
        self, keep: Mapping[tuple[Counts, Priority], int], now_ms: int
    ) -> list[tuple[str, Priority, int]]:
        """(pool, priority, amount) that is lacking to what should always be at hand."""
        found = []
        for name, share in self._shares.items():
            share.roll(now_ms)
            for (counts, priority), wanted in keep.items():
                have = share.leases.get(priority, 0)
                if share.spec.counts is counts and have < wanted:
                    found.append((name, priority, wanted - have))
        return found

    def reports(self, now_ms: int) -> tuple[PoolReport, ...]:
        """The account of every pool."""
        found = []
        for name, share in self._shares.items():
            share.roll(now_ms)
            found.append(
                PoolReport(
                    pool=name,
                    spec=share.spec,
                    index=share.index,
                    spent=share.spent,
                    held=share.held,
                    late=share.late,
                    late_before=share.late_before,
                    seen=share.seen,
                    paused_until_ms=share.paused_until_ms if share.paused_until_ms > now_ms else 0,
                    reason=share.reason,
                )
            )
        return tuple(found)

    def take_in(self, answer: Settled, now_ms: int) -> None:
        """Add grants; those whose window has ended are void. Learn of pauses."""
        for grant in answer.grants:
            self._add(grant, now_ms)
        for name, (until, reason) in answer.paused.items():
            share = self._shares[name]
            if until > share.paused_until_ms:
                share.paused_until_ms, share.reason = until, reason

    def observe(self, headers: Mapping[str, str], now_ms: int) -> None:
        """Take the exchange's own counts in."""
        upper = {name.upper(): value for name, value in headers.items()}
        for share in self._shares.values():
            value = upper.get(share.spec.header, "") if share.spec.header else ""
            if value.isdigit():
                share.roll(now_ms)
                into_ms = now_ms - share.index * share.spec.length_ms
                if into_ms >= LATE_MS // 2 or int(value) < share.spec.usable // 2:
                    # an answer at a window's beginning may still tell the count of the one before
                    share.seen = max(share.seen, int(value))

    def pause(self, seconds: float, counts: Counts, reason: str, now_ms: int) -> None:
        """Let nothing leave that these pools count."""
        until = now_ms + int(seconds * 1_000)
        for share in self._of(counts):
            if until > share.paused_until_ms:
                share.paused_until_ms, share.reason = until, reason

    def paused(self, weight: int, orders: int, now_ms: int) -> int:
        """Ms until a request that costs this may leave as far as pauses go."""
        charged = self._charges(weight, orders).values()
        return max((share.paused_until_ms - now_ms for share, _ in charged), default=0)

    def set_limits(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Take the exchange's listed limits over."""
        for row in rows:
            counts = {"REQUEST_WEIGHT": Counts.WEIGHT, "ORDERS": Counts.ORDERS}.get(
                str(row["rateLimitType"])
            )
            unit = _MINUTES_MS.get(str(row["interval"]), 0)
            length_ms = unit * int(str(row["intervalNum"]))
            for share in self._shares.values():
                if share.spec.counts is counts and share.spec.length_ms == length_ms:
                    share.spec = replace(share.spec, limit=int(str(row["limit"])))

    def release(self, now_ms: int) -> None:
        """Let go of everything that is not spent."""
        for share in self._shares.values():
            share.roll(now_ms)
            share.leases.clear()

    def active(self, now_ms: int) -> bool:
        """Whether there is anything to report about this window or the one before."""
        for share in self._shares.values():
            share.roll(now_ms)
        return any(
            share.spent or share.held or share.late_before for share in self._shares.values()
        )

    def use(self, now_ms: int) -> float:
        """Greatest fraction of a weight pool that is used, as far as is known here."""
        found = [0.0]
        for share in self._of(Counts.WEIGHT):
            share.roll(now_ms)
            found.append(max(share.seen, share.spent) / share.spec.usable)
        return max(found)

    def next_roll_ms(self, now_ms: int) -> int:
        """Ms until the first window ends."""
        return min(
            (
                share.spec.length_ms - now_ms % share.spec.length_ms
                for share in self._shares.values()
            ),
            default=60_000,
        )

    def _add(self, grant: Grant, now_ms: int) -> None:
        share = self._shares[grant.pool]
        share.roll(now_ms)
        if grant.index == share.index:
            share.leases[grant.priority] = share.leases.get(grant.priority, 0) + grant.amount

    def _charges(self, weight: int, orders: int) -> dict[str, tuple[_Share, int]]:
        cost = {Counts.WEIGHT: weight, Counts.ORDERS: orders}
        return {
            name: (share, cost[share.spec.counts])
            for name, share in self._shares.items()
            if cost[share.spec.counts] > 0
        }

    def _of(self, counts: Counts) -> list[_Share]:
        return [share for share in self._shares.values() if share.spec.counts is counts]
