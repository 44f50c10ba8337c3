"""The cluster's budget against the exchange's own counting: never a 429, cancels always first."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from don.exchanges.budget import Ask, BudgetConfig, ClusterBudget, Settle
from don.exchanges.purse import LATE_MS, Purse
from don.exchanges.rates import LIMITS, Counts, ExchangeLimits, PoolSpec, Priority, Scope, limits_of
from don.paper.server.config import LimitsConfig
from don.paper.server.limits import RateLimits

EXCHANGE = LIMITS["BINANCE_FUTURES"]
ROWS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 400},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 40},
    {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 100},
]
PAPER = LimitsConfig(weight_per_minute=400, orders_per_10s=40, orders_per_minute=100)


class Lessee:
    """One client: settles in order, each message and each request takes its time."""

    def __init__(self, name: str, limits: ExchangeLimits = EXCHANGE) -> None:
        self.name = name
        self.seq = 0
        self.purse = Purse(limits, address="a", key="k")
        if limits is EXCHANGE:
            self.purse.set_limits(ROWS)

    def settle(self, budget: ClusterBudget, now: int, asks: tuple[Ask, ...] = ()) -> dict[str, int]:
        self.seq += 1
        reports = self.purse.reports(now)
        answer = budget.settle(
            Settle(lessee=self.name, seq=self.seq, reports=reports, asks=asks), now
        )
        self.purse.take_in(answer, now)
        return dict(answer.wait_ms)

    def request(
        self, budget: ClusterBudget, weight: int, orders: int, priority: Priority, now: int
    ) -> bool:
        if self.purse.spend(weight, orders, priority, now):
            return True
        missing = self.purse.missing(weight, orders, priority, now)
        self.settle(
            budget,
            now,
            tuple(
                Ask(pool=pool, priority=priority, minimum=amount, wanted=amount + 10)
                for pool, amount in missing.items()
            ),
        )
        return self.purse.spend(weight, orders, priority, now)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 19),  # who
        st.integers(1, 40),  # weight
        st.integers(0, 1),  # orders
        st.sampled_from(Priority),
        st.integers(0, 1_500),  # ms until the next
        st.integers(0, LATE_MS),  # ms under way
        st.sampled_from(["request"] * 8 + ["beat", "die", "restart", "header"]),
    ),
    min_size=50,
    max_size=300,
)


@settings(max_examples=40, deadline=None)
@given(STEPS, st.integers(0, 120_000))
def test_the_exchange_never_counts_more_than_it_allows(steps, start):
    """20 clients, arrivals out of order, deaths, restarts of the budget: no request is refused."""
    budget = ClusterBudget(BudgetConfig())
    now = start
    lessees = {n: Lessee(f"{n}:0") for n in range(20)}
    arrivals: list[tuple[int, int, int]] = []
    for number, (who, weight, orders, priority, pause, travel, kind) in enumerate(steps):
        now += pause
        match kind:
            case "die":
                lessees[who] = Lessee(f"{who}:{number}")
            case "restart":
                budget = ClusterBudget(BudgetConfig(), quiet_until_ms=now + 1)
                for lessee in lessees.values():
                    lessee.settle(budget, now)
            case "beat":
                lessees[who].settle(budget, now)
            case "header":
                lessees[who].purse.observe({"x-mbx-used-weight-1m": "60"}, now)
            case _:
                if lessees[who].request(budget, weight, orders, priority, now):
                    arrivals.append((now + travel, weight, orders))
    exchange = RateLimits(PAPER)
    dead_spends = any(kind == "die" for *_, kind in steps) and any(
        kind == "restart" for *_, kind in steps
    )
    if dead_spends:
        return  # what a dead client used is unknown to a budget that died too
    for arrived, weight, orders in sorted(arrivals):
        assert exchange.take(weight, orders, arrived) is None


def test_cancels_pass_where_data_polls_and_orders_have_to_wait():
    budget = ClusterBudget(BudgetConfig(margin=0))
    lessees = [Lessee(str(n)) for n in range(20)]
    now = 60_000 * 100 + 5_000
    passed = {}
    for priority in sorted(Priority, key=lambda p: p.value):
        passed[priority] = 0
        progress = True
        while progress:
            progress = False
            for lessee in lessees:
                if lessee.request(budget, 1, 0, priority, now):
                    passed[priority] += 1
                    progress = True
    assert passed == {
        Priority.DATA: 200,
        Priority.POLL: 40,
        Priority.OPEN: 100,
        Priority.REDUCE: 40,
        Priority.CANCEL: 20,
    }
    assert not lessees[0].request(budget, 1, 0, Priority.CANCEL, now)
    assert lessees[0].request(budget, 1, 0, Priority.CANCEL, now + 60_000)


def test_what_was_lent_for_cancels_is_not_spent_on_orders():
    budget = ClusterBudget(BudgetConfig())
    lessee = Lessee("a")
    now = 5_000
    lessee.settle(budget, now)
    lessee.settle(
        budget,
        now,
        tuple(
            Ask(pool=r.pool, priority=Priority.CANCEL, minimum=1, wanted=5)
            for r in lessee.purse.reports(now)
            if r.spec.counts is Counts.WEIGHT
        ),
    )
    assert not lessee.purse.spend(1, 0, Priority.REDUCE, now)
    assert lessee.purse.spend(5, 0, Priority.CANCEL, now)


def test_a_refused_request_pauses_its_pool_for_everyone_and_says_until_when():
    budget = ClusterBudget(BudgetConfig())
    one, other = Lessee("one"), Lessee("other")
    now = 10_000
    one.purse.pause(30, Counts.ORDERS, "too many new orders", now)
    one.settle(budget, now)
    assert other.request(budget, 1, 0, Priority.DATA, now), "the weight is another pool"
    assert not other.request(budget, 1, 1, Priority.OPEN, now)
    assert other.purse.paused(1, 1, now) == 30_000
    paused = [view for view in budget.view(now) if view.paused_until_ms]
    assert {view.paused_until_ms for view in paused} == {40_000}
    assert {view.reason for view in paused} == {"too many new orders"}
    assert other.request(budget, 1, 1, Priority.OPEN, 41_500)
    assert [view for view in budget.view(41_500) if view.paused_until_ms] == []


def test_the_exchange_s_count_includes_what_others_use():
    budget = ClusterBudget(BudgetConfig(margin=0))
    lessee = Lessee("a")
    now = 65_000
    assert lessee.request(budget, 1, 0, Priority.DATA, now)
    lessee.purse.observe({"X-MBX-USED-WEIGHT-1M": "190"}, now)
    lessee.settle(budget, now)
    (weight,) = [view for view in budget.view(now) if "weight" in view.pool]
    assert weight.foreign > 150
    assert not lessee.request(budget, 30, 0, Priority.DATA, now)
    assert lessee.request(budget, 30, 0, Priority.POLL, now)


def test_a_dead_client_s_lease_stays_used_until_its_window_ends():
    budget = ClusterBudget(BudgetConfig(margin=0, ttl_ms=1_000))
    dead, living = Lessee("dead"), Lessee("living")
    now = 60_000
    now += 500
    while dead.request(budget, 10, 0, Priority.DATA, now):
        pass
    assert not living.request(budget, 10, 0, Priority.DATA, now + 2_000)
    (weight,) = [view for view in budget.view(now + 2_000) if "weight" in view.pool]
    assert weight.used == 200
    assert living.request(budget, 10, 0, Priority.DATA, 120_500)


def test_messages_that_were_overtaken_change_nothing():
    budget = ClusterBudget(BudgetConfig())
    lessee = Lessee("a")
    reports = lessee.purse.reports(5_000)
    budget.settle(Settle(lessee="a", seq=2, reports=reports), 5_000)
    ask = Ask(pool=reports[0].pool, priority=Priority.CANCEL, minimum=1, wanted=1)
    late = budget.settle(Settle(lessee="a", seq=1, reports=reports, asks=(ask,)), 5_000)
    assert late.grants == ()


@given(st.integers(1, 400), st.integers(1, 20))
def test_a_sliding_window_is_never_exceeded_wherever_it_is_laid(limit, seed):
    spec = PoolSpec(
        name="w", counts=Counts.WEIGHT, scope=Scope.IP, length_ms=2_000, limit=limit, sliding=True
    )
    limits = ExchangeLimits(exchange="X", pools=(spec,), weights={})
    budget = ClusterBudget(BudgetConfig())
    lessee = Lessee("a", limits)
    rng = random.Random(seed)
    sent, now = [], 0
    for _ in range(400):
        now += rng.randrange(20)
        if lessee.request(budget, 1, 0, Priority.CANCEL, now):
            sent.append(now)
    for first in sent:
        assert len([t for t in sent if first <= t < first + 2_000]) <= max(2, limit)


def test_every_exchange_has_limits_or_gets_them_from_its_spacing():
    assert limits_of("BITMEX").pools
    unknown = limits_of("ASCENDEX", spacing_ms=400)
    assert unknown.pools[0].usable / (unknown.pools[0].length_ms / 1_000) <= 2.5
    assert EXCHANGE.weight("klines", {"limit": 1500}) == 10
    assert EXCHANGE.weight("premiumIndex", {}) == 10
