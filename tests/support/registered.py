"""Models in a registry, and sessions that trade them, as a desk journals them."""

from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path

from support.envs import market

from don.books.config import SlotConfig
from don.engine import EngineConfig
from don.engine.state import EngineState, dump
from don.envs import BatchEnv, EnvConfig
from don.learning.config import NetConfig
from don.learning.model import Model
from don.learning.registry import Registry
from don.learning.resolve import pinned
from don.model.messages import BookPoint, BookValue, Command, SessionStart
from don.storage.database import Database
from don.storage.journal import Journal, Record


def exported(folder: Path, seed: int = 0, name: str = "trend") -> Path:
    config = EnvConfig.model_validate({"observation": {"features": ["log_return_1"]}})
    env = BatchEnv(market(30, 1), config, 1)
    model = Model.untrained(env, NetConfig(hidden=(4,)), name=name, seed=seed)
    model.save(folder / f"{name}-{seed}")
    return folder / f"{name}-{seed}"


class Session:
    """A session of the account `paper`, as a desk journals it."""

    def __init__(
        self, db: Database, name: str, engine: EngineConfig, state: EngineState | None = None
    ) -> None:
        self.journal = Journal(db, "paper", name)
        self.journal.acquire()
        self.put(
            SessionStart(
                key=f"start:{name}", session=name, account="paper", policy="trend.v1",
                symbols=("BTC-USDT-PERP",), instruments=(), interval_ns=60, feature_set="f",
                config=engine.model_dump_json(), state=dump(state) if state else "", ts_recv=1,
            )
        )  # fmt: skip

    def put(self, message: Command | SessionStart) -> None:
        assert self.journal.append([Record.of(message)])

    def worth(self, book: str, equity: float, mode: str = "live") -> None:
        value = BookValue(
            book=book, mode=mode, equity=Decimal(repr(equity)), pnl=Decimal(repr(equity - 1000)),
            capital=Decimal(1000), share=1.0,
        )  # fmt: skip
        key = f"point:{self.journal.head().seq}"
        point = BookPoint(ts_event=1, values=(value,))
        assert self.journal.append([Record.of(point, key=key, ts_recv=1)])


def pinned_slots(registry: Registry, folder: Path, *slots: SlotConfig) -> EngineConfig:
    engine = EngineConfig(slots=slots)
    policy = "hold" if slots else "models"
    return pinned(policy, engine, lambda: nullcontext(registry), folder / "models")[1]
