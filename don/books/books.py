"""All virtual books of an account, as one: every fact is divided over them, exactly. Pure.

Rules. A fill of an order that slots wanted goes to them in proportion to what each still lacks of
that order, in whole lots. A fill that closes the account's position on nobody's wish (kill switch,
protection, liquidation) goes to the books that hold it, in proportion. Everything else, orders by
hand above all, goes to the book `desk`. Fees follow the lots. Funding follows the signed positions
at its own time, however late it is told, so a long and a short in two books pay and receive. What
cannot be divided goes to the largest part.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from don.books import apportion
from don.books.book import Book, BookState
from don.books.config import DESK
from don.clock import NS_PER_S
from don.ledger import Ledger
from don.model.messages import BookEntry, BookKind
from don.model.order import Fill, Side
from don.model.portfolio import ZERO, Position, money

LATE_NS = 3_600 * NS_PER_S  # a payment that is told later than this is divided as things are then
_MOVES = (BookKind.FILL, BookKind.CROSS, BookKind.PAPER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A change of a book's position, remembered for payments that are told late."""

    symbol: str
    book: str
    shadow: bool
    size: Decimal  # signed, base
    ts_event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BooksState:
    """Everything in the books, plain and serialisable."""

    books: tuple[BookState, ...] = ()
    shadows: tuple[BookState, ...] = ()
    claims: dict[str, dict[str, Decimal]] | None = None  # order or parent -> book -> lots lacking
    forced: dict[str, Decimal] | None = None  # book -> notional that liquidation closed
    charged: bool = False
    decisions: int = 0  # since capital was allocated last
    allocated: tuple[str, ...] = ()  # slots that capital was shared among then
    moves: tuple[Move, ...] = ()  # recent ones, as they came
    unvalued: tuple[str, ...] = ()  # symbols taken over of which no mark was told since


