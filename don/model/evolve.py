"""A changed copy of a frozen value, several times faster than `dataclasses.replace`. Pure."""

from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in kind.__dataclass_fields__.values() if field.init)


def evolve(value: T, **changes: Any) -> T:
    """The value with other fields, checked as any new one. All fields must be of `__init__`.

    Args:
        value: an instance of a dataclass.
        changes: fields by name.
    """
    kind: Any = type(value)
    fields = {name: getattr(value, name) for name in _names(kind)}
    fields.update(changes)
    changed: T = kind(**fields)
    return changed
