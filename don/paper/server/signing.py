"""Who signed a request, and when: API key, HMAC-SHA256, time stamp and receive window. Pure.

The exchange signs the raw query string followed by the raw body, without the signature itself.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from don.errors import ExchangeRefused
from don.paper.server import codes
from don.paper.server.params import Params

DEFAULT_RECV_WINDOW_MS = 5_000
MAX_RECV_WINDOW_MS = 60_000
MAX_AHEAD_MS = 1_000  # how far a client's clock may run ahead of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """The key pair of a paper account; the secret stays out of any repr."""

    account: str
    key: str
    secret: str = field(repr=False)


def unsigned(raw: str) -> tuple[str, str | None]:
    """(raw parameters without the signature, the signature or None)."""
    signature: str | None = None
    kept: list[str] = []
    for part in raw.split("&"):
        if part.startswith("signature="):
            signature = part[len("signature=") :]
        else:
            kept.append(part)
    return "&".join(kept), signature


def sign(secret: str, payload: str) -> str:
    """Hex HMAC-SHA256 of the payload."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def find_key(keys: Sequence[ApiKey], header: str | None) -> ApiKey:
    """The key pair that a request names; enough for the listen key calls.

    Raises:
        ExchangeRefused: -2014 if the header is missing, -2015 if the key is not ours.
    """
    if not header:
        raise ExchangeRefused(codes.BAD_KEY_FORMAT, "API-key format invalid.")
    found = [key for key in keys if hmac.compare_digest(header.encode(), key.key.encode())]
    if not found:
        raise ExchangeRefused(codes.REJECTED_KEY, "Invalid API-key, IP, or permissions for action.")
    return found[0]


def check_signature(api: ApiKey, query: str, body: str, params: Params, now: int) -> None:
    """Check time stamp and signature of a request.

    Args:
        api: the key pair that it names.
        query: raw query string, as received.
        body: raw form body, as received.
        params: the parameters of both.
        now: wall time, ms.

    Raises:
        ExchangeRefused: with the exchange's code for the first thing that is wrong.
    """
    timestamp = params.integer("timestamp")
    window = params.integer("recvWindow", DEFAULT_RECV_WINDOW_MS)
    if not 0 < window <= MAX_RECV_WINDOW_MS:
        raise ExchangeRefused(codes.BAD_RECV_WINDOW, "recvWindow must be less than 60000")
    query_rest, query_signature = unsigned(query)
    body_rest, body_signature = unsigned(body)
    signature = query_signature or body_signature
    if not signature:
        raise codes.missing("signature")
    if timestamp > now + MAX_AHEAD_MS:
        raise ExchangeRefused(
            codes.BAD_TIMESTAMP,
            "Timestamp for this request was 1000ms ahead of the server's time.",
        )
    if timestamp < now - window:
        raise ExchangeRefused(
            codes.BAD_TIMESTAMP, "Timestamp for this request is outside of the recvWindow."
        )
    expected = sign(api.secret, query_rest + body_rest)
    if not hmac.compare_digest(expected.encode(), signature.lower().encode()):
        raise ExchangeRefused(codes.BAD_SIGNATURE, "Signature for this request is not valid.")
