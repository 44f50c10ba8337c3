"""The paper exchange: a matching engine, accounts and a replayed tape behind a protocol."""
