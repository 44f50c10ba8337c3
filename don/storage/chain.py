"""The hash chain of a journal: its records, its entries, and whether they are as written. Pure."""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from don.model import codec

GENESIS = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is to be journalled: an encoded message."""

    kind: str
    key: str  # idempotency key within the account; "" is named after the append's first record
    payload: bytes  # UTF-8 JSON
    ts_recv: int

    @classmethod
    def of(cls, message: Any, *, key: str | None = None, ts_recv: int | None = None) -> "Record":
        """The record of a message; inputs bring their key and time, outputs are told the time."""
        return cls(
            kind=codec.kind_of(message),
            key=getattr(message, "key", "") if key is None else key,
            payload=codec.encode(message),
            ts_recv=message.ts_recv if ts_recv is None else ts_recv,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A journalled record."""

    account: str
    seq: int
    session: str
    kind: str
    key: str
    payload: bytes
    ts_recv: int
    prev_hash: bytes
    hash: bytes

    def message(self) -> Any:
        """The message, decoded."""
        return codec.decode(self.kind, self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of the chain; `seq` is 0 before the first entry."""

    seq: int = 0
    hash: bytes = GENESIS


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Outcome of recomputing a chain."""

    entries: int  # found good, in order
    broken_seq: int | None = None
    problem: str = ""

    @property
    def ok(self) -> bool:
        """True if the whole chain is as it was written."""
        return self.broken_seq is None


def chain(records: Sequence[Record], head: Head, account: str, session: str) -> list[Entry]:
    """The entries that records become behind a head."""
    entries = []
    seq, previous = head.seq, head.hash
    for index, record in enumerate(records):
        seq += 1
        entry = Entry(
            account=account,
            seq=seq,
            session=session,
            kind=record.kind,
            key=record.key or f"{records[0].key}/{index}",
            payload=record.payload,
            ts_recv=record.ts_recv,
            prev_hash=previous,
            hash=b"",
        )
        entry = replace(entry, hash=entry_hash(entry))
        previous = entry.hash
        entries.append(entry)
    return entries


def verify_chain(entries: Iterable[Entry], end: Head) -> Verification:
    """Recompute a chain from its beginning.

    Args:
        entries: all of an account, in order of their numbers.
        end: a head that was acknowledged; entries behind it are checked as well.
    """
    last = Head()
    for entry in entries:
        problem = _problem(entry, last, end)
        if problem:
            return Verification(entries=last.seq, broken_seq=last.seq + 1, problem=problem)
        last = Head(seq=entry.seq, hash=entry.hash)
    if last.seq < end.seq:
        return Verification(entries=last.seq, broken_seq=last.seq + 1, problem="the end is missing")
    return Verification(entries=last.seq)


def _problem(entry: Entry, last: Head, end: Head) -> str:
    if entry.seq != last.seq + 1:
        return f"entry {last.seq + 1} is missing"
    if entry.prev_hash != last.hash:
        return "it does not follow the entry before it"
    if entry_hash(entry) != entry.hash:
        return "its content does not match its hash"
    if entry.seq == end.seq and entry.hash != end.hash:
        return "its hash is not the one that was acknowledged"
    return ""


def entry_hash(entry: Entry) -> bytes:
    """SHA-256 over the hash before and every field; lengths keep neighbouring fields apart."""
    digest = hashlib.sha256(entry.prev_hash)
    digest.update(struct.pack(">qq", entry.seq, entry.ts_recv))
    for text in (entry.account, entry.session, entry.kind, entry.key):
        data = text.encode()
        digest.update(struct.pack(">I", len(data)))
        digest.update(data)
    digest.update(entry.payload)
    return digest.digest()
