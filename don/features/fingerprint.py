"""What a function or class of a user's depends on, as a number: changed, it makes others. Pure.

Followed are the functions it calls, wherever the user keeps them, and the constants it names: by
itself, in a module, in a class. What comes with Python, with installed packages or with Don is not:
raise `version=` when such a thing begins to mean other numbers.
"""

import functools
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

import numpy as np

from don.errors import ConfigError

_DON = "don"
_LIBRARIES = tuple(
    f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def fingerprint(kind: str, made: Callable[..., Any], what: str = "feature") -> int:
    """Of the source text of a kind's function or class, and of what it uses.

    Args:
        kind: its name.
        made: the function; or the class, with what it has of other classes of the user's.
        what: it is, for errors.

    Raises:
        ConfigError: if it uses something of which it cannot be told when it changes.
    """
    about = f"{what} {kind!r}"
    found = _class_texts(about, made) if inspect.isclass(made) else _texts(about, made, set())
    return int.from_bytes(hashlib.sha256("\0".join(found).encode()).digest()[:4], "big")


def _class_texts(kind: str, made: type) -> list[str]:
    """Source of what a class has of the user's, then of what that uses."""
    found: list[str] = []
    seen: set[int] = set()
    for one in made.__mro__:
        if not _own(one.__module__, made):
            continue
        held = {name: getattr(value, "__func__", getattr(value, "fget", value))
                for name, value in sorted(vars(one).items())}  # fmt: skip
        functions = {name: value for name, value in held.items() if inspect.isfunction(value)}
        names = sorted({name for each in functions.values() for name in _names(each.__code__)})
        for name, value in held.items():
            if name in functions:
                found += [f"def {name}", *_texts(kind, value, seen)]
            elif not name.startswith(("__", "_abc_")):
                found += _used_texts(kind, one, name, value, names, seen, (id(one),))
    return found


def _texts(kind: str, function: Any, seen: set[int]) -> list[str]:
    """Source of a function, then of what it uses."""
    seen.add(id(function))
    code = function.__code__
    try:
        found = [inspect.getsource(function)]
    except OSError:  # typed at a prompt
        found = [repr((code.co_code, code.co_consts))]
    names = sorted(set(_names(code)))
    for name, value in _used(function):
        found += _used_texts(kind, function, name, value, names, seen, ())
    return found


def _used_texts(
    kind: str, function: Any, name: str, value: Any, names: list[str], seen: set[int],
    within: tuple[int, ...],
) -> list[str]:  # fmt: skip
    """Of something that a function uses: a function, a constant, or what it holds of these."""
    if isinstance(value, functools.partial):
        parts = {"func": value.func, "args": value.args, "keywords": value.keywords}
        return [
            text for part, one in parts.items()
            for text in _used_texts(kind, function, f"{name}.{part}", one, names, seen, within)
        ]  # fmt: skip
    used = inspect.unwrap(getattr(value, "py_func", value))  # of a compiled or cached one
    if id(used) in seen or id(used) in within:
        return []
    if inspect.isfunction(used):
        return _texts(kind, used, seen) if _own(used.__module__, function) else []
    if inspect.ismodule(used) or inspect.isclass(used):
        home = used.__name__ if inspect.ismodule(used) else used.__module__
        if not _own(home, function):
            return []
        inside = (*within, id(used))
        return [
            text
            for one in names
            if hasattr(used, one)
            for text in _used_texts(kind, function, f"{name}.{one}", getattr(used, one), names,
                                    seen, inside)
        ]  # fmt: skip
    told = _constant(value)
    if told is not None:
        return [f"{name} = {told}"]
    if callable(value) and not _own(type(value).__module__, function):
        return []  # of a library: a ufunc, a builtin
    raise ConfigError(
        f"{kind} uses {name}, a {type(value).__name__}, of which it cannot be told when "
        "it changes: use plain constants, or state version= and raise it when the numbers change"
    )


def _used(function: Any) -> list[tuple[str, Any]]:
    """Names that a function takes from around it, and what they mean now."""
    around = dict(inspect.getclosurevars(function).nonlocals)
    around |= {name: function.__globals__[name] for name in _names(function.__code__)
               if name in function.__globals__}  # fmt: skip
    return sorted(around.items())


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _own(module: str, function: Any) -> bool:
    """Whether a module is the user's: of the function's package, or not of a library."""
    package = module.partition(".")[0]
    if package == str(function.__module__).partition(".")[0]:
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    if package == _DON or file is None:
        return False
    return not str(file).startswith(_LIBRARIES)


def _constant(value: Any) -> str | None:
    """A value written out; None for what has no plain form."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        return repr(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"{value.dtype} {value.shape} {value.tobytes().hex()}"
    if isinstance(value, tuple | list | set | frozenset):
        told = [_constant(one) for one in value]
        if any(one is None for one in told):
            return None
        ordered = sorted(map(str, told)) if isinstance(value, set | frozenset) else told
        return f"{type(value).__name__} {ordered}"
    if isinstance(value, dict):
        pairs = [(_constant(key), _constant(one)) for key, one in value.items()]
        return None if any(None in pair for pair in pairs) else f"dict {sorted(map(str, pairs))}"
    return None