class VirtualBooks:
    """The books of one account; the order of their making is the order of ties."""

    def __init__(self, lots: Mapping[str, Decimal], state: BooksState | None = None) -> None:
        """`lots` are the lot sizes by symbol; other symbols are divided to 1e-8."""
        state = state or BooksState()
        self.books: dict[str, Book] = {b.name: Book(b) for b in state.books}
        self.shadows: dict[str, Book] = {b.name: Book(b) for b in state.shadows}
        self.decisions, self.allocated = state.decisions, state.allocated
        self._lots = lots
        self._claims: dict[str, dict[str, Decimal]] = {
            key: dict(claim) for key, claim in (state.claims or {}).items()
        }
        self._forced: dict[str, Decimal] = dict(state.forced or {})
        self._charged = state.charged
        self._moves = deque(state.moves)
        self.unvalued = frozenset(state.unvalued)
        self.entries: list[BookEntry] = []  # since the last `take`

    @property
    def opened(self) -> bool:
        """True once the account's cash and positions are in the books."""
        return DESK in self.books

    @property
    def desk(self) -> Book:
        """The book of what no policy ordered."""
        return self.books[DESK]

    def take(self) -> list[BookEntry]:
        """Entries since the last call."""
        entries, self.entries = self.entries, []
        return entries

    def dump(self) -> BooksState:
        """The books as a plain value."""
        return BooksState(
            books=tuple(b.dump() for b in self.books.values()),
            shadows=tuple(b.dump() for b in self.shadows.values()),
            claims={key: dict(claim) for key, claim in self._claims.items()},
            forced=dict(self._forced),
            charged=self._charged,
            decisions=self.decisions,
            allocated=self.allocated,
            moves=tuple(self._moves),
            unvalued=tuple(sorted(self.unvalued)),
        )

    def book(self, name: str, *, shadow: bool = False) -> Book:
        """The book of a name; made if there is none."""
        books = self.shadows if shadow else self.books
        if name not in books:
            books[name] = Book(BookState(name=name))
        return books[name]

    def total(self, symbol: str) -> Decimal:
        """Sum of the books' positions, base."""
        return sum((book.size(symbol) for book in self.books.values()), ZERO)

    def off(self, ledger: Ledger) -> list[tuple[str, Decimal, Decimal]]:
        """Where books and ledger differ: (what, books, ledger). Always empty."""
        found = []
        symbols = {s for b in self.books.values() for s in b.positions} | set(ledger.positions)
        for symbol in sorted(symbols):
            ours, theirs = self.total(symbol), ledger.position(symbol).size
            if ours != theirs:
                found.append((f"books of {symbol}", ours, theirs))
        ours = sum((book.cash for book in self.books.values()), ZERO)
        if ours != cash_of(ledger):
            found.append(("cash of books", ours, cash_of(ledger)))
        return found

    # ---- opening and adopting -------------------------------------------------------------------

    def adopt(
        self, ledger: Ledger, marks: Mapping[str, Decimal], heir: str, key: str, ts_event: int,
        fresh: frozenset[str] | None = None,
    ) -> None:  # fmt: skip
        """Take in what the account has and the books have not, as if bought at mark.

        When the books are opened, positions go to `heir`, with the cash if there are any, and what
        has no `fresh` mark is valued anew by `value`; later both go to `desk`. Without `fresh`
        (older rules) books are opened at entry prices, and cash goes to `desk`.
        """
        self._moves.clear()  # payments from before are in the account already
        opening = not self.opened
        desk = self.book(DESK)
        book = self.book(heir) if opening else desk
        symbols = {s for b in self.books.values() for s in b.positions} | set(ledger.positions)
        for symbol in sorted(symbols):
            theirs = ledger.position(symbol)
            size = theirs.size - self.total(symbol)
            if not size:
                continue
            at_cost = symbol not in marks or (opening and fresh is None)
            price = theirs.entry_price if at_cost else marks[symbol]
            cost = theirs.cost if at_cost and opening else money(size * price)
            if opening and fresh is not None and symbol not in fresh:
                self.unvalued |= {symbol}
            held = book.positions.get(symbol) or Position(symbol=symbol)
            after = Position(symbol=symbol, size=held.size + size, cost=held.cost + cost)
            gone = ZERO if after.size else after.cost
            book.hold(after)
            book.move(cost - gone)  # it was paid for elsewhere
            about = (BookKind.ADOPTED, key, book, symbol, ts_event)
            paid = ZERO if fresh is None else cost  # so that entries sum to the cash
            self._note(*about, size=size, price=price, amount=paid)
        missing = cash_of(ledger) - sum((b.cash for b in self.books.values()), ZERO)
        if missing:
            owner = desk if fresh is None or not book.positions else book
            owner.move(missing)
            self._note(BookKind.ADOPTED, key, owner, "", ts_event, amount=missing)

    def value(self, symbol: str, price: Decimal, ts_event: int) -> None:
        """A price of what was taken over without a fresh mark: profit counts from it."""
        for book in self.books.values() if symbol in self.unvalued else ():
            if held := book.positions.get(symbol):
                more = money(held.size * price) - held.cost
                book.hold(Position(symbol=symbol, size=held.size, cost=held.cost + more))
                book.move(more)
                key = f"valued:{symbol}"
                self._note(BookKind.ADOPTED, key, book, symbol, ts_event, price=price)
        self.unvalued -= {symbol}

    # ---- facts ----------------------------------------------------------------------------------

    def claim(self, key: str, parts: Mapping[str, Decimal]) -> None:
        """An order (or the parent of some) goes out for these books, with so many lots each."""
        self._claims[key] = {book: size for book, size in parts.items() if size}

    def pending(self, key: str) -> Mapping[str, Decimal]:
        """What each book still lacks of an order, base, unsigned."""
        return self._claims.get(key, {})

    def prune(self, alive: Iterable[str]) -> None:
        """Forget claims of orders and parents that are over."""
        kept = set(alive)
        self._claims = {key: claim for key, claim in self._claims.items() if key in kept}

    def fill(self, key: str, fill: Fill, claim: str, *, closes: bool, forced: bool) -> None:
        """Divide a fill that the ledger has counted.

        Args:
            key: the report's.
            fill: the fill.
            claim: under which its order was claimed, if it was.
            closes: it closes what the books hold; else what nobody claimed is the desk's.
            forced: the exchange closed the position by itself.
        """
        parts = self._claimed(claim, fill) or (self._held(fill) if closes else {})
        rest = fill.size - sum(parts.values(), ZERO)
        if rest:
            parts[DESK] = parts.get(DESK, ZERO) + rest
        named = [(name, size) for name, size in parts.items() if size]
        fees = apportion.money(fill.fee, [size for _, size in named])
        if forced and self._charged:
            self._forced, self._charged = {}, False
        for (name, size), fee in zip(named, fees, strict=True):
            book = self.book(name)
            book.trade(fill.symbol, fill.side, fill.price, size, fee, cross=False)
            if forced:
                self._forced[name] = self._forced.get(name, ZERO) + size * fill.price
            self._note(
                BookKind.FILL, key, book, fill.symbol, fill.ts_event,
                size=size * fill.side.sign, price=fill.price, fee=fee,
            )  # fmt: skip

    def fund(self, key: str, symbol: str, amount: Decimal, ts_event: int) -> None:
        """Divide a payment by the signed positions of its time; without any it is the desk's.

        Shadows that hold the symbol get the same for each unit, on paper.
        """
        then = {
            name: self._size_at(book, False, symbol, ts_event) for name, book in self.books.items()
        }
        held = {name: size for name, size in then.items() if size}
        total = sum(held.values(), ZERO)
        if not total:
            holders, parts = [self.desk], [amount]
        else:
            holders = [self.books[name] for name in held]
            parts = apportion.money(amount, list(held.values()))
            for shadow in self.shadows.values():
                if size := self._size_at(shadow, True, symbol, ts_event):
                    paid = apportion.money(amount, [total - size, size])[1]
                    shadow.funding += paid
                    self._note(
                        BookKind.FUNDING, key, shadow, symbol, ts_event, amount=paid, shadow=True
                    )
        for book, part in zip(holders, parts, strict=True):
            if symbol in self.unvalued:  # it fell due before anybody's profit began
                book.move(part)
            else:
                book.funding += part
            self._note(BookKind.FUNDING, key, book, symbol, ts_event, amount=part)

    def liquidated(self, key: str, symbol: str, amount: Decimal, ts_event: int) -> None:
        """Divide a liquidation's fee, or what a fund made up, by what of each book was closed."""
        names = [name for name, closed in self._forced.items() if closed]
        parts = apportion.money(amount, [self._forced[n] for n in names]) if names else [amount]
        self._charged = True
        for name, part in zip(names or [DESK], parts, strict=True):
            book = self.book(name)
            book.liquidation += part
            self._note(BookKind.LIQUIDATION, key, book, symbol, ts_event, amount=part)

    # ---- among the books ------------------------------------------------------------------------

    def cross(
        self, key: str, symbol: str, wants: Mapping[str, Decimal], price: Decimal, ts_event: int
    ) -> dict[str, Decimal]:
        """Let books that want to buy trade with those that want to sell, at a price, without fee.

        Args:
            key: of the entries.
            symbol: what is traded.
            wants: book -> signed size it lacks of its target.
            price: the mark at the decision's close.
            ts_event: of the decision.

        Returns:
            What each book still lacks; all that is left has one sign.
        """
        buyers = {name: size for name, size in wants.items() if size > 0}
        sellers = {name: -size for name, size in wants.items() if size < 0}
        unit = self._lot(symbol)
        matched = min(sum(buyers.values(), ZERO), sum(sellers.values(), ZERO))
        left = {name: size for name, size in wants.items() if size}
        if not matched:
            return left
        for side, asked in ((Side.BUY, buyers), (Side.SELL, sellers)):
            parts = apportion.lots(matched, list(asked.values()), unit)
            for name, size in zip(asked, parts, strict=True):
                if not size:
                    continue
                book = self.book(name)
                book.trade(symbol, side, price, size, ZERO, cross=True)
                left[name] -= size * side.sign
                self._note(
                    BookKind.CROSS, key, book, symbol, ts_event, size=size * side.sign, price=price
                )
        return {name: size for name, size in left.items() if size}

    def offset(self, key: str, marks: Mapping[str, Decimal], ts_event: int) -> None:
        """Close longs of some books against shorts of others, at mark: before all is flattened."""
        for symbol in sorted({s for b in self.books.values() for s in b.positions}):
            wants = {n: -b.size(symbol) for n, b in self.books.items() if b.size(symbol)}
            if symbol in marks:
                self.cross(f"{key}:{symbol}", symbol, wants, marks[symbol], ts_event)

    def move(self, key: str, amounts: Mapping[str, Decimal], ts_event: int) -> None:
        """Move capital between the desk and books; what they get, the desk gives."""
        for name, amount in (*amounts.items(), (DESK, -sum(amounts.values(), ZERO))):
            if amount:
                self.book(name).move(amount)
                self._note(BookKind.CAPITAL, key, self.book(name), "", ts_event, amount=amount)

    def paper(
        self, key: str, name: str, symbol: str, size: Decimal, price: Decimal, fee: Decimal,
        ts_event: int,
    ) -> None:  # fmt: skip
        """A shadow's trade: signed size at a price, on paper."""
        book = self.book(name, shadow=True)
        side = Side.BUY if size > 0 else Side.SELL
        book.trade(symbol, side, price, abs(size), fee, cross=False)
        self._note(
            BookKind.PAPER, key, book, symbol, ts_event,
            size=size, price=price, fee=fee, shadow=True,
        )  # fmt: skip

    def fund_shadow(self, key: str, name: str, amount: Decimal, ts_event: int) -> None:
        """Capital of a shadow, on paper."""
        book = self.book(name, shadow=True)
        book.move(amount)
        self._note(BookKind.CAPITAL, key, book, "", ts_event, amount=amount, shadow=True)

    # ---- inside ---------------------------------------------------------------------------------

    def _lot(self, symbol: str) -> Decimal:
        return self._lots.get(symbol, Decimal("1e-8"))

    def _size_at(self, book: Book, shadow: bool, symbol: str, ts_event: int) -> Decimal:
        """Position of a book before everything that happened later than a time."""
        size = book.size(symbol)
        for move in self._moves:
            if move.ts_event > ts_event and (move.symbol, move.book) == (symbol, book.name):
                size -= move.size if move.shadow is shadow else ZERO
        return size

    def _claimed(self, key: str, fill: Fill) -> dict[str, Decimal]:
        claim = self._claims.get(key)
        if not claim:
            return {}
        parts = self._divided(claim, fill)
        self._claims[key] = {
            book: size - parts.get(book, ZERO)
            for book, size in claim.items()
            if size > parts.get(book, ZERO)
        }
        return parts

    def _held(self, fill: Fill) -> dict[str, Decimal]:
        held = {
            name: abs(book.size(fill.symbol))
            for name, book in self.books.items()
            if book.size(fill.symbol) * fill.side.sign < 0
        }
        return self._divided(held, fill) if held else {}

    def _divided(self, weights: Mapping[str, Decimal], fill: Fill) -> dict[str, Decimal]:
        total = min(fill.size, sum(weights.values(), ZERO))
        parts: Sequence[Decimal] = apportion.lots(
            total, list(weights.values()), self._lot(fill.symbol)
        )
        return dict(zip(weights, parts, strict=True))

    def _note(
        self, kind: BookKind, key: str, book: Book, symbol: str, ts_event: int, *,
        size: Decimal = ZERO, price: Decimal = ZERO, fee: Decimal = ZERO, amount: Decimal = ZERO,
        shadow: bool = False,
    ) -> None:  # fmt: skip
        if kind in _MOVES:
            move = Move(symbol=symbol, book=book.name, shadow=shadow, size=size, ts_event=ts_event)
            self._moves.append(move)
            while self._moves[0].ts_event < ts_event - LATE_NS:
                self._moves.popleft()
        self.entries.append(
            BookEntry(
                kind=kind,
                key=key,
                book=book.name,
                shadow=shadow,
                symbol=symbol,
                size=size,
                price=price,
                fee=fee,
                amount=amount,
                ts_event=ts_event,
            )
        )


def cash_of(ledger: Ledger) -> Decimal:
    """The account's balance after everything held is paid for at its cost, quote."""
    return ledger.balance - sum((p.cost for p in ledger.positions.values()), ZERO)
