"""The account's books: positions, cash, fees, funding, profit. Exact decimals, each fact counted
once.

Pure: a fold over fills and payments. The wallet balance is never stored, it is always
`deposits + realized - fees + funding + liquidation + adjustments`, so the books cannot drift from
their own entries.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from don.model.messages import PaymentKind
from don.model.order import Fill
from don.model.portfolio import ZERO, Position, apply_fill

KEYS_KEPT = 10_000  # idempotency keys remembered; the journal's own key check has no such bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursors:
    """Up to where the books know the exchange's records: where a reconciliation resumes."""

    trades: dict[str, str]  # symbol -> id of the latest trade counted
    funding_ts: int  # exchange time of the latest funding payment counted, 0 before the first


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerState:
    """Everything in the books, plain and serialisable."""

    adopted_ts: int = -1  # exchange time of the report that opened the books; -1: not yet opened
    deposits: Decimal = ZERO
    realized: Decimal = ZERO  # before fees
    fees: Decimal = ZERO  # paid; negative after rebates
    funding: Decimal = ZERO  # received; negative when paid
    liquidation: Decimal = ZERO  # its fees, negative, and what the insurance fund made up
    adjustments: Decimal = ZERO  # what a person made us adopt later
    positions: tuple[Position, ...] = ()
    keys: tuple[str, ...] = ()  # oldest first
    trades: dict[str, tuple[int, str]] | None = None  # symbol -> (ts_event, trade id) of the latest
    funding_ts: int = 0
    fill_count: int = 0
    activity_ts: int = 0  # exchange time of the latest fact counted
    inherited: Decimal = ZERO  # unrealised profit of what was taken over, as it was then
    unvalued: tuple[str, ...] = ()  # symbols taken over of which no mark was known yet


