"""The hot tier: market data in PostgreSQL, partitioned by time. Does I/O."""
