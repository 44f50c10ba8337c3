"""`don data …`: collect, import, store, read and audit market data. One module a part of it."""

import typer

from don.cli.data import audit, collect, history, lake, store

data = typer.Typer(
    name="data",
    help="Collect, import, store, read and audit market data.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
for module in (collect, history, store, lake, audit):
    module.register(data)


def register(app: typer.Typer) -> None:
    """Add this group."""
    app.add_typer(data)
