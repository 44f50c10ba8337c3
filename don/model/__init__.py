"""The nouns of trading: instruments, market events, orders, portfolios and the desk's messages."""
