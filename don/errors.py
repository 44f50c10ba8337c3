"""The error tree, split by what the caller can do: fix the input, wait and retry, or give up. Pure.

Every class takes positional arguments only, so that errors survive pickling between processes.
"""


class DonError(Exception):
    """Base of all errors that Don raises on purpose; `exit_code` is what the command line
    returns.
    """

    exit_code = 1


class UsageError(DonError):
    """The caller's input is wrong. The message names the field, the value and what is allowed."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration key or value is wrong."""


class DataError(UsageError):
    """Market data (a tape, a file) is missing, malformed or inconsistent."""


class DifferenceError(DonError):
    """A comparison that must be exact found a difference, or a limit was broken."""

    exit_code = 3


class DependencyError(DonError):
    """Something Don depends on (database, exchange, actor) is away; waiting and retrying may
    help.
    """

    exit_code = 4


class DatabaseError(DependencyError):
    """The database cannot be reached or refused the statement for an operational reason."""


class JournalError(DonError):
    """The journal is inconsistent: a broken hash chain or a conflicting idempotency key. Never
    retried.
    """


class Interrupted(DonError):
    """The user stopped it before it was done."""

    exit_code = 130


class ExchangeUnavailable(DependencyError):
    """The exchange did not answer or answered with a server fault: the outcome is unknown."""


class RateLimited(DependencyError):
    """The exchange asked us to slow down; `retry_after_s` is its hint."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s)
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


class ExchangeRefused(DonError):
    """The exchange understood and refused the request: a definite outcome, never retried as it
    is.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"exchange refused ({self.code}): {self.message}"


class SolverError(DonError):
    """An optimisation problem could not be solved; the caller falls back and says so."""
