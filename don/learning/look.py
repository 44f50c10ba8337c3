"""A desk's bars and account as a model's observation: the environment's own, bit for bit. Pure.

The same compiled functions that fill an environment's observations (`don.envs.gather`) are given
one bar and one account here. What an environment knows and a desk cannot, the end of the episode,
is answered by episodes as long as those of the training, one after the other; where those ran to
the end of the data, time never runs out.
"""

from collections.abc import Sequence

import numpy as np

from don.envs import gather
from don.envs.actions import Actions
from don.envs.config import ActionKind, EnvConfig, Form, Part
from don.envs.forms import roles
from don.envs.layout import (
    ABSENT,
    BAR,
    BOOK,
    CLOSE,
    COST,
    EQUITY,
    LEVERAGE,
    LOT,
    LOTS,
    MONEY,
    PEAK,
    PRESENT,
    SPEC,
    START,
    STATE,
    TICK,
    VOLUME,
    WALLET,
    Floats,
)  # fmt: skip
from don.envs.normalize import Normalizer, NormalizerState
from don.envs.observe import Floats32
from don.envs.rules import DRAWN, draw_rules
from don.errors import ConfigError
from don.learning.card import ModelCard
from don.model.instrument import Instrument

_NOW = np.zeros(1, np.int64)


class Look:
    """Makes observations [1, A, D] of a stream of bars.

    Args:
        card: of the model.
        states: of its normalisers.
        instruments: [N] of the card's symbols, in the card's order.

    Raises:
        ConfigError: if a desk cannot observe or do what the model was trained on.
    """

    def __init__(
        self,
        card: ModelCard,
        states: Sequence[NormalizerState],
        instruments: Sequence[Instrument],
    ) -> None:
        check_tradable(card)
        self._config, self._seen = card.env, card.env.observation
        self._shape = next(s for s in card.policies.values() if s.group == "agents").observation
        self.roles = roles(card.env, card.symbols)
        N, K = len(card.symbols), len(self.roles.columns)
        self._parts = 1 if card.env.form is not Form.SINGLE else N  # of the account, an agent's
        self._normalizer = Normalizer(
            self._seen.scaling, card.features, card.symbols, half_life=self._seen.half_life,
            clip=self._seen.clip, state=states[0] if states else None,
        )  # fmt: skip
        self._rows = np.zeros((N, self._seen.window, len(card.features)), np.float32)
        self._seen_rows = _shown(self._rows)
        self._known = np.zeros(self._seen.window, np.bool_)
        self._bars = np.zeros((1, N, BAR))
        self._spec = np.zeros((N, SPEC))
        for n, one in enumerate(instruments):
            self._spec[n, TICK], self._spec[n, LOT] = float(one.tick_size), float(one.lot_size)
        self._spec[:, LEVERAGE] = card.leverage
        self._seen_bars, self._seen_spec = _shown(self._bars), _shown(self._spec)
        self._rules = draw_rules(card.env, np.full((1, DRAWN), 0.5))
        each = self.roles.columns.shape[1]
        self._money, self._book = np.zeros((K, MONEY)), np.zeros((K, each, BOOK))
        self._peak = self._start = self._capital = 0.0
        self.age = 0  # bars since the episode began
        n = self.roles.seen.shape[1]
        self._actions = Actions(
            card.env.action, n, card.env.action.gross / each, spot=card.env.costs.spot
        )

    @property
    def known(self) -> int:
        """Bars at the window's end of which every feature is known."""
        return int(np.argmin(self._known[::-1])) if not self._known.all() else len(self._known)

    @property
    def whole(self) -> bool:
        """True if the window is full: then can be observed."""
        return bool(self._known.all())

    def feed(self, values: Floats) -> None:
        """Take in the features [N, F] of the next bar."""
        scaled = self._normalizer.update(values)
        self._known = np.append(self._known[1:], np.isfinite(scaled).all())
        self._rows[:, :-1] = self._rows[:, 1:]
        self._rows[:, -1] = np.where(np.isfinite(scaled), scaled, 0.0)

    def forget(self) -> None:
        """Bars are missing: the window begins anew."""
        self._known[:] = False

    def account(
        self, close: Floats, volume: Floats, equity: float, sizes: Floats, costs: Floats,
        capital: float = 0.0,
    ) -> None:  # fmt: skip
        """Take in prices and the account at a bar's close, in the card's order of symbols.

        What is put in or taken out since the episode began (a change of `capital`) counts as if it
        had been there from the beginning.
        """
        bar = self._bars[0]
        bar[:, CLOSE] = np.rint(close / self._spec[:, TICK])
        bar[:, VOLUME] = np.rint(volume / self._spec[:, LOT])
        bar[:, STATE] = np.where(volume > 0, PRESENT, ABSENT)
        if self.age == 0 or self._start <= 0:
            self._start = self._peak = equity
        elif capital != self._capital:
            self._start = max(self._start + capital - self._capital, 0.0)
            self._peak = max(self._peak + capital - self._capital, 0.0)
        self._capital = capital
        self._peak = max(self._peak, equity)
        part = self._parts
        self._money[:, WALLET] = self._money[:, EQUITY] = equity / part
        self._money[:, START], self._money[:, PEAK] = self._start / part, self._peak / part
        columns = self.roles.columns
        self._book[:, :, LOTS] = np.rint(sizes / self._spec[:, LOT])[columns]
        self._book[:, :, COST] = costs[columns]

    def observe(self) -> Floats32:
        """[1, A, D]."""
        own, config = self.roles, self._seen
        A = len(own.agents)
        out: Floats32 = np.empty((1, A, self._shape.size), np.float32)
        length, at = self._config.episode.length, 0
        left = np.array([1.0 if length is None else (length - self.age) / length])
        for slot in self._shape.slots:
            if slot.name == Part.WINDOW:
                last = np.array([config.window - 1])
                gather.windows(self._seen_rows, last, _NOW, own.seen, config.window, out, at)
            elif slot.name == Part.BOOK:
                equity = self._money[own.owner, EQUITY][None]
                gather.book_image(
                    self._seen_bars, self._seen_spec, self._rules, _NOW, own.seen,
                    config.levels, equity, out, at,
                )  # fmt: skip
            else:
                gather.accounts(
                    self._seen_bars, self._seen_spec, self._money, self._book, _NOW, left,
                    own.columns, own.owner, own.mine, out, at,
                )  # fmt: skip
            at += slot.size
        return out

    def passed(self, bars: int = 1) -> bool:
        """Bars of the episode have passed; true if the next one begins another."""
        self.age += bars
        if self._config.episode.length is not None and self.age >= self._config.episode.length:
            self.age = 0
        return self.age == 0

    def weights(self, actions: np.ndarray, agent: int | None) -> Floats:
        """[N] parts of the whole equity that actions [1, A, ...] ask for, of one agent or of all.

        An agent with one symbol says what it wants of that; others must be chosen.
        """
        asked = self._actions.weights(actions)[0]  # [A, n]
        out = np.zeros(len(self._spec))
        chosen = range(len(asked)) if agent is None else [agent]
        for a in chosen:
            out[self.roles.seen[a]] += asked[a] / self._parts
        return out


