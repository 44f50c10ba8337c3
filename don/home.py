"""Where Don keeps its state. Reads the environment, touches nothing."""

import os
from collections.abc import Mapping
from pathlib import Path

ENV_HOME = "DON_HOME"


def home_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The state folder: `DON_HOME`, or `~/.don`. Not created here."""
    return Path(environ.get(ENV_HOME) or Path.home() / ".don").expanduser().absolute()
