"""`don data stats`, `maintain`, `backup` and `restore`."""

import typer


def register(app: typer.Typer) -> None:
    """Add this part's commands."""
