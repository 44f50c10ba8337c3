"""Transaction costs of a recorded session. Does I/O: reads the journal."""

from don.errors import UsageError
from don.execution.tca import CostAnalysis, OrderCost
from don.model.messages import Command, FeatureSnapshot, FillReport, SubmitOrder
from don.storage.database import Database
from don.storage.journal import Journal
from don.storage.queries import Queries

KINDS = frozenset(cls.__name__ for cls in (Command, FeatureSnapshot, FillReport, SubmitOrder))


def session_costs(db: Database, session: str) -> list[OrderCost]:
    """What each order of a session cost.

    Raises:
        UsageError: if there is no such session.
    """
    row = Queries(db).session(session)
    if row is None:
        raise UsageError(f"session {session!r} is not known: see `don sessions`")
    analysis = CostAnalysis()
    for entry in Journal(db, row.account, row.session).read(row.session):
        if entry.kind in KINDS:
            analysis.take(entry.message())
    return analysis.rows()
