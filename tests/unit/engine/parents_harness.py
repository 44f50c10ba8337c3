"""An engine that trades only by hand, against an exchange that does whatever a test tells it to."""

from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from fake_exchange import INSTRUMENTS, SYMBOLS, S

from don.engine import Engine, EngineConfig
from don.execution.requests import OrderAction, OrderCommand, OrderKind, OrderRequest
from don.model import codec
from don.model.messages import (
    AccountReport,
    CancelOrder,
    Command,
    CommandKind,
    Decision,
    FeatureSnapshot,
    FillReport,
    OrderReport,
    SessionStart,
    SubmitOrder,
)
from don.model.order import Fill, Order, OrderStatus, Side
from don.model.portfolio import Position
from don.risk.config import RiskConfig

# limit orders far from the market, and losses of a price that jumps about, are not what is tested
WIDE = EngineConfig(risk=RiskConfig(price_collar=Decimal("0.2"), max_daily_loss=Decimal(1)))
SYMBOL = SYMBOLS[0]
BAR = 60 * S
N = len(SYMBOLS)


def start(config: EngineConfig | None = None, **changes: object) -> SessionStart:
    given: dict[str, object] = {
        "key": "start:s1",
        "session": "s1",
        "account": "paper",
        "policy": "manual",
        "symbols": SYMBOLS,
        "instruments": INSTRUMENTS,
        "interval_ns": BAR,
        "feature_set": "test",
        "config": (config or WIDE).model_dump_json(),
        "state": "",
        "ts_recv": 1,
    }
    return SessionStart(**(given | changes))  # type: ignore[arg-type]


@dataclass
class Live:
    """A child as the exchange has it."""

    order: Order
    filled: Decimal = Decimal(0)
    open: bool = False
    cancel_asked: bool = False

    @property
    def left(self) -> Decimal:
        return self.order.size - self.filled


@dataclass
class Hand:
    """The engine, its orders as the exchange has them, and a journal of every step."""

    begin: SessionStart = field(default_factory=start)
    price: float = 100.0
    wall: int = 1
    version: int = 0
    live: dict[str, Live] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    journal: list[tuple[str, bytes, list[bytes]]] = field(default_factory=list)
    position: Decimal = Decimal(0)
    trades: int = 0

    def __post_init__(self) -> None:
        self.engine = Engine(self.begin)
        if not self.begin.state:
            self.check()

    # ---- inputs ---------------------------------------------------------------------------------

    def step(self, message: object) -> list:
        out = self.engine.step(message)
        self.journal.append(
            (codec.kind_of(message), codec.encode(message), [codec.encode(o) for o in out])
        )
        for output in out:
            if isinstance(output, SubmitOrder):
                self.orders.append(output.order)
                self.live[output.order.client_order_id] = Live(output.order)
            elif isinstance(output, CancelOrder) and output.client_order_id in self.live:
                self.live[output.client_order_id].cancel_asked = True
            elif isinstance(output, Decision):
                self.decisions.append(output)
        return out

    def tick(self) -> int:
        self.wall += S
        return self.wall

    @property
    def now(self) -> int:
        return self.version * BAR

    def check(self, positions: tuple[Position, ...] = ()) -> None:
        self.step(
            AccountReport(
                key=f"account:{self.wall}",
                balance=Decimal(1_000_000),
                positions=positions,
                open_orders=(),
                final=False,
                ts_event=self.now,
                ts_recv=self.tick(),
            )
        )

    def bar(
        self, price: float | None = None, *, low: float = 0, high: float = 0, volume: float = 1_000
    ) -> None:
        self.price = self.price if price is None else price
        self.version += 1
        close = np.full(N, self.price)
        wall = self.tick()
        self.step(
            FeatureSnapshot(
                key=f"snapshot:{self.begin.session}:{self.version}",
                version=self.version,
                ts_event=self.now,
                ts_recv=wall,
                feature_set="test",
                symbols=SYMBOLS,
                names=(),
                values=np.zeros((N, 0)),
                close=close,
                mark=close,
                stale=(),
                ts_taken=wall,
                high=np.maximum(close, high),
                low=np.minimum(close, low or self.price),
                volume=np.full(N, volume),
            )
        )

    def command(self, kind: CommandKind, payload: str = "", key: str = "") -> None:
        self.step(
            Command(
                key=key or f"command:{self.wall}",
                kind=kind,
                actor="test",
                reason="because",
                ts_recv=self.tick(),
                payload=payload,
            )
        )

    def place(self, kind: OrderKind | str, side: Side = Side.BUY, **given: object) -> str:
        """Place an order by hand; its id."""
        fields = {k: Decimal(v) if isinstance(v, str) else v for k, v in given.items()}
        request = OrderRequest(kind=OrderKind(kind), symbol=SYMBOL, side=side, **fields)  # type: ignore[arg-type]
        self.command(
            CommandKind.ORDER, OrderCommand(action=OrderAction.PLACE, request=request).payload()
        )
        return self.engine.view()["parents"][-1]["parent"] if self.working() else ""

    def cancel(self, name: str) -> None:
        told = OrderCommand(action=OrderAction.CANCEL, parent=name)
        self.command(CommandKind.ORDER, told.payload())

    def working(self) -> list[dict]:
        return [p for p in self.engine.view()["parents"] if p["status"] in ("working", "ending")]

    def parent(self, parent_id: str) -> dict:
        return next(p for p in self.engine.view()["parents"] if p["parent"] == parent_id)

    # ---- what the exchange does -----------------------------------------------------------------

    def children(self, reason: str = "") -> list[Live]:
        return [c for c in self.live.values() if not reason or c.order.reason == reason]

    def report(self, child: Live, status: OrderStatus, detail: str = "") -> None:
        child.open = status is OrderStatus.OPEN
        if status.final:
            self.live.pop(child.order.client_order_id)
        self.step(
            OrderReport(
                key=f"order:{child.order.client_order_id}:{status}:{child.filled}",
                client_order_id=child.order.client_order_id,
                exchange_order_id="1",
                symbol=child.order.symbol,
                status=status,
                filled=child.filled,
                detail=detail,
                ts_event=self.now,
                ts_recv=self.tick(),
            )
        )

    def fill(self, child: Live, size: Decimal | None = None, price: Decimal | None = None) -> None:
        """Fill a child, wholly or in part."""
        order, size = child.order, child.left if size is None else size
        self.trades += 1
        child.filled += size
        self.position += size * order.side.sign
        at = price or order.price or Decimal(repr(self.price))
        self.step(
            FillReport(
                key=f"fill:{order.symbol}:{self.trades}",
                fill=Fill(
                    trade_id=str(self.trades),
                    client_order_id=order.client_order_id,
                    exchange_order_id="1",
                    symbol=order.symbol,
                    side=order.side,
                    price=at,
                    size=size,
                    fee=Decimal(0),
                    realized_pnl=None,
                    maker=False,
                    ts_event=self.now,
                ),
                ts_recv=self.tick(),
            )
        )
        if not child.left:
            self.report(child, OrderStatus.FILLED)

    # ---- what must hold -------------------------------------------------------------------------

    def replays(self) -> None:
        """The journal's bytes give the same bytes, and the same state."""
        engine = Engine(codec.decode("SessionStart", codec.encode(self.begin)))
        for kind, taken, given in self.journal:
            out = engine.step(codec.decode(kind, taken))
            assert [codec.encode(o) for o in out] == given
        assert engine.state() == self.engine.state()
