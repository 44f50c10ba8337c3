"""A world for the API and the console without Ray: the real board, real prices, a simulated desk.

`World` plays recorded bars at a chosen pace through the real `Board`, trades them with a simple
rule and exact arithmetic, and fulfils the protocols of `serve.ports` from memory.
"""

import asyncio
import contextlib
import math
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from support.coverage_world import collected
from support.world_reads import WorldReads
from support.world_views import (
    DIGITS,
    FEE,
    INTERVAL_NS,
    SESSION,
    TICKS,
    forming,
    health_views,
    load_bars,
    session_view,
)

from actors.board import Board
from don.errors import DependencyError
from don.model.messages import CommandKind
from don.model.order import Side
from don.model.portfolio import Position, apply_fill, money


class World(WorldReads):
    """Fulfils `Reader` and `Commander`; `run` makes time pass."""

    def __init__(self, history: int = 300, length: int = 2_000, seed: int = 7) -> None:
        self.board = Board()
        self.bars_by = load_bars(history, length)
        self.symbols = tuple(self.bars_by)
        self.home = Path("/nowhere")  # whoever has trainings to show sets it
        self.at, self.length = history, length
        self.rng = random.Random(seed)
        self.away: str = ""  # why the board cannot be reached, if so
        self.database_away: str = ""
        self.commands: list[tuple[str, str, str, str]] = []
        self.payloads: list[str] = []
        self.halted = False
        self.hang = False
        self.ledger = collected()
        self.cash = Decimal(10_000)
        self.held = {symbol: Position(symbol=symbol) for symbol in self.symbols}
        self.marks = {
            s: self._decimal(s, bars[history]["open"]) for s, bars in self.bars_by.items()
        }
        self.fees = self.funding = self.realized = Decimal(0)
        self.fill_rows: list[dict[str, Any]] = []
        self.order_rows: list[dict[str, Any]] = []
        self.decision_rows: list[dict[str, Any]] = []
        self.equity_rows: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []
        self.ts = self.bars_by[self.symbols[0]][history]["ts_open"]

    # ---- time ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Put the session, and the first view of everything."""
        await self.board.put("session", session_view(self.symbols))
        await self._tick(0)
        await self._show()

    async def run(self, bar_s: float, ahead: int = 0) -> None:
        """Play `ahead` bars at once, then one bar every `bar_s` seconds."""
        await self.start()
        goal = self.at + ahead
        while self.at < self.length - 1:
            for tick in range(TICKS):
                await self._tick(tick)
                if self.at >= goal:
                    await self._show()
                    await asyncio.sleep(bar_s / TICKS)
            await self._close()

    async def _tick(self, tick: int) -> None:
        self.ts = self.bars_by[self.symbols[0]][self.at]["ts_open"] + tick * INTERVAL_NS // TICKS
        for symbol in self.symbols:
            self.marks[symbol] = self._decimal(
                symbol, forming(self.bars_by[symbol][self.at], tick)["close"]
            )
        self.tick = tick

    async def _close(self) -> None:
        self.at += 1
        self.ts = self.bars_by[self.symbols[0]][self.at]["ts_open"]
        await self._decide()
        if len(self.equity_rows) % 16 == 0:
            self.funding -= Decimal("0.0131")
            self.cash -= Decimal("0.0131")
        self._mark_equity()

    async def _decide(self) -> None:
        number = len(self.decision_rows) + 1
        trend = {s: self._trend(s) for s in self.symbols}
        weights = {
            s: 0.0 if self.halted else round(max(-0.35, min(0.35, 3.5 * t)), 4)
            for s, t in trend.items()
        }
        ids: list[str] = []
        fills: list[dict[str, Any]] = []
        denials: list[dict[str, str]] = []
        self.open = []
        for symbol, weight in weights.items():
            base = symbol.split("-")[0]
            mark = self.marks[symbol]
            goal = Decimal(weight) * self.worth() / mark
            step = Decimal(1).scaleb(-DIGITS[base][1])
            size = ((goal - self.held[symbol].size) / step).to_integral_value() * step
            if not size or (abs(size * mark) < 220 and not self.halted):
                continue
            side = Side.BUY if size > 0 else Side.SELL
            own = f"don-{SESSION}-{number}-{len(ids)}"
            if abs(size * mark) > 1_500 and not self.halted:
                size = (size / abs(size) * 1_500 / mark / step).to_integral_value() * step
            if self.rng.random() < 0.01 and not self.halted:
                detail = f"order notional {abs(size * mark):.2f} is above the limit 1500"
                denials.append({"code": "ORDER_NOTIONAL", "symbol": symbol, "detail": detail})
                continue
            ids.append(own)
            order = self._order(own, number, symbol, side, abs(size))
            if self.rng.random() < 0.25 and not self.halted:
                order |= {"status": "open", "filled": str(abs(size) // 3 // step * step)}
                self.open.append(order)
            else:
                fills.append(self._fill(own, symbol, side, mark, abs(size)))
            self.order_rows.append(order)
        decision = {
            "decision": number,
            "ts_event": self.ts,
            "policy": "momentum",
            "status": "halt" if self.halted else ("fallback" if number % 23 == 0 else "optimal"),
            "weights": weights,
            "forecast": trend,
            "reasons": self._reasons(trend, ids, number),
            "denials": denials,
            "orders": ids,
        }
        self.decision_rows.append(decision)
        fills.sort(key=lambda fill: fill["ts_event"])
        self.fill_rows += fills
        events = [{"kind": "decision", **decision}, *({"kind": "fill", **f} for f in fills)]
        await self.board.emit(events)

    def _reasons(self, trend: Mapping[str, float], ids: Sequence[str], number: int) -> list[str]:
        if self.halted:
            return ["halted by command: flatten and wait"]
        best = max(trend, key=lambda s: abs(trend[s]))
        reasons = [f"strongest trend {best} {trend[best]:+.4f} over 48 bars"]
        if number % 23 == 0:
            reasons.append("solver: no solution in 50 ms, last target kept inside the limits")
        if not ids:
            reasons.append("all trades below the smallest worth their cost")
        return reasons

    def _order(
        self, own: str, number: int, symbol: str, side: Side, size: Decimal
    ) -> dict[str, Any]:
        price = self.marks[symbol] * (Decimal("0.998") if side is Side.BUY else Decimal("1.002"))
        return {
            "client_order_id": own,
            "exchange_order_id": str(8_000_000 + len(self.order_rows)),
            "decision": number,
            "symbol": symbol,
            "side": side.value,
            "type": "limit",
            "time_in_force": "GTC",
            "size": size,
            "filled": size,
            "price": price.quantize(Decimal(1).scaleb(-DIGITS[symbol.split("-")[0]][0])),
            "status": "filled",
            "reason": "rebalance",
            "ts_event": self.ts,
        }

    def _fill(
        self, own: str, symbol: str, side: Side, price: Decimal, size: Decimal
    ) -> dict[str, Any]:
        self.held[symbol], realized = apply_fill(self.held[symbol], side, price, size)
        fee = money(price * size * FEE)
        self.cash += realized - fee
        self.realized += realized
        self.fees += fee
        return {
            "trade_id": str(510_000 + len(self.fill_rows) + self.rng.randrange(10**6)),
            "client_order_id": own,
            "symbol": symbol,
            "side": side.value,
            "price": price,
            "size": size,
            "fee": fee,
            "realized_pnl": money(realized),
            "maker": self.rng.random() < 0.3,
            "ts_event": self.ts + self.rng.randrange(1_000_000_000),
        }

    # ---- views -----------------------------------------------------------------------------------

    def worth(self) -> Decimal:
        """Cash and what is not realised yet."""
        held = self.held.items()
        return self.cash + sum((p.unrealized(self.marks[s]) for s, p in held), Decimal(0))

    async def _show(self) -> None:
        await self.board.put("market", self._market())
        await self.board.put("desk", self.desk())
        for part, view in health_views(self.symbols, self.ts, self.at, len(self.fill_rows)).items():
            await self.board.put(f"health:{part}", view)

    def _mark_equity(self) -> None:
        equity = self.worth()
        self.equity_rows.append(
            {
                "ts_event": self.ts,
                "equity": equity,
                "balance": self.cash,
                "unrealized": equity - self.cash,
            }
        )

    def _market(self) -> dict[str, Any]:
        closes = {s: float(self.marks[s]) for s in self.symbols}
        return {
            "ts_event": self.ts,
            "interval_ns": INTERVAL_NS,
            "bars": {s: forming(self.bars_by[s][self.at], self.tick) for s in self.symbols},
            "closed": {s: self.bars_by[s][self.at - 1] for s in self.symbols},
            "quotes": {s: {"bid": p * 0.99997, "ask": p * 1.00003} for s, p in closes.items()},
            "marks": closes,
            "stale": [],
        }

    def book(self, name: str, mode: str, equity: Decimal) -> dict[str, Any]:
        """As one of `don.engine.books.shown`."""
        capital = Decimal(10_000) if equity else equity
        return {
            "book": name,
            "mode": mode,
            "policy": "momentum" if mode == "live" else "",
            "state": "active" if mode == "live" else "",
            "share": float(bool(equity)),
            "capital": capital,
            "equity": equity,
            "pnl": equity - capital,
            "drawdown": 0.0,
            "positions": [],
        }

    def desk(self) -> dict[str, Any]:
        """As `Engine.view()`."""
        equity = self.worth()
        positions = []
        for symbol, position in self.held.items():
            if not position.size:
                continue
            notional = position.size * self.marks[symbol]
            positions.append(
                {
                    "symbol": symbol,
                    "size": position.size,
                    "entry_price": round(position.entry_price, 8),
                    "mark": self.marks[symbol],
                    "unrealized": position.unrealized(self.marks[symbol]),
                    "notional": notional,
                    "weight": float(notional / equity),
                }
            )
        return {
            "session": SESSION,
            "policy": "momentum",
            "ts_event": self.ts,
            "equity": equity,
            "balance": self.cash,
            "unrealized": equity - self.cash,
            "books": {
                "deposits": Decimal(10_000),
                "realized": self.realized,
                "fees": self.fees,
                "funding": self.funding,
                "pnl": equity - 10_000,
            },
            "halted": self.halted,
            "halt_reason": "by command" if self.halted else "",
            "risk": {
                "state": "halted" if self.halted else "active",
                "states": {},
                "limits": {"max_gross_leverage": "3"},
                "changed": {},
                "figures": {"gross_leverage": 0.5, "var": None},
                "unprotected": {"now": "0", "notional_s": "0"},
            },
            "reconciled": True,
            "slots": [self.book("trend", "live", equity), self.book("desk", "desk", equity * 0)],
            "positions": positions,
            "open_orders": self.open,
            "decision": self.decision_rows[-1] if self.decision_rows else None,
            "counts": {
                "orders": len(self.order_rows),
                "fills": len(self.fill_rows),
                "denials": sum(len(d["denials"]) for d in self.decision_rows),
                "decisions": len(self.decision_rows),
                "differences": 0,
                "fees": self.fees,
                "funding": self.funding,
                "pnl": equity - 10_000,
            },
            "targets": self.decision_rows[-1]["weights"] if self.decision_rows else {},
        }

    def _trend(self, symbol: str) -> float:
        bars = self.bars_by[symbol]
        return math.log(bars[self.at - 1]["close"] / bars[max(0, self.at - 49)]["close"])

    def _decimal(self, symbol: str, price: float) -> Decimal:
        digits = DIGITS[symbol.split("-")[0]][0]
        return Decimal(str(price)).quantize(Decimal(1).scaleb(-digits))

    # ---- Commander -------------------------------------------------------------------------------

    async def command(
        self, kind: CommandKind, *, actor: str, reason: str, key: str, payload: str = ""
    ) -> None:
        if self.hang:
            await asyncio.Event().wait()
        if self.away:
            raise DependencyError(self.away)
        if all(key != told[3] for told in self.commands):
            self.commands.append((kind.value, actor, reason, key))
            self.payloads.append(payload)
            if kind not in (CommandKind.LIMITS, CommandKind.STATE, CommandKind.ORDER):
                self.halted = kind is CommandKind.HALT
            if self.halted:
                self.open = []
                await self._decide()
            await self._show()


@contextlib.asynccontextmanager
async def playing(world: World, bar_s: float, ahead: int):  # type: ignore[no-untyped-def]
    """The world with its time passing, for as long as the block lasts."""
    task = asyncio.create_task(world.run(bar_s, ahead))
    try:
        yield world
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
