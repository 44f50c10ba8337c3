"""What cryptofeed's classes remember of a symbol: plain dicts by its name, in attributes. Pure."""

from cryptofeed.feed import Feed

from don.feeds.health import Stream

# What cryptofeed keeps by symbol that is not the state of a book.
LASTING = {
    "normalized_symbol_mapping", "exchange_symbol_mapping", "subscription", "callbacks",
    "_feed_config", "config", "handlers",
}  # fmt: skip


def forget(feed: Feed, stream: Stream) -> None:
    """Drop what a feed knows of one symbol's book."""
    for name, value in vars(feed).items():
        if isinstance(value, dict) and name not in LASTING:
            value.pop(stream.symbol, None)
            value.pop(stream.key, None)
