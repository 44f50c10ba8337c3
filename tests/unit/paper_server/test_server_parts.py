"""The pure parts of the paper exchange's server: names, parameters, limits, speeds, frames."""

from decimal import Decimal

import pytest
from aiohttp import WSMsgType
from hypothesis import given
from hypothesis import strategies as st

from don.errors import ExchangeRefused, UsageError
from don.paper.server.config import LimitsConfig
from don.paper.server.hub import frame
from don.paper.server.limits import RateLimits
from don.paper.server.names import Channel, parse_stream
from don.paper.server.params import Params
from don.paper.server.replay import Speed
from don.paper.server.signing import sign, unsigned
from don.paper.server.text import average, decimals, number

SYMBOLS = {"BTCUSDT", "1000PEPEUSDT"}


@pytest.mark.parametrize(
    ("name", "channel", "period_ms", "interval"),
    [
        ("btcusdt@aggTrade", Channel.AGG_TRADE, 0, ""),
        ("1000pepeusdt@bookTicker", Channel.BOOK_TICKER, 0, ""),
        ("btcusdt@depth", Channel.DEPTH, 250, ""),
        ("btcusdt@depth@0ms", Channel.DEPTH, 0, ""),
        ("btcusdt@depth@100ms", Channel.DEPTH, 100, ""),
        ("btcusdt@kline_30m", Channel.KLINE, 1_800_000, "30m"),
        ("btcusdt@markPrice", Channel.MARK_PRICE, 3_000, ""),
        ("btcusdt@markPrice@1s", Channel.MARK_PRICE, 1_000, ""),
        ("btcusdt@forceOrder", Channel.FORCE_ORDER, 0, ""),
    ],
)
def test_stream_names(name: str, channel: Channel, period_ms: int, interval: str) -> None:
    stream = parse_stream(name, SYMBOLS)
    assert stream.symbol == name.split("@")[0].upper()
    assert (stream.channel, stream.period_ms, stream.interval) == (channel, period_ms, interval)


@pytest.mark.parametrize(
    "name",
    [
        "", "btcusdt", "@depth", "BTCUSDT@depth", "ethusdt@depth", "btcusdt@depth@1s",
        "btcusdt@depth_30m", "btcusdt@kline", "btcusdt@kline_7m", "btcusdt@kline_1m@100ms",
        "btcusdt@aggTrade@100ms", "btcusdt@markPrice@2s", "btcusdt@depth@100ms/", "!ticker@arr",
    ],
)  # fmt: skip
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="stream"):
        parse_stream(name, SYMBOLS)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=None))
def test_numbers_keep_every_digit_and_have_no_exponent(value: Decimal) -> None:
    assert Decimal(number(value)) == value
    assert "E" not in number(value)


@pytest.mark.parametrize(
    ("step", "places"), [("0.1", 1), ("0.0010", 3), ("1", 0), ("10", 0), ("1E-8", 8)]
)
def test_decimals_of_a_step(step: str, places: int) -> None:
    assert decimals(Decimal(step)) == places


def test_an_average_ends() -> None:
    assert average(Decimal(20) / Decimal(3)) == "6.66666667"
    assert average(Decimal(0)) == "0"
    assert average(Decimal(6_000)) == "6000"


@given(st.integers(min_value=0, max_value=70_000))
def test_frames_are_what_clients_parse(size: int) -> None:
    data = frame(b"x" * size)
    assert data[0] == 0x80 | WSMsgType.TEXT
    short = data[1]
    extra = {126: 2, 127: 8}.get(short, 0)
    length = int.from_bytes(data[2 : 2 + extra]) if extra else short
    assert length == size == len(data) - 2 - extra


def test_weights_add_up_within_a_minute_of_wall_time() -> None:
    limits = RateLimits(LimitsConfig(weight_per_minute=10))
    assert limits.take(6, 0, 60_000) is None
    assert limits.headers(False) == {"X-MBX-USED-WEIGHT-1M": "6"}
    exceeded = limits.take(6, 0, 75_500)
    assert exceeded is not None
    assert (exceeded.refusal.code, exceeded.retry_after_s) == (-1003, 45)
    assert limits.take(6, 0, 120_000) is None


def test_orders_count_in_two_windows() -> None:
    limits = RateLimits(LimitsConfig(orders_per_10s=2, orders_per_minute=3))
    assert [limits.take(0, 1, ms) is None for ms in (0, 1, 2)] == [True, True, False]
    assert limits.take(0, 1, 10_000) is None
    exceeded = limits.take(0, 1, 20_000)
    assert exceeded is not None
    assert (exceeded.refusal.code, exceeded.retry_after_s) == (-1015, 40)
    assert limits.headers(True)["X-MBX-ORDER-COUNT-1M"] == "3"


BAR_NS = 1_800 * 10**9


@pytest.mark.parametrize(
    ("text", "factor"),
    [("max", None), ("60", 60.0), ("0.5x", 0.5), ("1bar", 1_800.0), ("2bars", 3_600.0)],
)
def test_speeds(text: str, factor: float | None) -> None:
    assert Speed.parse(text, BAR_NS).factor == factor


@pytest.mark.parametrize("text", ["", "0", "-1", "fast", "nan", "inf", "1e99", "bar", "0bar"])
def test_other_speeds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="speed must be"):
        Speed.parse(text, BAR_NS)


def test_the_documented_signature_example() -> None:
    """The example of the exchange's own documentation."""
    secret = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
    query = (
        "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1"
        "&recvWindow=5000&timestamp=1499827319559"
    )
    expected = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
    assert sign(secret, query) == expected
    assert unsigned(f"{query}&signature={expected}") == (query, expected)
    assert unsigned(f"signature=x&{query}") == (query, "x")


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_parameters_are_read_or_refused(query: str, body: str) -> None:
    try:
        params = Params.parse(query, body)
        for read in (params.integer, params.decimal, params.flag):
            read("a")
    except ExchangeRefused as refused:
        assert -1131 <= refused.code <= -1100


@pytest.mark.parametrize("text", ["1e5", "-1", "+1", "1_000", " 1", "0x1", "1.2.3", ".", "٣"])
def test_sloppy_numbers_are_refused(text: str) -> None:
    params = Params({"n": text})
    for read in (params.integer, params.decimal):
        with pytest.raises(ExchangeRefused, match="-1100"):
            read("n")
