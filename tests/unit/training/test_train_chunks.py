"""Chunks of the batched runner hold what the environment gave; the learner uses all of it."""

import pickle
from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.algorithms.impala.torch.vtrace_torch_v2 import make_time_major, vtrace_torch
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer
from support import planted

from don.envs import BatchEnv
from don.learning.config import NetConfig
from don.learning.nets import PolicyNet
from don.learning.shapes import observation_shapes
from experiments.rllib.appo import Trajectories
from experiments.rllib.chunks import Chunks, chunk
from experiments.rllib.connectors import Advantages, advantages
from experiments.rllib.modules import draw, greedy


def plain(rewards: list[float], value: list[float], gamma: float, lambda_: float) -> list[float]:
    """By the definition: a sum of discounted errors, each from the start."""
    T = len(rewards)
    delta = [rewards[t] + gamma * value[t + 1] - value[t] for t in range(T)]
    return [sum((gamma * lambda_) ** (k - t) * delta[k] for k in range(t, T)) for t in range(T)]


@settings(max_examples=25)
@given(st.integers(1, 12), st.floats(0, 1), st.floats(0, 1), st.integers(0, 1000))
def test_advantages_are_those_of_the_definition(
    steps: int, gamma: float, lambda_: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rewards = rng.normal(size=(3, steps)).astype(np.float32)
    value = rng.normal(size=(3, steps + 1)).astype(np.float32)
    got = advantages(rewards, value, gamma, lambda_)
    for i in range(3):
        want = plain(rewards[i].tolist(), value[i].tolist(), gamma, lambda_)
        np.testing.assert_allclose(got[i], want, rtol=1e-4, atol=1e-4)


def run(env: BatchEnv, steps: int) -> tuple[list, list[tuple]]:
    """Chunks of random actions, and a plain record (copy, agent, seen, action, reward, end)."""
    rng = np.random.default_rng(0)
    seen = env.reset(seed=3)["agents"]
    B, A, _ = seen.shape
    group = env.groups["agents"]
    chunks = Chunks(seen, group.action_space, steps)
    alive = np.ones((B, A), bool)
    record = []
    for t in range(steps):
        actions = rng.integers(0, 3, (B, A))
        rows = actions.reshape(-1)
        chunks.act(t, np.arange(A), rows, np.zeros((len(rows), 3)), np.zeros(len(rows)))
        step = env.step(chunks.actions_at(t))
        after = step.observations["agents"]
        chunks.take(t, step.rewards["agents"], after)
        gone = step.terminated["agents"] & alive
        over = alive & step.done[:, None] & ~gone
        for b, a in np.argwhere(alive):
            end = "gone" if gone[b, a] else "over" if over[b, a] else ""
            reward = float(step.rewards["agents"][b, a])
            was, then = seen[b, a].copy(), after[b, a].copy()
            record.append((b, a, was, int(actions[b, a]), reward, end, then))
        chunks.cut(t, gone, after, terminated=True)
        chunks.cut(t, over, after, terminated=False)
        alive &= ~gone
        seen = after
        if step.done.any():
            seen = env.reset(which=step.done)["agents"]
            alive[step.done] = True
            chunks.begin(t + 1, step.done, seen)
    names = [f"{b}" for b in range(A)]
    return chunks.episodes("x", names, ["p"] * A, alive, steps, np.zeros(B, np.int64)), record


def test_chunks_hold_each_step_once_with_its_own_next_observation() -> None:
    changes = {"episode": {"length": 7, "ruin": 0.993}, "action": {"kind": "discrete"}}
    env = BatchEnv(planted.market(400, 2), planted.config(**changes), 4)
    episodes, record = run(env, 40)
    assert sum(len(e) for e in episodes) == len(record)
    kinds = {r[5] for r in record}
    assert kinds == {"", "gone", "over"}  # agents were ruined alone, episodes ended, and went on
    rows = {}
    for e in episodes:
        obs, acts, rewards = e.observations.data, e.actions.data, e.rewards.data
        assert len(obs) == len(e) + 1
        for t in range(len(e)):
            last = t == len(e) - 1
            end = ("gone" if e.is_terminated else "over" if e.is_truncated else "") if last else ""
            key = (obs[t].tobytes(), int(acts[t]), float(rewards[t]), end, obs[t + 1].tobytes())
            rows[key] = rows.get(key, 0) + 1
    for _, _, seen, action, reward, end, after in record:
        key = (seen.tobytes(), action, float(np.float32(reward)), end, after.tobytes())
        assert rows.get(key, 0) > 0
        rows[key] -= 1


def test_chunks_are_episodes_as_rllib_makes_them() -> None:
    rng = np.random.default_rng(0)
    obs, acts, rewards = rng.random((6, 3)), rng.random((5, 1)), rng.random(5)
    told = {"action_logp": rng.random(5)}
    ours = chunk("e", "a", "p", obs, acts, rewards, told, terminated=True, truncated=False, begun=4)
    theirs = SingleAgentEpisode(
        id_="e", observations=obs, actions=acts, rewards=rewards, infos=[{}] * 6,
        extra_model_outputs=told, terminated=True, truncated=False, len_lookback_buffer=0,
        agent_id="a", module_id="p", multi_agent_episode_id="e", t_started=4,
    )  # fmt: skip
    ours.validate()
    for slot in SingleAgentEpisode.__slots__:
        got, want = getattr(ours, slot), getattr(theirs, slot)
        if isinstance(want, InfiniteLookbackBuffer):
            assert set(vars(got)) == set(vars(want))
            assert got.lookback == want.lookback
            assert got.finalized == want.finalized
            assert len(got) == len(want)
            np.testing.assert_array_equal(got.data, want.data)
        elif slot == "extra_model_outputs":
            assert {k: v.data is told[k] for k, v in got.items()} == {k: True for k in want}
        else:
            assert got == want
    again = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(again.observations.data, obs)


def test_a_network_with_memory_learns_from_the_states_that_it_acted_with() -> None:
    env = BatchEnv(planted.market(400, 2), planted.config(), 3)
    shape, group = observation_shapes(env)["agents"], env.groups["agents"]
    net = PolicyNet(shape, group.action_space, NetConfig(hidden=(8,), memory=4))
    B, A, T = 3, 2, 11
    seen = env.reset(seed=1)["agents"]
    chunks = Chunks(seen, group.action_space, T)
    state = torch.zeros(B * A, 4)
    inputs_seen = []
    for t in range(T):
        chunks.remember(t, np.arange(A), state.reshape(B, A, 4).numpy())
        with torch.no_grad():
            inputs, _, state = net(torch.from_numpy(seen).reshape(B * A, -1), state)
        inputs_seen.append(inputs.reshape(B, A, -1))
        actions, logp = draw(inputs, net.action)
        chunks.act(t, np.arange(A), actions.numpy(), inputs.numpy(), logp.numpy())
        step = env.step(chunks.actions_at(t))
        seen = step.observations["agents"]
        chunks.take(t, step.rewards["agents"], seen)
    episodes = chunks.episodes("x", ["a", "b"], ["p", "p"], np.ones((B, A), bool), T,
                               np.zeros(B, np.int64))  # fmt: skip

    def values(batch: dict) -> torch.Tensor:
        return net(batch["obs"], batch.get("don_state"))[1]

    module = SimpleNamespace(state_size=4, compute_values=values)
    policies = {"p": SimpleNamespace(unwrapped=lambda: module)}
    batch = Advantages(sequence=4)(rl_module=policies, batch={}, episodes=episodes)["p"]
    mask = batch["loss_mask"]
    assert int(mask.sum()) == B * A * T
    with torch.no_grad():
        again, _, _ = net(batch["obs"], batch["don_state"])
    np.testing.assert_allclose(again[mask], batch["action_dist_inputs"][mask], atol=1e-6)


def test_draws_have_the_distribution_that_they_are_said_to_have() -> None:
    torch.manual_seed(0)
    env = BatchEnv(planted.market(100), planted.config(), 1)
    net = PolicyNet(observation_shapes(env)["agents"], env.groups["agents"].action_space,
                    NetConfig())  # fmt: skip
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3]])).repeat(20_000, 1)
    drawn, logp = draw(logits, net.action)
    shares = torch.bincount(drawn, minlength=3) / len(drawn)
    np.testing.assert_allclose(shares, [0.2, 0.5, 0.3], atol=0.015)
    np.testing.assert_allclose(logp.exp(), torch.tensor([0.2, 0.5, 0.3])[drawn], rtol=1e-5)
    assert (greedy(logits, net.action) == 1).all()


