"""The limits that hold, as configured and as changed by command; and who may trade. Pure."""

import json
from collections.abc import Mapping

from pydantic import ValidationError

from don.engine.config import EngineConfig
from don.engine.state import EngineState
from don.errors import ConfigError
from don.model.instrument import Instrument
from don.model.messages import SessionStart
from don.model.order import DenialCode
from don.portfolio.checks import check_symbols
from don.risk.change import Overrides, applied, said
from don.risk.config import RiskConfig
from don.risk.engine import RiskEngine, check_limits
from don.risk.states import Standing, States, TradingState


class Limits:
    """Configuration, risk engine and states of one session; carried over from the one before."""

    def __init__(
        self,
        start: SessionStart,
        config: EngineConfig,
        state: EngineState,
        instruments: Mapping[str, Instrument],
    ) -> None:
        """Take up the carried limits and states.

        Raises:
            ConfigError: if limits name symbols that are not traded, let no order pass, or
            contradict each other.
        """
        self.configured = self.config = config
        self.overrides: Overrides = {}
        self._start = start
        check_symbols(config.portfolio, start.symbols)
        check_limits(config.risk, start.symbols, start.instruments)
        self.risk = RiskEngine(config.risk, instruments, state.day, state.losses)
        if carried := json.loads(state.limits):
            self.change(carried)
        self.states = States(start.policy, state.states, [s.name for s in config.slots])
        if state.halted and self.states.state is not TradingState.HALTED:
            was = Standing(state=TradingState.HALTED, reason=state.halt_reason, actor="")
            self.states.put("account", was)

    def checked(self, limits: RiskConfig) -> EngineConfig:
        """The configuration with these limits.

        Raises:
            ConfigError: if they limit nothing or let no order pass.
            ValidationError: if they contradict the rest of the configuration.
        """
        check_limits(limits, self._start.symbols, self._start.instruments)
        return EngineConfig.model_validate({**dict(self.configured), "risk": limits})

    def change(self, overrides: Overrides) -> None:
        """Hold to the configured limits with these changes from now on.

        Raises:
            UsageError: if they do not fit, or contradict each other or the configuration.
        """
        limits = applied(self.configured.risk, overrides)
        try:
            self.config = self.checked(limits)
        except ValidationError as error:
            raise ConfigError(
                f"limits changed while Don ran do not fit the configuration: {said(error)}"
            ) from error
        self.overrides = overrides
        self.risk.configure(limits)

    def halt_reason(self) -> str | None:
        """Why the desk is halted, None if it is not."""
        worst = self.states.worst()
        return worst.reason if worst and worst.state is TradingState.HALTED else None

    def reducing(self) -> tuple[str, DenialCode]:
        """Why only reductions pass ("" if all may), and the code of refusals."""
        worst = self.states.worst()
        if worst is None or worst.state is not TradingState.REDUCING:
            return "", DenialCode.REDUCING
        return worst.reason, worst.code or DenialCode.REDUCING
