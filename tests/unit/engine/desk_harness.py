"""A desk in one process: the engine, the real optimizer, a seeded fake exchange, real bars."""

import random
from collections import deque
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from don.engine import Engine, EngineConfig
from don.model import codec
from don.model.instrument import Instrument
from don.model.messages import (
    AccountReport,
    CancelOrder,
    Command,
    CommandKind,
    FeatureSnapshot,
    FillReport,
    FundingReport,
    History,
    OptimizeRequest,
    OrderReport,
    SessionStart,
    SubmitOrder,
    Timer,
)
from don.model.order import Fill, Order, OrderStatus, OrderType, Side, TimeInForce
from don.model.portfolio import MONEY, Position, apply_fill
from don.portfolio.optimizer import PortfolioOptimizer, target_of

SAMPLE = Path(__file__).resolve().parents[3] / "don/paper/sample/spot_usd_30m.parquet"
BASES = ("BTC", "ETH", "LTC", "XRP", "EOS")
SYMBOLS = tuple(f"{base}-USDT-PERP" for base in BASES)
S = 1_000_000_000
BAR = 1800 * S
FEATURES = ("return_48", "return_192", "zscore_24")
RULES = {
    "BTC": ("0.1", "0.001"),
    "ETH": ("0.01", "0.001"),
    "LTC": ("0.01", "0.001"),
    "XRP": ("0.0001", "0.1"),
    "EOS": ("0.001", "0.1"),
}


def instrument(base: str, **changes: object) -> Instrument:
    tick, lot = RULES[base]
    made = Instrument(
        symbol=f"{base}-USDT-PERP",
        exchange="BINANCE_FUTURES",
        exchange_symbol=f"{base}USDT",
        base=base,
        quote="USDT",
        tick_size=Decimal(tick),
        lot_size=Decimal(lot),
        min_size=Decimal(lot),
        max_size=Decimal(1_000_000),
        min_notional=Decimal(5),
        max_leverage=20,
        maker_fee=Decimal("0.0002"),
        taker_fee=Decimal("0.0004"),
    )
    return replace(made, **changes)


INSTRUMENTS = tuple(instrument(base) for base in BASES)


def session(name: str = "s1", **changes: object) -> SessionStart:
    config = changes.pop("config", EngineConfig())
    made = SessionStart(
        key=f"start:{name}",
        session=name,
        account="paper",
        policy="momentum",
        symbols=SYMBOLS,
        instruments=INSTRUMENTS,
        interval_ns=BAR,
        feature_set="test",
        config=config.model_dump_json(),
        state="",
        ts_recv=1,
        features=FEATURES,
    )
    return replace(made, **changes)


@dataclass
class Bars:
    """Real closes [time, symbol] on a grid without holes, rounded to ticks, with features."""

    ts: np.ndarray
    close: np.ndarray

    @classmethod
    def load(cls, count: int, offset: int = 0) -> "Bars":
        table = pq.read_table(SAMPLE).to_pandas()
        wide = table.pivot(index="timestamp", columns="symbol", values="close").ffill().dropna()
        wide = wide[[f"{base}USD" for base in BASES]].iloc[offset : offset + count]
        ticks = np.array([float(i.tick_size) for i in INSTRUMENTS])
        close = np.round(np.round(wide.to_numpy() / ticks) * ticks, 6)
        return cls(ts=wide.index.as_unit("ns").asi8 + BAR, close=close)

    def marks(self, t: int) -> dict[str, Decimal]:
        return {s: Decimal(repr(float(p))) for s, p in zip(SYMBOLS, self.close[t], strict=True)}

    def values(self, t: int) -> np.ndarray:
        rows = []
        for bars in (48, 192):
            rows.append(
                self.close[t] / self.close[t - bars] - 1 if t >= bars else np.full(5, np.nan)
            )
        window = self.close[max(t - 23, 0) : t + 1]
        rows.append(
            (self.close[t] - window.mean(axis=0)) / window.std(axis=0)
            if t >= 23
            else np.full(5, np.nan)
        )
        return np.array(rows).T


