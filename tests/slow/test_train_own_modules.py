"""Features and rewards of one's own in every process: the learner, runners, the evaluation."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.folders import short_folder

from don.learning.model import CARD
from don.storage.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1_800)]
ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''
import numpy as np

from don.envs.custom import reward
from don.features.custom import feature


@reward("runners_idle")
def idle(view, *, limit=0.5):
    """Minus what is held beyond a limit."""
    return -np.maximum(view.exposure - limit, 0.0)


@feature("runners_place", inputs=("high", "low", "close"), defaults=(20,), units="fraction")
def runners_place(high, low, close, n):
    """Mean place of the close between low and high, n bars."""
    total = 0.0
    for i in range(n):
        if high[i] > low[i]:
            total += (close[i] - low[i]) / (high[i] - low[i])
    return total / n
'''
TRAINING = """
name = "own"
[data]
end = "2018-12-01T00:00:00Z"
[env]
action = { kind = "discrete" }
form = "single"
[env.episode]
length = 32
[env.observation]
features = ["log_return_1", "runners_place_5"]
modules = ["test_runners_module"]
window = 1
[env.reward]
modules = ["test_runners_module"]
terms = [{ name = "log_return" }, { name = "runners_idle", params = { limit = 0.2 } }]
[net]
hidden = [8]
[algorithm]
name = "ppo"
fragment = 16
[workers]
runners = 2
copies = 4
[stop]
iterations = 2
[keep]
tensorboard = false
"""


@pytest.fixture
def home() -> Iterator[Path]:
    folder = short_folder()
    yield folder
    EmbeddedPostgres(folder).stop()
    shutil.rmtree(folder)


def test_runners_and_evaluations_load_a_models_modules(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "python"
    folder.mkdir()
    (folder / "test_runners_module.py").write_text(SOURCE)
    config, out = tmp_path / "c.toml", tmp_path / "training"
    config.write_text(TRAINING)

    def run(*words: str, path: str = str(folder)) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "DON_HOME": str(home), "PYTHONPATH": path}
        env.pop("RAY_ADDRESS", None)
        return subprocess.run(
            [sys.executable, "-m", *words], cwd=ROOT, env=env, text=True, capture_output=True,
            timeout=1_200,
        )  # fmt: skip

    made = run("experiments.train", str(config), "--out", str(out))
    assert made.returncode == 0, made.stderr
    assert (out / "model" / CARD).exists()
    model = tmp_path / "elsewhere"
    shutil.copytree(out / "model", model)
    words = ("don.cli.main", "evaluate", str(model), "--draws", "20", "--end", "2018-12-20")
    told = run(*words)
    assert told.returncode == 0, told.stderr
    lost = run(*words, path="")
    assert lost.returncode == 2
    assert "features of model own: observation.modules: 'test_runners_module'" in lost.stderr
