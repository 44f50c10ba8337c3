"""`don logs`: the lines of every process, merged by time."""

import json
import sys

import typer

from don.cli.output import out
from don.home import home_dir
from don.log import read_logs, render


def register(app: typer.Typer) -> None:
    """Add this group's command."""
    app.command()(logs)


def logs(
    follow: bool = typer.Option(False, "--follow", "-f", help="Go on with new lines."),
    actor: str = typer.Option(None, help="Only of this one: desk, execution, feed, exchange ..."),
    order: str = typer.Option(None, help="Only about this client order id."),
    session: str = typer.Option(None, help="Only of this session."),
    as_json: bool = typer.Option(False, "--json", help="JSON lines as they are stored."),
) -> None:
    """Print the logs of the state folder."""
    colors = out.is_terminal
    for line in read_logs(home_dir(), actor=actor, order=order, session=session, follow=follow):
        text = json.dumps(line) if as_json else render(line, colors=colors)
        sys.stdout.write(text + "\n")
        if follow:
            sys.stdout.flush()