class Ledger:
    """The books of one account. `fill` and `pay` count each key once."""

    def __init__(self, state: LedgerState | None = None) -> None:
        state = state or LedgerState()
        self.adopted_ts = state.adopted_ts
        self.deposits = state.deposits
        self.realized = state.realized
        self.fees = state.fees
        self.funding = state.funding
        self.liquidation = state.liquidation
        self.adjustments = state.adjustments
        self.positions: dict[str, Position] = {p.symbol: p for p in state.positions}
        self.fill_count = state.fill_count
        self.activity_ts = state.activity_ts
        self.inherited = state.inherited
        self.unvalued = frozenset(state.unvalued)
        # a plain dictionary would look for its oldest key behind all that were deleted
        self._keys: OrderedDict[str, None] = OrderedDict.fromkeys(state.keys)
        self._trades: dict[str, tuple[int, str]] = dict(state.trades or {})
        self._funding_ts = state.funding_ts
        self._flat: dict[str, Position] = {}  # of symbols asked for
        self.moves = 0  # how often positions changed

    @property
    def adopted(self) -> bool:
        """True once the books were opened with the exchange's account."""
        return self.adopted_ts >= 0

    @property
    def balance(self) -> Decimal:
        """Wallet balance in quote: what the exchange calls so, without unrealised profit."""
        earned = self.realized - self.fees + self.funding + self.liquidation
        return self.deposits + earned + self.adjustments

    @property
    def put_in(self) -> Decimal:
        """What profit is counted from: money put in, and what positions taken over were worth."""
        return self.deposits + self.adjustments + self.inherited

    def position(self, symbol: str) -> Position:
        """The position in a symbol; flat if there is none."""
        found = self.positions.get(symbol)
        if found is None:
            found = self._flat.get(symbol)
            if found is None:
                found = self._flat[symbol] = Position(symbol=symbol)
        return found

    def unrealized(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Unrealised profit at mark prices, quote. A position that has no mark counts as zero."""
        total = ZERO
        for symbol, position in self.positions.items():
            mark = marks.get(symbol)
            if mark is not None:
                total += position.unrealized(mark)
        return total

    def equity(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Balance plus unrealised profit, quote."""
        return self.balance + self.unrealized(marks)

    def knows(self, key: str) -> bool:
        """True if the fact with this key was counted (or passed over) already."""
        return key in self._keys

    def adopt(
        self,
        balance: Decimal,
        positions: Iterable[Position],
        ts_event: int,
        marks: Mapping[str, Decimal] | None = None,
    ) -> None:
        """Take the exchange's account as the truth: the opening entry, or later an adjustment.

        With `marks` it brings neither profit nor loss: what is held is worth its mark, or the first
        price that becomes known (`value`). Without, profit counts from the entry price.
        """
        before = ZERO if marks is None else self.unrealized(marks)
        if not self.adopted:
            self.deposits += balance - self.balance
        else:
            self.adjustments += balance - self.balance
        self.adopted_ts = ts_event
        self.activity_ts = max(self.activity_ts, ts_event)
        self.positions = {p.symbol: p for p in positions if p.size}
        self.moves += 1
        if marks is not None:
            self.inherited += self.unrealized(marks) - before
            self.unvalued = frozenset(self.positions.keys() - marks.keys())

    def value(self, symbol: str, price: Decimal) -> None:
        """A price of what was taken over without a mark: its profit so far is none of ours."""
        if symbol in self.unvalued:
            self.unvalued -= {symbol}
            self.inherited += self.position(symbol).unrealized(price)

    def skip(self, key: str, fill: Fill) -> None:
        """Pass over a fill that the adopted account already contains."""
        self._remember(key)
        self._advance(fill)

    def fill(self, key: str, fill: Fill) -> Decimal | None:
        """Count a fill.

        Returns:
            The profit it realised before fees, in quote; None if it was counted before.
        """
        if key in self._keys:
            return None
        self._remember(key)
        self._advance(fill)
        position, realized = apply_fill(
            self.position(fill.symbol), fill.side, fill.price, fill.size
        )
        if position.size:
            self.positions[fill.symbol] = position
        else:
            self.positions.pop(fill.symbol, None)
        self.moves += 1
        self.realized += realized
        self.fees += fill.fee
        self.fill_count += 1
        self.activity_ts = max(self.activity_ts, fill.ts_event)
        return realized

    def pay(
        self, key: str, amount: Decimal, ts_event: int, kind: PaymentKind = PaymentKind.FUNDING,
        symbol: str = "",
    ) -> bool:  # fmt: skip
        """Count a payment, positive is received. False if it was counted before."""
        if key in self._keys:
            return False
        self._remember(key)
        if kind is PaymentKind.LIQUIDATION:
            self.liquidation += amount
        else:
            self.funding += amount
            if symbol in self.unvalued:  # of the time before profit is counted
                self.inherited += amount
        self._funding_ts = max(self._funding_ts, ts_event)
        self.activity_ts = max(self.activity_ts, ts_event)
        return True

    def cursors(self) -> Cursors:
        """Where to resume asking the exchange for fills and payments."""
        return Cursors(
            trades={symbol: trade for symbol, (_, trade) in sorted(self._trades.items())},
            funding_ts=self._funding_ts,
        )

    def dump(self) -> LedgerState:
        """The books as a plain value; `Ledger(dump())` goes on exactly from here."""
        return LedgerState(
            adopted_ts=self.adopted_ts,
            deposits=self.deposits,
            realized=self.realized,
            fees=self.fees,
            funding=self.funding,
            liquidation=self.liquidation,
            adjustments=self.adjustments,
            positions=tuple(self.positions[s] for s in sorted(self.positions)),
            keys=tuple(self._keys),
            trades=dict(sorted(self._trades.items())),
            funding_ts=self._funding_ts,
            fill_count=self.fill_count,
            activity_ts=self.activity_ts,
            inherited=self.inherited,
            unvalued=tuple(sorted(self.unvalued)),
        )

    def _remember(self, key: str) -> None:
        self._keys[key] = None
        while len(self._keys) > KEYS_KEPT:
            self._keys.popitem(last=False)

    def _advance(self, fill: Fill) -> None:
        """Move the trade cursor; ids that are numbers compare as numbers (longer is greater)."""
        last_ts, last_id = self._trades.get(fill.symbol, (-1, ""))
        trade = (fill.ts_event, len(fill.trade_id), fill.trade_id)
        if trade > (last_ts, len(last_id), last_id):
            self._trades[fill.symbol] = (fill.ts_event, fill.trade_id)
