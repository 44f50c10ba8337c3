"""What a reward of one's own must keep, checked on made-up steps before it is registered. Pure.

A finite number for each row, also where all is lost; the same steps give the same rewards; a row's
reward follows from that row alone, however many there are beside it; a row that is reset is as one
that has just begun; and what is handed over is left as it was.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from don.envs.layout import Bools, Floats
from don.envs.rewards import StepView, checked
from don.errors import ConfigError

_ROWS, _STEPS, _SYMBOLS = 6, 48, 2
_RESET = 20  # step before which some rows begin anew
_LOST = 33  # step in which one row loses all
Call = Callable[[StepView], Floats]
Array = TypeVar("Array", Floats, Bools)


def prove(name: str, make: Callable[[int], Call]) -> None:
    """Check a reward.

    Args:
        name: of it.
        make: it, of so many rows.

    Raises:
        ConfigError: naming the reward, what it breaks and where.
    """
    views = made_up_steps(1)
    try:
        whole = _told(name, make(_ROWS), views)
        _same(name, whole, _told(name, make(_ROWS), views),
              "the same steps give other rewards: it must not draw, read a clock, or remember "
              "anything outside of itself")  # fmt: skip
        for row in range(0, _ROWS, 2):
            alone = _told(name, make(1), [_row(view, row) for view in views])
            _same(name, whole[:, row], alone[:, 0],
                  "a row's reward depends on the rows beside it, of other episodes")  # fmt: skip
        anew = np.arange(_ROWS) % 2 == 1
        reset = _told(name, make(_ROWS), views, anew)
        begun = _told(name, make(_ROWS), views[_RESET:])
        _same(name, reset[_RESET:, anew], begun[:, anew],
              "a row that is reset remembers the episode before")  # fmt: skip
        _same(name, reset[:, ~anew], whole[:, ~anew],
              "a reset changes rows that are not reset")  # fmt: skip
    except ConfigError:
        raise
    except Exception as error:  # of the reward's own code
        raise ConfigError(
            f"reward {name!r} fails on made-up steps: {type(error).__name__}: {error}"
        ) from error


def made_up_steps(seed: int) -> list[StepView]:
    """Steps of some accounts; in one row nothing moves, one loses all, and not all rows step."""
    rng = np.random.default_rng(seed)
    after = np.full(_ROWS, 100_000.0)
    start, found = after.copy(), []
    for step in range(_STEPS):
        before = after
        after = before * np.exp(rng.normal(0, 0.02, _ROWS))
        after[0] = before[0]
        if step == _LOST:
            after[2] = 0.0
        costs = before * np.abs(rng.normal(0, 1e-3, _ROWS))
        funding = before * rng.normal(0, 1e-4, _ROWS)
        turnover = before * np.abs(rng.normal(0, 0.5, _ROWS))
        weights = rng.normal(0, 0.7, (_ROWS, _SYMBOLS))
        for each in (costs, funding, turnover, weights):
            each[0] = 0.0
        active = rng.random(_ROWS) < 0.9
        found.append(_view(before, after, start, costs, funding, turnover, active, weights))
    return found


def _view(
    before: Floats, after: Floats, start: Floats, costs: Floats, funding: Floats,
    turnover: Floats, active: Bools, weights: Floats,
) -> StepView:  # fmt: skip
    """A step that cannot be written to: an environment reckons on with these very arrays."""
    return StepView(
        before=_kept(before), after=_kept(after), start=_kept(start), costs=_kept(costs),
        funding=_kept(funding), turnover=_kept(turnover), active=_kept(active),
        weights=weights.copy,
    )  # fmt: skip


def _kept(values: Array) -> Array:
    copy = values.copy()
    copy.flags.writeable = False
    return copy


def _row(view: StepView, row: int) -> StepView:
    one = slice(row, row + 1)
    return _view(
        view.before[one], view.after[one], view.start[one], view.costs[one], view.funding[one],
        view.turnover[one], view.active[one], view.weights()[one],
    )  # fmt: skip


def _told(name: str, each: Call, views: list[StepView], anew: Bools | None = None) -> Floats:
    """[S, R] rewards of steps; some rows begin anew at one of them."""
    found = []
    for step, view in enumerate(views):
        begin = getattr(each, "reset", None)
        if anew is not None and step == _RESET and begin is not None:
            begin(anew)
        with np.errstate(all="ignore"):  # what comes of it is looked at
            value = each(view)
        found.append(checked(repr(name), value, view))
    return np.array(found)


def _same(name: str, one: Floats, two: Floats, otherwise: str) -> None:
    """Equal, but for how a sum of more or fewer numbers is rounded."""
    if not np.allclose(one, two, rtol=1e-9, atol=1e-12):
        raise ConfigError(f"reward {name!r}: {otherwise}")
