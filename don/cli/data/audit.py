"""`don data audit` and `repair`: what is known about every minute."""

import typer


def register(app: typer.Typer) -> None:
    """Add this part's commands."""
