"""One connection to Binance USD-M futures through ccxt: signing, time, budget, errors. Does I/O.

ccxt's raw endpoint methods are used, with texts for amounts: its unified methods go through floats.
ccxt itself is unmodified; its documented hook `on_rest_response` tells status, headers and body.
"""

import asyncio
import contextvars
import ipaddress
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import ccxt.async_support as ccxt
import structlog

from don.clock import NS_PER_MS, NS_PER_S, Clock
from don.errors import ConfigError, ExchangeUnavailable, RateLimited
from don.exchanges.binance_errors import Answer, StaleTimestamp, counted_as, translate
from don.exchanges.clock_offset import ClockOffset, ClockUnsafe, Comparison
from don.exchanges.config import GatewayConfig
from don.exchanges.limiter import RateLimiter
from don.exchanges.rates import Priority, RateGate

_log = structlog.get_logger(__name__)
_answer: contextvars.ContextVar[Answer | None] = contextvars.ContextVar("don_answer", default=None)

TIME_SAMPLES = 5
TIME_ATTEMPTS = 3  # sends of one request whose time stamp the exchange refuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A REST call: ccxt's name of it, its request weight, and how many new orders it counts as."""

    name: str
    weight: int
    orders: int = 0


TIME = Endpoint(name="fapiPublicGetTime", weight=1)


class _Ccxt(ccxt.binanceusdm):
    """ccxt's exchange; its response hook notes what came back for the running request."""

    def on_rest_response(
        self,
        code: int,
        reason: str,
        url: str,
        method: str,
        response_headers: Mapping[str, str],
        response_body: str,
        request_headers: object,
        request_body: object,
    ) -> Any:
        answer = _answer.get()
        if answer is not None:
            answer.status, answer.headers, answer.body = code, response_headers, response_body
        return super().on_rest_response(
            code,
            reason,
            url,
            method,
            response_headers,
            response_body,
            request_headers,
            request_body,
        )


