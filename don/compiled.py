"""Where compiled kernels are kept: a folder for each state of their sources. Does I/O.

numba looks at the file of a kernel alone. When a function that it calls changes in another file,
what was compiled before would go on running, and train on other features than it trades. So the
folder is named by the content of every file that has kernels.
"""

import contextlib
import hashlib
import os
import shutil
import sys
import time
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
_KEPT_S = 30 * 86_400  # what no process has used for so long is taken away


def place(package: Path = Path(__file__).parent) -> None:
    """Have numba keep kernels where those of these sources are; before any is made.

    A folder that a person chose is left alone, and so is numba's own choice where the package
    cannot be written.
    """
    base = package / "__pycache__"
    given = os.environ.get(VARIABLE, "")
    if given and Path(given).parent != base:  # one of ours may be of a parent with older sources
        return
    folder = base / f"kernels-{stamp(package)}"
    try:
        new = not folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
    except OSError:
        return
    if new:
        _tidy(base)
    os.environ[VARIABLE] = str(folder)
    if (numba := sys.modules.get("numba")) is not None:
        numba.config.CACHE_DIR = str(folder)


def stamp(package: Path) -> str:
    """Hash of the files of a package that have kernels, and of their names."""
    digest = hashlib.sha256()
    for folder, inner, names in os.walk(package):
        inner[:] = sorted(name for name in inner if name != "__pycache__")
        for name in sorted(names):
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    content = file.read()
                if b"njit" in content:
                    told = hashlib.sha256(content).digest()
                    digest.update(os.path.relpath(path, package).encode() + b"\0" + told)
    return digest.hexdigest()[:16]


def _tidy(base: Path) -> None:
    for old in base.glob("kernels-*"):
        with contextlib.suppress(OSError):  # another process was faster
            if time.time() - old.stat().st_mtime > _KEPT_S:
                shutil.rmtree(old)
