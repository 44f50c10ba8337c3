"""What kinds of features there are: how each is made of a name, and what it means. Pure.

`rsi_14` is kind `rsi` with parameter 14; `rsi_14@1h` is the same over bars of an hour.
"""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

from don.errors import ConfigError
from don.features.base import CrossFeature, Feature, Spec

Factory = Callable[[Spec], Feature | CrossFeature]
MAX_PARAM = 10_000
_DIGITS = 9  # of a parameter that are read; more are too many anyway
OWN = "custom"  # family of kinds that users register


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A registered kind of features."""

    kind: str
    make: Factory
    defaults: tuple[int, ...]
    version: int
    smallest: int  # least value of a parameter
    doc: str  # what it is, its formula in words
    family: str
    formula: str
    source: str
    units: str
    prove: bool  # with what parameters it is used with, before it is

    @property
    def name(self) -> str:
        """Its name with default parameters."""
        return "_".join([self.kind, *map(str, self.defaults)])


_KINDS: dict[str, Kind] = {}
_PROVEN: set[tuple[Kind, tuple[int, ...]]] = set()  # in this process


def register(
    kind: str,
    defaults: tuple[int, ...] = (),
    version: int = 1,
    smallest: int = 1,
    *,
    family: str = OWN,
    formula: str = "",
    source: str = "",
    units: str = "",
    prove: bool = True,
) -> Callable[[Factory], Factory]:
    """Add a kind of features under a name of lower-case letters and underscores.

    Args:
        kind: its name.
        defaults: parameters that a bare name stands for.
        version: must rise when its numbers change; part of the content hash.
        smallest: least value of a parameter.
        family: under what it is listed.
        formula: in plain characters.
        source: publication or origin.
        units: of its values.
        prove: check it now, and again with other parameters when they are first used: no
            look-ahead, stream equal to batch, arguments left alone. Don's own kinds are proven by
            its test suite instead.

    Raises:
        ValueError: if the name is taken or ends in a number.
        ConfigError: if it fails a check; it is not registered then.
    """

    def add(make: Factory) -> Factory:
        usable = kind.replace("_", "").isalnum() and kind == kind.lower()
        if kind in _KINDS or not usable or kind.rsplit("_", 1)[-1].isdigit():
            raise ValueError(
                "feature kind must be new, of lower-case letters, and not end in a number, "
                f"was {kind!r}"
            )
        _KINDS[kind] = Kind(
            kind=kind,
            make=make,
            defaults=defaults,
            version=version,
            smallest=smallest,
            doc=(make.__doc__ or "").strip().split("\n")[0],
            family=family,
            formula=formula,
            source=source,
            units=units,
            prove=prove,
        )
        try:
            proven(_KINDS[kind], defaults)
        except BaseException:
            del _KINDS[kind]
            raise
        return make

    return add


def forget(kind: str) -> None:
    """Take a kind that a user registered out again; unknown ones are passed over.

    Raises:
        ConfigError: if it is one of Don's own.
    """
    found = _KINDS.get(kind)
    if found is not None and found.family != OWN:
        raise ConfigError(f"feature kind {kind!r} is Don's own: it cannot be taken out")
    _KINDS.pop(kind, None)


def catalogue() -> list[Kind]:
    """Every kind, by family and name."""
    return sorted(_KINDS.values(), key=lambda one: (one.family, one.kind))


def parse(name: str) -> tuple[Kind, tuple[int, ...]]:
    """Kind and parameters of a name without a timeframe.

    Raises:
        ConfigError: if the kind is unknown or the parameters do not fit.
    """
    parts = name.split("_")
    end = len(parts)
    while end > 1 and _is_number(parts[end - 1]):
        end -= 1
    kind, params = "_".join(parts[:end]), tuple(int(part[:_DIGITS]) for part in parts[end:])
    if kind not in _KINDS:
        raise ConfigError(
            f"feature {name!r} is unknown{_meant(name)}; see `don features list`, and name the "
            "module of one of your own in `modules`"
        )
    entry = _KINDS[kind]
    params = params or entry.defaults
    if len(params) != len(entry.defaults) or any(
        not entry.smallest <= value <= MAX_PARAM for value in params
    ):
        raise ConfigError(
            f"feature {name!r} must have {len(entry.defaults)} parameters from {entry.smallest} to "
            f"{MAX_PARAM}, as in {entry.name}"
        )
    return entry, params


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _meant(name: str) -> str:
    """A known name that is like an unknown one, with its parameters if it has as many."""
    text = name.lower()
    near = difflib.get_close_matches(text.rstrip("_-0123456789"), _KINDS, n=1, cutoff=0.5)
    if not near:
        return ""
    entry, numbers = _KINDS[near[0]], re.findall(r"[0-9]+", text.removeprefix(near[0]))
    fits = len(numbers) == len(entry.defaults) and all(
        len(n) <= _DIGITS and entry.smallest <= int(n) <= MAX_PARAM for n in numbers
    )
    return f"; did you mean {'_'.join([entry.kind, *numbers]) if fits else entry.name}?"


def proven(entry: Kind, params: tuple[int, ...]) -> None:
    """Check a kind with parameters that it was not checked with yet, if it is to be checked.

    Raises:
        ConfigError: if it fails.
    """
    if not entry.prove or (entry, params) in _PROVEN:
        return
    from don.features.proof import prove_kind  # it makes features itself

    prove_kind(entry, params)
    _PROVEN.add((entry, params))


def build(name: str, entry: Kind, params: tuple[int, ...]) -> Feature | CrossFeature:
    """The feature of a kind and its parameters, under a name."""
    return entry.make(Spec(name=name, kind=entry.kind, params=params, version=entry.version))
