"""A backtest over closed bars: the same engine and exchange, many quiet bars at a time.

Reads tape files. Bars on which nothing is decided, paid, filled or near a limit go into the engine
as one block; all others are stepped as live. In a hole, a bar that no symbol has, the exchange goes
on (orders meet nobody, funding is paid), and the desk is shown nothing.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from don.backtest.account import LocalAccount
from don.backtest.config import BacktestConfig, LatencyConfig
from don.backtest.desk import LocalDesk
from don.backtest.drawn import DrawnExchange, worst_margins
from don.backtest.panel import Market, features_of, open_market, recorded, span
from don.backtest.result import BacktestResult
from don.backtest.run import end_of, fees_of, first_entry, moment, result_of
from don.books.config import features_needed, modules_needed, rows_needed
from don.engine import Engine
from don.features.config import FeatureConfig
from don.features.plugins import load_modules
from don.features.sets import FeatureSet
from don.model.messages import FeatureSnapshot, History
from don.paper.events import Event
from don.paper.tape_data import interval_name
from don.portfolio.optimizer import PortfolioOptimizer

BLOCK = 4_096  # bars looked at together, at most
TELL_EVERY = 64  # steps
LAST_ROUNDS = 8


def run_bars(config: BacktestConfig, progress: Callable[[float], None]) -> BacktestResult:
    """Run over closed bars; see `don.backtest.run.run`."""
    return run_market(config, open_market(config), progress)


def run_market(
    config: BacktestConfig, market: Market, progress: Callable[[float], None] = lambda done: None
) -> BacktestResult:
    """Run over a market that is loaded already, so that many runs can share it."""
    begin, stop = span(config, market, moment(config.start, "start"), moment(config.end, "end"))
    panel = market.panel
    end_of(config, panel.open_ns(stop), panel.open_ns(begin))
    return _Run(config, market, begin, stop).result(progress)


class _Run:
    """One run."""

    def __init__(self, config: BacktestConfig, market: Market, begin: int, stop: int) -> None:
        self._config, self._market, self._begin, self._stop = config, market, begin, stop
        panel = market.panel
        self._shown = market.shown
        self._number = np.cumsum(self._shown)  # of bars that there are
        needed = features_needed(config.policy, config.engine) or ("log_return_1",)
        own = (*config.features.modules, *modules_needed(config.policy, config.engine))
        modules = tuple(dict.fromkeys(own))
        load_modules(modules)
        features = FeatureSet(_with_compared(needed))
        known = FeatureConfig(names=features.names, modules=modules)
        lean = config.model_copy(update={"features": known})
        instruments = fees_of(config, panel.instruments)
        self._first = first_entry(lean, instruments, panel.interval_ns, panel.open_ns(begin))
        self._features, self._values = features, features_of(market, features)
        paper = config.exchange.model_copy(
            update={
                "intervals": (interval_name(panel.interval_ns),),
                "accounts": config.exchange.accounts[:1],
                "order_latency": None,  # orders arrive when the configuration of fills says
                "history": min(config.exchange.history, 2_000),
            }
        )
        self._drawn = DrawnExchange(market, instruments, paper, config.fills)
        self._now = panel.open_ns(begin)
        self._account = LocalAccount(
            self._drawn.exchange, instruments, LatencyConfig(), config.seed, self._wall
        )
        self._engine = Engine(self._first)
        self._desk = LocalDesk(
            self._engine,
            PortfolioOptimizer(config.engine.portfolio),
            self._account,
            self._first.session,
            self._wall,
            lambda events: None,
            hold_requests=True,
        )
        self._place = {i.symbol: n for n, i in enumerate(instruments)}
        self._rate = float(config.exchange.maintenance_rate)
        self._since_check = 0
        # positions as floats, since the books moved last
        self._moves, self._size, self._cost = -1, np.zeros(len(instruments)), 0.0

    def _wall(self) -> int:
        passed, speed = self._now - self._market.panel.open_ns(self._begin), self._config.speed
        return self._first.ts_recv + (0 if speed is None else int(passed / speed))

    def _walls(self, ts: np.ndarray) -> np.ndarray:
        start, speed = self._market.panel.open_ns(self._begin), self._config.speed
        if speed is None:
            return np.full(len(ts), self._first.ts_recv)
        return np.asarray(self._first.ts_recv + ((ts - start) / speed).astype(np.int64))

    def result(self, progress: Callable[[float], None]) -> BacktestResult:
        market, desk, begin, stop = self._market, self._desk, self._begin, self._stop
        desk.check_account()
        desk.take(self._history())
        progress(0.0)
        slot, steps = begin, 0
        while slot < stop:
            if quiet := self._quiet(slot):
                slot += quiet
                continue
            self._step(slot)
            slot, steps = slot + 1, steps + 1
            if steps % TELL_EVERY == 0:
                progress((slot - begin) / (stop - begin))
        for n in range(LAST_ROUNDS):  # what the last fills lead to: protection moves with them
            if not desk.waiting or (n and self._engine.halted):
                break
            self._arrive(stop)
        self._now = max(self._now, market.panel.open_ns(stop))
        desk.check_account(final=True)
        record = desk.record
        record.closes_ts = market.close_ns[begin:stop].tolist()
        record.closes = record.marks = list(market.close[begin:stop])
        panel = market.panel
        result = result_of(
            self._config, self._first, panel.interval_ns, panel.open_ns(begin),
            panel.open_ns(stop), desk,
        )  # fmt: skip
        return replace(result, recorded=recorded(market, begin, stop))

    def _history(self) -> History:
        market, begin = self._market, self._begin
        first = max(begin - self._config.history_bars, 0)
        own = np.flatnonzero(self._shown[first:begin]) + first
        rows = min(rows_needed(self._config.policy, self._config.engine), len(own))
        return History(
            key=f"history:{self._first.session}",
            symbols=self._first.symbols,
            ts=market.close_ns[own],
            close=np.where(market.present[own], market.close[own], np.nan),
            ts_recv=self._first.ts_recv,
            names=self._features.names if rows else (),
            values=self._values[own[-rows:]] if rows else None,
        )

    # ---- quiet bars ------------------------------------------------------------------------------

    def _quiet(self, slot: int) -> int:
        """Take in the bars from a slot on that need no step; how many those are."""
        if (
            self._desk.waiting
            or not self._engine.idle
            or not self._shown[slot - 1 : slot + 1].all()
        ):
            return 0  # behind a hole, a timer may be due
        market, engine = self._market, self._engine
        # the next bar to decide on ends the block: look no further
        number = int(market.close_ns[slot] // market.panel.interval_ns)
        end = min(slot + BLOCK, self._stop, slot + (-number) % self._config.engine.decide_every)
        if end <= slot:
            return 0
        there = self._shown[slot:end]
        own = slice(slot, end if there.all() else slot + int(np.argmin(there)))
        count = engine.quiet(market.close_ns[own], market.close[own])
        if engine.ledger.positions and count:
            count = min(count, self._calm(slice(slot, slot + count)))
        if not count:
            return 0
        self._observe(slot, count)
        return count

    def _observe(self, slot: int, count: int) -> None:
        """Let the engine take in bars at once. Payments may fall on the close of the last."""
        market, last = self._market, slot + count - 1
        if self._paying(last):
            if count > 1:
                self._take_in(slice(slot, last))
            self._now = int(market.close_ns[last])
            self._pay(last)
            slot = last
        self._take_in(slice(slot, last + 1))

    def _take_in(self, own: slice) -> None:
        market = self._market
        ts = market.close_ns[own]
        self._now = int(ts[-1])
        self._desk.take_bars(ts, market.close[own], market.present[own], self._walls(ts))

    def _paying(self, slot: int) -> bool:
        """True if a payment falls into a bar on something that is held."""
        due = self._market.payments.get(slot)
        if due is None:
            return False
        held = self._held()
        return any(n in held for _, n, _ in due)

    def _pay(self, slot: int) -> None:
        """Funding of a bar; the positions are at its close."""
        self._tell(self._drawn.close(slot, sorted(self._held())))
        self._tell(self._drawn.pay(slot, self._held()))

    def _calm(self, own: slice) -> int:
        """How many bars pass without coming near a liquidation, up to one with a payment."""
        for slot in range(own.start, own.stop):
            if self._paying(slot):
                own = slice(own.start, slot + 1)
                break
        danger = self._danger(own)
        return int(np.argmax(danger)) if danger.any() else own.stop - own.start

    def _danger(self, own: slice) -> np.ndarray:
        """[bar] bool: a liquidation cannot be ruled out, all positions at their worst at once."""
        ledger = self._engine.ledger
        if self._moves != ledger.moves:
            self._moves, self._size = ledger.moves, np.zeros(len(self._place))
            for symbol, position in ledger.positions.items():
                self._size[self._place[symbol]] = float(position.size)
            self._cost = float(sum(p.cost for p in ledger.positions.values()))
        size, cost, balance = self._size, self._cost, float(ledger.balance)
        left = worst_margins(self._market, own, size, cost, balance, self._rate)
        return np.asarray(~(left > 1e-6 * abs(balance)))

    # ---- a bar that is stepped -------------------------------------------------------------------

    def _step(self, slot: int) -> None:
        market, drawn, desk, engine = self._market, self._drawn, self._desk, self._engine
        close_ns = int(market.close_ns[slot])
        if desk.waiting:
            self._arrive(slot)
        if not engine.idle:
            resting = {r.order.symbol for r in engine.orders.in_flight()}
            self._tell(drawn.through(slot, sorted(self._place[s] for s in resting)))
        held = self._held()
        if held:
            self._now = close_ns
            danger = self._danger(slice(slot, slot + 1)).any()
            if danger:
                self._endanger(slot)
            if danger or self._paying(slot):
                self._pay(slot)
        self._now = close_ns
        if not self._shown[slot]:
            return
        desk.take_snapshot(self._snapshot(slot))
        self._since_check += 1
        if self._since_check >= self._config.account_bars:
            self._since_check = 0
            desk.check_account()

    def _arrive(self, slot: int) -> None:
        """Let the requests that wait meet the market of a bar."""
        desk, drawn = self._desk, self._drawn
        self._now = drawn.arrive_ns(slot)
        wanted = {self._place[symbol] for symbol in desk.waiting_symbols}
        self._tell(drawn.draw(slot, sorted(wanted), sorted(self._held() - wanted), self._now))
        desk.release()
        desk.deliver()

    def _endanger(self, slot: int) -> None:
        positions = self._engine.ledger.positions
        longs = [self._place[s] for s, p in positions.items() if p.size > 0]
        shorts = [self._place[s] for s, p in positions.items() if p.size < 0]
        self._tell(self._drawn.worst(slot, sorted(longs), sorted(shorts)))

    def _snapshot(self, slot: int) -> FeatureSnapshot:
        market, start = self._market, self._first
        version = int(self._number[slot] - self._number[self._begin - 1])
        close = market.close[slot]
        present = market.present[slot]
        if present.all():
            stale: tuple[str, ...] = ()
        else:
            stale = tuple(
                s for s, ok in zip(start.symbols, present.tolist(), strict=True) if not ok
            )
        return FeatureSnapshot(
            key=f"snapshot:{start.session}:{version}",
            version=version,
            ts_event=int(market.close_ns[slot]),
            ts_recv=self._wall(),
            feature_set=start.feature_set,
            symbols=start.symbols,
            names=self._features.names,
            values=self._values[slot],
            close=close,
            mark=close,
            stale=stale,
            high=np.where(present, market.high[slot], close),
            low=np.where(present, market.low[slot], close),
            volume=market.volume(slot),
        )

    def _held(self) -> set[int]:
        return {self._place[symbol] for symbol in self._engine.ledger.positions}

    def _tell(self, events: list[Event]) -> None:
        self._account.hear(events)
        self._desk.deliver()


def _with_compared(names: tuple[str, ...]) -> tuple[str, ...]:
    """Feature names with those that they compare."""
    from don.features.base import Feature
    from don.features.registry import make

    found = dict.fromkeys(names)
    for name in names:
        made = make(name)
        if not isinstance(made, Feature):
            found.setdefault(made.of)
    return tuple(found)
