"""Builds features of a history as Ray tasks, one a symbol, with progress.

    python -m experiments.features bars.parquet --symbols BTCUSDT,ETHUSDT --root features

Works on a cluster too, if `--root` is a folder that all nodes see.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import ray

from don.features.plugins import load_modules
from don.features.sets import FeatureSet
from don.home import home_dir
from don.storage.features.build import CHUNK_BARS, Plan, compute_symbol, feed, finish, wanted
from don.storage.features.files import Description, FeatureFiles
from don.storage.features.source import BarSource, ParquetBars
from experiments.cluster import local_cluster

Tell = Callable[[str, float], None]  # what is being done, share that is over
MEMORY = 1_500 * 2**20  # bytes that a task may ask the scheduler for


@ray.remote(num_cpus=1, max_retries=2)
def _task(root: str, plan: Plan, symbol: str, modules: Sequence[str]) -> int:
    load_modules(modules)
    return compute_symbol(Path(root), plan, symbol)


def build(
    source: BarSource,
    features: FeatureSet,
    root: Path,
    *,
    chunk_bars: int = CHUNK_BARS,
    modules: Sequence[str] = (),
    tell: Tell = lambda what, share: None,
) -> tuple[Description, int]:
    """Build on the Ray that this process is connected to; the build and its new sets.

    A task that dies is run again: parts that it finished are not computed twice.
    """
    files = FeatureFiles(root.absolute())
    with files.alone(wanted(source, features, chunk_bars=chunk_bars)):
        plan = feed(source, features, files, chunk_bars=chunk_bars,
                    progress=lambda share: tell("bars", share))  # fmt: skip
        if plan.new_sets:
            sent = ray.put(plan)
            # more than the cluster has would wait for ever
            memory = min(MEMORY, int(ray.cluster_resources().get("memory", MEMORY)))
            waiting = [
                _task.options(memory=memory).remote(str(files.root), sent, symbol, tuple(modules))
                for symbol in plan.about.symbols
            ]
            total = len(waiting)
            while waiting:
                done, waiting = ray.wait(waiting)
                ray.get(done)
                tell("features", (total - len(waiting)) / total)
        return finish(files, plan), plan.new_sets


def main(arguments: Sequence[str] | None = None) -> None:
    """Build features of a file of bars in parallel and say where they are."""
    from don.features.config import DEFAULT_FEATURES

    asked = _parser().parse_args(arguments)
    own = [part for part in asked.modules.split(",") if part]
    load_modules(own)
    symbols = [part for part in asked.symbols.split(",") if part]
    source = ParquetBars(asked.bars, symbols, funding=asked.funding)
    chosen = tuple(n for n in asked.names.split(",") if n) or DEFAULT_FEATURES
    begun = time.monotonic()

    def tell(what: str, share: float) -> None:
        passed = time.monotonic() - begun
        sys.stderr.write(f"{what:<9} {share:6.1%}  {passed:5.0f} s\n")

    with local_cluster(home_dir()):
        about, new = build(
            source, FeatureSet(chosen, source.interval_ns), asked.root,
            chunk_bars=asked.chunk_bars, modules=own, tell=tell,
        )  # fmt: skip
    sets = sum(part.sets for part in about.parts)
    sys.stdout.write(f"{asked.root / about.key}: {sets} sets, {new} of them new\n")


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description="Build features of a file of bars as Ray tasks.")
    made.add_argument("bars", type=Path, help="Parquet of bars")
    made.add_argument("--root", type=Path, default=Path("features"), help="folder of builds")
    made.add_argument("--symbols", default="", help="by comma; default: all of the file")
    made.add_argument("--names", default="", help="features, by comma; default: the default set")
    made.add_argument("--funding", type=Path, help="Parquet of funding payments")
    made.add_argument("--modules", default="", help="Python modules that register features")
    made.add_argument("--chunk-bars", type=int, default=CHUNK_BARS, help="bars a part")
    return made


if __name__ == "__main__":
    main()
