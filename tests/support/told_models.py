"""A registry of models without a database, for tests of the page that shows it."""

from pathlib import Path
from typing import Any

from support.envs import market

from don.books.config import Mode
from don.envs import BatchEnv, EnvConfig
from don.learning.config import NetConfig
from don.learning.model import Model
from don.learning.resolve import Traded
from don.learning.stages import Version, fold
from serve.registered import Evaluated, RegistryReads

_NS = 1_750_000_000_000_000_000
_FIGURES = {"total_return": 0.12, "sharpe": 1.5, "deflated_sharpe": 0.97, "max_drawdown": 0.08}


class _Told(RegistryReads):
    """As a registry with these versions, and a session that trades the first as a canary."""

    def __init__(self, versions: list[Version]) -> None:
        self._all = versions
        self._evaluated, self._schemas = {}, {one.id: "5c" for one in versions}

    def versions(self) -> list[Version]:
        return self._all

    def trading(self, session: str) -> tuple[tuple[Traded, ...], int]:
        own = self._all[0]
        place = Traded(name="trend.v1", policy=f"model:{own.label}", id=own.id, mode=Mode.CANARY)
        return (place,), 0

    def evaluation(self, run: int) -> tuple[Evaluated, frozenset[str]]:
        told = Evaluated(run=run, grade="better", answer="Yes: it made more.", ts_end=_NS)
        return told, frozenset((self._all[0].id,))


def told_models() -> RegistryReads:
    """One that trades, one that a rule took down, one that was deleted."""
    config = EnvConfig.model_validate({"observation": {"features": ["log_return_1"]}})
    env = BatchEnv(market(30, 1), config, 1)
    model = Model.untrained(env, NetConfig(hidden=(4,)), name="trend")
    card = model.card.model_copy(
        update={
            "algorithm": "ppo",
            "trained": model.card.trained.model_copy(update={"steps": 4096}),
        }
    )
    entries: list[tuple[str, dict[str, Any]]] = [
        ("import", {"version": n, "id": f"{n}" * 16, "card": card.model_dump(mode="json"),
                    "source": str(Path("training") / str(n)), "why": "first"})
        for n in (1, 2, 3)
    ]  # fmt: skip
    entries += [
        ("move", {"version": 1, "to": "canary", "why": "small", "rule": ""}),
        ("measure", {"version": 1, "measures": {**_FIGURES, "run": 7.0}}),
        ("move", {"version": 2, "to": "shadow", "why": "look", "rule": ""}),
        ("move", {"version": 2, "to": "candidate", "why": "it lost", "rule": "drawdown"}),
        ("delete", {"version": 3, "why": "of no use"}),
    ]
    same = {"name": "trend", "who": "ann"}
    found = fold((kind, _NS + n, {**same, **told}) for n, (kind, told) in enumerate(entries))
    return _Told([found[key] for key in sorted(found)])
