"""Puts the parts of the paper exchange's server together. Needs a running event loop."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from don.clock import Clock
from don.paper.config import PaperConfig
from don.paper.events import Kline
from don.paper.server import wire_account
from don.paper.server.config import LimitsConfig, StreamConfig
from don.paper.server.conflate import kline_of
from don.paper.server.control import ControlCalls
from don.paper.server.deadman import DeadMan
from don.paper.server.hub import Hub
from don.paper.server.limits import RateLimits
from don.paper.server.listen_keys import ListenKeys
from don.paper.server.publisher import Publisher
from don.paper.server.recovery import recover
from don.paper.server.replay import Replay, Speed
from don.paper.server.rest import RestServer
from don.paper.server.rest_account import AccountCalls
from don.paper.server.rest_algo import AlgoCalls
from don.paper.server.rest_market import MarketCalls
from don.paper.server.rest_orders import OrderCalls
from don.paper.server.service import ExchangeService
from don.paper.server.signing import ApiKey
from don.paper.server.streams import StreamServer
from don.paper.store import Store
from don.paper.tape import Tape

EXPIRY_CHECK_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """The running parts."""

    service: ExchangeService
    replay: Replay
    rest: RestServer
    streams: StreamServer
    keys: ListenKeys
    deadman: DeadMan
    hub: Hub
    failure: asyncio.Future[None]  # ends with the error that must stop the process

    async def expire_keys(self) -> None:
        """End listen keys when their time is over, telling their readers."""
        while True:
            await asyncio.sleep(EXPIRY_CHECK_S)
            now = self.service.exchange.now
            for key in self.keys.expire():
                event = wire_account.expired_event(key, now)
                self.hub.publish(key, msgspec.json.encode(event))
                self.hub.flush()
                self.hub.forget(key)


def assemble(
    *,
    tape: Tape,
    store: Store,
    keys: Sequence[ApiKey],
    clock: Clock,
    speed: Speed,
    hold: bool,
    max_idle_s: float,
    exchange: PaperConfig,
    limits: LimitsConfig,
    streams: StreamConfig,
) -> Assembly:
    """Bring the exchange back from its database and wire it to its sockets."""
    loop = asyncio.get_running_loop()
    failure: asyncio.Future[None] = loop.create_future()

    def fail(error: BaseException) -> None:
        if not failure.done():
            failure.set_exception(error)

    def history(symbol: str, count: int) -> Sequence[Kline]:
        found = tape.history(symbol, tape.interval, core.now, count)
        instrument = core.instruments[symbol]
        return [kline_of(bar, instrument, tape.interval_ns) for bar in found]

    def schedule(delay_s: float) -> None:
        loop.call_later(delay_s, service.flush_depth)

    recovered = recover(store, tape, exchange)
    core = recovered.exchange
    hub = Hub()
    publisher = Publisher(hub, tape.symbols, tape.interval, history, schedule)
    publisher.remember(recovered.trades)
    hub.on_change = publisher.subscriptions_changed
    listen_keys = ListenKeys(store, clock, publisher.set_listen_keys)
    service = ExchangeService(core, recovered.position, store, publisher, hub, clock)
    replay = Replay(
        tape.events(recovered.position),
        service,
        hub,
        clock,
        speed,
        hold=hold,
        max_idle_s=max_idle_s,
    )
    replay.stand(known=recovered.whole)
    deadman = DeadMan(service, store, clock)
    counts = RateLimits(limits)
    routes = [
        *MarketCalls(core, tape, publisher, store, counts).routes(),
        *AccountCalls(service, listen_keys).routes(),
        *OrderCalls(service, deadman).routes(),
        *AlgoCalls(service).routes(),
        *ControlCalls(service, replay, hub, tape).routes(),
    ]
    return Assembly(
        service=service,
        replay=replay,
        rest=RestServer(routes, keys, counts, clock, fail),
        streams=StreamServer(
            hub,
            frozenset(tape.symbols),
            listen_keys.__contains__,
            replay.reader_came,
            clock,
            streams,
        ),
        keys=listen_keys,
        deadman=deadman,
        hub=hub,
        failure=failure,
    )
