"""Stored market data for the API: one page of an answer at a time. Blocks; call it in a thread."""

from typing import Any

from don.errors import DataError
from don.storage.market.paging import page, parse_resume, resume_text
from don.storage.market.reads import MarketStore
from serve.ports import DataAsked, DataTold


def told(store: MarketStore, asked: DataAsked) -> DataTold:
    """The page that was asked for.

    Raises:
        UsageError: an unknown channel, column or symbol.
        DependencyError: if the database is away.
    """
    common: dict[str, Any] = {
        "channel": asked.channel,
        "symbols": asked.symbols,
        "start": asked.start,
        "end": asked.end,
        "columns": asked.columns,
        "exchange": asked.exchange,
        "interval": asked.interval_ns,
    }
    if asked.last is not None:
        series = len(store.chosen(asked.symbols, asked.exchange))
        if asked.last * series > asked.most:
            raise DataError(
                f"last must be at most {asked.most // max(series, 1)} for {series} series, was "
                f"{asked.last}: name fewer symbols, or ask for pages with limit"
            )
        return DataTold(table=store.read(**common, last=asked.last), next=None)
    resume = None if asked.next is None else parse_resume(asked.next)
    table, after = page(store, **common, limit=asked.limit, resume=resume)
    return DataTold(table=table, next=None if after is None else resume_text(after))
