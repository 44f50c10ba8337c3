"""`don`: entry point. Turns errors into one clear line and an exit code; bugs into a traceback.

Exit codes: 0 done, 1 failed, 2 bad usage or input, 3 found a difference or a limit broken,
4 a dependency is away, 130 interrupted.
"""

import sys
from typing import NoReturn

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError
from typer._click.exceptions import UsageError as Misuse

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
        code = app(prog_name="don", standalone_mode=False)  # errors are ours to tell
    except ClickException as error:
        _misused(error)
    except typer.Abort:  # a question was answered with no
        typer.echo("don: aborted", err=True)
        sys.exit(1)
    except DonError as error:
        typer.echo(f"don: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _interrupted()
        raise
    if code == INTERRUPTED:  # by Ctrl-C in a command that says nothing of its own
        _interrupted()
    sys.exit(code if isinstance(code, int) else 0)


def _misused(error: ClickException) -> NoReturn:
    """An option or argument that is wrong, in one line; a group without a command: its help."""
    if isinstance(error, NoArgsIsHelpError):
        error.show()
        sys.exit(error.exit_code)
    command = error.ctx.command_path if isinstance(error, Misuse) and error.ctx else app.info.name
    said = " ".join(error.format_message().split()).rstrip(".")
    see = " See" if said.endswith("?") else "; see"
    typer.echo(f"don: {said}{see} `{command} --help`", err=True)
    sys.exit(error.exit_code)


def _interrupted() -> NoReturn:
    typer.echo("don: interrupted", err=True)
    sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
