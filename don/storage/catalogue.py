"""All tables of the schema, wherever they are declared: what migrations are compared with. Pure.

A module that declares tables on `metadata` is named here.
"""

from don.storage import book_tables, model_tables, research_tables, tables
from don.storage.lake import manifest
from don.storage.market import backfill_table, coverage, seals
from don.storage.market import tables as market_tables

metadata = tables.metadata

DECLARED_IN = (
    tables,
    model_tables,
    book_tables,
    research_tables,
    market_tables,
    coverage,
    manifest,
    backfill_table,
    seals,
)
