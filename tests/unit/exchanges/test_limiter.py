"""The request budget: never above the exchange's limits, and always room for cancels."""

from hypothesis import given
from hypothesis import strategies as st

from don.exchanges.limiter import RateBudget
from don.exchanges.rates import Priority

REQUESTS = st.lists(
    st.tuples(
        st.integers(1, 40), st.integers(0, 1), st.sampled_from(Priority), st.integers(0, 3_000)
    ),
    max_size=300,
)


@given(REQUESTS)
def test_no_window_goes_over_its_limit(requests):
    budget = RateBudget(weight_per_minute=600, orders_per_10s=10, orders_per_minute=40)
    now = 0
    weight: dict[int, int] = {}
    orders: dict[int, int] = {}
    for cost, count, priority, pause in requests:
        now += pause
        wait = budget.take(cost, count, priority, now)
        if wait == 0:
            weight[now // 60_000] = weight.get(now // 60_000, 0) + cost
            orders[now // 10_000] = orders.get(now // 10_000, 0) + count
        else:
            now += wait
    assert max(weight.values(), default=0) <= 600
    assert max(orders.values(), default=0) <= 10


def test_polling_leaves_room_for_orders_and_orders_for_cancels():
    budget = RateBudget(weight_per_minute=100)
    taken = {}
    for priority in (Priority.POLL, Priority.OPEN, Priority.REDUCE, Priority.CANCEL):
        taken[priority] = 0
        while budget.take(1, 0, priority, 5) == 0:
            taken[priority] += 1
    assert list(taken.values()) == [60, 25, 10, 5]
    assert budget.use(5) == 1.0
    assert budget.take(1, 0, Priority.CANCEL, 5) == 60_000 - 5
    assert budget.take(1, 0, Priority.CANCEL, 60_000) == 0


def test_the_exchange_s_own_count_and_limits_win():
    budget = RateBudget(weight_per_minute=100)
    budget.correct({"X-MBX-USED-WEIGHT-1M": "99", "Other": "x"}, 10)
    assert budget.take(2, 0, Priority.CANCEL, 10) > 0
    row = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 200}
    budget.set_limits([row])
    assert budget.take(2, 0, Priority.CANCEL, 10) == 0


def test_after_a_warning_nothing_leaves_for_as_long_as_asked():
    budget = RateBudget()
    budget.block(2.0, 1_000)
    assert budget.take(1, 0, Priority.CANCEL, 1_500) == 1_500
    assert budget.take(1, 0, Priority.CANCEL, 3_000) == 0
