"""Records and replays of episodes; made-up histories; state of the normalisers; rewards."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.envs import columns, market

from don.envs import BatchEnv, EnvConfig, load_market
from don.envs.arena import ArenaBatch, ArenaConfig
from don.envs.config import RewardConfig, RewardTerm, Scaling, VariantConfig
from don.envs.layout import ABSENT, CLOSE, HIGH, LOW, OPEN, STATE, VOLUME
from don.envs.normalize import Normalizer, NormalizerState, fit
from don.envs.randomize import stationary_bootstrap, variants
from don.envs.record import Recorder, Source, load, replay, save
from don.envs.rewards import Rewards, StepView
from don.errors import ConfigError, DataError, UsageError
from don.model.section import parsed
from experiments.training_config import TrainConfig


def setting(**more: object) -> EnvConfig:
    base: dict = {
        "agents": 2, "episode": {"length": 20}, "random": {"taker": [0.5, 2.0]},
        "observation": {"window": 4, "features": ["log_return_1", "rsi_14"]},
    }  # fmt: skip
    return EnvConfig.model_validate({**base, **more})


@pytest.mark.parametrize("form", ["own", "shared", "allocated"])
@pytest.mark.parametrize("layout", ["flat", "dict"])
def test_a_record_replays_to_the_bit(tmp_path: Path, form: str, layout: str) -> None:
    made = market()
    more = {"observation": {"features": ["log_return_1"], "layout": layout}}
    recorder = Recorder(BatchEnv(made, setting(form=form, **more), 1), observations=True)
    rng = np.random.default_rng(0)
    recorder.reset(5)
    for _ in range(2):  # the second episode of the slot
        recorder.reset()
        for _ in range(15):
            env = recorder._env
            recorder.step(
                {
                    n: rng.uniform(-1, 1, (1, len(g.agents), *g.action_space.shape))
                    for n, g in env.groups.items()
                }
            )
    path = tmp_path / "episode.parquet"
    save(recorder.episode(), path)
    held = load(path)
    found = replay(held, made)
    assert found.same and found.steps == found.equal == 15
    wrong = held.equity.copy()
    wrong[7] += 1e-9
    bad = replay(replace(held, equity=wrong), made)
    assert (bad.first_difference, bad.what, bad.equal) == (7, "equity", 14)
    with pytest.raises(DataError, match="the data changed"):
        replay(held, market(seed=1))
    with pytest.raises(DataError, match="name the tape"):
        replay(held)


def test_a_record_knows_what_its_environment_began_with(tmp_path: Path) -> None:
    made, config = market(), setting(observation={"features": ["log_return_1"], "window": 2})
    trained = BatchEnv(made, config, 1)
    env = BatchEnv(made, config, 1, states=trained.states)  # as a model's environment does
    env.reset(9)  # and not by the recorder
    recorder = Recorder(env)
    recorder.reset()
    for _ in range(10):
        recorder.step(np.full((1, 2, len(made.symbols)), 0.5))
    save(recorder.episode(), tmp_path / "episode.parquet")
    held = load(tmp_path / "episode.parquet")
    assert replay(held, made).same and held.seed == 9 and held.number == 2
    assert not replay(replace(held, states=()), made).same
    with pytest.raises(DataError, match=r"features of hash abc, they make .* another version"):
        replay(replace(held, features="abc"), made)


def test_what_cannot_be_replayed_is_not_recorded() -> None:
    with pytest.raises(UsageError, match=r"rewards of your own functions cannot be recorded"):
        Recorder(BatchEnv(market(), setting(), 1, rewards=[(1.0, lambda view: view.equity)]))
    with pytest.raises(UsageError, match="takes a BatchEnv, was ArenaBatch"):
        Recorder(ArenaBatch(ArenaConfig()))


def test_replay_command(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from don.cli.main import app

    env = BatchEnv(load_market(None), setting(form="own", agents=1), 1)
    recorder = Recorder(env, Source())
    recorder.reset(1)
    for _ in range(5):
        recorder.step(np.ones((1, 1, len(env.market.symbols))))
    path = tmp_path / "episode.parquet"
    save(recorder.episode(), path)
    told = CliRunner().invoke(app, ["replay", str(path), "--json"])
    assert told.exit_code == 0 and '"equal": 5' in told.stdout
    episode = recorder.episode()
    save(replace(episode, equity=episode.equity + 1), path)
    assert CliRunner().invoke(app, ["replay", str(path)]).exit_code == 3
    other = load_market(None, leverage=7)
    recorder = Recorder(BatchEnv(other, setting(form="own", agents=1), 1), Source())
    recorder.reset(1)
    recorder.step(np.ones((1, 1, len(other.symbols))))
    save(recorder.episode(), path)
    assert replay(load(path)).same
    with pytest.raises(DataError, match="needs start_ns"):
        Source(interval_ns=3600 * 10**9, symbols=("BTC-USDT-PERP",)).load()
    path.write_bytes(b"no")
    with pytest.raises(DataError, match="not a readable"):
        load(path)


def test_variants_are_possible_bars_and_reproduce() -> None:
    made = market(bars=300, depth=50.0)
    config = VariantConfig(
        bootstraps=2, shuffles=1, crashes=0.02, gaps=0.02, gap=(2, 5), seed=4, block=20
    )
    one, again = variants(made, config), variants(made, config)
    assert one.hash == again.hash != variants(made, config.model_copy(update={"seed": 5})).hash
    assert [(s.start, s.stop) for s in one.segments] == [(300 * i, 300 * i + 300) for i in range(4)]
    assert np.array_equal(one.bars[:300], made.bars)
    bars = one.bars[300:]
    assert (bars[:, :, HIGH] >= bars[:, :, [OPEN, CLOSE]].max(axis=2)).all()
    assert (bars[:, :, LOW] <= bars[:, :, [OPEN, CLOSE]].min(axis=2)).all()
    gap = bars[:, :, STATE] == ABSENT
    assert gap.any() and not bars[gap, VOLUME].any()
    falls = 1 - bars[:, :, LOW] / bars[:, :, OPEN]
    assert (falls.min(axis=1) > 0.05).any()  # a crash takes all symbols at once
    env = BatchEnv(one, setting(agents=1), 64)
    env.reset(0)
    assert len({int(t) // 300 for t in env.bar_of}) == 4
    for _ in range(20):
        env.step(np.random.default_rng(0).uniform(-1, 1, (64, 1, 3)))
    plain = variants(made, VariantConfig(bootstraps=1, keep_real=False))
    moves = np.abs(np.diff(np.log(plain.bars[:, :, CLOSE]), axis=0)).mean()
    real = np.abs(np.diff(np.log(made.bars[:, :, CLOSE]), axis=0)).mean()
    assert abs(moves / real - 1) < 0.3


@pytest.mark.parametrize(
    "name, value", [("crashes", 0.1), ("gaps", 0.1), ("keep_real", False), ("regimes", 4)]
)
def test_what_made_up_histories_have_is_refused_without_any(name: str, value: float) -> None:
    told = f"variants.{name} must be left out without bootstraps and shuffles, .* none; was {value}"
    with pytest.raises(ConfigError, match=told):
        parsed(TrainConfig, {"variants": {name: value}}, "test")
    for more in ({"bootstraps": 1}, {"shuffles": 1}):
        assert parsed(TrainConfig, {"variants": {name: value, **more}}, "test").variants
    assert VariantConfig(bootstraps=0) == VariantConfig.model_validate(VariantConfig().model_dump())


def test_bootstrap_blocks_have_their_length() -> None:
    places = stationary_bootstrap(20_000, 25.0, np.random.default_rng(0))
    breaks = np.sum((places[1:] - places[:-1]) % 20_000 != 1)
    assert 20_000 / breaks == pytest.approx(25.0, rel=0.1)


def test_normaliser_streams_continue_from_a_saved_state() -> None:
    values = np.random.default_rng(0).normal(3, 2, (200, 2, 3))
    values[:10] = np.nan
    for scaling in (Scaling.EXPANDING, Scaling.EWMA):
        whole = Normalizer(scaling, "abc", "XY", half_life=30).batch(values)
        first = Normalizer(scaling, "abc", "XY", half_life=30)
        head = first.batch(values[:120])
        told = NormalizerState.load(first.state().dump())
        rest = Normalizer(scaling, "abc", "XY", half_life=30, state=told)
        tail = np.stack([rest.update(row) for row in values[120:]])
        assert np.array_equal(np.concatenate([head, tail]), whole, equal_nan=True)
        mean, sd = values[10:151].mean(axis=0), values[10:151].std(axis=0)
        if scaling is Scaling.EXPANDING:
            assert np.allclose(whole[150], (values[150] - mean) / sd)
    state = fit(values[:100], "abc", "XY")
    fixed = Normalizer(Scaling.FITTED, "abc", "XY", state=state)
    assert np.array_equal(fixed.batch(values)[150], fixed.update(values[150]))
    with pytest.raises(ConfigError, match="needs a state"):
        Normalizer(Scaling.FITTED, "abc", "XY").batch(values)
    with pytest.raises(ConfigError, match="state must be of"):
        Normalizer(Scaling.FITTED, "abd", "XY", state=state)


def view(growth: float, before: float = 1e5) -> StepView:
    one = np.array([before])
    return StepView(
        before=one, after=one * growth, start=np.array([1e5]), costs=one * 0.001, funding=one * 0,
        turnover=one, active=np.ones(1, np.bool_), weights=lambda: np.array([[0.5]]),
    )  # fmt: skip


def test_rewards_follow_their_formulas() -> None:
    returns = np.random.default_rng(1).normal(0.001, 0.01, 50)
    eta = 1.0 / np.arange(1, 51)
    eta = np.maximum(eta, 0.05)
    sharpe = Rewards(RewardConfig(terms=(RewardTerm(name="differential_sharpe", rate=0.05),)), 1)
    sortino = Rewards(RewardConfig(terms=(RewardTerm(name="differential_sortino", rate=0.05),)), 1)
    a = b = d2 = 0.0
    for n, r in enumerate(returns):
        got, other = sharpe(view(1 + r))[0], sortino(view(1 + r))[0]
        spread = b - a * a
        want = (b * (r - a) - 0.5 * a * (r * r - b)) / spread**1.5 if spread > 1e-12 else 0.0
        assert got == pytest.approx(np.clip(want, -10, 10), rel=1e-6, abs=1e-9)
        d = d2**0.5
        if d2 <= 1e-12:
            want = 0.0
        elif r > 0:
            want = (r - a / 2) / d
        else:
            want = (d2 * (r - a / 2) - a * r * r / 2) / d**3
        assert other == pytest.approx(np.clip(want, -10, 10), rel=1e-6, abs=1e-9)
        a, b, d2 = (
            a + eta[n] * (r - a),
            b + eta[n] * (r * r - b),
            d2 + eta[n] * (min(r, 0) ** 2 - d2),
        )
    falls = Rewards(RewardConfig(terms=(RewardTerm(name="drawdown", scale=2.0),)), 1)
    assert [round(float(falls(view(g))[0]), 6) for g in (1.1, 0.9, 1.05, 0.95)] == [
        0, -0.2, 0, pytest.approx(-2 * (1 - 0.9 * 1.05 * 0.95 - (1 - 0.9 * 1.05)), abs=1e-6)
    ]  # fmt: skip
    mixed = RewardConfig(
        terms=(RewardTerm(name="log_return"), RewardTerm(name="cost", weight=2.0),
               RewardTerm(name="inventory", scale=0.1), RewardTerm(name="pnl"))
    )  # fmt: skip
    total = Rewards(mixed, 1, [(3.0, lambda v: v.exposure)])(view(1.01))[0]
    assert total == pytest.approx(np.log(1.01) - 0.002 - 0.025 + 0.01 + 1.5)
    with pytest.raises(ConfigError, match="unknown; known: cost, cvar"):
        Rewards(RewardConfig(terms=(RewardTerm(name="nothing"),)), 1)


def test_cvar_penalty_finds_the_quantile() -> None:
    cvar = Rewards(RewardConfig(terms=(RewardTerm(name="cvar", rate=0.01, level=0.1),)), 1)
    returns = np.random.default_rng(0).normal(0, 0.01, 6000)
    paid = [cvar(view(1 + r))[0] for r in returns]
    tail = -np.sort(returns)[:600].mean() - 0.01 * 1.2816  # expected shortfall beyond the quantile
    assert -np.mean(paid[1000:]) == pytest.approx(tail, rel=0.35)


def test_rewards_by_symbol_add_up_to_the_account() -> None:
    env = BatchEnv(
        market(),
        setting(form="shared", reward={"terms": [{"name": "pnl"}], "shared": False}), 2,
    )  # fmt: skip
    env.reset(0)
    rng = np.random.default_rng(0)
    for _ in range(20):
        before = env.equity
        step = env.step(rng.uniform(-1, 1, (2, 3, 1)))
        assert np.allclose(step.rewards["agents"].sum(axis=1), (env.equity - before)[:, 0] / 1e5)
    assert columns()["close"].shape == (400, 3)
