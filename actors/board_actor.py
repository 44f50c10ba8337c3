"""The board as an actor, which the supervisor looks after."""

import os

from actors.board import Board
from actors.runtime import Probe
from actors.spec import SessionSpec
from don.log import configure_actor


class BoardActor(Board):
    """`Board`, with a name and a pulse."""

    def __init__(self, spec: SessionSpec) -> None:
        super().__init__()
        configure_actor(spec.home, actor="board", session=spec.session, level=spec.config.log.level)

    async def ping(self) -> Probe:
        """Who answers."""
        return Probe(pid=os.getpid())
