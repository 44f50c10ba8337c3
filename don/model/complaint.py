"""What is wrong with a section's values, in one line for whoever wrote them: field, value, allowed.

Pure. Pydantic tells where by its own types as well (which member of a union it tried) and repeats
the whole section where two fields contradict each other; neither is said here.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from inspect import isclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

SHOWN = 80  # characters of a wrong value that are repeated
_BARE = re.compile(r"[A-Za-z0-9_-]+")  # keys that TOML writes without quotes
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'")


_USER = re.compile(r"(?<=://)[^/@\s]*@")
_OPTIONS = re.compile(r"(://[^?\s]*\?)[^\s'\"]+")  # of a URL: they may be keys


class Unshown(ValueError):
    """A field is wrong, and its value may hold what must not be repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """One of pydantic's errors, placed in the section."""

    about: ErrorDetails
    path: tuple[str, ...]  # joined: how the user writes the field
    owner: Any  # type that holds the field
    at: Any  # type of the field; None: not known
    union: tuple[str, ...] | None  # field whose type is one of several that were all tried


def complaint(error: ValidationError, root: Any = None) -> str:
    """The first thing that is wrong.

    Args:
        error: of validating a section.
        root: its class; None: paths are told as pydantic does.
    """
    faults = [_placed(about, root) for about in error.errors(include_url=False)]
    first = faults[0]
    if first.union is None:
        return _told(first)
    tried = [fault for fault in faults if fault.union == first.union]
    deepest = max(len(fault.path) for fault in tried)  # of what came nearest
    nearest = [fault for fault in tried if len(fault.path) == deepest]
    same = [fault for fault in nearest if fault.path == nearest[0].path]
    return ", or ".join([_told(same[0]), *dict.fromkeys(_allowed(fault) for fault in same[1:])])


def near(name: str, known: Sequence[str]) -> str:
    """`; did you mean X?` if one of the known names is like this one, else nothing."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


# ---- where ---------------------------------------------------------------------------------------


def _placed(about: ErrorDetails, root: Any) -> _Fault:
    path: list[str] = []
    owner, at, union = None, root, None
    for part in about["loc"]:
        members = _members(at)
        if len(members) > 1:  # then this is the name of the member that was tried, not a key
            at, tagged = _chosen(members, str(part))
            if not tagged and union is None:
                union = tuple(path)
            continue
        if part == "[key]":  # of a table: the name itself is wrong
            continue
        owner, at = (members[0] if members else None), _inside(members, part)
        path.append(_step(part, first=not path))
    return _Fault(about=about, path=tuple(path), owner=owner, at=at, union=union)


def _step(part: int | str, *, first: bool) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    name = part if _BARE.fullmatch(part) else f'"{part}"'
    return name if first else f".{name}"


def _members(kind: Any) -> list[Any]:
    """The types that a field may have, None aside."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) not in (Union, UnionType):
        return [] if kind is None else [kind]
    return [one for each in get_args(kind) if each is not NoneType for one in _members(each)]


def _chosen(members: Sequence[Any], tag: str) -> tuple[Any, bool]:
    """The member that pydantic names, and whether the value itself had named it."""
    for member in members:
        if any(tag in names for names in _tags(member).values()):
            return member, True
    for member in members:
        name = getattr(get_origin(member) or member, "__name__", "")
        if name and re.search(rf"\b{name}\b", tag, re.IGNORECASE):
            return member, False
    return None, False


def _tags(member: Any) -> dict[str, tuple[str, ...]]:
    """Fields that have given values only, by which sections of several kinds are told apart."""
    if not (isclass(member) and issubclass(member, BaseModel)):
        return {}
    fields = member.model_fields.items()
    return {n: get_args(f.annotation) for n, f in fields if get_origin(f.annotation) is Literal}


def _inside(members: Sequence[Any], part: int | str) -> Any:
    """Type of a field, an element or a value."""
    if not members:
        return None
    kind = members[0]
    if isclass(kind) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(part))
        return field.annotation if field is not None else None
    inner = [one for one in get_args(kind) if one is not Ellipsis]
    if not inner:
        return None
    if isinstance(part, int) and get_origin(kind) is tuple and len(inner) > part:
        return inner[part]
    return inner[-1]  # a table's values, a list's elements


# ---- what ----------------------------------------------------------------------------------------


def _told(fault: _Fault) -> str:
    about, path = fault.about, "".join(fault.path)
    match about["type"]:
        case "extra_forbidden":
            return _unknown(fault, path)
        case "missing":
            return f"{path} is required"
        case "union_tag_not_found" | "union_tag_invalid":
            return _kind(fault, path)
        case "value_error" | "assertion_error":
            said = _allowed(fault)
            hidden = isinstance(about["ctx"]["error"], Unshown)
            if (
                hidden
                or isinstance(about["input"], Mapping | BaseModel)
                or re.search(r"\bw(as|ere) ", said)
            ):
                return _joined(fault, path, said)
            return f"{path} was {_shown(about['input'])}: {said}"
    where = f"{path} was" if path else "was"
    return f"{where} {_shown(about['input'])}: {_allowed(fault)}"


def _joined(fault: _Fault, path: str, said: str) -> str:
    """What is said of a section, with the field that it begins with where the user writes it."""
    if not path:
        return said
    first = re.split(r"[\s.\[,:]", said, maxsplit=1)[0]
    known = [name for one in _members(fault.at) for name in getattr(one, "model_fields", {})]
    return f"{path}{'.' if first in known else ': '}{said}"


def _unknown(fault: _Fault, path: str) -> str:
    known = sorted(getattr(fault.owner, "model_fields", {}))
    if not known:
        return f"unknown key {path!r}"
    hint = near(str(fault.about["loc"][-1]), known)
    return f"unknown key {path!r}{hint or ';'} known keys: {', '.join(known)}"


def _kind(fault: _Fault, path: str) -> str:
    """A section of which the kind is not said, or is none that there is."""
    name = str(fault.about["ctx"]["discriminator"]).strip("'")
    field = f"{path}.{name}" if path else name
    given = fault.about["input"]
    names = [tag for one in _members(fault.at) for tag in _tags(one).get(name, ())]
    allowed = f"must be one of {', '.join(map(repr, names))}"
    if not isinstance(given, Mapping) or name not in given:
        return f"{field} is required: {allowed}"
    return f"{field} was {_shown(given[name])}: {allowed}{near(str(given[name]), names)}"


def _allowed(fault: _Fault) -> str:
    about = fault.about
    if about["type"] in ("value_error", "assertion_error"):
        return str(about["ctx"]["error"])
    if about["type"] in ("model_type", "model_attributes_type", "dict_type", "dataclass_type"):
        return "must be a table of keys and values"
    said = re.sub(r"^[A-Z][\w ]*? should ", "must ", about["msg"])
    said = re.sub(r" after validation, not \d+$", "", said)
    said = re.sub(r"\ba valid (tuple|list)$", "a list", said)
    if about["type"] in ("enum", "literal_error"):
        said += near(str(about["input"]), _QUOTED.findall(said))
    return said


def _shown(value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    elif hasattr(value, "__fspath__"):
        value = str(value)
    text = _OPTIONS.sub(r"\1…", _USER.sub("…@", repr(value)))
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]} ..."
