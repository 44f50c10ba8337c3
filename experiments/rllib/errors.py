"""Errors of training, and how those of processes that sample are told. Reads and writes a file.

RLlib begins such a process anew, whatever it failed of, and says so in a log that nobody reads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from don.errors import ConfigError, DonError

FAILED = "failed.txt"  # beside the market of a training


@contextmanager
def noted(market: str) -> Iterator[None]:
    """Note what the user's own input does wrong in a process that samples.

    Args:
        market: file of the training's bars.
    """
    try:
        yield
    except DonError as error:
        (Path(market).parent / FAILED).write_text(str(error))
        raise


def check_noted(out: Path) -> None:
    """Give up where a process that samples noted what is wrong in a training's folder.

    Raises:
        ConfigError: saying what was noted.
    """
    if (out / FAILED).exists():
        raise ConfigError((out / FAILED).read_text())


class TrainingDiverged(DonError):
    """A loss or a weight is no number any more; the last good checkpoint is kept.

    Args:
        what: happened, and what is kept.
        advice: what to do.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what, advice)
        self.what, self.advice = what, advice

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}"
