"""Don's own calls beside the exchange's: how the tape stands, pause and resume. No awaiting.

They are not part of Binance's dialect. `GET /paper/v1/status` is open; `POST /paper/v1/pause` and
`POST /paper/v1/resume` need the API key. With `until` (ms of tape time) the tape pauses by itself
once it has played all that happens up to then: whoever steps it so may take his time at each bar.
"""

from typing import Any

from don.clock import NS_PER_MS, iso
from don.paper.server.hub import Hub
from don.paper.server.replay import Replay, ReplayState
from don.paper.server.routes import Call, Route, Security
from don.paper.server.service import ExchangeService
from don.paper.server.text import ms
from don.paper.tape import Tape

Json = dict[str, Any]


class ControlCalls:
    """Status and control of the replay."""

    def __init__(self, service: ExchangeService, replay: Replay, hub: Hub, tape: Tape) -> None:
        self._service = service
        self._replay = replay
        self._hub = hub
        self._tape = tape

    def routes(self) -> list[Route]:
        """All control calls."""
        v1 = "/paper/v1/"
        return [
            Route(method="GET", path=v1 + "status", run=self._status, weight=0),
            Route(
                method="POST", path=v1 + "pause", run=self._pause, weight=0, security=Security.KEY
            ),
            Route(
                method="POST", path=v1 + "resume", run=self._resume, weight=0, security=Security.KEY
            ),
        ]

    def _status(self, call: Call) -> Json:
        now = self._service.exchange.now
        return {
            "state": self._replay.state.value,  # held, running, paused, ended
            "endOfTape": self._replay.state is ReplayState.ENDED,
            "tapeTime": ms(now),
            "tapeTimeIso": iso(now),
            "tapeEnd": ms(self._tape.end_ns),
            "position": self._service.position,
            "speed": self._replay.speed.text,
            "interval": self._tape.interval,
            "symbols": list(self._tape.symbols),
            "serverTime": call.now_ms,
            "events": self._replay.applied,
            "messages": self._hub.sent,
            "connections": len(self._hub.connections()),
            "backlog": self._hub.backlog(),
        }

    def _pause(self, call: Call) -> Json:
        self._replay.pause()
        return self._status(call)

    def _resume(self, call: Call) -> Json:
        until = call.params.optional_integer("until")  # ms of tape time, inclusive
        self._replay.resume(None if until is None else until * NS_PER_MS)
        return self._status(call)
