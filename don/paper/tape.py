"""The tape: what the paper exchange replays. Opens Parquet files and recordings: I/O by nature.

`open_tape()` replays the sample that ships with Don; with a path, a user's own bars or recordings.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from don.clock import interval_ns
from don.errors import DataError
from don.model.instrument import Instrument
from don.paper.bar_tape import BarTape, BridgeConfig
from don.paper.decoded import load_kept
from don.paper.events import BarClose, TapeEvent, TradePrint
from don.paper.funding import funding_beside, load_funding
from don.paper.recorded import RecordedTape
from don.paper.recordings import is_aggregate, load_aggregate, load_depth
from don.paper.sample.make_sample import SAMPLE
from don.paper.tape_data import load_bars


class Tape(Protocol):
    """A replayable market. Symbols are the exchange's (`BTCUSDT`); times are tape time, ns."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """The exchange's names of the instruments."""
        ...

    @property
    def interval(self) -> str:
        """Length of the bars that `events` closes, e.g. `30m`."""
        ...

    @property
    def interval_ns(self) -> int:
        """The same in ns."""
        ...

    @property
    def start(self) -> int:
        """Position where a new replay begins: some history lies before it."""
        ...

    @property
    def first_ns(self) -> int:
        """Earliest time that can be replayed."""
        ...

    @property
    def end_ns(self) -> int:
        """Time at which the tape ends."""
        ...

    def instruments(self) -> tuple[Instrument, ...]:
        """The instruments, derived from the data."""
        ...

    def time_of(self, position: int) -> int:
        """Tape time of a position, to the bar."""
        ...

    def history(self, symbol: str, interval: str, end_ns: int, limit: int = 500) -> list[BarClose]:
        """Bars closed at or before `end_ns`, oldest first; larger intervals are re-sampled."""
        ...

    def trades(
        self, symbol: str, *, from_id: int | None = None, start_ns: int | None = None
    ) -> Iterator[TradePrint]:
        """The trades of a symbol from an id or a time on, or all, in order."""
        ...

    def events(self, position: int | None = None) -> Iterator[tuple[int, TapeEvent]]:
        """Events from a position on: (position after the event, event).

        Starting at a position that was yielded gives the same events as going on from there, after
        each symbol's book (a snapshot) and mark price as they stand.
        """
        ...


DEFAULT_INTERVAL = "1m"  # of the bars that a recording of trades closes


def open_tape(
    path: Path | str | Sequence[Path | str] | None = None,
    symbols: Sequence[str] | None = None,
    *,
    seed: int = 0,
    start_ns: int | None = None,
    interval: str | None = None,
    funding: Path | str | None = None,
    bridge: BridgeConfig | None = None,
    kept: Path | None = None,
) -> Tape:
    """Open a tape.

    Args:
        path: a Parquet file of bars or of aggregate trades, or raw recordings of depth and trades
            (`.gz`, several to replay several symbols); None for the shipped sample.
        symbols: which ones, as `BTC-USDT-PERP`, `BTCUSDT` or `BTCUSD`; None for all.
        seed: of the bridge from bars to trades, and of drawn books.
        start_ns: where a new replay begins; None leaves 500 bars of history before it, at most half
            of the tape, and none for raw recordings.
        interval: of bars. A file of bars has its own, and stated it must agree; trades: 1m.
        funding: Parquet file of funding payments; None looks for one beside the tape by its name.
        bridge: how bars are expanded.
        kept: folder where decoded recordings are kept; None decodes them anew.

    Raises:
        DataError: naming file, column and what is expected; or symbol, start or interval.
    """
    given = [path] if isinstance(path, Path | str) else path
    files = [SAMPLE] if given is None else [Path(one) for one in given]
    if not files:
        raise DataError("tape must be a file, was an empty list")
    try:
        stated = interval_ns(interval) if interval is not None else None
    except ValueError as error:
        raise DataError(str(error)) from error
    beside = Path(funding) if funding is not None else funding_beside(files[0])
    raw = [file.suffix == ".gz" for file in files]
    if any(raw) != all(raw) or (len(files) > 1 and not all(raw)):
        raise DataError(f"tape must be one Parquet file or .gz recordings, was {given}")
    if all(raw) or is_aggregate(files[0]):
        if not all(raw):
            found = load_aggregate(files[0], symbols)
        else:
            found = load_kept(files, symbols, kept) if kept else load_depth(files, symbols)
        length = stated if stated is not None else interval_ns(DEFAULT_INTERVAL)
        if all(raw) and start_ns is None:
            start_ns = max(one.begin_ns for one in found)
        schedules = load_funding(beside, [one.instrument.exchange_symbol for one in found])
        source = ", ".join(file.name for file in files)
        return RecordedTape(source, found, length, schedules, seed=seed, start_ns=start_ns)
    panel = load_bars(files[0], symbols, stated)
    schedules = load_funding(beside, [i.exchange_symbol for i in panel.instruments])
    return BarTape(panel, schedules, seed=seed, start_ns=start_ns, config=bridge)
