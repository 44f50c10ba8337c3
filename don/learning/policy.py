"""A trained model as a policy of the desk and of backtests. Reads model folders.

`model:FOLDER` or, where a session pinned it, `model:NAME@VERSION`; of a model whose agents trade
all symbols each for itself, `#AGENT` chooses one. It wants what the environment would be asked for:
weights, which the desk's optimizer, risk and planner then make orders of.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from don.envs.config import Form
from don.envs.core import AGENTS
from don.envs.layout import Floats
from don.envs.observe import Floats32
from don.errors import ConfigError, DataError
from don.learning.look import Look, check_tradable
from don.learning.model import Model, State
from don.model.instrument import Instrument
from don.policies import BarSeen, Forecast, PoliciesConfig, PolicyInput

PREFIX = "model:"


def make(name: str, config: PoliciesConfig) -> "LearnedPolicy":
    """The policy of a name `model:...`.

    Raises:
        ConfigError: if it is not pinned to a folder, or that has other content now.
        DataError: if the folder cannot be read.
    """
    told, _, agent = name.removeprefix(PREFIX).partition("#")
    ref = config.models.get(f"{PREFIX}{told}")
    folder = Path(ref.folder if ref is not None else told)
    if ref is None and not folder.is_dir():
        raise ConfigError(
            f"policy {name!r}: {folder} is no folder of a model, and no model of this name was "
            "looked up in the registry"
        )
    model = _load(folder, (folder / "model.json").stat().st_mtime_ns if folder.is_dir() else 0)
    if ref is not None and ref.id and ref.id != model.id:
        raise ConfigError(
            f"policy {name!r} means the model {ref.id}, but {folder} holds {model.id} now"
        )
    return LearnedPolicy(model, name, agent)


@lru_cache(maxsize=32)
def _load(folder: Path, changed: int) -> Model:
    """Models are values: one read does for all sessions of a process."""
    return Model.load(folder)


class LearnedPolicy:
    """Wants the weights that a model's actions stand for. Shown every bar, as its environment was.

    Args:
        model: what acts.
        name: by which decisions call it.
        agent: of several that each trade all symbols; "" where there is no choice.

    Raises:
        ConfigError: if the model cannot trade on a desk, or an agent must be chosen.
    """

    def __init__(self, model: Model, name: str = "", agent: str = "") -> None:
        self.model, card = model, model.card
        self.name = name or f"{PREFIX}{card.name}"
        check_tradable(card)
        agents = list(card.agents[AGENTS])
        alone = card.env.form in (Form.OWN, Form.ALLOCATED)
        if (agent and agent not in agents) or (alone and len(agents) > 1 and not agent):
            raise ConfigError(
                f"policy {self.name}: choose one of the agents {', '.join(agents)} as "
                f"{PREFIX}...#{agents[0]}" + (f", was {agent!r}" if agent else "")
            )
        self._agent = agents.index(agent) if agent else 0 if alone else None
        self.features = card.features
        self.modules = card.env.observation.modules
        self.rows = card.env.observation.window
        self.observed: Floats32 | None = None  # [1, A, D] of the last bar that was acted on
        self._look: Look | None = None
        self._state: State | None = None
        self._last = 0  # close of the last bar
        self._desired: Floats | None = None
        self._reason = "no bar seen yet"

    def begin(self, instruments: Sequence[Instrument], interval_ns: int) -> None:
        """See `don.policies.Watcher`."""
        card = self.model.card
        place = {one.symbol: n for n, one in enumerate(instruments)}
        missing = [s for s in card.symbols if s not in place]
        if missing or interval_ns != card.interval_ns:
            raise ConfigError(
                f"policy {self.name} was trained on {', '.join(card.symbols)} with bars of "
                f"{card.interval_ns / 1e9:g} s; the session has {', '.join(place)} with bars of "
                f"{interval_ns / 1e9:g} s"
            )
        self._order = [place[s] for s in card.symbols]
        self._count, self._interval = len(instruments), interval_ns
        self._look = Look(card, self.model.states, [instruments[n] for n in self._order])

    def recall(self, ts: np.ndarray, features: dict[str, np.ndarray]) -> None:
        """See `don.policies.Watcher`."""
        for t, close in enumerate(ts.tolist()):
            if close > self._last:  # those before were shown
                self._feed(close, {name: values[t] for name, values in features.items()})
                self._wait(1)

    def watch(self, bar: BarSeen) -> None:
        """Take the bar in, and act on it: what is wanted is known before anybody asks."""
        look = self._feed(bar.ts_event, bar.features)
        self._desired = None
        close = bar.close[self._order]
        able = bool(np.isfinite(close).all()) and bar.equity > 0
        if able and (look.whole or look.age):  # the account is looked at in all bars of an episode
            own = self._order
            volume = np.nan_to_num(bar.volume[own])
            look.account(close, volume, bar.equity, bar.sizes[own], bar.costs[own], bar.capital)
        if not look.whole:
            self._reason = f"warming up: {look.known} of {self.rows} bars known with all features"
            self._wait(1)
            return
        if not able:
            self._reason = "no price, or no equity"
            self._wait(1)
            return
        self.observed = look.observe()
        actions, self._state = self.model.act({AGENTS: self.observed}, self._state)
        wanted = look.weights(actions[AGENTS], self._agent)
        self._desired = np.zeros(self._count)
        self._desired[self._order] = wanted
        if look.passed():
            self._state = None
        told = zip(self.model.card.symbols, wanted.tolist(), strict=True)
        self._reason = "wants " + ", ".join(f"{s.split('-')[0]} {w:+.3f}" for s, w in told)

    def forecast(self, seen: PolicyInput) -> Forecast:
        """The weights wanted at the bar that was shown last."""
        n = len(seen.symbols)
        usable = np.zeros(n, dtype=bool)
        if self._desired is not None:
            usable[self._order] = True
        return Forecast(mu=np.zeros(n), usable=usable, desired=self._desired, reason=self._reason)

    def _wait(self, bars: int) -> None:
        """Bars pass on which nothing is done; an environment's episode goes on as well."""
        if self._look is not None and self._look.age and self._look.passed(bars):
            self._state = None

    def _feed(self, close_ns: int, features: dict[str, np.ndarray]) -> Look:
        if self._look is None:
            raise DataError(f"policy {self.name} was shown a bar before its session began")
        if self._last and close_ns - self._last != self._interval:
            self._look.forget()
            self._wait(max((close_ns - self._last) // self._interval - 1, 0))
        self._last = close_ns
        rows = np.stack([features[name][self._order] for name in self.features], axis=1)
        self._look.feed(rows)
        return self._look
