"""What one session hands to the next: books, open orders, halt, estimates. Pure; JSON, exact.

Decimals are text, floats print so that they read back as the same bits, arrays are raw bytes.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from don.books.books import BooksState
from don.errors import JournalError
from don.execution.orders import OrderRecord
from don.execution.parents import Parent
from don.ledger import LedgerState
from don.model import codec
from don.portfolio.risk_models import CovarianceState
from don.risk.losses import DayState, LossState
from don.risk.states import Standing

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """The carried state. The default is an account's beginning."""

    format: int = FORMAT
    ledger: LedgerState = field(default_factory=LedgerState)
    orders: tuple[OrderRecord, ...] = ()
    parents: tuple[Parent, ...] = ()
    halted: bool = False
    halt_reason: str = ""
    target: dict[str, float] = field(default_factory=dict)  # last accepted weights
    marks: dict[str, Decimal] = field(default_factory=dict)
    day: DayState = field(default_factory=DayState)
    covariance: CovarianceState | None = None
    losses: LossState = field(default_factory=LossState)
    states: dict[str, Standing] = field(default_factory=dict)  # scopes that are not active
    limits: str = "{}"  # JSON; limits changed by command, see `don.risk.change`
    wall: int = 0  # wall time of the last input; 0: not known
    books: BooksState | None = None  # virtual ones; None where one policy has the account
    unprotected: Decimal = Decimal(0)  # notional x seconds without Don and without protection


def dump(state: EngineState) -> str:
    """JSON of the state; the same state always gives the same text."""
    return codec.encode(state).decode()


def load(text: str) -> EngineState:
    """The state in a session's first entry; an empty text is an account's beginning.

    Raises:
        JournalError: if the text is not a state of a known format.
    """
    if not text:
        return EngineState()
    try:
        state = codec.decode_as(EngineState, text)
    except ValueError as error:
        raise JournalError(f"carried state cannot be read: {error}") from error
    if state.format != FORMAT:
        raise JournalError(f"carried state has format {state.format}, this version reads {FORMAT}")
    return state
