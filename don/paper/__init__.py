"""The paper exchange: a matching engine, accounts and a replayed tape behind the exchange's protocol."""
