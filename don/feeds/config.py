"""What a live feed can be told: endpoints, channels, batching, patience. Pure."""

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from don.clock import interval_ns
from don.model.section import Section

CHANNELS = ("trades", "quotes", "books", "bars", "funding", "liquidations")
MORE_CHANNELS = ("open_interest", "book_deltas")  # only where asked for
_KNOWN = (*CHANNELS, *MORE_CHANNELS)


class FeedConfig(Section):
    """One exchange's public streams for some symbols. Addresses default to the exchange's own."""

    exchange: str = "BINANCE_FUTURES"
    symbols: tuple[str, ...] = ()  # canonical; the composition fills them in
    channels: tuple[str, ...] = CHANNELS  # those of `venues.VENUES`; not all exchanges have all
    interval: str = "1m"  # of bars

    rest_url: str | None = None  # e.g. "http://127.0.0.1:8080"
    ws_url: str | None = None  # e.g. "wss://localhost:8443"
    ca_file: Path | None = None  # PEM to trust instead of the system's; read at each connection
    depth_interval: str = "100ms"  # between diffs of a book

    streams_per_connection: int | None = Field(default=None, ge=1)  # default: the exchange's limit
    redundancy: int = Field(default=1, ge=1, le=3)  # connections that carry the same, first wins
    connection_life_s: float | None = Field(default=None, gt=0)  # then replaced; default: its limit
    overlap_s: float = Field(default=5.0, gt=0)  # both are up when one connection replaces another

    batch_rows: int = Field(default=512, ge=1)  # a batch leaves with this many rows ...
    batch_age_ms: float = Field(default=10.0, gt=0)  # ... or when its first row is this old
    bars_at_once: bool = True  # a closed bar does not wait for its batch's age
    queue_batches: int = Field(default=64, ge=1)  # then the socket is no longer read
    hold_rows: int = Field(default=50_000, ge=1)  # kept while bars are repaired; then as above

    depth_limit: int = Field(default=1000, ge=5, le=1000)  # levels of a book snapshot
    repair_bars: int = Field(default=100, ge=1)  # closed bars emitted at the first connection
    hold_s: float = Field(default=5.0, ge=0)  # live rows wait at most this long for repaired bars
    bar_wait_s: float = Field(default=0.25, ge=0)  # a closed bar may come this late by the stream

    stale_after_s: dict[str, float] = Field(
        default_factory=lambda: {"quotes": 10.0, "books": 10.0, "funding": 15.0, "trades": 300.0}
    )  # a live stream of this channel that is silent for longer is stale; of trades, time counts
    # in which the symbol's quotes or books change
    silence_s: float = Field(default=30.0, gt=0)  # connected but silent: reconnect

    backoff_base_s: float = Field(default=0.1, gt=0)
    backoff_cap_s: float = Field(default=5.0, gt=0)
    breaker_refusals: int = Field(default=5, ge=1)  # in a row: then a pause that grows
    breaker_pause_s: float = Field(default=5.0, gt=0)  # the first pause
    breaker_cap_s: float = Field(default=300.0, gt=0)  # the longest
    connect_timeout_s: float = Field(default=10.0, gt=0)
    request_timeout_s: float = Field(default=10.0, gt=0)
    max_requests: int = Field(default=4, ge=1)  # REST requests in flight

    repair_trades: int = Field(default=20_000, ge=0)  # of one hole in trade ids, at most, by REST
    late_s: float = Field(default=0.5, ge=0)  # another connection may bring what one has missed
    open_interest_s: float = Field(default=30.0, gt=0)  # between polls where it is not streamed

    @field_validator("symbols")
    @classmethod
    def _symbols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for symbol in value:
            parts = symbol.split("-")
            if not 2 <= len(parts) <= 5 or not all(parts):
                raise ValueError(
                    f"symbols must be such as BTC-USDT or BTC-USDT-PERP, one was {symbol!r}"
                )
        if len(set(value)) != len(value):
            raise ValueError(f"symbols must differ, were {', '.join(value)}")
        return value

    @field_validator("channels")
    @classmethod
    def _channels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - set(_KNOWN))
        if unknown or not value or len(set(value)) != len(value):
            raise ValueError(
                f"channels must be among {', '.join(_KNOWN)} and differ, were {', '.join(value)}"
            )
        if "book_deltas" in value and "books" not in value:
            raise ValueError("channels must have books where they have book_deltas")
        return value

    @field_validator("interval")
    @classmethod
    def _interval(cls, value: str) -> str:
        interval_ns(value)
        return value

    @field_validator("stale_after_s")
    @classmethod
    def _stale_after(cls, value: dict[str, float]) -> dict[str, float]:
        for channel, limit in value.items():
            if channel not in _KNOWN or not limit > 0:
                raise ValueError(
                    f"stale_after_s needs channels among {', '.join(_KNOWN)} and seconds > 0, "
                    f"had {channel} = {limit}"
                )
        return value

    @model_validator(mode="after")
    def _backoff(self) -> Self:
        if self.backoff_cap_s < self.backoff_base_s:
            raise ValueError(
                f"backoff_cap_s must be at least backoff_base_s, "
                f"were {self.backoff_cap_s} and {self.backoff_base_s}"
            )
        if self.breaker_cap_s < self.breaker_pause_s:
            raise ValueError(
                f"breaker_cap_s must be at least breaker_pause_s, "
                f"were {self.breaker_cap_s} and {self.breaker_pause_s}"
            )
        return self
