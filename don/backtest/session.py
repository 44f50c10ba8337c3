"""A recorded session run again in the backtest. Reads the database and the tape."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

import numpy as np

from don.backtest.config import BacktestConfig
from don.backtest.desk import Record
from don.backtest.parity import Course, Parity, compare
from don.backtest.result import BacktestResult
from don.backtest.resumed import resumed
from don.backtest.run import open_config_tape, run_tape
from don.clock import iso
from don.engine.config import parse_config
from don.engine.state import load as load_state
from don.errors import UsageError
from don.features.config import FeatureConfig
from don.model.messages import FeatureSnapshot, History, SessionStart
from don.paper.server.config import PaperServerConfig
from don.paper.server.replay import Speed
from don.storage.database import Database
from don.storage.journal import Journal
from don.storage.rows import SessionRow


def session_parity(
    db: Database,
    row: SessionRow,
    market: PaperServerConfig | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Parity:
    """Run a session's tape through the backtest and compare.

    Args:
        db: where the session is recorded.
        row: the session.
        market: the exchange it ran on, if the journal does not say; relative to the working folder.
        progress: told now and then how much is done.

    Raises:
        UsageError: if the session has no journal or no bar, or nobody says what it was played from.
    """
    start, messages = None, []
    for entry in Journal(db, row.account, row.session).read(row.session):
        message = entry.message()
        start = start or message
        messages.append(message)
    if not isinstance(start, SessionStart):
        raise UsageError(f"session {row.session} has no journal: it ended before it began")
    if start.market:
        market = PaperServerConfig.model_validate_json(start.market)
    if market is None:
        raise UsageError(
            f"session {row.session} does not say what it was played from: name the tape"
        )
    for file in market.tapes:
        if not Path(file).exists():
            raise UsageError(f"tape {file} of session {row.session} is not there any more")
    return parity_of(start, messages, market, progress)


def parity_of(
    start: SessionStart,
    messages: list[object],
    market: PaperServerConfig,
    progress: Callable[[float], None] = lambda done: None,
) -> Parity:
    """Run a session's tape through the backtest and compare.

    Args:
        start: the session's first entry.
        messages: its journal, that entry included.
        market: the exchange it ran on.
        progress: told now and then how much is done.

    Raises:
        UsageError: if it took in no bar, or held what it did not trade.
    """
    live = recorded(start, messages)
    result = _again(start, messages, market, progress)
    return compare(live, course_of(result, live.held))


def recorded(start: SessionStart, messages: list[object]) -> Course:
    """What the session did, from its journal."""
    record = Record()
    bars: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for message in messages:
        record.take(message)
        if isinstance(message, FeatureSnapshot):
            place = {symbol: n for n, symbol in enumerate(message.symbols)}
            order = [place[symbol] for symbol in start.symbols]
            bars[message.ts_event] = (message.close[order], message.mark[order])
    return Course(
        symbols=start.symbols,
        decisions=record.decisions,
        orders=record.orders,
        statuses={name: state.status for name, state in record.states.items()},
        fills=record.fills,
        funding=record.funding,
        bars=bars,
        held={p.symbol: p.size for p in load_state(start.state).ledger.positions},
        entries=record.entries,
        worth=[
            (point.ts_event, one.book, one.mode == "shadow", float(one.equity), float(one.capital))
            for point in record.points
            for one in point.values
        ],
    )


def course_of(result: BacktestResult, held: Mapping[str, Decimal] | None = None) -> Course:
    """What a backtest did."""
    return Course(
        symbols=result.symbols,
        decisions=result.decisions,
        orders={one.order.client_order_id: one.order for one in result.orders},
        statuses={one.order.client_order_id: one.status for one in result.orders},
        fills=result.fills,
        funding=result.funding,
        bars={
            int(ts): (close, mark)
            for ts, close, mark in zip(
                result.closes_ts.tolist(), result.closes, result.marks, strict=True
            )
        },
        held=held or {},
        entries=result.entries,
        worth=[
            (ts, book.book, book.mode == "shadow", equity, capital)
            for book in result.virtual
            for ts, equity, capital in zip(
                book.ts.tolist(), book.equity.tolist(), book.capital.tolist(), strict=True
            )
        ],
    )


def _again(
    start: SessionStart,
    messages: list[object],
    market: PaperServerConfig,
    progress: Callable[[float], None],
) -> BacktestResult:
    history = next((m for m in messages if isinstance(m, History)), None)
    snapshots = [m for m in messages if isinstance(m, FeatureSnapshot)]
    if history is None or not len(history.ts) or not snapshots:
        raise UsageError(f"session {start.session} took in no bar: there is nothing to compare")
    known, first = int(history.ts[-1]), snapshots[0].ts_event
    fresh = not start.state
    # a session on books that existed goes on where the tape stood: in the bar that closed first
    begin = market.start if fresh else iso(first - start.interval_ns)
    config = BacktestConfig(
        tape=market.tape,
        funding=market.funding,
        symbols=start.symbols,
        interval=market.interval,
        start=begin,
        end=iso(snapshots[-1].ts_event),
        seed=market.seed,
        policy=start.policy,
        history_bars=len(history.ts),
        engine=parse_config(start.config),
        features=FeatureConfig.model_validate_json(start.feature_config),
        exchange=market.exchange,
        speed=Speed.parse(market.speed, start.interval_ns).factor,
        session=start.session,
    )
    tape = open_config_tape(config)
    exchange = market.exchange.model_copy(update={"intervals": (tape.interval,)})
    return run_tape(
        config,
        tape,
        progress,
        start=start,
        found=resumed(start, messages, exchange, tape.time_of(tape.start)),
        history_ns=known,
        repaired=first == known + start.interval_ns,
    )


def told(parity: Parity) -> dict[str, object]:
    """A comparison as a JSON-able dictionary."""
    names = ("recorded", "backtest", "equal")
    return {
        "equal": parity.equal,
        "until": iso(parity.until_ns),
        **{
            name: dict(zip(names, getattr(parity, name), strict=True))
            for name in ("decisions", "orders", "fills", "books")
        },
        "first_difference": parity.first_difference,
        "pnl_difference": str(parity.difference),
        "parts": {cause: str(amount) for cause, amount in parity.parts.items()},
    }
