"""The account's virtual books inside the engine: slots, facts, marks, capital. Pure, over the core.

There is one only where the configuration names slots; an account with one policy has no books but
the ledger.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from don.books.allocate import share_out
from don.books.book import Book
from don.books.books import BooksState, VirtualBooks
from don.books.config import DESK, Mode, SlotConfig
from don.execution.forced import forced_by
from don.execution.orders import OrderRecord
from don.execution.protect import PROTECT
from don.model.messages import (
    BookPoint,
    BookValue,
    FillReport,
    FundingReport,
    PaymentKind,
)
from don.model.order import DenialCode, Fill
from don.model.portfolio import ZERO, money
from don.policies import Policy
from don.risk.states import Standing, TradingState

if TYPE_CHECKING:
    from don.engine.core import Core

FLATTEN = "flatten"  # reason of the kill switch's orders
CLOSING = "closing"  # mode of a book whose slot is gone, or orders no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A slot and its policy."""

    config: SlotConfig
    policy: Policy

    @property
    def name(self) -> str:
        """Of slot and book."""
        return self.config.name

    @property
    def shadow(self) -> bool:
        """True if it orders nothing."""
        return self.config.mode is Mode.SHADOW


class Keeper:
    """Keeps the books of one account in step with its ledger."""

    def __init__(self, core: "Core", slots: tuple[Slot, ...], state: BooksState | None) -> None:
        """Take up the books of the session before."""
        self._core = core
        self.slots = slots
        self.live = tuple(slot for slot in slots if not slot.shadow)
        lots = {symbol: i.lot_size for symbol, i in core.instruments.items()}
        self.books = VirtualBooks(lots, state)
        shadows = {slot.name for slot in slots if slot.shadow}
        for name in set(self.books.shadows) - shadows:
            del self.books.shadows[name]  # on paper, and nobody looks on
        if core.ledger.adopted and not self.books.opened:
            self.adopt(f"adopted:{core.session}", core.ledger.adopted_ts)

    # ---- reading --------------------------------------------------------------------------------

    def book(self, slot: Slot) -> Book:
        """The book of a slot."""
        return self.books.book(slot.name, shadow=slot.shadow)

    def closing(self) -> tuple[Book, ...]:
        """Books whose slot is gone or orders no more: they are to become flat."""
        kept = {DESK, *(slot.name for slot in self.live)}
        return tuple(b for name, b in self.books.books.items() if name not in kept)

    def capital(self, slot: Slot, equity: Decimal) -> Decimal:
        """What a slot's weights are fractions of: its book's equity, within `max_share`."""
        own = self.book(slot).equity(self._core.market.marks)
        if slot.shadow:
            return own
        return min(own, Decimal(repr(slot.config.max_share)) * equity)

    def state(self, slot: Slot) -> TradingState:
        """ACTIVE, REDUCING or HALTED, of the slot alone."""
        standing = self._core.states.of_slot(slot.name)
        return TradingState.ACTIVE if standing is None else standing.state

    def weights_now(self, slot: Slot, capital: Decimal) -> np.ndarray:
        """[symbol] positions of a book as fractions of capital; orders about to fill count."""
        core, book = self._core, self.book(slot)
        found = np.zeros(len(core.symbols))
        for i, symbol in enumerate(core.symbols):
            size = book.size(symbol)
            for record in () if slot.shadow else core.orders.in_flight(symbol):
                if not record.rests and not record.order.parent:
                    lacking = self.books.pending(record.order.client_order_id)
                    size += lacking.get(slot.name, ZERO) * record.order.side.sign
            if size:
                found[i] = float(size * core.market.marks.get(symbol, ZERO) / capital)
        return found

    # ---- facts ----------------------------------------------------------------------------------

    def adopt(self, key: str, ts_event: int) -> None:
        """The ledger was opened with the account, or made equal to it."""
        core = self._core
        marks, heir = core.market.marks, self.live[0].name
        fresh = frozenset(core.market.lasts) if core.start.rules else None
        self.books.adopt(core.ledger, marks, heir, key, ts_event, fresh)

    def on_fill(self, report: FillReport, record: OrderRecord | None) -> None:
        """Divide a fill that the ledger has counted."""
        fill: Fill = report.fill
        order = record.order if record is not None else None
        forced = order is None and bool(forced_by(fill.client_order_id))
        parent = order.parent if order is not None else ""
        flattens = order is not None and not parent and order.reason == FLATTEN
        self.books.fill(
            report.key,
            fill,
            parent or fill.client_order_id,
            closes=forced or flattens or parent == PROTECT,
            forced=forced,
        )

    def on_payment(self, report: FundingReport) -> None:
        """Divide a payment that the ledger has counted."""
        if report.kind is PaymentKind.LIQUIDATION:
            self.books.liquidated(report.key, report.symbol, report.amount, report.ts_event)
        else:
            self.books.fund(report.key, report.symbol, report.amount, report.ts_event)

    def offset(self) -> None:
        """Before all is flattened: what books hold against each other is closed at mark."""
        core = self._core
        if self.books.opened:
            key = f"cross:{core.session}:{core.decision + 1}"
            self.books.offset(key, core.market.marks, core.market.ts_event)

    def prune(self, parents: frozenset[str]) -> None:
        """Forget claims of orders that are over."""
        alive = {r.order.client_order_id for r in self._core.orders.in_flight()}
        alive |= {r.order.parent for r in self._core.orders.in_flight()}
        self.books.prune(alive | parents)

    def flush(self) -> None:
        """Put entries on record."""
        if self.books.entries:
            self._core.out += self.books.take()

    # ---- once a decision ------------------------------------------------------------------------

    def mark(self) -> list[tuple[Slot, str]]:
        """Note each book's return and worth.

        Returns:
            Slots whose drawdown halts them from now on, and why.
        """
        core, marks = self._core, self._core.market.marks
        if not self.books.opened:
            return []
        for book in (*self.books.books.values(), *self.books.shadows.values()):
            book.mark(marks)
        breaches = []
        for slot in self.slots:
            book, limit = self.book(slot), slot.config.max_drawdown
            if self.state(slot) is TradingState.HALTED:
                book.rebase()  # whoever sets it going again has seen the loss
            elif limit is not None and book.drawdown >= limit:
                why = (
                    f"DRAWDOWN: the book of {slot.name} has fallen by {book.drawdown:.4f} from its "
                    f"peak, limit {limit}"
                )
                core.states.put(
                    f"policy:{slot.name}",
                    Standing(
                        state=TradingState.HALTED,
                        reason=why,
                        actor="risk",
                        code=DenialCode.DRAWDOWN,
                    ),
                )
                breaches.append((slot, why))
        core.out.append(BookPoint(ts_event=core.market.ts_event, values=tuple(self.values())))
        return breaches

    def values(self) -> list[BookValue]:
        """What each book is worth: real ones in the order of their making, then shadows."""
        marks, equity = self._core.market.marks, self._core.equity()
        modes = {slot.name: str(slot.config.mode) for slot in self.live}
        found = []
        for shadow, books in ((False, self.books.books), (True, self.books.shadows)):
            for name, book in books.items():
                own = book.equity(marks)
                mode = str(Mode.SHADOW) if shadow else modes.get(name, CLOSING)
                found.append(
                    BookValue(
                        book=name,
                        mode=DESK if name == DESK else mode,
                        equity=own,
                        pnl=own - book.capital,
                        capital=book.capital,
                        share=float(own / equity) if equity > 0 else 0.0,
                    )
                )
        return found

    def allocate(self, decision: int) -> list[str]:
        """Share capital out anew if it is time to. Returns what was done, in words."""
        core, books, config = self._core, self.books, self._core.config.allocation
        key, ts = f"capital:{core.session}:{decision}", core.market.ts_event
        marks, equity = core.market.marks, core.equity()
        due = self._changed() or (config.every and books.decisions >= config.every)
        for slot in self.slots:
            if slot.shadow and not self.book(slot).capital:
                share = Decimal(repr(slot.config.share or 1.0))
                books.fund_shadow(key, slot.name, money(share * equity), ts)
        swept = {b.name: -b.balance for b in self.closing() if not b.positions and b.balance}
        if swept:
            books.move(key, swept, ts)
        books.decisions += 1
        if not due:
            return []
        books.decisions = 1
        before = {n: books.book(n).share for n in books.allocated}
        books.allocated = tuple(slot.name for slot in self.live)
        made = share_out(
            [slot.config for slot in self.live],
            config,
            {slot.name: books.book(slot.name).returns for slot in self.live},
            before,
        )
        amounts = {}
        for name, share in made.shares.items():
            book = books.book(name)
            amounts[name] = money(share * equity - book.equity(marks))
            book.share = share
        books.move(key, amounts, ts)
        said = ", ".join(f"{name} {share:f}" for name, share in made.shares.items())
        return [f"capital: {said} ({made.reason})"]

    def _changed(self) -> bool:
        """True if the slots are not those that capital was allocated to."""
        if self.books.allocated != tuple(slot.name for slot in self.live):
            return True
        for slot in self.live:
            share, config = self.books.book(slot.name).share, slot.config
            fixed = config.share is not None
            low, high = (config.share,) * 2 if fixed else (config.min_share, config.max_share)
            if not Decimal(repr(low)) <= share <= Decimal(repr(high)):
                return True
        return False


