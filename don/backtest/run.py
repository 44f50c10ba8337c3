"""A backtest from its configuration to its result. Reads tape files; no clock, no randomness but
the configuration's seed.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from don.backtest.account import LocalAccount
from don.backtest.assume import assumptions
from don.backtest.books import book_results
from don.backtest.config import BacktestConfig, Detail
from don.backtest.desk import LocalDesk
from don.backtest.market import MarketTap
from don.backtest.provenance import shares_beside
from don.backtest.replay import Replay, TapeClock
from don.backtest.result import BacktestResult, Books, OrderOutcome
from don.backtest.resumed import Resumed
from don.books.config import features_needed, modules_needed, rows_needed, slots_name
from don.clock import iso, parse_iso
from don.engine import Engine
from don.errors import DataError, UsageError
from don.features.cache import FeatureCache
from don.features.config import FeatureConfig
from don.features.sets import FeatureSet
from don.home import home_dir
from don.model.instrument import Instrument
from don.model.messages import RULES, SessionStart
from don.model.order import OrderStatus
from don.model.portfolio import ZERO
from don.model.schema import SCHEMAS, MarketBatch
from don.paper.exchange import PaperExchange
from don.paper.funding import funding_beside
from don.paper.sample.make_sample import SAMPLE
from don.paper.tape import Tape, open_tape
from don.paper.tape_data import interval_name
from don.portfolio.optimizer import PortfolioOptimizer

Progress = Callable[[float], None]  # part done, 0 to 1
TAPES = "tapes"  # folder of the state folder; stored bars lie there as well


def run(config: BacktestConfig, progress: Progress = lambda done: None) -> BacktestResult:
    """Run a backtest.

    Args:
        config: what to run.
        progress: told now and then how much is done: 0 when all is checked and the first bar is
            about to be played, not before.

    Raises:
        UsageError, DataError, ConfigError: naming the field, the value and what is allowed.
    """
    if config.detail is Detail.BARS:
        from don.backtest.bars import run_bars

        result = run_bars(config, progress)
    else:
        result = run_tape(config, open_config_tape(config), progress)
    told = shares_beside(config.tapes, result.symbols, result.start_ns, result.end_ns)
    return replace(result, shares=told) if told else result


def run_tape(
    config: BacktestConfig,
    tape: Tape,
    progress: Progress = lambda done: None,
    *,
    start: SessionStart | None = None,
    found: Resumed | None = None,
    position: int | None = None,
    history_ns: int | None = None,
    repaired: bool = True,
) -> BacktestResult:
    """Run over an open tape with every event; see `run`.

    Args:
        config: what to run; its tape, symbols and start are those of `tape`.
        tape: the market.
        progress: as of `run`.
        start: a session's first entry to begin with; None makes one.
        found: the account that a session found at its beginning; None opens one.
        position: of the tape, to begin at; None: the tape's own start.
        history_ns: up to when bars were known as history; None: up to the start.
        repaired: whether the bars between that and the start were fetched later.
    """
    instruments = fees_of(config, tape.instruments())
    paper = config.exchange.model_copy(
        update={"intervals": (tape.interval,), "accounts": config.exchange.accounts[:1]}
    )
    begin = tape.start if position is None else position
    start_ns, end_ns = tape.time_of(begin), end_of(config, tape.end_ns, tape.time_of(begin))
    exchange = PaperExchange(instruments, paper, found.books if found else None)
    first = start or first_entry(config, instruments, tape.interval_ns, start_ns)
    clock = TapeClock(exchange, start_ns, first.ts_recv, config.speed)
    features = FeatureConfig.model_validate_json(first.feature_config)
    engine = Engine(first)
    optimizer = PortfolioOptimizer(config.engine.portfolio)
    cache = FeatureCache(features, first.symbols, first.session)
    account = LocalAccount(exchange, instruments, config.latency, config.seed, clock.now)
    names = {i.exchange_symbol: i.symbol for i in instruments if i.symbol in first.symbols}
    tap = MarketTap(
        names,
        tape.interval,
        f"backtest:{first.session}",
        lambda name: exchange.depth(name, 10),
        {i.exchange_symbol: (i.tick_size, i.lot_size) for i in instruments},
        features.grace_ns,
    )
    replay = Replay(
        exchange, account, tap, cache, clock, account_bars=config.account_bars, found=found
    )
    desk = LocalDesk(engine, optimizer, account, first.session, clock.now, replay.published)

    if found is None:
        desk.check_account()
    for report in found.told if found else ():
        desk.take(replace(report, ts_recv=clock.now()))
    known_ns = start_ns if history_ns is None else history_ns
    cache.warm_up(bars_before(tape, names, known_ns, config.history_bars, clock.now(), "history"))
    desk.take(cache.history())
    if known_ns < start_ns and repaired:
        count = (start_ns - known_ns) // tape.interval_ns
        missed = bars_before(tape, names, start_ns, count, clock.now(), "repair")
        replay.hand_on(MarketBatch(source="repair", seq=1, tables={"bars": missed}), desk)
    span = max(end_ns - start_ns, 1)
    progress(0.0)
    replay.run(tape, desk, begin, end_ns, lambda ts: progress((ts - start_ns) / span))
    return result_of(config, first, tape.interval_ns, start_ns, min(exchange.now, end_ns), desk)


def open_config_tape(config: BacktestConfig) -> Tape:
    """The tape of a configuration. Recordings that were decoded once are kept in the state folder,
    if there is one.

    Raises:
        DataError: if there is no such tape, symbol or time.
    """
    home = home_dir()
    return open_tape(
        config.tapes or None,
        config.symbols or None,
        seed=config.seed,
        start_ns=moment(config.start, "start"),
        interval=config.interval,
        funding=config.funding,
        kept=home / TAPES if home.is_dir() else None,
    )


def moment(text: str | None, name: str) -> int | None:
    """Nanoseconds of an ISO-8601 option.

    Raises:
        UsageError: if it is not a time.
    """
    if text is None:
        return None
    try:
        return parse_iso(text)
    except ValueError as error:
        raise UsageError(f"{name} {str(error).removeprefix('time ')}") from error


def end_of(config: BacktestConfig, tape_end: int, start_ns: int) -> int:
    """Where a run ends: the configured end, or the tape's.

    Raises:
        DataError: if the end is not after the start.
    """
    stated = moment(config.end, "end")
    if stated is not None and stated <= start_ns:
        raise DataError(f"end must be after the start {iso(start_ns)}, was {config.end!r}")
    return tape_end if stated is None else min(stated, tape_end)


def fees_of(config: BacktestConfig, listed: tuple[Instrument, ...]) -> tuple[Instrument, ...]:
    """Instruments with the fees of the account's tier."""
    fees = config.fees
    return tuple(
        replace(
            one,
            maker_fee=one.maker_fee if fees.maker is None else fees.maker,
            taker_fee=one.taker_fee if fees.taker is None else fees.taker,
        )
        for one in listed
    )


