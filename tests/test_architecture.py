"""The walls: imports point down, pure modules stay pure, files stay small."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400

# Layers from the bottom up; a module may import its own layer and those below. Longest prefix wins.
LAYERS: list[set[str]] = [
    {"don.compiled", "don.errors", "don.clock", "don.heap", "don.home", "don.sources", "don.words"},
    {"don.model"},
    {"don.market"},
    {"don.features", "don.portfolio", "don.risk", "don.execution", "don.ledger", "don.performance"},
    {"don.policies", "don.books"},
    {"don.engine", "don.paper"},
    {
        "don.log",
        "don.security",
        "don.storage",
        "don.exchanges",
        "don.feeds",
        "don.observe",
        "don.paper.server",
        "don.paper.main",
        "don.paper.store",
    },
    {"don.tomlfiles"},
    {"don.config", "don.session", "don.replay", "don.collect"},
    {"don.backtest", "don.envs"},
    {"don.learning"},
    {"don.evaluation"},
    {"actors"},
    {"serve"},
    {"don.bench"},
    {"experiments", "cluster"},
    {"don.cli"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
ABOVE_THE_LIBRARY = {"ray", "gradio", "fastapi", "starlette", "uvicorn"}
ENTRY_POINTS = ("don.cli", "don.bench")  # they reach up: nothing in the library imports them

PURE = (
    "don.model",
    "don.market",
    "don.features",
    "don.portfolio",
    "don.risk",
    "don.execution",
    "don.ledger",
    "don.performance",
    "don.policies",
    "don.books",
    "don.engine",
    "don.paper.matching",
    "don.paper.accounts",
    "don.paper.exchange",
    "don.paper.bridge",
    "don.paper.events",
)
IMPURE_IMPORTS = {
    "time", "random", "socket", "subprocess", "os", "asyncio", "threading", "shutil", "tempfile",
    "pathlib", "aiohttp", "websockets", "sqlalchemy", "psycopg", "ccxt", "cryptofeed", "requests",
    "sqlite3",
}  # fmt: skip
IMPURE_CALLS = {
    ("datetime", "now"), ("datetime", "utcnow"), ("date", "today"), ("np", "seed"),
    ("random", "seed"), ("random", "rand"), ("random", "randn"), ("random", "normal"),
    ("random", "random"), ("random", "choice"), ("random", "shuffle"), ("random", "uniform"),
}  # fmt: skip


def modules() -> Iterator[tuple[str, Path]]:
    for top in ("don", "actors", "serve", "experiments", "cluster"):
        for path in sorted((ROOT / top).rglob("*.py")):
            if "node_modules" in path.parts:
                continue
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = list(modules())


def rank(name: str) -> int | None:
    parts = name.split(".")
    if parts == ["don"]:
        return 0
    for end in range(len(parts), 0, -1):
        found = RANK.get(".".join(parts[:end]))
        if found is not None:
            return found
    return None


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def test_every_module_has_a_layer() -> None:
    assert [name for name, _ in MODULES if rank(name) is None] == []


def test_imports_point_down() -> None:
    wrong = []
    for name, path in MODULES:
        own = rank(name)
        for line, target in imports(path):
            below = rank(target)
            if below is not None and own is not None and below > own:
                wrong.append(f"{path.relative_to(ROOT)}:{line} {name} imports {target}")
    assert wrong == []


def test_the_library_imports_nothing_of_the_runtime_above() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {target}"
        for name, path in MODULES
        if name.startswith("don") and not within(name, ENTRY_POINTS)
        for line, target in imports(path)
        if target.split(".")[0] in ABOVE_THE_LIBRARY
    ]
    assert wrong == []


def test_pure_modules_do_no_io_and_read_no_clock() -> None:
    wrong = []
    for name, path in MODULES:
        if not within(name, PURE):
            continue
        for line, target in imports(path):
            if target.split(".")[0] in IMPURE_IMPORTS:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {target}")
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            call = node.func
            if isinstance(call, ast.Name) and call.id in ("open", "print", "input"):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} calls {call.id}")
            if isinstance(call, ast.Attribute):
                owner = call.value
                base = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
                if (base, call.attr) in IMPURE_CALLS:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} calls {base}.{call.attr}")
    assert wrong == []


@pytest.mark.parametrize("top", ["don", "actors", "serve", "experiments", "cluster", "tests"])
def test_files_stay_small(top: str) -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / top).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert long == {}
