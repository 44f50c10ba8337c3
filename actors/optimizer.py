"""The optimizer actor: portfolio problems in, targets out, each a pure function of the request."""

import os

from actors.runtime import Probe, find
from actors.spec import SessionSpec
from don.clock import NS_PER_MS, SystemClock
from don.log import configure_actor, get_logger
from don.model.messages import OptimizeRequest


class PortfolioOptimizerActor:
    """Solves one request at a time and sends the target to the desk without waiting."""

    def __init__(self, spec: SessionSpec) -> None:
        configure_actor(
            spec.home, actor="optimizer", session=spec.session, level=spec.config.log.level
        )
        # Imported here: whoever holds this actor's handle imports its module, and must not pay.
        from don.portfolio.optimizer import PortfolioOptimizer, target_of

        self._log = get_logger("don.optimizer")
        self._session = spec.session
        self._clock = SystemClock()
        self._solved = 0
        self._target_of = target_of
        self._optimizer = PortfolioOptimizer(spec.config.engine.portfolio)
        self._optimizer.warm(len(spec.symbols))

    def ping(self) -> Probe:
        """Who answers; the problem is compiled by then."""
        return Probe(pid=os.getpid(), detail=f"{self._solved} solved")

    def solve(self, request: OptimizeRequest) -> None:
        """Solve and send on. A target that is lost is superseded by the next decision's."""
        started = self._clock.monotonic_ns()
        solution = self._optimizer.solve(request)
        solve_ms = (self._clock.monotonic_ns() - started) / NS_PER_MS
        target = self._target_of(
            request,
            solution,
            session=self._session,
            solve_ms=solve_ms,
            ts_recv=self._clock.now_ns(),
        )
        self._solved += 1
        find("desk").take.remote(target)
        self._log.info(
            "solved", decision=request.decision, status=target.status, solve_ms=round(solve_ms, 2)
        )
