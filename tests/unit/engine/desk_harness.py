"""A desk in one process: the engine, the real optimizer, a seeded fake exchange, real bars."""

import random
from collections import deque
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from fake_exchange import BAR, BASES, INSTRUMENTS, SYMBOLS, FakeExchange, S

from don.engine import Engine, EngineConfig
from don.model import codec
from don.model.messages import (
    RULES,
    CancelOrder,
    Command,
    CommandKind,
    FeatureSnapshot,
    History,
    OptimizeRequest,
    OrderReport,
    SessionStart,
    SubmitOrder,
    Timer,
)
from don.portfolio.optimizer import PortfolioOptimizer, target_of

SAMPLE = Path(__file__).resolve().parents[3] / "don/paper/sample/spot_usd_30m.parquet"
FEATURES = ("return_48", "return_192", "zscore_24")


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
        rules=RULES,
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
