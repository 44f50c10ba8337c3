"""Rewards of one's own in a module that a test writes, loads anew, changes or takes away."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from don.envs.rewards import forget

MODULE, NAMES = "test_own_rewards_module", ("test_idle", "test_patience")
SOURCE = '''
import numpy as np

from don.envs.custom import reward
from don.envs.rewards import Reward


def beyond(view, limit):
    return np.maximum(view.exposure - limit, {least})


@reward("test_idle")
def idle(view, *, limit=0.5):
    """Minus what is held beyond a limit."""
    return -beyond(view, limit)


@reward("test_patience")
class Patience(Reward):
    """Minus `each` for every step since the account was last worth as much as ever."""

    defaults = {{"each": 0.001}}

    def __init__(self, rows, term):
        self.wealth, self.peak, self.waited = np.ones(rows), np.ones(rows), np.zeros(rows)
        super().__init__(rows, term)

    def reset(self, which):
        self.wealth[which] = self.peak[which] = 1.0
        self.waited[which] = 0.0

    def __call__(self, view):
        self.wealth = self.wealth * np.maximum(1.0 + view.simple_return, 0.0)
        self.waited = np.where(self.wealth >= self.peak, 0.0, self.waited + 1.0)
        self.peak = np.maximum(self.peak, self.wealth)
        return -self.params["each"] * self.waited
'''
TERMS = {
    "modules": [MODULE],
    "terms": [
        {"name": "test_idle", "weight": 2.0, "params": {"limit": 0.25}},
        {"name": "test_patience"},
    ],
}
Afresh = Callable[..., None]


def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Afresh]:
    """Be as a process that has loaded nothing yet; the module says what it is told to, if any."""
    folder = tmp_path / "python"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def unload() -> None:
        sys.modules.pop(MODULE, None)
        for name in NAMES:
            forget(name)

    def begin(least: str | None = "0.0") -> None:
        unload()
        monkeypatch.setattr(sys, "path_importer_cache", {})
        path = folder / f"{MODULE}.py"
        path.unlink(missing_ok=True)
        if least is not None:
            path.write_text(SOURCE.format(least=least))

    begin()
    yield begin
    unload()
