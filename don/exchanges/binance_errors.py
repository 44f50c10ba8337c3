"""The exchange's refusals in Don's words: what the caller may do about each. Pure.

The HTTP status and the body decide, not the class of the client library's exception: that one maps
many codes to few classes and loses whether the request took effect.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from don.errors import DonError, ExchangeRefused, ExchangeUnavailable, RateLimited
from don.exchanges.rates import Counts

UNKNOWN_ORDER = -2011  # cancel: nothing (left) to cancel
NO_SUCH_ORDER = -2013  # query: the exchange does not know it
DUPLICATE_ORDER_ID = -4116  # submit: an earlier send got through
NO_SUCH_LISTEN_KEY = -1125
ALREADY_SO = -5027  # amend: nothing to change

STALE_TIMESTAMP = frozenset({-1021, -5028})  # refused unread: our clock, or too long under way
UNKNOWN_EFFECT = frozenset({-1000, -1001, -1006, -1007})  # "execution status unknown" and its kin
TOO_MANY_ORDERS = -1015
TURNED_AWAY = frozenset({-1003, -1008, TOO_MANY_ORDERS})  # too many requests, overload, orders

_BAN_S = 60.0  # a 418 without a hint
_PAUSE_S = 1.0  # a 429 without a hint


@dataclass(slots=True)
class Answer:
    """What came back over HTTP for one request; status 0 while nothing has."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


class StaleTimestamp(RateLimited):
    """The request was too old or too new for the exchange and was not processed."""


def refusal(body: str) -> tuple[int, str] | None:
    """(code, message) of an error body, None if it is not one."""
    try:
        content = json.loads(body)
    except ValueError:
        return None
    if not isinstance(content, dict) or "code" not in content:
        return None
    try:
        return int(content["code"]), str(content.get("msg", ""))
    except (TypeError, ValueError):
        return None


def retry_after_s(answer: Answer) -> float:
    """Seconds that the exchange asks us to wait; a default where it does not say."""
    for name, value in answer.headers.items():
        if name.lower() == "retry-after" and value.isdigit():
            return float(value)
    return _BAN_S if answer.status == 418 else _PAUSE_S


def counted_as(answer: Answer) -> Counts:
    """Which count a refusal for too many requests is about: the orders or the address's weight."""
    found = refusal(answer.body)
    return Counts.ORDERS if found is not None and found[0] == TOO_MANY_ORDERS else Counts.WEIGHT


def translate(answer: Answer, what: str) -> DonError:
    """The error of a failed request.

    Args:
        answer: what came back; status 0 when the connection failed or timed out.
        what: the call, for the message; without parameters, so that nothing private leaks.
    """
    if answer.status == 0:
        return ExchangeUnavailable(f"{what}: no answer (time-out or connection lost)")
    found = refusal(answer.body)
    code, message = found if found is not None else (0, f"HTTP {answer.status}")
    if answer.status in (418, 429) or code in TURNED_AWAY:
        return RateLimited(f"{what}: {code} {message}", retry_after_s(answer))
    if code in STALE_TIMESTAMP:
        return StaleTimestamp(f"{what}: {code} {message}", 0.0)
    if answer.status >= 500 or answer.status == 408 or code in UNKNOWN_EFFECT:
        return ExchangeUnavailable(f"{what}: {answer.status} {code} {message}")
    if answer.status == 403 and found is None:
        return RateLimited(f"{what}: refused by the exchange's firewall", _BAN_S)
    if answer.status >= 400 or code < 0:
        return ExchangeRefused(code or -answer.status, message)
    return ExchangeUnavailable(f"{what}: unexpected answer with status {answer.status}")