def first_entry(
    config: BacktestConfig, instruments: tuple[Instrument, ...], interval: int, now_ns: int
) -> SessionStart:
    """The session's first entry, as the composition of a live session makes it."""
    needed = features_needed(config.policy, config.engine)
    names = tuple(dict.fromkeys((*config.features.names, *needed)))
    modules = (*config.features.modules, *modules_needed(config.policy, config.engine))
    features = config.features.model_copy(
        update={
            "interval": interval_name(interval),
            "names": names,
            "modules": tuple(dict.fromkeys(modules)),
            "rows": rows_needed(config.policy, config.engine),
        }
    )
    made = FeatureSet(features.names, modules=features.modules)
    return SessionStart(
        key=f"start:{config.session}",
        session=config.session,
        account="backtest",
        policy=slots_name(config.policy, config.engine),
        symbols=tuple(i.symbol for i in instruments),
        instruments=instruments,
        interval_ns=interval,
        feature_set=made.hash,
        features=tuple(made.names),
        feature_config=features.model_dump_json(),
        config=config.engine.model_dump_json(),
        state="",
        ts_recv=now_ns,
        rules=RULES,
    )


def result_of(
    config: BacktestConfig,
    first: SessionStart,
    interval: int,
    start_ns: int,
    end_ns: int,
    desk: LocalDesk,
) -> BacktestResult:
    """The result of a run that is over."""
    record, engine = desk.record, desk.engine
    text = config.model_dump_json(exclude={"tape", "funding"})  # files are known by their content
    orders = []
    for client_id, order in record.orders.items():
        state = record.states.get(client_id)
        orders.append(
            OrderOutcome(
                order=order,
                status=OrderStatus.INTENDED if state is None else state.status,
                filled=ZERO if state is None else state.filled,
                detail="" if state is None else state.detail,
            )
        )
    none = np.empty((0, len(first.symbols)))
    closes = np.array(record.closes) if record.closes else none
    ledger = engine.ledger
    equity = engine.equity
    return BacktestResult(
        session=first.session,
        policy=first.policy,
        detail=str(config.detail),
        symbols=first.symbols,
        interval_ns=interval,
        start_ns=start_ns,
        end_ns=end_ns,
        bars=int(np.isfinite(closes).sum()),
        config=text,
        config_hash=hashlib.sha256(text.encode()).hexdigest()[:16],
        data_hash=data_hash(config),
        feature_set=first.feature_set,
        decisions=tuple(record.decisions),
        orders=tuple(orders),
        fills=tuple(record.fills),
        funding=tuple(record.funding),
        differences=tuple(record.differences),
        equity_ts=np.array(record.equity_ts, np.int64),
        equity=np.array(record.equity),
        closes_ts=np.array(record.closes_ts, np.int64),
        closes=closes,
        marks=np.array(record.marks) if record.marks else none,
        books=Books(
            equity=equity,
            balance=ledger.balance,
            deposits=ledger.deposits,
            realized=ledger.realized,
            unrealized=equity - ledger.balance,
            fees=ledger.fees,
            funding=ledger.funding,
            liquidation=ledger.liquidation,
        ),
        assumptions=assumptions(config),
        virtual=book_results(engine.keeper, record.points),
        entries=tuple(record.entries),
    )


def data_hash(config: BacktestConfig) -> str:
    """Hash of the content of the files that the market comes from."""
    files = list(config.tapes or (SAMPLE,))
    funding = config.funding or funding_beside(files[0])
    digest = hashlib.sha256()
    for file in [*files, *([funding] if funding is not None else [])]:
        with Path(file).open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def bars_before(
    tape: Tape, names: dict[str, str], end_ns: int, limit: int, wall: int, origin: str
) -> pa.Table:
    """The last closed bars of each symbol at a time, as a feed fetches them."""
    rows: list[dict[str, object]] = []
    units = {i.exchange_symbol: (i.tick_size, i.lot_size) for i in tape.instruments()}
    for name, symbol in names.items():
        tick, lot = units[name]
        for bar in tape.history(name, tape.interval, end_ns, limit):
            prices = (bar.open, bar.high, bar.low, bar.close)
            o, h, low, c = (float(price * tick) for price in prices)
            rows.append(
                {
                    "symbol": symbol, "ts_event": bar.ts, "ts_recv": wall,
                    "open": o, "high": h, "low": low, "close": c,
                    "volume": float(bar.volume * lot), "trades": bar.trades, "origin": origin,
                }
            )  # fmt: skip
    return pa.Table.from_pylist(rows, SCHEMAS["bars"])