def shown(keeper: Keeper, marks: Mapping[str, Decimal]) -> list[dict[str, object]]:
    """The books as plain dictionaries for console and API. Decimals as text."""
    slots = {(slot.name, slot.shadow): slot for slot in keeper.slots}
    rows: list[dict[str, object]] = []
    for value in keeper.values():
        shadow = value.mode == Mode.SHADOW
        slot = slots.get((value.book, shadow))
        book = keeper.books.book(value.book, shadow=shadow)
        rows.append(
            {
                "book": value.book,
                "mode": value.mode,
                "policy": slot.config.policy if slot else "",
                "state": str(keeper.state(slot)) if slot else "",
                "allocated": float(book.share) if slot and not shadow else None,
                "share": value.share,
                "capital": _text(value.capital),
                "equity": _text(value.equity),
                "pnl": _text(value.pnl),
                "realized": _text(book.realized),
                "unrealized": _text(book.unrealized(marks)),
                "fees": _text(book.fees),
                "funding": _text(book.funding),
                "liquidation": _text(book.liquidation),
                "traded": _text(book.traded),
                "crossed": _text(book.crossed),
                "drawdown": book.drawdown,
                "positions": [
                    {
                        "symbol": symbol,
                        "size": _text(held.size),
                        "entry_price": _text(held.entry_price),
                        "unrealized": _text(
                            held.unrealized(marks[symbol]) if symbol in marks else ZERO
                        ),
                    }
                    for symbol, held in sorted(book.positions.items())
                ],
                "targets": dict(book.target),
            }
        )
    return rows


def _text(amount: Decimal) -> str:
    return format(amount, "f")