def _shown(values: np.ndarray) -> np.ndarray:
    """The same array, not to be written: as environments have it, so nothing is compiled anew."""
    view = values.view()
    view.flags.writeable = False
    return view


def check_tradable(card: ModelCard) -> None:
    """Refuse a model that a desk cannot give what its environment gave it.

    Raises:
        ConfigError: saying what that is.
    """
    env: EnvConfig = card.env
    if Part.FRAMES in env.observation.parts:
        raise ConfigError(
            f"model {card.name} observes frames of longer bars, which a desk does not have: train "
            "it on features of longer timeframes instead, as rsi_14@4h is on shorter bars"
        )
    if env.action.kind is ActionKind.TICKET:
        raise ConfigError(
            f"model {card.name} writes order tickets; a desk trades target weights: train it with "
            "another action.kind"
        )
    if env.action.every > 1:
        raise ConfigError(
            f"model {card.name} decides every {env.action.every} bars; a desk asks it at each: "
            "train it with action.every 1"
        )
    read = card.env.observation.feature_set(card.interval_ns).features if card.features else []
    if endless := [feature.name for _, feature in read if feature.endless]:
        raise ConfigError(
            f"model {card.name} observes {', '.join(endless)}, summed since the stream began: a "
            "desk's begins with the history it is given, not with the training's data; train it "
            "on what a number of bars says"
        )
