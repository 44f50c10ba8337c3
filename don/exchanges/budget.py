"""One request budget for the whole cluster: who may use how much of each pool. Pure; time comes in.

Lessees (processes that send requests) settle now and then: they report what they used, as absolute
counts, and ask for more. Reports are repeatable, so a lost answer, a lessee that died and a budget
that was restarted all mend themselves. What is lent counts as used until it is reported back, also
in the window after it if it may have left too late: the exchange never counts more than we do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field

from don.exchanges.rates import PoolSpec, Priority
from don.model.section import Section


class BudgetConfig(Section):
    """Rules of the budget."""

    margin: float = Field(default=0.02, ge=0, lt=1)  # of every limit, never used
    start_guard_ms: int = Field(default=100, ge=0)  # of a window: error of our clock
    ttl_ms: int = Field(default=15_000, gt=0)  # silence after which a lessee is taken for dead
    max_lessees: int = Field(default=4_096, gt=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReport:
    """A lessee's account of one pool; absolute counts of the window `index`."""

    pool: str
    spec: PoolSpec
    index: int
    spent: int
    held: int  # leased and not yet spent
    late: int  # of `spent`, so near the window's end that the exchange may count it in the next
    late_before: int  # the same, of the window before
    seen: int = -1  # what the exchange said was used in this window; -1: it did not say
    paused_until_ms: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A wish for more."""

    pool: str
    priority: Priority
    minimum: int  # less is of no use
    wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """What a lessee sends. `seq` rises with every message of the lessee."""

    lessee: str
    seq: int
    reports: tuple[PoolReport, ...]
    asks: tuple[Ask, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A lease: to be spent before window `index` ends, by requests of this priority or above."""

    pool: str
    index: int
    amount: int
    priority: Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The answer: what was granted, when to ask again, and what is paused."""

    grants: tuple[Grant, ...] = ()
    wait_ms: Mapping[str, int] = field(default_factory=dict)  # pool -> until it is worth asking
    paused: Mapping[str, tuple[int, str]] = field(default_factory=dict)  # pool -> (until, why)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """A pool now, for people and metrics."""

    pool: str
    limit: int
    used: int
    held: int  # of these, leased and not known to be spent
    foreign: int  # used by others at the same address or key, at least
    lessees: int
    window_end_ms: int
    paused_until_ms: int
    reason: str


@dataclass(slots=True)
class _Holding:
    spent: int = 0
    held: int = 0
    late: int = 0


@dataclass(slots=True)
class _Pool:
    """One count of the exchange, and who holds how much of it."""

    spec: PoolSpec
    index: int
    holdings: dict[str, _Holding] = field(default_factory=dict)
    carried: dict[str, int] = field(default_factory=dict)  # lent in the window before
    gone: int = 0  # lent to lessees that died
    seen: int = -1
    paused_until_ms: int = 0
    reason: str = ""

    def roll(self, now_ms: int) -> None:
        index = now_ms // self.spec.length_ms
        if index <= self.index:
            return
        self.carried = {}
        if index == self.index + 1:
            for lessee, holding in self.holdings.items():
                if holding.held + holding.late:
                    self.carried[lessee] = holding.held + holding.late
        self.holdings, self.gone, self.seen, self.index = {}, 0, -1, index

    def report(self, lessee: str, report: PoolReport) -> None:
        if report.index < self.index:
            if report.index == self.index - 1:  # its window ended while the message travelled
                self.carried[lessee] = report.held + report.late
            return
        self.carried.pop(lessee, None)
        if report.late_before:
            self.carried[lessee] = report.late_before
        self.holdings[lessee] = _Holding(spent=report.spent, held=report.held, late=report.late)
        self.seen = max(self.seen, report.seen)

    def forget(self, lessee: str) -> None:
        holding = self.holdings.pop(lessee, None)
        if holding is not None:
            self.gone += holding.spent + holding.held
        self.gone += self.carried.pop(lessee, 0)

    @property
    def held(self) -> int:
        return sum(holding.held for holding in self.holdings.values())

    @property
    def lent(self) -> int:
        spent = sum(holding.spent for holding in self.holdings.values())
        return spent + self.held + sum(self.carried.values()) + self.gone

    @property
    def used(self) -> int:
        """What the exchange may count in this window at most, as far as is known."""
        return max(self.lent, self.seen + self.held if self.seen >= 0 else 0)

    def end_ms(self) -> int:
        return (self.index + 1) * self.spec.length_ms


class ClusterBudget:
    """All pools of all exchanges.

    Args:
        config: rules.
        quiet_until_ms: until then only cancels are granted: set after a restart, so that living
            lessees can tell what they used before anything else leaves.
    """

    def __init__(self, config: BudgetConfig, quiet_until_ms: int = 0) -> None:
        self._config = config
        self._quiet_until_ms = quiet_until_ms
        self._pools: dict[str, _Pool] = {}
        self._heard: dict[str, tuple[int, int]] = {}  # lessee -> (time, seq)

    def settle(self, message: Settle, now_ms: int) -> Settled:
        """Take a lessee's reports in and answer its asks, all at one time.

        A message that was overtaken by a later one of the same lessee changes nothing and is
        granted nothing.
        """
        self.expire(now_ms)
        _, seq = self._heard.get(message.lessee, (0, -1))
        if message.seq <= seq:
            return Settled()
        if message.lessee not in self._heard and len(self._heard) >= self._config.max_lessees:
            return Settled(wait_ms={ask.pool: self._config.ttl_ms for ask in message.asks})
        self._heard[message.lessee] = (now_ms, message.seq)
        for report in message.reports:
            pool = self._pools.get(report.pool)
            if pool is None:
                index = now_ms // report.spec.length_ms
                pool = self._pools[report.pool] = _Pool(spec=report.spec, index=index)
            pool.spec = report.spec
            pool.roll(now_ms)
            pool.report(message.lessee, report)
            if report.paused_until_ms > max(pool.paused_until_ms, now_ms):
                pool.paused_until_ms, pool.reason = report.paused_until_ms, report.reason
        grants: list[Grant] = []
        waits: dict[str, int] = {}
        for ask in message.asks:
            amount, wait = self._grant(message.lessee, ask, now_ms)
            if amount:
                index = self._pools[ask.pool].index
                grants.append(
                    Grant(pool=ask.pool, index=index, amount=amount, priority=ask.priority)
                )
            else:
                waits[ask.pool] = max(wait, waits.get(ask.pool, 0))
        paused = {
            report.pool: (pool.paused_until_ms, pool.reason)
            for report in message.reports
            if (pool := self._pools[report.pool]).paused_until_ms > now_ms
        }
        return Settled(grants=tuple(grants), wait_ms=waits, paused=paused)

    def expire(self, now_ms: int) -> None:
        """Forget lessees that were silent too long; what they held stays used in its window."""
        dead = [name for name, (ts, _) in self._heard.items() if now_ms - ts > self._config.ttl_ms]
        for pool in self._pools.values():
            pool.roll(now_ms)
            for lessee in dead:
                pool.forget(lessee)
        for lessee in dead:
            del self._heard[lessee]

    def view(self, now_ms: int) -> list[PoolView]:
        """All pools, by name."""
        self.expire(now_ms)
        return [
            PoolView(
                pool=name,
                limit=pool.spec.usable,
                used=pool.used,
                held=pool.held,
                foreign=max(0, pool.seen - pool.lent),
                lessees=len(pool.holdings),
                window_end_ms=pool.end_ms(),
                paused_until_ms=pool.paused_until_ms if pool.paused_until_ms > now_ms else 0,
                reason=pool.reason if pool.paused_until_ms > now_ms else "",
            )
            for name, pool in sorted(self._pools.items())
        ]

    def _grant(self, lessee: str, ask: Ask, now_ms: int) -> tuple[int, int]:
        """(amount, 0) or (0, ms to wait)."""
        pool = self._pools[ask.pool]
        if pool.paused_until_ms > now_ms:
            return 0, pool.paused_until_ms - now_ms
        urgent = ask.priority is Priority.CANCEL
        if self._quiet_until_ms > now_ms and not urgent:
            return 0, self._quiet_until_ms - now_ms
        into_ms = now_ms - pool.index * pool.spec.length_ms
        guard_ms = min(self._config.start_guard_ms, pool.spec.length_ms // 10)
        if into_ms < guard_ms and not urgent:
            return 0, guard_ms - into_ms
        usable = max(1, int(pool.spec.usable * (1 - self._config.margin)))
        used = pool.used
        cap = int(usable * ask.priority.value)
        if used == 0:  # a request dearer than its share must be able to leave some time
            cap = max(cap, min(ask.minimum, usable))
        room = cap - used
        if room < ask.minimum:
            return 0, max(1, pool.end_ms() + guard_ms - now_ms)
        # the less there is, the smaller the pieces: nobody sits on what another needs
        piece = room // (2 * max(1, len(pool.holdings)))
        amount = min(ask.wanted, max(ask.minimum, piece))
        holding = pool.holdings.setdefault(lessee, _Holding())
        holding.held += amount
        return amount, 0
