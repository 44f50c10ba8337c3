"""Agents inside one matching engine: money and inventory are conserved, orders move the price."""

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from don.envs.arena import ArenaBatch, ArenaConfig, ArenaParallel
from don.envs.arena_kernel import CASH, FEES, HELD, MADE, TRADED
from don.errors import UsageError


def actions(env: ArenaBatch, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        name: rng.uniform(-1, 1, (env.batch, len(group.agents), *group.action_space.shape))
        for name, group in env.groups.items()
    }


@pytest.mark.warm
def test_pettingzoo_accepts_the_arena() -> None:
    config = ArenaConfig(makers=2, takers=2, length=40)
    parallel_api_test(ArenaParallel(config), num_cycles=60)
    parallel_seed_test(lambda: ArenaParallel(config), num_cycles=40)


@pytest.mark.warm
def test_cash_and_inventory_are_conserved() -> None:
    env = ArenaBatch(ArenaConfig(makers=3, takers=3, length=150), 4)
    env.reset(1)
    total = env.accounts[:, :, CASH].sum(axis=1)
    rng = np.random.default_rng(0)
    for _ in range(150):
        env.step(actions(env, rng))
        held = env.accounts[:, :, HELD].sum(axis=1)
        assert not held.any()
        now = env.accounts[:, :, CASH].sum(axis=1) + env.accounts[:, :, FEES].sum(axis=1)
        assert np.allclose(now, total, rtol=1e-12)
        assert np.allclose(
            env.accounts[:, :, TRADED].sum(axis=1), env.accounts[:, :, MADE].sum(axis=1)
        )
    assert env.done.all() and env.accounts[:, :3, MADE].min() > 0
    with pytest.raises(UsageError, match="reset"):
        env.step(actions(env, rng))


def test_makers_do_not_quote_beyond_their_limit() -> None:
    env = ArenaBatch(ArenaConfig(makers=1, takers=0, inventory=5, length=300), 4)
    env.reset(3)
    seen = []
    for _ in range(300):
        env.step({"makers": np.tile([-1.0, 1.0, 1.0], (4, 1, 1))})  # buys near, sells far
        seen.append(env.accounts[:, 0, HELD].copy())
    held = np.array(seen)
    assert np.abs(held).max() == 5  # reached, never passed
    assert (np.diff(held, axis=0) < 0).any()  # who is at the limit still sells


def test_who_is_ruined_quotes_no_more() -> None:
    config = ArenaConfig(
        makers=2, takers=1, capital=60_000.0, sigma=0.01, inventory=200, length=300, seed=0
    )
    left = 0
    for seed in range(12):
        view = ArenaParallel(config)
        view.reset(seed=seed)
        gone: dict[str, np.ndarray] = {}
        while view.agents:
            given = {a: np.array([-1.0, -1.0, 1.0][: 1 if "taker" in a else 3], np.float32)
                     for a in view.agents}  # fmt: skip
            view.step(given)
            for name, account in gone.items():
                assert np.array_equal(view.batch.accounts[0, int(name[-1])], account)
            for name in {"maker_0", "maker_1"} - {*view.agents, *gone}:
                if view.agents:
                    gone[name] = view.batch.accounts[0, int(name[-1])].copy()
        left += len(gone)
    assert left


def test_orders_move_the_price() -> None:
    config = ArenaConfig(
        makers=0, takers=1, length=20, size=8, inventory=2000, sigma=0.0, noise=2, resting=256
    )
    ends = []
    for side in (1.0, 0.0, -1.0):
        env = ArenaBatch(config, 16)
        env.reset(3)
        for _ in range(20):
            env.step({"takers": np.full((16, 1, 1), side)})
        ends.append(env.marks.mean())
    assert ends[0] > ends[1] + 0.5 > ends[2] + 1


def test_slots_are_alike_whatever_runs_beside_them() -> None:
    config = ArenaConfig(makers=1, takers=1, length=30)
    many, one = ArenaBatch(config, 5), ArenaBatch(config, 1)
    seen, other = many.reset(10), one.reset(12)
    rng = np.random.default_rng(0)
    for _ in range(30):
        for name in seen:
            assert np.array_equal(seen[name][2], other[name][0])
        acts = actions(many, rng)
        seen = many.step(acts).observations
        other = one.step({name: each[2:3] for name, each in acts.items()}).observations
