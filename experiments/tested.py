"""What an evaluation runs over: from the first bar on at which all that is compared can decide.

Pure. Who cannot act yet seems skilled in a falling market, and dull in a rising one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from don.clock import iso
from don.envs import EnvMarket
from don.envs.layout import Bools
from don.errors import DataError
from don.evaluation.agent import all_decidable, check_market, history_needed, window
from don.evaluation.costs import together
from don.evaluation.course import first_bar
from don.learning.card import ModelCard


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """What a test runs over."""

    part: EnvMarket
    begin: int  # bar of `part` at whose close all that is compared decides first
    able: Bools  # [T] bars at which all models can decide
    said: tuple[str, ...] = ()  # what a reader must know of it


def tested(
    cards: Sequence[ModelCard], whole: EnvMarket, start: int | None, end: int | None, named: bool
) -> Tested:
    """The bars of a test; a start that nobody named is put off to where all models can decide.

    Args:
        cards: of the models.
        whole: all bars.
        start: of the test, ns; None: the first bar.
        end: of the test, ns; None: the last bar.
        named: whether somebody asked for this start: then it is refused where it cannot be.

    Raises:
        ConfigError, DataError: if a model cannot act on them: that is no look at them yet.
    """
    part, begin = window(whole, greediest(cards), start, end)
    for card in cards:
        check_market(card, part)
    together([card.env for card in cards], part)
    able = all_decidable(cards, part)
    first = first_bar(able, part, begin)
    if first == begin:
        return Tested(part=part, begin=begin, able=able)
    at, closes = max(s.start for s in part.segments if s.start <= begin), part.close_ns
    lacking = (
        f"too little history before {iso(int(closes[begin]))}: agents look back over about "
        f"{history_needed(greediest(cards))} bars in a row of all symbols before they decide, "
        f"there are {begin - at}"
    )
    if named:
        raise DataError(f"{lacking}; the earliest possible start is {iso(int(closes[first]))}")
    return Tested(
        part=part, begin=first, able=able,
        said=(f"The test begins at {iso(int(closes[first]))}: {lacking}.",),
    )  # fmt: skip


def greediest(cards: Sequence[ModelCard]) -> ModelCard:
    """Whoever looks back over most bars."""
    return max(cards, key=history_needed)
