"""Where an exchange is and how it is spoken to. Pure; imports no client library."""

from decimal import Decimal
from pathlib import Path

from pydantic import Field

from don.model.section import Section
from don.security.secrets import Secret


class GatewayConfig(Section):
    """Where the exchange is and who we are there."""

    rest_url: str = "http://127.0.0.1:8900"
    ws_url: str = "wss://localhost:8901"
    ca_file: Path | None = None  # trusted for TLS; None: the system's authorities
    api_key: Secret = Secret("")
    api_secret: Secret = Secret("")
    asset: str = "USDT"  # margin asset and quote currency
    recv_window_ms: int = Field(default=5_000, gt=0, le=60_000)
    request_timeout_s: float = Field(default=10.0, gt=0)
    symbols: tuple[str, ...] = ()  # instruments to trade; empty: all listed, with the fees below
    maker_fee: Decimal = Field(default=Decimal("0.0002"), gt=-1, lt=1)
    taker_fee: Decimal = Field(default=Decimal("0.0005"), gt=-1, lt=1)
    keepalive_s: float = Field(default=1_200.0, gt=0)  # a listen key lives 60 min
    ping_s: float = Field(default=10.0, gt=0)  # a stream silent to two pings is dead
    reconnect_base_s: float = Field(default=0.25, gt=0)
    reconnect_cap_s: float = Field(default=15.0, gt=0)
    max_clock_offset_s: float = Field(default=5.0, gt=0)  # further off nothing is signed
    clock_check_s: float = Field(default=300.0, gt=0)  # between comparisons of the clocks
    allow_live: bool = False  # first of two switches for hosts that are not loopback
