"""A recorded episode of Don's sample, as a file."""

from pathlib import Path

import numpy as np

from don.envs import BatchEnv, EnvConfig
from don.envs.record import Episode, Recorder, Source, save

SYMBOL = "BTC-USDT-PERP"


def record_episode(path: Path, steps: int = 60) -> Episode:
    """Record one account that is long, flat and short by turns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = Source(symbols=(SYMBOL,))
    config = EnvConfig.model_validate({"observation": {"window": 2, "features": ["log_return_1"]}})
    recorder = Recorder(BatchEnv(source.load(), config, 1), source)
    recorder.reset(1)
    for step in range(steps):
        weight = (0.5, 0.0, -0.5)[step // 7 % 3]
        recorder.step(np.full((1, 1, 1), weight))
    episode = recorder.episode()
    save(episode, path)
    return episode
