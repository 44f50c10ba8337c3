"""How the paper exchange is run, and what it says when it runs. Pure; imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from don.model.section import Section
from don.paper.config import PaperConfig


class LimitsConfig(Section):
    """The exchange's published limits."""

    weight_per_minute: int = 2_400
    orders_per_10s: int = 300
    orders_per_minute: int = 1_200


class StreamConfig(Section):
    """Limits of a stream connection; the exchange's own."""

    max_streams: int = 1_024  # of one connection
    max_commands_per_s: int = 10
    max_buffer: int = 16 << 20  # bytes that a client may be behind before it is cut off
    heartbeat_s: float = 180.0  # between pings; a client that does not answer is dropped
    max_age_s: float = 86_400.0  # a connection ends after a day


class PaperServerConfig(Section):
    """How the paper exchange runs."""

    state_dir: Path | None = None  # its own folder: database, keys, certificate; must be given
    # Parquet of bars or trades, or raw recordings (.gz, one a symbol); None: Don's own sample
    tape: Path | tuple[Path, ...] | None = None
    funding: Path | None = None  # Parquet of funding payments; None: beside the tape, if there
    symbols: tuple[str, ...] = ()  # as BTC-USDT-PERP or BTCUSDT; empty: all of the tape
    interval: str | None = None  # of the tape's bars; None: as found
    start: str | None = None  # ISO-8601 tape time at which a new replay begins
    seed: int = 0  # of the expansion of bars to trades
    speed: str = "1bar"  # max, tape seconds per second, or bars per second
    hold: bool = True  # the tape waits for the first reader of a market stream
    max_idle_s: float = Field(default=5.0, gt=0)  # wall time; wider gaps of the tape are jumped
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65_535)  # REST; 0: any free one
    stream_port: int = Field(default=0, ge=0, le=65_535)  # TLS WebSocket; 0: any free one
    end_with_parent: bool = False  # stop when standard input ends
    log_home: Path | None = None  # write the log into this state folder; None: to stderr
    reset: bool = False  # begin anew: forget accounts, orders and the place on the tape
    limits: LimitsConfig = LimitsConfig()
    streams: StreamConfig = StreamConfig()
    exchange: PaperConfig = PaperConfig()

    @property
    def tapes(self) -> tuple[Path, ...]:
        """The tape's files; empty for Don's own sample."""
        if self.tape is None:
            return ()
        return self.tape if isinstance(self.tape, tuple) else (self.tape,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Where a running paper exchange is to be found."""

    rest_url: str
    stream_url: str
    certificate: str  # file that clients must trust
    state_dir: str  # `identity.load_api_keys(state_dir)` gives the keys
    books: str  # name of its books; accounts and ids mean nothing with other books
    symbols: tuple[str, ...]  # the exchange's names
    interval: str
    pid: int
