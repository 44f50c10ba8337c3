"""`don data query`, `archive`, `unarchive`, `compact` and `verify`."""

import typer


def register(app: typer.Typer) -> None:
    """Add this part's commands."""
