"""Bench of training: agent-steps per second of one core's own time, end to end and sampling alone.

PPO for the five agents of the sample (one a symbol, one policy), network 64 x 64, four epochs; the
peer is RLlib's own multi-agent runner with the same network, bars and update settings, in the same
process. It starts a local Ray.
"""

import importlib
import logging
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

_RUNS = 3
_PEER = "rllib-stock"


def rows(full: bool) -> list[dict[str, Any]]:
    """`train.ppo_multi_agent` and `train.sampling`."""
    cluster = importlib.import_module("experiments.cluster")
    home = Path(tempfile.mkdtemp(prefix="don-"))
    try:
        with cluster.local_cluster(home, cpus=2):
            return _measure(home, 256 if full else 64)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _measure(home: Path, copies: int) -> list[dict[str, Any]]:
    import torch

    torch.set_num_threads(1)
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    fast = _algorithm(home, "fast", copies)
    n = copies * 64 * 5
    ours = _timed(fast.train, n, _RUNS, 2)
    fast.stop()
    wide = _algorithm(home, "fast", 4 * copies)  # more copies a step cost less each
    sampling = _timed(wide.env_runner.sample, 4 * n, _RUNS, 1)
    wide.stop()
    stock = _algorithm(home, "stock", copies)
    peer = _timed(stock.train, n, 1, 1)
    peer_sampling = _timed(stock.env_runner.sample, n, 1, 0)
    stock.stop()
    return [
        _row("train.ppo_multi_agent", ours, n, peer),
        _row("train.sampling", sampling, 4 * n, peer_sampling),
    ]


def _algorithm(home: Path, runner: str, copies: int) -> Any:
    setup = importlib.import_module("experiments.rllib.setup")
    data = importlib.import_module("experiments.rllib.market_file")
    config = importlib.import_module("experiments.training_config").TrainConfig.model_validate(
        {
            "seed": 1,
            "runner": runner,
            "env": {
                "form": "single",
                "episode": {"length": 256},
                "observation": {
                    "features": ["log_return_1", "return_12", "rsi_14", "atr_14"],
                    "window": 6,
                },
            },
            "workers": {"copies": copies},
        }
    )
    market = data.open_data(config.data)
    path = home / "market.npz"
    data.write_market(market, path)
    env = importlib.import_module("don.envs").BatchEnv(market, config.env, 1)
    return setup.build_config(config, env, path).build_algo()


def _timed(run: Any, n: int, count: int, warm: int) -> list[float]:
    for _ in range(warm):
        run()
    rates = []
    for _ in range(count):
        start = time.process_time()
        run()
        rates.append(n / (time.process_time() - start))
    return rates


def _row(name: str, rates: list[float], n: int, peer: list[float]) -> dict[str, Any]:
    value, other = statistics.median(rates), statistics.median(peer)
    return {
        "area": "train",
        "name": name,
        "value": value,
        "unit": "agent-steps/s",
        "n": n,
        "min": min(rates),
        "max": max(rates),
        "peer": _PEER,
        "peer_value": other,
        "ratio": value / other,
    }
