"""Slots that are halted and set going again while orders work: books and ledger agree all along."""

import json
from decimal import Decimal
from importlib import import_module

import pytest
from test_slots_working import Watched, config, fold

from don.engine import Engine
from don.model.messages import Command, CommandKind, FeatureSnapshot, SessionStart
from don.model.order import OrderType

backtest_run = import_module("don.backtest.run")  # the name is also that of a function
STATES = {9: "halted", 13: "active", 19: "halted", 24: "active", 33: "halted", 40: "active"}


class Interrupted(Watched):
    """Slots are halted in turn, right after a bar: orders work and answers are waited for."""

    held_after: list[dict[str, Decimal]]

    def take_snapshot(self, snapshot: FeatureSnapshot) -> None:
        super().take_snapshot(snapshot)
        state = STATES.get(self.bars)
        if state is None:
            return
        scope = f"policy:{('back', 'trend', 'even')[list(STATES).index(self.bars) // 2]}"
        self._step(
            Command(
                key=f"command:{self.bars}", kind=CommandKind.STATE, actor="test", reason="test",
                ts_recv=self._wall(), payload=json.dumps({"scope": scope, "state": state}),
            )
        )  # fmt: skip


@pytest.mark.parametrize("style", ["passive", "twap"])
def test_halts_between_bars_keep_the_books(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    desks: list[Interrupted] = []

    def made(engine: Engine, *args, **kwargs) -> Interrupted:
        desks.append(Interrupted(engine, *args, **kwargs))
        return desks[-1]

    def begun(start: SessionStart) -> Engine:
        Watched.start = start
        return Engine(start)

    Watched.restarts = {20: "crash", 35: "session"}
    monkeypatch.setattr(backtest_run, "LocalDesk", made)
    monkeypatch.setattr(backtest_run, "Engine", begun)
    result = backtest_run.run(config(style))
    (desk,) = desks
    assert desk.restarted == 2 and result.differences == ()
    halts = [d for d in result.decisions if d.status == "halt"]
    assert len(halts) == 3
    sent = [o for o in result.orders if o.order.type is OrderType.MARKET]
    assert sent and all(o.filled == o.order.size for o in sent)
    assert fold(desk.start, desk.journal).state() == desk.engine.state()
