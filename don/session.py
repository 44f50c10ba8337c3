"""A session of an account: how it starts from the last one, and how it is rebuilt and replayed.

First start, recovery and replay are one path: fold the journalled inputs through a fresh engine,
and compare every output with the recorded one, byte for byte.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import get_args

from don.engine import Engine
from don.errors import JournalError
from don.model import codec
from don.model.messages import Input, Output, SessionStart
from don.storage.journal import Entry

INPUT_KINDS = frozenset(cls.__name__ for cls in get_args(Input))
START_KIND = SessionStart.__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstDifference:
    """Where a replay left the record."""

    seq: int  # journal number of the entry that differs
    kind: str
    recorded: str
    replayed: str


@dataclass(slots=True)
class Fold:
    """An engine that has taken in a session's entries, and what was seen on the way."""

    engine: Engine
    start: SessionStart
    inputs: int = 0
    outputs: int = 0
    difference: FirstDifference | None = None
    last_snapshot: int = 0


def fold(entries: Iterable[Entry]) -> Fold | None:
    """Rebuild a session's engine from its journal; None if the session has no entry.

    The fold goes on after a difference, so that the caller has an engine either way; recovery must
    refuse to trade with one that differs.

    Raises:
        JournalError: if the first entry is not a session start.
    """
    stream = iter(entries)
    first = next(stream, None)
    if first is None:
        return None
    if first.kind != START_KIND:
        raise JournalError(
            f"session must begin with {START_KIND}, entry {first.seq} is {first.kind}"
        )
    start = codec.decode(first.kind, first.payload)
    result = Fold(engine=Engine(start), start=start, inputs=1)
    expected: Iterator[Output] = iter(())
    last_seq = first.seq
    for entry in stream:
        if entry.kind in INPUT_KINDS:
            _expect_no_more(result, expected, last_seq)
            message = codec.decode(entry.kind, entry.payload)
            expected = iter(result.engine.step(message))
            result.inputs += 1
            result.last_snapshot = max(result.last_snapshot, getattr(message, "version", 0))
        else:
            _compare(result, entry, next(expected, None))
            result.outputs += 1
        last_seq = entry.seq
    _expect_no_more(result, expected, last_seq)
    return result


def carry_over(start: SessionStart, previous: Fold | None) -> SessionStart:
    """The first entry of a new session: the previous session's final state goes with it."""
    return start if previous is None else replace(start, state=previous.engine.state())


def _compare(result: Fold, entry: Entry, output: Output | None) -> None:
    if result.difference is not None:
        return
    replayed = "" if output is None else codec.encode(output).decode()
    kind = "" if output is None else codec.kind_of(output)
    recorded = _text(entry.payload)
    if (kind, replayed) != (entry.kind, recorded):
        result.difference = FirstDifference(
            seq=entry.seq, kind=entry.kind, recorded=recorded, replayed=replayed or "nothing"
        )


def _expect_no_more(result: Fold, expected: Iterator[Output], seq: int) -> None:
    extra = next(expected, None)
    if extra is not None and result.difference is None:
        result.difference = FirstDifference(
            seq=seq,
            kind=codec.kind_of(extra),
            recorded="nothing",
            replayed=codec.encode(extra).decode(),
        )


def _text(payload: bytes | str) -> str:
    return payload.decode() if isinstance(payload, bytes) else payload
