"""A seeded exchange with its own books, for desks in one process."""

import random
from collections import deque
from dataclasses import dataclass, field, replace
from decimal import Decimal

from don.model.instrument import Instrument
from don.model.messages import AccountReport, FillReport, FundingReport, OrderReport
from don.model.order import Fill, Order, OrderStatus, OrderType, Side, TimeInForce
from don.model.portfolio import MONEY, Position, apply_fill

BASES = ("BTC", "ETH", "LTC", "XRP", "EOS")
SYMBOLS = tuple(f"{base}-USDT-PERP" for base in BASES)
S = 1_000_000_000
BAR = 1800 * S
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