class CcxtClient:
    """Signed calls within the request budget."""

    def __init__(
        self,
        config: GatewayConfig,
        clock: Clock,
        rng: random.Random,
        *,
        live_confirmed: bool,
        gate: RateGate | None = None,
    ) -> None:
        check_hosts(config, live_confirmed=live_confirmed)
        self._clock = clock
        self._config = config
        self.limiter: RateGate = gate if gate is not None else RateLimiter(clock, rng)
        self.offset = ClockOffset()
        self._sync = asyncio.Lock()
        self._synced_ns = 0
        options: dict[str, Any] = {
            "apiKey": config.api_key.reveal(),
            "secret": config.api_secret.reveal(),
            "enableRateLimit": False,  # our budget knows priorities and the exchange's own counts
            "timeout": int(config.request_timeout_s * 1_000),
            "options": {"recvWindow": config.recv_window_ms, "timeDifference": 0},
        }
        if config.ca_file is not None:
            options["cafile"] = str(config.ca_file)
        self._ccxt = _Ccxt(options)
        # ccxt logs headers with the API key at DEBUG
        self._ccxt.logger = logging.getLogger("don.exchanges.ccxt")
        self._ccxt.logger.setLevel(logging.WARNING)
        base = config.rest_url.rstrip("/")
        for name, url in self._ccxt.urls["api"].items():
            if isinstance(url, str):
                self._ccxt.urls["api"][name] = base + urlsplit(url).path

    async def call(
        self, endpoint: Endpoint, params: Mapping[str, Any], priority: Priority = Priority.POLL
    ) -> Any:
        """One request, when the budget allows; a refused time stamp is mended and sent again.

        Returns:
            The decoded JSON; numbers are texts.

        Raises:
            ExchangeRefused, ExchangeUnavailable, RateLimited: see `don.exchanges.base`.
        """
        if self._clock_due():
            await self.sync_time(since_ns=self._clock.monotonic_ns())
        for attempt in range(1, TIME_ATTEMPTS + 1):
            await self._check_clock(endpoint)
            await self.limiter.acquire(endpoint.weight, endpoint.orders, priority)
            try:
                return await self._send(endpoint, params)
            except StaleTimestamp:
                _log.warning("time stamp refused", call=endpoint.name, attempt=attempt)
                if attempt == TIME_ATTEMPTS:
                    raise
                await self.sync_time(since_ns=self._clock.monotonic_ns())
        raise AssertionError("unreachable")

    async def call_now(
        self, endpoint: Endpoint, params: Mapping[str, Any], priority: Priority
    ) -> Any:
        """One request at once and once, or not at all.

        Raises:
            RateLimited: the budget is used up or the exchange turned it away: not processed.
            StaleTimestamp: the clocks disagreed; they are in step again: not processed.
            ExchangeRefused, ExchangeUnavailable: see `don.exchanges.base`.
        """
        await self._check_clock(endpoint)
        wait = await self.limiter.take(endpoint.weight, endpoint.orders, priority)
        if wait > 0:
            raise RateLimited(f"{endpoint.name}: own request budget is used up", wait / 1_000)
        try:
            return await self._send(endpoint, params)
        except StaleTimestamp:
            await self.sync_time(since_ns=self._clock.monotonic_ns())
            raise

    async def sync_time(self, since_ns: int | None = None) -> None:
        """Measure the exchange's clock against ours; calls at the same time share one measurement.

        Args:
            since_ns: monotonic time; a measurement made after it is good enough.
        """
        async with self._sync:
            if since_ns is not None and self._synced_ns > since_ns:
                return
            comparisons = [await self._compare() for _ in range(TIME_SAMPLES)]
            now_ns = self._clock.monotonic_ns()
            reading = self.offset.add(comparisons, now_ns)
            self._ccxt.options["timeDifference"] = round(reading.ahead_ns / NS_PER_MS)
            self._synced_ns = now_ns
            _log.info("clock compared", ours=reading.text())

    def _clock_due(self) -> bool:
        age_ns = self._clock.monotonic_ns() - self._synced_ns
        return self._synced_ns > 0 and age_ns > self._config.clock_check_s * NS_PER_S

    async def _check_clock(self, endpoint: Endpoint) -> None:
        """Before a signed request: raises ClockUnsafe if our clock is still too far off."""
        if "Private" not in endpoint.name or self.offset.reading is None:
            return
        bound_s = self._config.max_clock_offset_s
        try:
            self.offset.check(bound_s)
        except ClockUnsafe as unsafe:
            # it may have been set right since: look again, but not at every request
            soon_ns = self._synced_ns + int(unsafe.retry_after_s * NS_PER_S)
            if self._clock.monotonic_ns() < soon_ns:
                raise
            await self.sync_time(since_ns=self._synced_ns)
            self.offset.check(bound_s)

    async def _compare(self) -> Comparison:
        await self.limiter.acquire(TIME.weight, 0, Priority.CANCEL)
        before, began = self._clock.now_ns(), self._clock.monotonic_ns()
        row = await self._send(TIME, {})
        round_trip = self._clock.monotonic_ns() - began
        try:
            server_ns = int(row["serverTime"]) * NS_PER_MS + NS_PER_MS // 2
        except (KeyError, TypeError, ValueError) as error:
            raise ExchangeUnavailable("time: unexpected answer") from error
        return Comparison(sent_ns=before, round_trip_ns=round_trip, server_ns=server_ns)

    async def close(self) -> None:
        """Close the session and give the unused budget back."""
        await self._ccxt.close()
        await self.limiter.close()

    async def _send(self, endpoint: Endpoint, params: Mapping[str, Any]) -> Any:
        answer = Answer()
        token = _answer.set(answer)
        try:
            result = await getattr(self._ccxt, endpoint.name)(dict(params))
        except ccxt.BaseError:
            failure = translate(answer, endpoint.name)
            if isinstance(failure, RateLimited) and not isinstance(failure, StaleTimestamp):
                counts = counted_as(answer)
                self.limiter.pause(failure.retry_after_s, counts, str(failure))
            # ccxt's own text holds the signed URL: it must not travel further
            raise failure from None
        finally:
            _answer.reset(token)
            self.limiter.observe(answer.headers)
        if not isinstance(result, dict | list):
            raise ExchangeUnavailable(f"{endpoint.name}: the answer is not JSON")
        return result


def check_hosts(config: GatewayConfig, *, live_confirmed: bool) -> None:
    """Refuse hosts that are not loopback unless live trading was turned on twice.

    Raises:
        ConfigError: naming the address and both switches; also for addresses that make no sense.
    """
    for name, allowed in (("rest_url", ("http", "https")), ("ws_url", ("ws", "wss"))):
        url = urlsplit(getattr(config, name))
        if url.scheme not in allowed or not url.hostname:
            raise ConfigError(
                f"gateway {name} must be like {allowed[1]}://host:port, was {url.geturl()!r}"
            )
        if _loopback(url.hostname):
            continue
        if not (config.allow_live and live_confirmed):
            raise ConfigError(
                f"gateway {name} is {url.hostname}, which is not this machine, and live trading is "
                "off. To turn it on set gateway.allow_live = true and DON_ALLOW_LIVE=1"
            )
        if url.scheme != allowed[1]:
            raise ConfigError(f"gateway {name} must use {allowed[1]} beyond this machine")
    if not (config.api_key and config.api_secret):
        raise ConfigError("gateway api_key and api_secret must be set")


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
