"""Market data in: live feeds over an exchange's streams, batched into Arrow tables."""
