"""Position arithmetic, exact. Pure. Shared by the ledger and every simulated exchange account."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

from don.model.order import Side

ZERO = Decimal(0)
MONEY = Decimal("0.00000001")  # money is kept to 1e-8 of the quote currency, as exchanges do


def money(amount: Decimal) -> Decimal:
    """Round to 1e-8, half up: how fees and funding are charged."""
    return amount.quantize(MONEY, ROUND_HALF_UP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A net position. `cost` is what was paid for what is still held: signed like `size`."""

    symbol: str
    size: Decimal = ZERO  # base, negative is short
    cost: Decimal = ZERO  # quote, size * average entry price

    @property
    def entry_price(self) -> Decimal:
        """Average entry price, zero when flat."""
        return self.cost / self.size if self.size else ZERO

    def unrealized(self, mark: Decimal) -> Decimal:
        """Unrealised profit at a mark price, in quote, exact."""
        return self.size * mark - self.cost


def apply_fill(
    position: Position, side: Side, price: Decimal, size: Decimal
) -> tuple[Position, Decimal]:
    """The position after a fill, and the profit that it realised (before fees), in quote.

    Average-cost accounting: a reduction removes cost in proportion, rounded half-even to 1e-8,
    the last reduction removes what is left, so realised profit sums exactly to cash received
    minus cash paid.
    """
    signed = size * side.sign
    held, cost = position.size, position.cost
    realized = ZERO
    if held and (held > 0) != (signed > 0):
        closing = min(abs(signed), abs(held))
        removed = (
            cost
            if closing == abs(held)
            else (cost * closing / abs(held)).quantize(MONEY, ROUND_HALF_EVEN)
        )
        direction = 1 if held > 0 else -1
        realized = direction * closing * price - removed
        cost -= removed
        held -= direction * closing
        signed += direction * closing
    return Position(
        symbol=position.symbol, size=held + signed, cost=cost + signed * price
    ), realized
