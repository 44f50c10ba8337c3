"""Kernels follow their sources, also those of the functions that they call in other files."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from don.compiled import VARIABLE, place, stamp

ROOT = Path(__file__).parent.parent.parent
CALLED = "from numba import njit\n\n@njit\ndef called(x):\n    return x + {added}\n"
CALLS = """
from numba import njit
from other import called

@njit(cache=True)
def kernel(x):
    return called(x)
"""
RUN = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {package!r}]
from don.compiled import place
place(Path({package!r}))
from kernels import kernel
print(kernel(1), sum(kernel.stats.cache_hits.values()))
"""


def run(package: Path) -> str:
    code = RUN.format(root=str(ROOT), package=str(package))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True,
        env={**os.environ, VARIABLE: str(package / "__pycache__" / "kernels-of-older-sources")},
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "kernels.py").write_text(CALLS)
    (tmp_path / "other.py").write_text(CALLED.format(added=1))
    (tmp_path / "plain.py").write_text("x = 1\n")
    return tmp_path


def test_a_kernel_whose_callee_changed_in_another_file_is_compiled_anew(package: Path) -> None:
    assert run(package) == "2 0"
    assert run(package) == "2 1", "kept from process to process"
    (package / "other.py").write_text(CALLED.format(added=9))
    assert run(package) == "10 0"


def test_only_files_with_kernels_count(package: Path) -> None:
    before = stamp(package)
    (package / "plain.py").write_text("x = 2\n")
    assert stamp(package) == before
    (package / "other.py").rename(package / "another.py")
    assert stamp(package) != before


def test_a_persons_choice_is_left_alone_and_what_nobody_uses_goes(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = package / "__pycache__"
    old, young = base / "kernels-0", base / "kernels-1"
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - 40 * 86_400,) * 2)
    monkeypatch.setenv(VARIABLE, str(package / "mine"))
    place(package)
    assert os.environ[VARIABLE] == str(package / "mine") and old.is_dir()
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    monkeypatch.delenv(VARIABLE)
    place(package)
    assert os.environ[VARIABLE] == str(base / f"kernels-{stamp(package)}")
    assert young.is_dir() and not old.exists()
