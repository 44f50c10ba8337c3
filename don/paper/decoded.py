"""Decoded recordings, kept as arrays in files: reading these spares decoding the messages again.

Reads and writes files. A file is named by the hash of the recordings' content; one that cannot be
read, or is of something else, is made anew.
"""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from don.errors import DataError
from don.paper.book_rows import BookRows
from don.paper.recorded import Recording
from don.paper.recordings import load_depth
from don.paper.tape_data import make_instrument

FORMAT = 1  # of the files, and of how messages are understood: whoever changes either counts up
_TRADES = ("ts", "arrival", "id", "price", "lots", "buy", "count", "book_arrival")
_BOOKS = ("ts", "whole", "ends", "rows")
_UNREADABLE = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)


def load_kept(
    paths: Sequence[Path], symbols: Sequence[str] | None, folder: Path
) -> list[Recording]:
    """Recordings as of `load_depth`, from the folder if they were decoded before.

    Raises:
        DataError: as `load_depth`; or if the folder cannot be written.
    """
    key = _key(paths, symbols)
    file = folder / f"recording-{key}.npz"
    try:
        return _read(file, key)
    except (FileNotFoundError, NotADirectoryError):
        pass  # decoded for the first time
    except _UNREADABLE:
        file.unlink(missing_ok=True)  # damaged: decoded again below
    found = load_depth(paths, symbols)
    _write(file, key, found)
    return found


def _key(paths: Sequence[Path], symbols: Sequence[str] | None) -> str:
    digest = hashlib.sha256(json.dumps([FORMAT, list(symbols) if symbols else None]).encode())
    for path in paths:
        try:
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except FileNotFoundError as error:
            raise DataError(f"recording {path} does not exist") from error
        except OSError as error:
            raise DataError(f"recording {path} cannot be read: {error}") from error
    return digest.hexdigest()[:32]


def _read(file: Path, key: str) -> list[Recording]:
    with np.load(file, allow_pickle=False) as kept:  # checks each array's sum
        told: dict[str, Any] = json.loads(kept["about"].tobytes())
        if told["key"] != key:
            raise ValueError(f"{file} is of {told['key']}")
        return [_recording(one, n, kept) for n, one in enumerate(told["recordings"])]


def _recording(about: dict[str, Any], n: int, kept: Any) -> Recording:
    books = {name: kept[f"{n}.book.{name}"] for name in _BOOKS}
    instrument = make_instrument(about["symbol"], Decimal(about["tick"]), Decimal(about["lot"]))
    return Recording(
        instrument=instrument,
        books=BookRows(symbol=about["symbol"], **books),
        begin_ns=about["begin_ns"],
        **{name: kept[f"{n}.{name}"] for name in _TRADES},
    )


def _write(file: Path, key: str, found: Sequence[Recording]) -> None:
    """Write in one step: a crash leaves nothing under the file's name."""
    arrays: dict[str, np.ndarray] = {}
    told = []
    for n, one in enumerate(found):
        rows = BookRows.of(one.instrument.exchange_symbol, one.books)
        arrays |= {f"{n}.{name}": getattr(one, name) for name in _TRADES}
        arrays |= {f"{n}.book.{name}": getattr(rows, name) for name in _BOOKS}
        told.append(
            {
                "symbol": one.instrument.exchange_symbol,
                "tick": str(one.instrument.tick_size),
                "lot": str(one.instrument.lot_size),
                "begin_ns": one.begin_ns,
            }
        )
    about = json.dumps({"key": key, "recordings": told}).encode()
    draft = file.with_suffix(f".{os.getpid()}.draft")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as stream:
            np.savez(stream, about=np.frombuffer(about, np.uint8), **arrays)  # type: ignore[arg-type]
        draft.replace(file)
    except OSError as error:
        with suppress(OSError):  # what cannot be written cannot always be taken away
            draft.unlink()
        raise DataError(f"folder of tapes {file.parent} cannot be written: {error}") from error
