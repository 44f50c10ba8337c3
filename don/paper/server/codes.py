"""The exchange's error codes, messages and HTTP statuses. Pure.

Codes, wording and statuses are those of Binance USD-M futures, so that clients written for it react
as they would there.
"""

from don.errors import ExchangeRefused

TOO_MANY_REQUESTS = -1003
TOO_MANY_ORDERS = -1015
BAD_TIMESTAMP = -1021
BAD_SIGNATURE = -1022
ILLEGAL_CHARACTERS = -1100
MISSING_PARAMETER = -1102
BAD_INTERVAL = -1120
BAD_SYMBOL = -1121
NO_SUCH_LISTEN_KEY = -1125
BAD_PARAMETER = -1130
BAD_RECV_WINDOW = -1131
BAD_KEY_FORMAT = -2014
REJECTED_KEY = -2015
NO_CHANGE_MARGIN_TYPE = -4046
NO_CHANGE_POSITION_SIDE = -4059
POSITION_SIDE_MISMATCH = -4061
BAD_PATH = -5000

_STATUS = {
    TOO_MANY_REQUESTS: 429,
    TOO_MANY_ORDERS: 429,
    BAD_KEY_FORMAT: 401,
    REJECTED_KEY: 401,
    -1000: 500,
    -1001: 503,
    BAD_PATH: 404,
}


def http_status(code: int) -> int:
    """HTTP status that the exchange sends with an error code."""
    return _STATUS.get(code, 400)


def missing(name: str) -> ExchangeRefused:
    """Refusal of a request that lacks a mandatory parameter."""
    return ExchangeRefused(
        MISSING_PARAMETER,
        f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.",
    )


def invalid(name: str) -> ExchangeRefused:
    """Refusal of a parameter whose value is not allowed."""
    return ExchangeRefused(BAD_PARAMETER, f"Data sent for parameter '{name}' is not valid.")


def illegal(name: str, legal: str) -> ExchangeRefused:
    """Refusal of a parameter that does not have the right form."""
    return ExchangeRefused(
        ILLEGAL_CHARACTERS,
        f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.",
    )


def bad_symbol() -> ExchangeRefused:
    """Refusal of a symbol that is not listed."""
    return ExchangeRefused(BAD_SYMBOL, "Invalid symbol.")
