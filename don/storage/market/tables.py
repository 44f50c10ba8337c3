"""Tables of the hot tier: how a channel's columns lie in PostgreSQL. Pure.

A market table is the channel's columns, packed: `series` stands for (exchange, symbol), `origin` is
a code, a bar's interval is in seconds; columns go from wide to narrow, so that none is padded. The
primary key is the natural key with the time right behind what reads name, so that one index both
keeps rows unique and finds a symbol's time range.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION

from don.model.channels import CHANNELS, Channel
from don.storage.tables import metadata

SERIES = "series"
INTERVAL = "interval_s"
ORIGIN = "origin"

_SQL: dict[str, Any] = {
    "int8": sa.BigInteger,
    "float8": DOUBLE_PRECISION,
    "int4": sa.Integer,
    "int2": sa.SmallInteger,
    "bool": sa.Boolean,
    "text": sa.Text,
    "float8[]": ARRAY(DOUBLE_PRECISION),
}
_ORDER = list(_SQL)  # of columns in a row: by alignment, those of varying length last
WIDTH = {"int8": 8, "float8": 8, "int4": 4, "int2": 2, "bool": 1}  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HotColumn:
    """A column of a market table."""

    name: str
    kind: str  # int8 | float8 | int4 | int2 | bool | text | float8[]
    source: str  # the channel's column that it holds; "symbol" for `series`


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a channel is stored."""

    channel: Channel
    table: str
    columns: tuple[HotColumn, ...]  # in the order of the table
    key: tuple[str, ...]  # primary key, the time behind series (and interval)

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of the table, in order."""
        return tuple(column.name for column in self.columns)


def _columns(channel: Channel) -> Iterator[HotColumn]:
    yield HotColumn(name=SERIES, kind="int4", source="symbol")
    for field in channel.schema:
        match field.name, field.type:
            case (("exchange" | "symbol"), _):
                continue
            case "origin", _:
                yield HotColumn(name=ORIGIN, kind="int2", source="origin")
            case "interval_ns", _:
                yield HotColumn(name=INTERVAL, kind="int4", source="interval_ns")
            case "trades", _:  # in a bar: a day of all exchanges together is below 2^31
                yield HotColumn(name="trades", kind="int4", source="trades")
            case name, kind if kind == pa.int64():
                yield HotColumn(name=name, kind="int8", source=name)
            case name, kind if kind == pa.float64():
                yield HotColumn(name=name, kind="float8", source=name)
            case name, kind if kind == pa.bool_():
                yield HotColumn(name=name, kind="bool", source=name)
            case name, kind if kind == pa.string():
                yield HotColumn(name=name, kind="text", source=name)
            case name, _:
                yield HotColumn(name=name, kind="float8[]", source=name)


def _layout(channel: Channel) -> Layout:
    columns = sorted(_columns(channel), key=lambda column: _ORDER.index(column.kind))
    hot = {"symbol": SERIES, "interval_ns": INTERVAL}
    return Layout(
        channel=channel,
        table=f"md_{channel.name}",
        columns=tuple(columns),
        key=tuple(hot.get(name, name) for name in channel.sort if name != "exchange"),
    )


LAYOUTS: dict[str, Layout] = {name: _layout(channel) for name, channel in CHANNELS.items()}

series = sa.Table(
    SERIES,
    metadata,
    sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
    sa.Column("exchange", sa.Text, nullable=False),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.UniqueConstraint("exchange", "symbol", name="series_name"),
)


def _table(layout: Layout) -> sa.Table:
    columns = [
        sa.Column(column.name, _SQL[column.kind], nullable=False, autoincrement=False)
        for column in layout.columns
    ]
    return sa.Table(
        layout.table,
        metadata,
        *columns,
        sa.PrimaryKeyConstraint(*layout.key),
        postgresql_partition_by="RANGE (ts_event)",
    )


TABLES: dict[str, sa.Table] = {name: _table(layout) for name, layout in LAYOUTS.items()}
