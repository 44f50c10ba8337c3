"""A card says which code trained it."""

import subprocess
from pathlib import Path

from don import __version__
from don.sources import code_version, sources_hash, told


def git(root: Path, *arguments: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@t")
    answer = subprocess.run(
        ["git", "-C", str(root), *who, *arguments], check=True, capture_output=True, text=True
    )
    return answer.stdout.strip()


def test_code_is_told_apart_by_its_sources_and_named_by_its_commit(tmp_path: Path) -> None:
    (tmp_path / "don").mkdir()
    file = tmp_path / "don" / "__init__.py"
    file.write_text("a = 1\n")
    plain = told(tmp_path)  # installed, not checked out
    assert plain == f"{__version__}+src.{sources_hash(tmp_path)}"
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "somebody else's")
    assert told(tmp_path) == plain  # a checkout that Don lies in, but is not part of
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Don")
    commit = git(tmp_path, "rev-parse", "HEAD")[:12]
    assert told(tmp_path) == f"{__version__}+git.{commit}.src.{sources_hash(tmp_path)}"
    file.write_text("a = 2\n")
    changed = told(tmp_path)
    assert changed == f"{__version__}+git.{commit}.changed.src.{sources_hash(tmp_path)}"
    assert changed.rpartition(".")[2] != plain.rpartition(".")[2]
    (tmp_path / "don" / "more.py").touch()
    assert told(tmp_path) != changed


def test_this_code_has_a_version() -> None:
    found = code_version()
    assert found.startswith(f"{__version__}+") and ".src." in f".{found.partition('+')[2]}"