def test_trajectories_count_what_follows_their_last_step_as_it_is() -> None:
    rng = np.random.default_rng(0)
    gamma, T = 0.9, 6
    episodes, plain_targets, values = [], [], []
    for length, terminated in ((5, False), (3, True), (3, False), (5, True)):
        obs, rewards = rng.random((length + 1, 2)), rng.random(length)
        told = {"action_logp": -rng.random(length)}
        episodes.append(
            chunk("e", "a", "p", obs, rng.integers(0, 3, length), rewards, told,
                  terminated=terminated, truncated=not terminated, begun=0)
        )  # fmt: skip
        value = rng.random(T)
        gained = 0.0 if terminated else float(value[length])
        targets = []
        for t in range(length - 1, -1, -1):
            gained = rewards[t] + gamma * gained
            targets.append(gained)
        plain_targets.append(targets[::-1])
        values.append(value)
    batch = Trajectories(steps=T - 1)(episodes=episodes)["p"]
    order = [0, 3, 1, 2]  # by length, as they came
    mask = batch["loss_mask"]
    assert mask.reshape(4, T).sum(1).tolist() == [5, 5, 3, 3]
    seen = batch["obs"].reshape(4, T, 2).numpy()
    for row, n in enumerate(order):
        was = episodes[n].observations.data
        np.testing.assert_array_equal(seen[row, : len(was)], was)
        assert not seen[row, len(was) :].any()

    def rows(flat: torch.Tensor) -> torch.Tensor:
        return make_time_major(flat, trajectory_len=T)

    acted = batch["action_logp"]
    value = rows(torch.from_numpy(np.concatenate([values[n] for n in order])))
    found, _ = vtrace_torch(  # as the loss calls it, with a policy that has not changed
        target_action_log_probs=rows(torch.where(mask, acted, -rng.random())),
        behaviour_action_log_probs=rows(acted),
        discounts=(1.0 - rows(batch["terminateds"]).float()) * gamma * rows(mask).float(),
        rewards=rows(batch["rewards"]), values=value,
        bootstrap_values=torch.cat([value[0][1:], value[0][:1]]),
        clip_pg_rho_threshold=1.0, clip_rho_threshold=1.0,
    )  # fmt: skip
    for row, n in enumerate(order):
        want = plain_targets[n]
        np.testing.assert_allclose(found[: len(want), row].numpy(), want, rtol=1e-6)
