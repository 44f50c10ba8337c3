"""Environments, backtests and desks observe the same features of the same recorded bars."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.envs import HOUR

from don.backtest.config import BacktestConfig, Detail
from don.backtest.panel import features_of, open_market
from don.envs import BatchEnv, EnvConfig, EnvMarket, load_market
from don.envs.blocks import never_known
from don.envs.layout import CLOSE, COST, LOTS, WALLET
from don.envs.market import Segment
from don.errors import ConfigError, DataError
from don.features.base import CrossFeature, Feature
from don.features.cache import FeatureCache
from don.features.config import FeatureConfig
from don.features.registry import catalogue, make
from don.features.sets import FeatureSet
from don.model.schema import SCHEMAS, MarketBatch
from don.paper.funding import FundingSchedule, load_funding

T0 = 1_609_459_200 * 10**9  # 2021-01-01, a Friday
BARS = 280
HOLE = range(102, 106)  # no bar of anybody, over a payment of funding
FED = ("open", "high", "low", "close", "volume", "rate", "time_s")
LARGER = ("rsi_14@4h", "atr_14@2h", "volume_zscore_48@2h", "hour_cos@4h", "funding@4h", "obv@2h")


def tape(folder: Path, spans: dict[str, list[int]], seed: int = 0) -> Path:
    """A file of hourly bars of symbols at some hours."""
    rng, tables = np.random.default_rng(seed), []
    for symbol, hours in spans.items():
        n = len(hours)
        close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.01, n))), 2)
        opened = np.r_[100.0, close[:-1]]
        wide = 1 + np.abs(rng.normal(0, 0.004, (2, n)))
        tables.append(pa.table({
            "symbol": [symbol] * n,
            "timestamp": pa.array(T0 + np.array(hours) * HOUR, pa.timestamp("ns", "UTC")),
            "open": opened, "high": np.round(np.maximum(opened, close) * wide[0], 2),
            "low": np.round(np.minimum(opened, close) / wide[1], 2), "close": close,
            "volume": np.round(rng.lognormal(7, 1, n), 3),
        }))  # fmt: skip
    path = folder / "bars.parquet"
    pq.write_table(pa.concat_tables(tables), path)
    return path


def payments(folder: Path, symbols: list[str], rates: np.ndarray) -> Path:
    """A file of payments every eight hours, of [payment] rates."""
    at = pa.array(T0 + np.arange(len(rates)) * 8 * HOUR, pa.timestamp("ns", "UTC"))
    path = folder / "paid.parquet"
    pq.write_table(pa.concat_tables([
        pa.table({"symbol": [s] * len(rates), "timestamp": at, "funding_rate": rates * (n + 1)})
        for n, s in enumerate(symbols)
    ]), path)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two symbols: one is listed later, each misses a bar, and a hole that both have."""
    folder = tmp_path_factory.mktemp("bars")
    hours = [t for t in range(BARS) if t not in HOLE]
    spans = {
        "BTCUSDT": [t for t in hours if t != 130],
        "ETHUSDT": [t for t in hours if t >= 9 and t != 61],
    }
    rates = np.random.default_rng(3).normal(1e-4, 1e-4, BARS // 8).round(8)
    return tape(folder, spans), payments(folder, list(spans), rates)


def env_of(market: EnvMarket, features: tuple[str, ...], **more: object) -> BatchEnv:
    seen = {"features": features, "scaling": "none"} | dict(more.pop("observation", {}))  # type: ignore[call-overload]
    return BatchEnv(market, EnvConfig.model_validate({"observation": seen, **more}), 1)


def of_bars() -> tuple[tuple[str, ...], dict[str, str]]:
    """All kinds that bars feed, with larger timeframes; the others, and what they lack."""
    lacking: dict[str, str] = {}
    cross: list[CrossFeature] = []
    for kind in catalogue():
        made = make(kind.name)
        if isinstance(made, Feature):
            lacking[made.name] = " and ".join(c for c in made.inputs if c not in FED)
        else:
            cross.append(made)
    own = tuple(name for name, columns in lacking.items() if not columns)
    own += tuple(dict.fromkeys(c.of for c in cross if c.of not in own))
    return own + LARGER + tuple(c.name for c in cross), {n: c for n, c in lacking.items() if c}


def desk(
    path: Path, schedules: tuple[FundingSchedule, ...], names: tuple[str, ...]
) -> dict[int, np.ndarray]:
    """Features [symbol, feature] by close of a session over the bars, as a feed brings them."""
    table = pq.read_table(path).to_pydict()
    exchange = sorted(set(table["symbol"]))
    symbols = [f"{s[:3]}-USDT-PERP" for s in exchange]
    cache = FeatureCache(FeatureConfig(names=names, interval="1h"), symbols, "s")
    rows: dict[int, list[dict[str, object]]] = {}
    for i, symbol in enumerate(table["symbol"]):
        close = int(table["timestamp"][i].timestamp()) * 10**9 + HOUR
        prices = {c: table[c][i] for c in ("open", "high", "low", "close", "volume")}
        rows.setdefault(close, []).append(
            {"symbol": symbols[exchange.index(symbol)], "ts_event": close, "ts_recv": close,
             "trades": 1, "origin": "stream"} | prices
        )  # fmt: skip
    found = {}
    for seq, close in enumerate(sorted(rows)):
        at = close - 10**9
        told = [
            {"symbol": s, "ts_event": at, "ts_recv": at, "mark": None,
             "rate": float(schedules[n].known(at)), "next_ts": 0}
            for n, s in enumerate(symbols)
        ]  # fmt: skip
        # time goes on with each second's prices: a set that lacks a bar closes when its grace ends
        later = [told[0] | {"ts_event": close + 30 * 10**9}]
        for part, tables in enumerate(({"bars": rows[close], "funding": told}, {"funding": later})):
            made = {k: pa.Table.from_pylist(v, SCHEMAS[k]) for k, v in tables.items()}
            batch = MarketBatch(source="x", seq=2 * seq + part + 1, tables=made)
            for snapshot in cache.on_batch(batch):
                found[snapshot.ts_event] = snapshot.values
    return found


def test_environment_backtest_and_desk_have_the_same_features(files: tuple[Path, Path]) -> None:
    bars, paid = files
    names, _ = of_bars()
    recorded = open_market(BacktestConfig(tape=bars, funding=paid, detail=Detail.BARS))
    live = desk(bars, recorded.funding, names)
    closes = recorded.close_ns.tolist()
    told = [t for t, close in enumerate(closes) if close in live]
    assert told == [t for t in range(BARS) if t not in HOLE]
    wanted = np.stack([live[closes[t]] for t in told])
    assert np.isfinite(wanted[-1]).all() and (wanted[-40:].std(axis=0) > 0).any(axis=0).sum() > 80

    tested = features_of(recorded, FeatureSet(names))
    for f, name in enumerate(names):
        assert np.array_equal(tested[told, :, f], wanted[:, :, f], equal_nan=True), name
    held = np.repeat(wanted[HOLE[0] - 1][None], len(HOLE), 0)
    assert np.array_equal(tested[HOLE], held, equal_nan=True)

    env = env_of(load_market(bars, funding=paid), names)
    block = env.observer.blocks[0]
    seen = block.values[:, block.row_of].transpose(1, 0, 2)
    expected = np.nan_to_num(wanted).astype(np.float32)
    for f, name in enumerate(names):
        assert np.array_equal(seen[told, :, f], expected[:, :, f]), name
    assert np.array_equal(seen[HOLE], np.repeat(expected[HOLE[0] - 1][None], len(HOLE), 0))


def test_what_bars_do_not_feed_is_refused_and_said_why(files: tuple[Path, Path]) -> None:
    market = load_market(files[0])
    names, lacking = of_bars()
    assert {"basis", "basis_mean_72", "basis_zscore_168", "ofi_1"} <= set(lacking)
    asked = EnvConfig.model_validate({"observation": {"features": names + tuple(lacking)}})
    assert never_known(market, asked.observation) == {n: f"needs {c}" for n, c in lacking.items()}
    with pytest.raises(DataError, match=r"features basis have no value.*: basis needs mark\. Bars "
                                        r"have open.*rate, time_s"):  # fmt: skip
        env_of(market, ("us_session", "basis"))
    with pytest.raises(DataError, match="need about 513 bars"):
        env_of(market, ("hurst_512",))
    with pytest.raises(ConfigError, match=r"rsi_14@30m.*must be a larger multiple"):
        env_of(market, ("rsi_14@30m",))
    framed = {"parts": ["frames"], "frames": [4]}
    with pytest.raises(ConfigError, match="frames of 4 bars: timeframe of feature 'rsi_14@4h'"):
        env_of(market, ("rsi_14@4h",), observation=framed)


def test_longer_bars_have_their_last_close_and_no_hole(files: tuple[Path, Path]) -> None:
    market = load_market(files[0], funding=files[1])
    env = env_of(
        market, ("hour_sin", "funding", "true_range"),
        observation={"parts": ["frames"], "frames": [4], "frame_window": 1},
    )  # fmt: skip
    block, columns = env.observer.blocks[1], market.columns()
    for end in (99, 107, 111):  # 104..107: its first two hours are missing
        row = block.values[0, block.row_of[end]]
        own = [t for t in range(end - 3, end + 1) if t not in HOLE]
        last = end - 4
        high, low = columns["high"][own, 0].max(), columns["low"][own, 0].min()
        before, close = columns["close"][last, 0], columns["close"][end, 0]
        turn = 2 * np.pi * (int(market.close_ns[end]) // HOUR % 24) / 24
        wanted = [np.sin(turn), columns["rate"][end, 0],
                  (max(high, before) - min(low, before)) / close]  # fmt: skip
        assert np.allclose(row, wanted, atol=1e-6)


def test_a_later_payment_changes_no_earlier_row(tmp_path: Path) -> None:
    bars = tape(tmp_path, {"BTCUSDT": list(range(120))})
    rates = np.random.default_rng(1).normal(1e-4, 1e-4, 15).round(8)
    names = ("funding", "funding_mean_24", "carry_24", "rsi_14")
    found = []
    for change in (0.0, 5e-4):
        rates[9] += change  # paid at bar 71's close, told at the next one's
        market = load_market(bars, funding=payments(tmp_path, ["BTCUSDT"], rates))
        block = env_of(market, names).observer.blocks[0]
        found.append((market.columns()["rate"], block.values[0], market.bars[:, 0, 6].copy()))
    (rate, seen, paid), (other, later, owed) = found
    assert np.flatnonzero(paid != owed).tolist() == [71]
    assert np.array_equal(rate[:72], other[:72]) and np.array_equal(seen[:72], later[:72])
    assert (rate[72:80] != other[72:80]).all() and (seen[72:80, 0] != later[72:80, 0]).all()
    schedule = load_funding(tmp_path / "paid.parquet", ["BTCUSDT"])[0]
    assert other[:, 0].tolist() == [float(schedule.known(int(t))) for t in market.close_ns]


def test_an_episode_ends_where_a_symbol_is_delisted(tmp_path: Path) -> None:
    bars = tape(tmp_path, {"BTCUSDT": list(range(300)), "ETHUSDT": list(range(20, 150))})
    market = load_market(bars)
    assert market.listed[:, 1].tolist() == [20 <= t < 150 for t in range(300)]
    assert np.isnan(market.close()[150:, 1]).all()
    env = env_of(market, ("log_return_1",), action={"gross": 1.0}, episode={"ruin": 0.0})
    assert env._starts[-1] == 148  # whose order is carried out in the last bar of both
    env.reset(starts=np.array([100]))
    steps = 0
    while not env.done[0]:
        step = env.step(np.ones((1, 1, 2)))
        steps += 1
    assert steps == 49 and step.truncated[0] and env.bar_of[0] == 149
    d = env.dynamics
    assert (d.book[0, :, LOTS] > 0).all()  # worth what the last bar says
    worth = (d.book[0, :, LOTS] * market.bars[149, :, CLOSE] * 0.01 * d.spec[:, 1]).sum()
    assert env.equity[0, 0] == pytest.approx(d.money[0, WALLET] + worth - d.book[0, :, COST].sum())
    with pytest.raises(DataError, match="at most 128 bars can be observed in a row"):
        env_of(market, ("log_return_1",), episode={"length": 200})


def test_positions_are_held_over_a_hole_and_normalisers_do_not_see_it(
    files: tuple[Path, Path],
) -> None:
    market = load_market(files[0])
    names = ("log_return_1", "rsi_14")
    env = env_of(market, names, episode={"length": 60}, observation={"scaling": "expanding"})
    seen = [env.reset(starts=np.array([90]))["agents"]]
    held = []
    for _ in range(30):
        seen.append(env.step(np.full((1, 1, 2), 0.5)).observations["agents"])
        held.append(env.dynamics.book[0, :, LOTS].copy())
    at = HOLE[0] - 90
    features = [one[0, 0, :4] for one in seen]
    assert all(np.array_equal(one, features[at - 1]) for one in features[at : at + len(HOLE)])
    assert not np.array_equal(features[at - 1], features[at + len(HOLE)])
    assert all((one == held[at - 2]).all() for one in held[at - 1 : at + len(HOLE) - 1])
    gone = [t for t in range(BARS) if t not in HOLE]
    short = EnvMarket(
        symbols=market.symbols, interval_ns=HOUR, spec=market.spec, bars=market.bars[gone],
        close_ns=market.close_ns[: len(gone)], segments=(Segment(start=0, stop=len(gone)),),
    )  # fmt: skip
    again = BatchEnv(short, env.config, 1)
    assert again.states[0].dump() == env.states[0].dump()
