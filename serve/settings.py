"""Settings of the HTTP side. Pure; imports nothing of the web, so that any process can hold it."""

from pydantic import Field

from don.model.section import Section


class ServeConfig(Section):
    """Where the API and the console listen, and the bounds within which they answer."""

    host: str = "127.0.0.1"  # loopback: reads need no token, so they stay on this machine
    port: int = Field(default=8800, ge=1, le=65_535)
    hosts: tuple[str, ...] = ()  # further names allowed in the Host header, e.g. behind a proxy
    max_body_bytes: int = Field(default=1_048_576, ge=1_024)
    rate_per_s: float = Field(default=50.0, gt=0)  # requests a client may make on average
    rate_burst: int = Field(default=200, ge=1)
    max_streams: int = Field(default=64, ge=1)  # live stream clients of one replica
    stream_queue: int = Field(default=64, ge=1)  # messages a client may lag before it is dropped
    command_timeout_s: float = Field(default=10.0, gt=0)
    lake: str = ""  # root of the lake; empty: `lake` in the state folder
    stale_after_s: float = Field(default=10.0, gt=0)  # a view older than this is called stale
