"""What a backtest's result rests on, in words, from its configuration. Pure."""

from don.backtest.config import BacktestConfig, BarFills, Detail
from don.backtest.result import Assumption

_PRICES = {
    BarFills.PESSIMISTIC: "the worst price that the bar's path had seen by then",
    BarFills.PATH: "the price on the bar's path at that time",
    BarFills.OPEN: "the bar's open",
}


def assumptions(config: BacktestConfig) -> tuple[Assumption, ...]:
    """Every assumption, by topic."""
    said = _fills(config)
    said.append(Assumption(topic="latency", text=_latency(config)))
    fees = [
        f"{name} {rate if rate is not None else 'as listed'}"
        for name, rate in (("maker", config.fees.maker), ("taker", config.fees.taker))
    ]
    rate, fee = config.exchange.maintenance_rate, config.exchange.liquidation_fee
    said += [
        Assumption(topic="fees", text=f"one tier for the whole run: {', '.join(fees)}"),
        Assumption(
            topic="funding",
            text="recorded rates where there is a funding file, else 0.0001 every 8 hours; paid on "
            "the mark price at that moment; policies see the rate that was paid last",
        ),
        Assumption(
            topic="mark", text="mark and index price are the last traded price of the recording"
        ),
        Assumption(
            topic="margin",
            text=f"cross margin, one maintenance rate of {rate}; liquidation against the book at "
            f"mark, fee {fee}",
        ),
        Assumption(
            topic="impact",
            text="our orders take from the displayed book until it is updated; they change neither "
            "the recorded trades nor the bars",
        ),
        Assumption(
            topic="filters",
            text="tick, lot and the least notional are derived from the data and the exchange's "
            "defaults; orders that break them are refused as by the exchange",
        ),
        Assumption(
            topic="outages", text="neither exchange nor desk is ever away, and no data are late"
        ),
    ]
    return tuple(said)


def _fills(config: BacktestConfig) -> list[Assumption]:
    if config.detail is Detail.EXCHANGE:
        return [
            Assumption(
                topic="fills",
                text="orders meet the book, which they walk and consume; resting orders queue "
                "behind what is displayed, and what leaves the book leaves from the back",
            ),
            Assumption(
                topic="path",
                text="where only bars were recorded, trades and books inside a bar are drawn "
                f"(seed {config.seed}) so that they reproduce its open, high, low, close, volume",
            ),
        ]
    fills = config.fills
    return [
        Assumption(
            topic="fills",
            text=f"orders arrive after {fills.after:g} of the next bar and meet a book around "
            f"{_PRICES[fills.price]}: half spread {fills.half_spread:g}, {fills.levels} levels "
            f"{fills.step:g} apart, {fills.participation:g} of the bar's volume in all",
        ),
        Assumption(
            topic="resting",
            text="a resting order is filled at its own price when a bar trades through it, by at "
            "most that part of the bar's volume; touching it is not enough",
        ),
        Assumption(
            topic="liquidation",
            text="tested on each bar with all positions at their worst price of the bar at once",
        ),
    ]


def _latency(config: BacktestConfig) -> str:
    part, latency = config.exchange.order_latency, config.latency
    if config.detail is Detail.BARS:
        return "orders and cancels are under way until the part of the next bar named under fills"
    if part is not None:
        return f"requests take effect {part:g} of a bar after its begin, whenever they come"
    if latency.measured_ms:
        return f"drawn from {len(latency.measured_ms)} measured latencies (seed {config.seed})"
    if latency.constant_ms:
        return f"each request is under way for {latency.constant_ms:g} ms"
    return "none: requests arrive at the moment at which the bar closes"