@dataclass
class FakeExchange:
    """Fills orders at the current marks, with its own books. Seeded, so every run is the same."""

    rng: random.Random
    balance: Decimal = Decimal(100_000)
    positions: dict = field(default_factory=dict)
    marks: dict = field(default_factory=dict)
    now: int = 0
    resting: dict = field(default_factory=dict)
    mail: deque = field(default_factory=deque)  # reports on their way to the desk, in order
    seen: dict = field(default_factory=dict)  # client order id -> times submitted
    trade_id: int = 0
    order_id: int = 0
    fees: Decimal = Decimal(0)
    rejecting: bool = False
    partial: float = 0.2  # how often a limit order fills in part
    touch: float = 0.5  # how often a resting order is reached by a bar

    def submit(self, order: Order, wall: int) -> None:
        cid = order.client_order_id
        self.seen[cid] = self.seen.get(cid, 0) + 1
        assert self.seen[cid] == 1, f"order {cid} was sent twice"
        self.order_id += 1
        oid = str(self.order_id)
        held = self.positions.get(order.symbol, Position(symbol=order.symbol)).size
        size = order.size
        if order.reduce_only:
            closable = max(-held * order.side.sign, Decimal(0))
            if closable == 0:
                return self._tell(order, oid, OrderStatus.REJECTED, Decimal(0), wall)
            size = min(size, closable)
        if self.rejecting and not order.reduce_only:
            return self._tell(order, oid, OrderStatus.REJECTED, Decimal(0), wall)
        self._tell(order, oid, OrderStatus.OPEN, Decimal(0), wall)
        if order.time_in_force is TimeInForce.GTX:
            self.resting[cid] = (order, oid)
            return None
        if order.type is OrderType.LIMIT and self.rng.random() < self.partial:
            size = self._lots(order, size * Decimal(self.rng.randint(0, 9)) / 10)
        filled = self._fill(order, oid, size, wall, maker=False)
        full = filled == order.size
        self._tell(order, oid, OrderStatus.FILLED if full else OrderStatus.EXPIRED, filled, wall)
        return None

    def cancel(self, cid: str, wall: int) -> None:
        if cid in self.resting:
            order, oid = self.resting.pop(cid)
            self._tell(order, oid, OrderStatus.CANCELLED, Decimal(0), wall)

    def bar(self, ts: int, marks: dict, wall: int) -> None:
        """A new price: rests may fill; every 16th bar pays funding."""
        self.now, self.marks = ts, marks
        for cid in list(self.resting):
            if self.rng.random() < self.touch:
                order, oid = self.resting.pop(cid)
                self._fill(order, oid, order.size, wall, maker=True)
                self._tell(order, oid, OrderStatus.FILLED, order.size, wall)
        if (ts // BAR) % 16 == 0:
            for symbol, position in sorted(self.positions.items()):
                amount = (-position.size * marks[symbol] * Decimal("0.0001")).quantize(MONEY)
                self.balance += amount
                self.mail.append(
                    FundingReport(
                        key=f"funding:{symbol}:{ts}",
                        symbol=symbol,
                        amount=amount,
                        ts_event=ts,
                        ts_recv=wall,
                    )
                )

    def account(self, wall: int, final: bool = False) -> AccountReport:
        return AccountReport(
            key=f"account:{self.now}:{wall}:{final}",
            balance=self.balance,
            positions=tuple(self.positions[s] for s in sorted(self.positions)),
            open_orders=tuple(sorted(self.resting)),
            final=final,
            ts_event=self.now,
            ts_recv=wall,
        )

    def _fill(self, order: Order, oid: str, size: Decimal, wall: int, *, maker: bool) -> Decimal:
        rules = next(i for i in INSTRUMENTS if i.symbol == order.symbol)
        mark = self.marks[order.symbol]
        done = Decimal(0)
        while done < size:
            part = min(size - done, max(self._lots(order, size / 3), rules.lot_size))
            slip = mark * Decimal(self.rng.randint(0, 10)) / 10_000
            price = rules.round_price(mark + slip * order.side.sign, up=order.side is Side.BUY)
            if order.price is not None:
                price = (
                    min(price, order.price) if order.side is Side.BUY else max(price, order.price)
                )
            fee = (price * part * (rules.maker_fee if maker else rules.taker_fee)).quantize(MONEY)
            before = self.positions.get(order.symbol, Position(symbol=order.symbol))
            after, realized = apply_fill(before, order.side, price, part)
            if after.size:
                self.positions[order.symbol] = after
            else:
                self.positions.pop(order.symbol, None)
            self.balance += realized - fee
            self.fees += fee
            self.trade_id += 1
            fill = Fill(
                trade_id=str(self.trade_id),
                client_order_id=order.client_order_id,
                exchange_order_id=oid,
                symbol=order.symbol,
                side=order.side,
                price=price,
                size=part,
                fee=fee,
                realized_pnl=realized,
                maker=maker,
                ts_event=self.now,
            )
            key = f"fill:{order.symbol}:{self.trade_id}"
            self.mail.append(FillReport(key=key, fill=fill, ts_recv=wall))
            done += part
        return done

    def _lots(self, order: Order, size: Decimal) -> Decimal:
        return next(i for i in INSTRUMENTS if i.symbol == order.symbol).round_size(size)

    def _tell(
        self, order: Order, oid: str, status: OrderStatus, filled: Decimal, wall: int
    ) -> None:
        cid = order.client_order_id
        self.mail.append(
            OrderReport(
                key=f"order:{cid}:{status}:{filled}",
                client_order_id=cid,
                exchange_order_id=oid,
                symbol=order.symbol,
                status=status,
                filled=filled,
                detail="",
                ts_event=self.now,
                ts_recv=wall,
            )
        )


class Desk:
    """Feeds the engine and keeps the journal: (kind, bytes in, bytes out)."""

    def __init__(self, start: SessionStart, exchange: FakeExchange, bars: Bars) -> None:
        self.start, self.exchange, self.bars = start, exchange, bars
        self.engine = Engine(start)
        self.config = EngineConfig.model_validate_json(start.config)
        self.optimizer = PortfolioOptimizer(self.config.portfolio)
        self.journal: list[tuple[str, bytes, list[bytes]]] = []
        self.outputs: list = []
        self.wall = start.ts_recv
        self.version = 0
        self.answers: deque = deque()
        self.slow_optimizer = 0.0

    def step(self, message) -> list:
        out = self.engine.step(message)
        self.journal.append(
            (codec.kind_of(message), codec.encode(message), [codec.encode(o) for o in out])
        )
        self.outputs += out
        for output in out:
            if isinstance(output, SubmitOrder):
                self.exchange.submit(output.order, self.tick())
            elif isinstance(output, CancelOrder):
                self.exchange.cancel(output.client_order_id, self.tick())
            elif isinstance(output, OptimizeRequest):
                self.answers.append(output)
        return out

    def tick(self, ns: int = 1_000_000) -> int:
        self.wall += ns
        return self.wall

    def answer(self) -> None:
        while self.answers:
            request = self.answers.popleft()
            solution = self.optimizer.solve(request)
            self.step(
                target_of(
                    request,
                    solution,
                    session=self.start.session,
                    solve_ms=1.0,
                    ts_recv=self.tick(),
                )
            )

    def deliver(self, *, shuffled: bool = False) -> None:
        """Hand on the mail; if asked, order reports out of order and some of them twice."""
        rng = self.exchange.rng
        while self.exchange.mail:
            letters = [self.exchange.mail.popleft() for _ in range(len(self.exchange.mail))]
            if shuffled:
                letters = shuffle_reports(letters, rng)
            for letter in letters:
                self.step(replace(letter, ts_recv=self.tick()))

    def history(self, count: int) -> None:
        self.step(
            History(
                key=f"history:{self.start.session}",
                symbols=SYMBOLS,
                ts=self.bars.ts[:count],
                close=self.bars.close[:count],
                ts_recv=self.tick(),
            )
        )

    def snapshot(self, t: int, **changes) -> FeatureSnapshot:
        self.version += 1
        made = FeatureSnapshot(
            key=f"snapshot:{self.start.session}:{self.version}",
            version=self.version,
            ts_event=int(self.bars.ts[t]),
            ts_recv=self.wall,
            feature_set="test",
            symbols=SYMBOLS,
            names=FEATURES,
            values=self.bars.values(t),
            close=self.bars.close[t],
            mark=self.bars.close[t],
            stale=(),
            ts_taken=self.tick(),
        )
        return replace(made, **changes)

    def bar(self, t: int, *, shuffled: bool = False, **changes) -> None:
        """One bar: the exchange moves, the desk sees it, the optimizer answers, mail arrives."""
        self.tick(S)
        self.exchange.bar(int(self.bars.ts[t]), self.bars.marks(t), self.wall)
        self.deliver(shuffled=shuffled)
        self.step(self.snapshot(t, **changes))
        if self.exchange.rng.random() >= self.slow_optimizer:
            self.answer()
            self.deliver(shuffled=shuffled)

    def check(self, final: bool = False) -> None:
        self.step(self.exchange.account(self.tick(), final))

    def command(self, kind: CommandKind, reason: str = "test") -> list:
        key = f"command:{self.wall}"
        return self.step(
            Command(key=key, kind=kind, actor="test", reason=reason, ts_recv=self.tick())
        )

    def timer(self, seconds: float = 1.0) -> list:
        wall = self.tick(int(seconds * S))
        due = self.engine.timer_due(wall)
        out = self.step(Timer(key=f"timer:{wall}", ts_recv=wall))
        assert due == bool(out)
        return out

    def of(self, kind: type) -> list:
        return [o for o in self.outputs if isinstance(o, kind)]


def shuffle_reports(letters: list, rng: random.Random) -> list:
    """Order reports move and repeat freely; fills and payments keep their order, some repeat."""
    moving = [m for m in letters if isinstance(m, OrderReport)]
    fixed = [m for m in letters if not isinstance(m, OrderReport)]
    moving += [m for m in moving if rng.random() < 0.3]
    result = [m for f in fixed for m in ([f, f] if rng.random() < 0.2 else [f])]
    for report in moving:
        result.insert(rng.randint(0, len(result)), report)
    return result


def start_desk(
    start: SessionStart | None = None, *, seed: int = 1, bars: int = 400, warm: int = 200
) -> Desk:
    """A desk with history and a first account report, ready to trade."""
    desk = Desk(start or session(), FakeExchange(random.Random(seed)), Bars.load(bars))
    desk.history(warm)
    desk.exchange.now = int(desk.bars.ts[warm - 1])
    desk.exchange.marks = desk.bars.marks(warm - 1)
    desk.check()
    return desk
