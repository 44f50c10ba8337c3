"""The files of registered models, each in a folder named after its content. Reads and writes them.

Whoever keeps or removes one holds the registry's lock, so that nobody finds half of it.
"""

import os
import shutil
import tempfile
from pathlib import Path

from don.errors import DataError, DonError
from don.learning.model import Model


class Store:
    """A folder of models.

    Args:
        root: made when the first is kept.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, content: str) -> Path:
        """Where the files of a content are."""
        return self.root / content

    def load(self, content: str) -> Model:
        """A model's files, if they are what they are named after.

        Raises:
            DataError, ConfigError: if they are not there, torn, of another model, or of features
                that mean something else now.
        """
        model = Model.load(self.folder(content))
        if model.id != content:
            raise DataError(f"{self.folder(content)} has the files of another model, {model.id}")
        return model

    def keep(self, model: Model) -> Path:
        """Have a model's files; what is torn is written anew."""
        try:
            self.load(model.id)
        except DonError:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            model.save(self.folder(model.id))
        return self.folder(model.id)

    def aside(self, content: str) -> Path | None:
        """Take the files away at once; what is returned is to be removed. None: there are none."""
        if not self.folder(content).is_dir():
            return None
        gone = Path(tempfile.mkdtemp(prefix=f".gone-{content}-", dir=self.root))
        os.replace(self.folder(content), gone)
        return gone


def removed(folder: Path | None) -> None:
    """Remove what was put aside."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
