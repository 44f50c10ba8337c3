"""Errors of training. Pure."""

from don.errors import DonError


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
