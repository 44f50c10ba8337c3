"""The one database: server, schema, journal, recorded market data, and what readers ask of them."""
