"""`don`: entry point. Turns errors into one clear line and an exit code; bugs into a traceback.

Exit codes: 0 done, 1 failed, 2 bad usage or input, 3 found a difference or a limit broken,
4 a dependency is away, 130 interrupted.
"""

import sys
from typing import NoReturn

import typer

from don import __version__
from don.cli import (
    backtest,
    bench,
    control,
    data,
    doctor,
    evaluate,
    features,
    logs,
    models,
    order,
    paper,
    replay,
    research,
    risk,
    sessions,
    train,
    tune,
    up,
)
from don.errors import DonError

INTERRUPTED = 130

app = typer.Typer(
    name="don",
    help="Don: collect markets, compute features, choose a portfolio and trade it, on paper first.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (
    up,
    control,
    order,
    risk,
    backtest,
    features,
    sessions,
    data,
    logs,
    models,
    paper,
    doctor,
    bench,
    replay,
    research,
    train,
    evaluate,
    tune,
):
    module.register(app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"don {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Options that come before every command."""


def main() -> None:
    """Run the command line; never returns."""
    try:
        app()
    except DonError as error:
        typer.echo(f"don: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # by Ctrl-C in a command that says nothing of its own
            _interrupted()
        raise


def _interrupted() -> NoReturn:
    typer.echo("don: interrupted", err=True)
    sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
