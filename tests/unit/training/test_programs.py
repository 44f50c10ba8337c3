"""Programs that a file tells what to do: what is wrong is told at once, and what is done."""

import subprocess
import sys
from pathlib import Path

import pytest

from don.errors import ConfigError
from don.model.section import parsed
from experiments.program import announce
from experiments.rllib.errors import check_noted, noted
from experiments.training_config import DataConfig

LR = '[space]\n"algorithm.lr" = { values = [1e-3] }\n'
HEAVY = ("torch", "ray", "numba", "talib", "pandas", "sqlalchemy", "scipy")


@pytest.mark.parametrize(
    ("program", "text", "told"),
    [
        ("train", 'algorithm = { name = "ppo", lr = "fast" }', "algorithm.lr was 'fast': must be"),
        ("train", 'data = { start = "soon" }', "data.start: time must be an ISO-8601 time"),
        ("train", 'data = { interval = "1h" }', "data.interval is for store = true, was '1h'"),
        ("train", "data = { store = true }", "data.store needs symbols, interval, start, end"),
        ("train", 'data = { symbols = "BTC" }', "data.symbols was 'BTC': must be a list"),
        ("train", 'data = { tape = "no.parquet" }', "data.tape was 'no.parquet': must be a file"),
        ("train", "env.action.levels = [2.0, 3.0]", "env.action.levels must be two or more from"),
        ("train", "env.random.taker = [2.0, 1.0]", "env.random.taker must be 0 <= least <="),
        ("train", "env.reward.terms = []", "env.reward.terms was []: must have at least 1 item"),
        ("train", 'env.observation.layout = "dict"', "env.observation.layout must be 'flat', was"),
        ("train", 'env.observation.parts = ["window", "window"]', "were window, window"),
        ("train", "env = { action.every = 3, episode.length = 10 }", "env.episode.length must be"),
        ("train", "variants.gap = [0, 3]", "variants.gap must be 1 <= least <= greatest, was"),
        ("train", "net.hidden = [0]", "net.hidden and channels must be widths"),
        ("train", 'algorithm.name = "dqn"', "algorithm.name dqn needs env.action.kind 'discrete'"),
        ("tune", '[space]\n"algorithm.lr" = { values = [9.0] }', 'space."algorithm.lr" was 9.0'),
        ("tune", '[space]\n"algorithm.lr" = { low = 2.0, high = 1.0 }', '"algorithm.lr".low must'),
        ("tune", '[space]\n"algorithm.no" = { values = [1] }', "space: unknown key 'algorithm.no'"),
        ("tune", f'{LR}[train]\nnet.kind = "lstm"', "t.toml: train.net.kind was 'lstm': must be"),
        ("tune", f"{LR}[train]\nlr = 1e-3", "t.toml: train: unknown key 'lr'"),
        ("tune", f"{LR}[train]\nalgorithm = 3", 'space."algorithm.lr": train.algorithm must be a'),
        ("tune", f'{LR}[train.data]\ntape = "no.parquet"', "train.data.tape was 'no.parquet'"),
        ("walk_forward", "windows.tests = 7", "windows.tests must be below groups, were 7 and 6"),
        ("walk_forward", "train.net.squash = true", "train.net.squash is for algorithm sac"),
        ("walk_forward", "seeds = 3", "seeds was 3: must be a list"),
    ],
)
def test_what_is_wrong_names_field_and_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, text: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"^t\.toml: ") as error:
        announce(f"experiments.{program}", ["t.toml"])
    assert told in str(error.value)


def test_times_of_toml_are_times() -> None:
    import tomllib

    values = tomllib.loads("start = 2020-01-01\nend = 2020-02-01T12:00:00Z")
    made = parsed(DataConfig, values, "test")
    assert made == DataConfig(start="2020-01-01", end="2020-02-01T12:00:00+00:00")


@pytest.mark.parametrize(
    ("program", "text", "said"),
    [
        (
            "train", 'data.symbols = ["BTC-USDT-PERP"]',
            "trains model with ppo on Don's sample of BTC-USDT-PERP; writes training\n",
        ),
        ("tune", LR, "searches algorithm.lr with asha, 8 trials on Don's sample; writes tune\n"),
        ("walk_forward", "", "studies walk-forward: ppo in anchored windows of Don's sample, 3 "),
    ],
)  # fmt: skip
def test_the_first_line_comes_before_what_takes_its_time(
    tmp_path: Path, program: str, text: str, said: str
) -> None:
    (tmp_path / "t.toml").write_text(text)
    asked = (
        "import sys; from experiments.program import announce; "
        f"announce('experiments.{program}', ['t.toml']); "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {asked}"],
        cwd=tmp_path, text=True, capture_output=True, check=True, timeout=300,
    )  # fmt: skip
    assert (done.stderr if program == "walk_forward" else done.stdout).startswith(said)
    assert done.stdout.endswith("[]\n"), done.stdout


def test_what_a_process_that_samples_fails_of_is_told_where_it_is_trained(tmp_path: Path) -> None:
    check_noted(tmp_path)
    with pytest.raises(ConfigError), noted(str(tmp_path / "market.npz")):
        raise ConfigError("reward 'mine' must give finite numbers")
    with pytest.raises(ConfigError, match=r"^reward 'mine' must give finite numbers$"):
        check_noted(tmp_path)
