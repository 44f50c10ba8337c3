"""Stress scenarios: named shocks of all prices at once, and what they would cost. Pure.

The historical ones are facts: returns of Binance USDT perpetuals within the named hour or day,
computed from recorded hourly bars (open to close, or open to low). Symbols that did not trade then
take `others`, the mean of those that did.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from don.model.instrument import split_symbol

SOURCE = "Binance USDT perpetuals, hourly bars 2019-09 to 2025-12"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Returns of prices in one event; -0.2 is a fall by a fifth."""

    name: str
    date: str  # UTC, begin of the hour or end of the day; "" for those that never happened
    what: str
    others: float
    shocks: Mapping[str, float] = field(default_factory=dict)  # by base currency
    source: str = SOURCE

    def shock(self, symbol: str) -> float:
        """The return of a symbol, by its base currency."""
        try:
            base = split_symbol(symbol)[0]
        except ValueError:
            return self.others
        return self.shocks.get(base, self.others)


SCENARIOS = (
    Scenario(
        name="covid_hour",
        date="2020-03-12 10:00",
        what="first hour of the crash, open to close",
        others=-0.1907,
        shocks={
            "ADA": -0.1517, "BCH": -0.2312, "BTC": -0.1872, "ETH": -0.2171, "LTC": -0.2006,
            "XRP": -0.1565,
        },
    ),
    Scenario(
        name="covid_day",
        date="2020-03-13 01:00",
        what="worst 24 hours, close to close",
        others=-0.4653,
        shocks={
            "ADA": -0.4652, "BCH": -0.4896, "BTC": -0.4736, "ETH": -0.4832, "LTC": -0.4609,
            "XRP": -0.4178,
        },
    ),
    Scenario(
        name="covid_rebound",
        date="2020-03-13 02:00",
        what="best hour after the crash, open to close: what it costs to be short",
        others=0.1344,
        shocks={
            "ADA": 0.1012, "BCH": 0.1445, "BTC": 0.1627, "ETH": 0.1574, "LTC": 0.1749,
            "XRP": 0.0654,
        },
    ),
    Scenario(
        name="may_2021_hour",
        date="2021-05-19 12:00",
        what="worst hour of the recorded ones, open to close",
        others=-0.1977,
        shocks={
            "ADA": -0.2239, "BCH": -0.2803, "BTC": -0.0943, "ETH": -0.1434, "LTC": -0.2584,
            "XRP": -0.1857,
        },
    ),
    Scenario(
        name="terra_hour",
        date="2022-05-11 12:00",
        what="fall of Terra, open to close",
        others=-0.1107,
        shocks={
            "ADA": -0.1277, "BCH": -0.0906, "BTC": -0.0704, "ETH": -0.0985, "LTC": -0.1305,
            "XRP": -0.1466,
        },
    ),
    Scenario(
        name="ftx_day",
        date="2022-11-09 16:00",
        what="24 hours of the fall of FTX, close to close",
        others=-0.1820,
        shocks={
            "ADA": -0.1270, "BCH": -0.1736, "BTC": -0.1618, "ETH": -0.2407, "LTC": -0.1925,
            "XRP": -0.1963,
        },
    ),
    Scenario(
        name="tariff_hour",
        date="2025-02-03 01:00",
        what="altcoins far more than BTC: correlations break, open to close",
        others=-0.1091,
        shocks={
            "1000PEPE": -0.0849, "ADA": -0.1804, "BCH": -0.1205, "BTC": -0.0317, "DOGE": -0.1013,
            "ENA": -0.0797, "ETH": -0.1158, "LTC": -0.1188, "SOL": -0.0684, "SUI": -0.1439,
            "TON": -0.1399, "XRP": -0.1239,
        },
    ),
    Scenario(
        name="october_2025_low",
        date="2025-10-10 21:00",
        what="liquidation cascade, open to the low of the hour",
        others=-0.5369,
        shocks={
            "1000PEPE": -0.6583, "1000SHIB": -0.3831, "AAVE": -0.6739, "ADA": -0.6175,
            "ALGO": -0.5057, "ARB": -0.7138, "AVAX": -0.6627, "BCH": -0.1401, "BTC": -0.1111,
            "DOGE": -0.6171, "DOT": -0.7455, "ENA": -0.7250, "ETH": -0.1203, "KAS": -0.8558,
            "LINK": -0.5818, "LTC": -0.5754, "OP": -0.6359, "SOL": -0.2823, "SUI": -0.8157,
            "TON": -0.7758, "VET": -0.4758, "XLM": -0.5261, "XMR": -0.1596, "XRP": -0.5276,
        },
    ),
    Scenario(name="all_down_10", date="", what="every price down by 10 %", others=-0.1, source="-"),
    Scenario(name="all_up_10", date="", what="every price up by 10 %", others=0.1, source="-"),
)  # fmt: skip

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
