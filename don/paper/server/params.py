"""Request parameters, typed, refused in the exchange's own words. Pure."""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from urllib.parse import parse_qsl

from don.errors import ExchangeRefused
from don.paper.server import codes

MAX_PARAMETERS = 64
_NUMBER = set("0123456789.")


class Params:
    """Parameters of one request, from query and body together."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    @classmethod
    def parse(cls, query: str, body: str = "") -> "Params":
        """Parameters of a raw query and a raw form body.

        Raises:
            ExchangeRefused: -1100 for too many or doubled parameters.
        """
        values: dict[str, str] = {}
        for raw in (query, body):
            if not raw:
                continue
            try:
                pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
            except ValueError as error:
                raise ExchangeRefused(-1101, "Too many parameters sent.") from error
            for name, value in pairs:
                if name in values:
                    raise ExchangeRefused(
                        -1101, f"Too many parameters; expected 1 and received 2 for '{name}'."
                    )
                values[name] = value
        return cls(values)

    @classmethod
    def of(cls, item: object, name: str) -> "Params":
        """Parameters of one item of a list parameter.

        Raises:
            ExchangeRefused: -1130 if it is not an object of plain values.
        """
        if not isinstance(item, dict) or len(item) > MAX_PARAMETERS:
            raise codes.invalid(name)
        values: dict[str, str] = {}
        for key, value in item.items():
            if isinstance(value, bool):
                values[key] = str(value).lower()
            elif isinstance(value, str | int | float):
                values[key] = str(value)
            else:
                raise codes.invalid(name)
        return cls(values)

    def __contains__(self, name: str) -> bool:
        return bool(self._values.get(name))

    def text(self, name: str, default: str | None = None) -> str:
        """A text parameter; mandatory without a default."""
        value = self._values.get(name, "")
        if value:
            return value
        if default is None:
            raise codes.missing(name)
        return default

    def choice(self, name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """A parameter out of a few words."""
        value = self.text(name, default)
        if value not in allowed:
            raise codes.invalid(name)
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole, not negative number of at most 19 digits."""
        if name not in self and default is not None:
            return default
        value = self.text(name)
        if not (value.isascii() and value.isdigit() and len(value) <= 19):
            raise codes.illegal(name, "^[0-9]{1,20}$")
        return int(value)

    def optional_integer(self, name: str) -> int | None:
        """A whole number, or None where it was not sent."""
        return self.integer(name) if name in self else None

    def decimal(self, name: str) -> Decimal | None:
        """A plain decimal number, not negative, or None where it was not sent."""
        if name not in self:
            return None
        value = self.text(name)
        try:
            if not set(value) <= _NUMBER or len(value) > 40:
                raise InvalidOperation
            return Decimal(value)
        except InvalidOperation as error:
            raise codes.illegal(name, "^([0-9]{1,20})(\\.[0-9]{1,20})?$") from error

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean, written `true` or `false` in any case."""
        value = self.text(name, str(default)).lower()
        if value not in ("true", "false"):
            raise codes.invalid(name)
        return value == "true"

    def items(self, name: str) -> list[object]:
        """A list, written as JSON; numbers in it keep their text.

        Raises:
            ExchangeRefused: -1130 if it is not one.
        """
        try:
            found = json.loads(self.text(name), parse_float=str)
        except ValueError as error:
            raise codes.invalid(name) from error
        if not isinstance(found, list):
            raise codes.invalid(name)
        return found

    def limit(self, default: int, maximum: int) -> int:
        """The `limit` of a listing; more than the maximum is cut, as the exchange does."""
        value = self.integer("limit", default)
        if value < 1:
            raise codes.invalid("limit")
        return min(value, maximum)
