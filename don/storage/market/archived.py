"""What of an import the lake holds already. Reads the manifest and the lake; changes nothing."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from don.clock import iso
from don.errors import DataError
from don.storage.database import Connection
from don.storage.lake import manifest
from don.storage.lake.lake import Lake
from don.storage.market.tables import LAYOUTS


class Archived:
    """The archived rows of a channel, for one transaction; no archive moves rows meanwhile.

    Args:
        connection: of the transaction.
        lake: the lake, if it is at hand.
        channel: its name.
    """

    def __init__(self, connection: Connection, lake: Lake | None, channel: str) -> None:
        self._connection = connection
        self._lake = lake
        self._channel = channel
        layout = LAYOUTS[channel]
        connection.execute(f"LOCK TABLE ONLY {layout.table} IN ROW EXCLUSIVE MODE")
        self._key = list(layout.channel.key)
        loose = {"ts_recv", "origin", *layout.channel.defaults, *self._key}
        self._values = [n for n in layout.channel.schema.names if n not in loose]

    def without(self, table: pa.Table, where: str, offset: int, *, refuse: bool) -> pa.Table:
        """The rows whose key the lake does not hold.

        Args:
            table: conforming rows.
            where: file, for messages.
            offset: of its rows in the file.
            refuse: raise if a row contradicts the archived one of its key.

        Raises:
            DataError: naming file, row and column; or the lake is not at hand.
        """
        if not table.num_rows:
            return table
        bounds = pc.min_max(table["ts_event"]).as_py()
        low, high = bounds["min"], bounds["max"] + 1
        pairs = table.group_by(["exchange", "symbol"]).aggregate([]).to_pylist()
        series = [(row["exchange"], row["symbol"]) for row in pairs]
        files = manifest.listed(self._connection, self._channel, start=low, end=high, series=series)
        if not files:
            return table
        if self._lake is None:
            raise DataError(f"{where}: {self._channel} of its time are archived: name the lake, or "
                            "bring them back first with `don data unarchive`")  # fmt: skip
        columns = [*self._key, *self._values]
        held = [self._lake.read(f, columns=columns, start=low, end=high) for f in files]
        stored = pa.concat_tables(held)
        left = table.select(self._key).append_column("row", _places(table))
        right = stored.select(self._key).append_column("at", _places(stored))
        both = left.join(right, self._key, join_type="inner").sort_by("row")
        if not both.num_rows:
            return table
        if refuse:
            self._compare(table.take(both["row"]), stored.take(both["at"]), both, where, offset)
        return table.filter(pc.invert(pc.is_in(_places(table), value_set=both["row"])))

    def _compare(
        self, new: pa.Table, old: pa.Table, both: pa.Table, where: str, offset: int
    ) -> None:
        for name in self._values:
            ours, theirs = new[name].to_pylist(), old[name].to_pylist()
            for n, (one, other) in enumerate(zip(ours, theirs, strict=True)):
                if not _same(one, other):
                    raise DataError(
                        f"{where}: row {offset + both['row'][n].as_py()}, column {name}: is {one}, "
                        f"but {other} is stored for {new['symbol'][n]} at {new['exchange'][n]}, "
                        f"{iso(new['ts_event'][n].as_py())}, in the lake: keep what is stored with "
                        "--on-overlap keep"
                    )


def _places(table: pa.Table) -> pa.Array:
    return pa.array(range(table.num_rows), pa.int64())


def _same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))
