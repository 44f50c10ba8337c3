"""Alembic environment and revisions: forward only, one transaction for all of an upgrade."""
