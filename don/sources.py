"""Which code this is, for the record: version, commit, hash of the sources. Reads files, asks git.

`0.1.0+git.1ea48f6c3b2a.changed.src.9f3c0d5e7a21`: the commit where Don runs from a checkout
(`changed`: its sources differ from it), and the hash of the sources, which tells code apart with or
without one.
"""

import functools
import hashlib
import os
import subprocess
from pathlib import Path

from don import __version__

PACKAGES = ("don", "experiments")  # what a training runs
ROOT = Path(__file__).resolve().parent.parent
_PATIENCE_S = 10.0  # with git


@functools.cache
def code_version() -> str:
    """Of the code that this process runs, as it was when it first asked."""
    return told(ROOT)


def told(root: Path) -> str:
    """Version, commit and sources of the packages in a folder."""
    parts = [f"{__version__}+"]
    commit = _git(root, "rev-parse", "HEAD")
    # A folder of packages may lie in somebody else's checkout: it is ours if it tracks Don
    if commit and _git(root, "ls-files", "--error-unmatch", "don/__init__.py") is not None:
        state = _git(root, "status", "--porcelain", "--", *PACKAGES)
        parts.append(f"git.{commit[:12]}." + ("changed." if state != "" else ""))
    return "".join([*parts, "src.", sources_hash(root)])


def sources_hash(root: Path) -> str:
    """Hash of the Python files of the packages in a folder: 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            content = hashlib.sha256(path.read_bytes()).digest()
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + content)
    return digest.hexdigest()[:12]


def _git(root: Path, *arguments: str) -> str | None:
    """What git says; None where there is no git, no checkout, or nothing of the kind in it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        answer = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", *arguments],
            cwd=root, env={**clean, "GIT_OPTIONAL_LOCKS": "0"}, capture_output=True, text=True,
            timeout=_PATIENCE_S,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
