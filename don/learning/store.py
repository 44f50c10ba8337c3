"""The files of registered models, each in a folder named after its content. Reads and writes them.

Whoever keeps, claims or takes some away holds the store's own lock meanwhile, so that nobody finds
half of them: not every process that does has the registry at hand.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from don.errors import DataError, DonError
from don.learning.model import CARD, Model

_GONE = ".gone-"


class Store:
    """A folder of models.

    Args:
        root: made when the first is kept; its lock is the file beside it.
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

    def keep(self, model: Model, until: ExitStack | None = None) -> Path:
        """Have a model's files; what is torn is written anew.

        Args:
            model: to keep.
            until: it closes they stay: see `claim`.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._alone():
            try:
                self.load(model.id)
            except DonError:
                model.save(self.folder(model.id))
            if until is not None:
                self._claim(model.id, until)
        return self.folder(model.id)

    def claim(self, content: str, until: ExitStack) -> None:
        """Have files stay whoever wants them gone, for a session that is not on record yet; also
        if this process is killed they may go then. What is not there is not claimed.
        """
        if self.root.is_dir():
            with self._alone():
                self._claim(content, until)

    def take_away(self, content: str) -> bool:
        """Have files gone at once, unless they are claimed; `sweep` removes them.

        Returns:
            Whether they are gone.
        """
        folder = self.folder(content)
        if not folder.is_dir():
            return True
        with self._alone(), ExitStack() as until:
            try:
                card = until.enter_context((folder / CARD).open("r+b"))
                fcntl.flock(card, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except FileNotFoundError:
                pass  # torn, or gone meanwhile
            if folder.is_dir():
                os.replace(folder, tempfile.mkdtemp(prefix=f"{_GONE}{content}-", dir=self.root))
        return True

    def sweep(self) -> None:
        """Remove what was taken away, and drafts of processes that were killed."""
        if self.root.is_dir():
            with self._alone():  # so nobody is writing one
                for left in self.root.glob(".*/"):
                    shutil.rmtree(left, ignore_errors=True)

    def _claim(self, content: str, until: ExitStack) -> None:
        with ExitStack() as mine:
            try:
                card = mine.enter_context((self.folder(content) / CARD).open("rb"))
            except OSError:
                return  # whoever loads it says what is wrong
            fcntl.flock(card, fcntl.LOCK_SH)
            until.enter_context(mine.pop_all())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self.root.with_name(f"{self.root.name}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
