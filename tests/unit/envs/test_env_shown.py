"""What a chart shows of a recorded episode: what the environment held, and at which prices."""

from dataclasses import replace

import numpy as np
import pytest
from support.envs import market

from don.envs import BatchEnv, EnvConfig
from don.envs import shown as shown_module
from don.envs.layout import COST, LOT, LOTS, TAKER
from don.envs.record import Episode, Recorder
from don.envs.shown import Shown, shown
from don.errors import DataError


def recorded(steps: int = 30, **more: object) -> tuple[Episode, np.ndarray, np.ndarray]:
    """An episode, and the positions and their cost that its environment had after each step."""
    config = EnvConfig.model_validate(
        {"agents": 2, "observation": {"window": 2, "features": ["log_return_1"]}, **more}
    )
    recorder = Recorder(BatchEnv(market(), config, 1))
    rng = np.random.default_rng(3)
    recorder.reset(4, start=100)
    env = recorder._env
    lots, cost = [], []
    for _ in range(steps):
        recorder.step(
            {
                n: rng.uniform(-1, 1, (1, len(g.agents), *g.action_space.shape))
                for n, g in env.groups.items()
            }
        )
        lots.append(env.dynamics.book[:, :, LOTS].copy())
        cost.append(env.dynamics.book[:, :, COST].copy())
    return recorder.episode(), np.stack(lots), np.stack(cost)


@pytest.mark.parametrize("form", ["own", "single", "shared", "allocated"])
def test_positions_and_equity_are_the_environment_s(form: str) -> None:
    made = market()
    episode, lots, _ = recorded(form=form)
    found = shown(episode, made)
    assert found.replayed.same and found.merged == 1 and found.start == shown_module.BEFORE_BARS
    assert found.ts_open[found.start] == found.start_ns - made.interval_ns
    assert len(found.ts_open) == found.start + 31
    for k, account in enumerate(found.accounts):
        assert np.array_equal(account.equity[found.start + 1 :], episode.equity[:, k])
        assert account.equity[found.start] == episode.config.episode.capital
        assert np.isnan(account.equity[: found.start]).all()
        for j, held in enumerate(account.held):
            n = made.symbols.index(held.symbol)
            wanted = lots[:, k, j] * made.spec[n, LOT]
            assert np.array_equal(held.size[found.start + 1 :], wanted)
            changes = np.diff(lots[:, k, j], prepend=0.0)
            assert [t.step for t in held.trades] == list(np.flatnonzero(changes))
            assert [t.lots for t in held.trades] == list(changes[changes != 0])
    close = made.close()[:, 0]
    assert found.candles[0].close == pytest.approx(close[100 - found.start : 131])
    group = episode.rewards["agents"]
    assert list(found.rewards.values())[: group.shape[1]] == pytest.approx(group.sum(axis=0))


@pytest.mark.parametrize("fees", [0.0, 1.0])
def test_prices_are_what_was_paid_with_fees(fees: float) -> None:
    made = market()
    costs = {"maker": fees, "taker": fees}
    episode, _, cost = recorded(costs=costs)
    compared = 0
    for k, account in enumerate(shown(episode, made).accounts):
        for j, held in enumerate(account.held):
            for trade in held.trades:
                position = held.size[shown_module.BEFORE_BARS + 1 + trade.step]
                spec = made.spec[made.symbols.index(held.symbol)]
                was = position - trade.lots * spec[LOT]
                paid = cost[trade.step, k, j] - (cost[trade.step - 1, k, j] if trade.step else 0)
                if was * trade.lots < -1e-12 or trade.liquidated:
                    continue  # the cost of what is left says nothing of the price
                price = paid / (trade.lots * spec[LOT])
                with_fees = price * (1 + np.sign(trade.lots) * spec[TAKER] * fees)
                assert trade.price == pytest.approx(with_fees, rel=1e-7)
                compared += 1
    assert compared > 20


def test_a_long_one_is_thinned_and_a_longer_one_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    episode, _, _ = recorded()
    whole: Shown = shown(episode, market())
    monkeypatch.setattr(shown_module, "MOST_CANDLES", 30)
    found = shown(episode, market())
    assert found.merged == 3 and len(found.ts_open) == 27 and found.start == 16
    one, all_of = found.candles[0], whole.candles[0]
    assert one.open[5] == all_of.open[15] and one.close[5] == all_of.close[17]
    assert one.high[5] == all_of.high[15:18].max() and one.low[5] == all_of.low[15:18].min()
    assert found.accounts[0].equity[-1] == episode.equity[-1, 0]
    size = found.accounts[0].held[0].size
    assert np.array_equal(size[17:], whole.accounts[0].held[0].size[53::3])
    assert len(found.accounts[0].held[0].trades) == len(whole.accounts[0].held[0].trades)
    monkeypatch.setattr(shown_module, "MOST_BARS", 29)
    with pytest.raises(DataError, match="up to 29 bars can be shown, was 30"):
        shown(episode, market())


def test_many_trades_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    episode, _, _ = recorded(60)
    whole = shown(episode, market())
    counted = sum(len(held.trades) for account in whole.accounts for held in account.held)
    monkeypatch.setattr(shown_module, "MOST_TRADES", counted // 4)
    found = shown(episode, market())
    told = [held for account in found.accounts for held in account.held]
    assert 0 < sum(len(held.trades) for held in told) <= counted // 4
    assert sum(trade.count for held in told for trade in held.trades) == counted
    for held, each in zip(told, (h for a in whole.accounts for h in a.held), strict=True):
        assert held.merged == told[0].merged > 1
        assert [t.step for t in held.trades] == sorted(t.step for t in held.trades)
        groups = {}
        for trade in each.trades:
            key = trade.candle // held.merged, trade.lots > 0, trade.liquidated
            groups.setdefault(key, []).append(trade)
        assert len(groups) == len(held.trades)
        for trade in held.trades:
            of = groups[trade.candle // held.merged, trade.lots > 0, trade.liquidated]
            assert trade.count == len(of) and trade.step == of[-1].step
            assert trade.lots == pytest.approx(sum(t.lots for t in of))
            assert trade.size == pytest.approx(sum(t.size for t in of))
            paid = sum(t.size * t.price for t in of)
            assert trade.price == pytest.approx(paid / trade.size)
    monkeypatch.setattr(shown_module, "MOST_TRADES", 0)  # each symbol keeps one a side
    least = [h for a in shown(episode, market()).accounts for h in a.held]
    assert all(len(held.trades) <= 2 for held in least)
    monkeypatch.setattr(shown_module, "MOST_VALUES", 60)
    thin = shown(episode, market())
    curves = sum(1 + len(account.held) for account in thin.accounts)
    assert thin.merged > 1 and len(thin.ts_open) * curves <= 60


def test_one_that_runs_otherwise_says_so() -> None:
    episode, _, _ = recorded(10)
    wrong = episode.equity.copy()
    wrong[4] += 1.0
    found = shown(replace(episode, equity=wrong), market())
    assert (found.replayed.same, found.replayed.first_difference) == (False, 4)
    with pytest.raises(DataError, match="the data changed"):
        shown(episode, market(seed=1))
    with pytest.raises(DataError, match="name the tape"):
        shown(episode)
