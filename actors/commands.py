"""Commands that come as files: the way to the desk that needs neither HTTP nor a console.

`don halt` writes one when the API is not there; the driver hands it to the desk and takes it away.
The state folder is private, so whoever can write there is its owner.
"""

from collections.abc import Iterator
from pathlib import Path

from don.errors import UsageError
from don.log import get_logger
from don.model import codec
from don.model.messages import Command

FOLDER = "commands"


def waiting_commands(home: Path) -> Iterator[tuple[Path, Command | None]]:
    """Commands that were written, oldest first; None for a file that is none."""
    folder = home / FOLDER
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.json")):
        try:
            yield path, codec.decode_as(Command, path.read_bytes())
        except (ValueError, UsageError) as error:
            get_logger("don.commands").error("not a command", file=path.name, error=str(error))
            yield path, None
