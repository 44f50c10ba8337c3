"""What the programs of this folder share: their arguments, and how they begin, stop and end."""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from don.errors import ConfigError, DonError, Interrupted
from don.model.section import Section
from don.tomlfiles import read_section

# Hashes of strings order RLlib's agents; a second thread makes small networks slower.
FIXED = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}

S = TypeVar("S", bound=Section)
# Programs that a file tells what to do: where its class is, which needs no library that is heavy,
# whether to go on has to be asked for, and whether only the result is for standard output
TOLD = {
    "experiments.train": ("experiments.training_config", "TrainConfig", True, False),
    "experiments.tune": ("experiments.tune_config", "TuneConfig", True, False),
    "experiments.walk_forward": ("experiments.evaluation_config", "WalkForwardConfig", False, True),
}


def become(module: str, *words: str) -> NoReturn:
    """Go on as the program of a module: what a seed depends on is read when Python begins."""
    sys.stdout.flush()
    run = [sys.executable, "-m", __spec__.name, module, *words]
    os.execve(sys.executable, run, {**FIXED, **os.environ})


def options(out: Path | None, *, resume: bool = False, as_json: bool = False) -> list[str]:
    """Options of a command as words for `become`."""
    place = [] if out is None else ["--out", str(out)]
    return [*place, *["--resume"] * resume, *["--json"] * as_json]


def asked(
    kind: type[S], module: str, about: str | None, words: list[str], *, resume: bool = True
) -> tuple[S, argparse.Namespace]:
    """What a program is asked: its configuration, and its other options.

    Args:
        kind: of configuration; it has a field `out`.
        module: of the program.
        about: it, for `--help`.
        words: of the command line.
        resume: whether it has to be told to go on with what was begun.

    Raises:
        ConfigError: if the file cannot be read or does not fit.
    """
    parser = argparse.ArgumentParser(prog=module, description=about)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path)
    if resume:
        parser.add_argument("--resume", action="store_true")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    given = parser.parse_args(words)
    config = read_section(kind, given.config)
    if given.out is not None:
        config = config.model_copy(update={"out": given.out})
    signal.signal(signal.SIGTERM, _stop)
    return config, given


def run_as_program(module: str, main: Callable[[list[str]], int]) -> NoReturn:
    """Run a program of which the results depend on a seed; errors of its user are one line."""
    if FIXED.keys() - os.environ.keys():
        become(module, *sys.argv[1:])
    try:
        sys.exit(main(sys.argv[1:]))
    except DonError as error:
        _end(module, str(error), error.exit_code)
    except KeyboardInterrupt:
        _end(module, "interrupted", Interrupted.exit_code)


def _end(module: str, why: str, code: int) -> NoReturn:
    print(f"{module.removeprefix('experiments.').replace('_', '-')}: {why}", file=sys.stderr)
    sys.exit(code)


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


def announce(module: str, words: list[str]) -> None:
    """Refuse what is told wrongly, and say what is done: before libraries that take their time.

    Args:
        module: of the program; others than those of `TOLD` are passed over.
        words: of the command line.

    Raises:
        ConfigError: if the file cannot be read or does not fit, or bars that it names are none.
    """
    if module not in TOLD:
        return
    where, name, resume, aside = TOLD[module]
    kind = getattr(importlib.import_module(where), name)
    config, given = asked(kind, module, None, words, resume=resume)
    inside = "" if module == "experiments.train" else "train."
    for field in ("tape", "funding"):
        path = getattr(config.data, field)
        if path is not None and not path.exists():
            raise ConfigError(
                f"{given.config}: {inside}data.{field} was {str(path)!r}: must be a file that is "
                "there; paths are relative to the working folder"
            )
    print(config.words, file=sys.stderr if aside or given.json else sys.stdout, flush=True)


def _run(words: list[str]) -> int:
    """Import a program's module, which takes seconds and may be interrupted too, and run it."""
    announce(words[0], words[1:])
    found: int = importlib.import_module(words[0]).main(words[1:])
    return found


if __name__ == "__main__":
    sys.argv[:2] = sys.argv[1:2]  # the program's own name and words
    run_as_program(sys.argv[0], lambda words: _run([sys.argv[0], *words]))
