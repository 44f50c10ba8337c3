"""Liquidation of an account whose margin balance fell below its maintenance margin. Pure.

All its open orders, conditional ones too, are cancelled, then each position is closed against the
book, no worse than at its bankruptcy price; what the book does not take, the insurance fund takes
over at that price. Fills pay the taker fee; the liquidation fee comes out of what is left; a
negative wallet is made up by the fund. One mark price set decides: the marks when the account fell
due.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from don.model.order import Side, TimeInForce
from don.model.portfolio import ZERO, money
from don.paper import conditional
from don.paper.accounts import Account
from don.paper.clearing import Clearing
from don.paper.events import Execution, ForceOrder, UpdateReason
from don.paper.margin import bankruptcy_price
from don.paper.types import IncomeKind, OrderKind, Status


def check(clearing: Clearing) -> None:
    """Liquidate every account that must be; closing one may push another over the edge."""
    while True:
        clearing.revalued = False
        due = [account for account in clearing.accounts.values() if _due(clearing, account)]
        if not due:
            return
        for account in due:
            liquidate(clearing, account)


def _due(clearing: Clearing, account: Account) -> bool:
    if not account.held():
        return account.wallet < 0
    marks = clearing.marks
    return account.margin_balance(marks) < account.maintenance(marks)


def liquidate(clearing: Clearing, account: Account) -> None:
    """Close everything that the account has."""
    for order in clearing.records.open_orders(account.name):
        clearing.end(order, Status.CANCELED)
    conditional.end_all(clearing, account.name)
    marks = dict(clearing.marks)
    balance = account.margin_balance(marks)
    symbols = account.held()
    gross = sum((abs(account.size(s)) * marks[s] for s in symbols), ZERO)
    prices = {
        s: bankruptcy_price(account.position(s), marks[s], balance, gross) if gross else marks[s]
        for s in symbols
    }
    closed = sum((_close(clearing, account, s, prices[s]) for s in symbols), ZERO)
    fee = min(max(account.wallet, ZERO), money(closed * clearing.config.liquidation_fee))
    made_up = max(fee - account.wallet, ZERO)
    for amount, info in ((-fee, "liquidation fee"), (made_up, "insurance fund")):
        if amount:
            clearing.credit(
                account,
                IncomeKind.INSURANCE_CLEAR,
                amount,
                UpdateReason.INSURANCE_CLEAR,
                info=info,
            )


def _close(clearing: Clearing, account: Account, symbol: str, price: Decimal) -> Decimal:
    """Close one position no worse than at a price; the notional that was closed."""
    market = clearing.markets[symbol]
    size = account.size(symbol)
    side, rounding = (Side.SELL, ROUND_CEILING) if size > 0 else (Side.BUY, ROUND_FLOOR)
    steps = (price / market.instrument.tick_size).to_integral_value(rounding)
    limit = max(1, int(steps))
    order = clearing.open(
        account.name,
        symbol,
        side=side,
        kind=OrderKind.LIQUIDATION,
        time_in_force=TimeInForce.IOC,
        reduce_only=True,
        price=market.price(limit),
        size=abs(size),
        client_order_id=None,
    )
    order = clearing.match(order, limit)
    if order.left:
        order = clearing.fill(
            order, market.price(limit), order.left, execution=Execution.CALCULATED
        )
    clearing.events.append(ForceOrder(symbol=symbol, ts=clearing.now, order=order))
    return order.quote
