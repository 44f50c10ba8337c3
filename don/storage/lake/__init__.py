"""The cold tier: market data as Parquet, and reads that span both tiers. Does I/O."""
