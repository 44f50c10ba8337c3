"""Errors of training. Pure."""

from don.errors import DonError


class TrainingDiverged(DonError):
    """A loss or a weight is no number any more; the last good checkpoint is kept."""
