"""What polling tells of fills: in the exchange's order, whatever comes while it asks."""

import random
from decimal import Decimal

from don.clock import SystemClock
from don.exchanges.binance_wire import order_report
from don.exchanges.outbox import Outbox
from don.exchanges.poller import Poller
from don.exchanges.reporter import Reporter
from don.model.messages import FillReport, OrderReport
from don.model.order import Fill, Order, OrderStatus, OrderType, Side

SYMBOL = "BTC-USDT-PERP"


def name(number: int) -> str:
    return f"don-t-{number}-0"


def filled(number: int) -> OrderReport:
    return order_report(
        client_order_id=name(number), exchange_order_id=str(number), symbol=SYMBOL,
        status=OrderStatus.FILLED, filled=Decimal(1), ts_event=9, ts_recv=10, ts_sent=0,
    )  # fmt: skip


def fill(trade: int, number: int) -> FillReport:
    return FillReport(
        key=f"fill:{SYMBOL}:{trade}",
        fill=Fill(
            trade_id=str(trade), client_order_id=name(number), exchange_order_id=str(number),
            symbol=SYMBOL, side=Side.BUY, price=Decimal(100), size=Decimal(1), fee=Decimal(0),
            realized_pnl=Decimal(0), maker=False, ts_event=9,
        ),
        ts_recv=10,
    )  # fmt: skip


class Exchange:
    """Trades by id. While its answer to a question is under way, `meanwhile` happens."""

    def __init__(self) -> None:
        self.trades: list[FillReport] = []
        self.meanwhile = lambda: None

    async def fills_since(self, symbol: str, trade_id: str | None) -> list[FillReport]:
        found = [one for one in self.trades if int(one.fill.trade_id) > int(trade_id or 0)]
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return found

    async def fills_of(self, symbol: str, exchange_order_id: str) -> list[FillReport]:
        return [one for one in self.trades if one.fill.exchange_order_id == exchange_order_id]


def world(count: int) -> tuple[Exchange, Reporter, Poller, list[str]]:
    async def deliver(reports: list) -> None:
        raise AssertionError("not running")

    told: list[str] = []
    reporter = Reporter(Outbox(deliver, random.Random(1), size=100, batch=10,
                               retry_base_s=0.01, retry_cap_s=0.01))  # fmt: skip
    fold = reporter.tracker.fold

    def noted(reports):
        news = fold(reports)
        told.extend(one.fill.trade_id for one in news if isinstance(one, FillReport))
        return news

    reporter.tracker.fold = noted
    for number in range(1, count + 1):
        reporter.tracker.begin(
            Order(
                client_order_id=name(number), decision=number, index=0, symbol=SYMBOL,
                side=Side.BUY, type=OrderType.MARKET, size=Decimal(1), reduce_only=False,
                ts_event=5,
            )
        )  # fmt: skip
    exchange = Exchange()
    return exchange, reporter, Poller(exchange, reporter, None, SystemClock()), told


async def test_an_order_filled_while_polling_asks_waits_for_those_before_it() -> None:
    exchange, reporter, poller, told = world(3)
    exchange.trades = [fill(1, 1)]
    await reporter.emit([filled(1)])

    def trade() -> None:  # two more trades; of the second's order the answer is already here
        exchange.trades += [fill(2, 2), fill(3, 3)]
        reporter.tracker.fold([filled(3)])

    exchange.meanwhile = trade
    await poller.missing_fills()
    assert told == ["1"]
    await poller.missing_fills()
    assert told == ["1", "2", "3"] and not reporter.tracker.held()


async def test_a_hole_before_what_was_confirmed_is_read_by_order() -> None:
    exchange, reporter, poller, told = world(2)
    exchange.trades = [fill(2, 2)]
    await reporter.emit([filled(2)])
    await poller.missing_fills()
    exchange.trades.insert(0, fill(1, 1))  # shown by the exchange only now
    await reporter.emit([filled(1)])
    await poller.missing_fills()
    assert told == ["2", "1"] and not reporter.tracker.held()
