"""How far luck carries the best of the trials that the research ledger counted. Pure.

The published formula takes the variance of the trials' ratios, all of records as long as the one
that is judged. A ledger holds what was run: two days here, years there, and strategies that paid
themselves to death. What is made of that is here.
"""

import math
from collections.abc import Sequence

import numpy as np

from don.evaluation.sharpe import expected_best, trial_variance
from don.storage.research_ratios import Ratio

LEAST = 10  # ratios from which on their spread is believed
FEWEST = 30  # returns below which a ratio is far from normal: it widens nothing
SHORTEST = 0.25  # of the judged record; shorter ones say too little about as long ones


def luck_variance(
    ratios: Sequence[Ratio], trials: int, steps: int, step_days: float, steps_a_year: float
) -> float:
    """Variance, per step, of what as many trials on a record of this length come to by luck.

    At least 1 / (T - 1), that of ratios whose true value is zero. More if the trials that told
    theirs spread wider, each as of a record of the same length: the noise of an estimated ratio
    goes with 1 / sqrt(T) (Lo 2002), so that of a shorter record is taken times sqrt(T_i / T), which
    keeps its distance from zero in its own standard errors. Much shorter ones, and those of few
    returns, count as trials and say nothing of the spread. One whose record is not known is taken
    as no further from zero than the best of as many lucky trials.

    The spread is the variance, or twice the mean square of the ratios above zero if that is less:
    both are the same where the true ratios are zero, as the formula supposes, but strategies that
    lose by their costs widen only the first, and nobody gets lucky by them.

    It is the greatest that the ledger's ratios had at any time: a trial that is entered later never
    lowers it, and so a deflated ratio never rises because something more was tried.

    Args:
        ratios: of the trials that told theirs, in the order in which they became known.
        trials: all of them, told or not.
        steps: T, returns of the record that is judged.
        step_days: length of each.
        steps_a_year: what annual ratios are brought to steps by.

    Sources: Bailey & López de Prado, "The deflated Sharpe ratio", JPM 40(5), 2014; Lo, "The
    statistics of Sharpe ratios", FAJ 58(4), 2002, eq. 9.
    """
    luck = trial_variance(np.empty(0), steps)
    best = expected_best(trials, luck)
    days, root = max(steps, 1) * step_days, math.sqrt(steps_a_year)
    kept = []
    for one in ratios:
        own = one.sharpe / root
        if one.returns is None or one.days is None:
            kept.append(min(max(own, -best), best))
        elif one.returns >= FEWEST and one.days >= SHORTEST * days:
            kept.append(own * math.sqrt(min(one.days / days, 1.0)))
    told = np.array(kept)
    above = np.maximum(told, 0.0) ** 2
    return max(
        (
            max(min(trial_variance(told[:n], steps, least=LEAST), 2.0 * above[:n].mean()), luck)
            for n in range(LEAST, len(told) + 1)
        ),
        default=luck,
    )
