"""`don data collect`: several exchanges at once, into the database."""

import typer


def register(app: typer.Typer) -> None:
    """Add this part's commands."""
