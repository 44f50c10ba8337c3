"""`don data backfill`, `import` and `export`."""

import typer


def register(app: typer.Typer) -> None:
    """Add this part's commands."""
