"""Secret values that cannot be printed, and the files that hold them. Does I/O on those files.

A `Secret` is not a `str`: whoever needs the text says `reveal()`, so that a search finds every
place where one leaves its wrapper. Logging redacts by this type.
"""

import hmac
import os
import secrets
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from don.errors import ConfigError

MASK = "***"


class Secret:
    """A text that every rendering replaces by `***`; pickling carries it to other processes."""

    __slots__ = ("_text",)

    def __init__(self, text: "str | Secret") -> None:
        self._text: str = text.reveal() if isinstance(text, Secret) else text

    def reveal(self) -> str:
        """The text itself; never hand it to a log, an error or a representation."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> tuple[Callable[..., "Secret"], tuple[str]]:
        return Secret, (self._text,)

    def __iter__(self) -> NoReturn:
        raise TypeError("a Secret cannot be iterated; use reveal() where the text must leave")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accept a str or a Secret in a configuration section; serialise as the mask."""
        return core_schema.no_info_plain_validator_function(
            cls._checked, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def _checked(cls, value: object) -> "Secret":
        if isinstance(value, (str, Secret)):
            return cls(value)
        raise ValueError("must be text")


def new_token(bytes_of_entropy: int = 32) -> Secret:
    """A fresh random token, URL-safe."""
    return Secret(secrets.token_urlsafe(bytes_of_entropy))


def write_secret(path: Path, secret: Secret) -> None:
    """Store a secret in a file that only its owner can read, all or nothing.

    Raises:
        ConfigError: if the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _draft(path, secret).replace(path)
    except OSError as error:
        raise ConfigError(f"cannot store a secret in {path}: {error.strerror}") from error


def read_secret(path: Path) -> Secret:
    """The secret in a file.

    Raises:
        ConfigError: if it is missing, empty, or readable by others than its owner.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise ConfigError(
                f"{path} must be readable by its owner only, has mode {mode:o}: chmod 600 {path}"
            )
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"cannot read a secret from {path}: {error.strerror}") from error
    if not text:
        raise ConfigError(f"{path} is empty: delete it to have a new one made")
    return Secret(text)


def ensure_token(path: Path) -> tuple[Secret, bool]:
    """The token in a file, made if there is none; and whether it was made just now.

    Two processes that start at once agree: the one that links its draft first wins.

    Raises:
        ConfigError: as `read_secret` and `write_secret`.
    """
    if path.exists():
        return read_secret(path), False
    token = new_token()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        mine = _draft(path, token)
    except OSError as error:
        raise ConfigError(f"cannot store a secret in {path}: {error.strerror}") from error
    try:
        os.link(mine, path)
    except FileExistsError:
        return read_secret(path), False
    finally:
        mine.unlink()
    return token, True


def _draft(path: Path, secret: Secret) -> Path:
    """A new private file beside `path` that holds the secret and is on disk."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made 0600
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(secret.reveal() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
