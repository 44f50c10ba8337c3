"""Events on the board, `board.emit([{"kind": "fill", ...}, ...])`, and their rows. Pure."""

from serve.schemas import Money, Time, View


class FillView(View):
    """One execution."""

    seq: int = 0  # of the journal; 0 in live events
    trade_id: str
    client_order_id: str = ""
    symbol: str
    side: str
    price: Money
    size: Money
    fee: Money = "0"
    realized_pnl: Money | None = None
    maker: bool = False
    ts_event: Time


class OrderView(View):
    """An order and what became of it."""

    seq: int = 0  # of the journal; 0 in live events
    client_order_id: str
    exchange_order_id: str = ""
    decision: int = 0
    symbol: str
    side: str
    type: str = ""
    time_in_force: str = ""
    reduce_only: bool = False
    size: Money
    filled: Money = "0"
    price: Money | None = None
    status: str
    reason: str = ""
    detail: str = ""
    ts_event: Time = 0


class EquityPoint(View):
    """A point of the equity curve."""

    ts_event: Time
    equity: Money
    balance: Money = "0"
    unrealized: Money = "0"
