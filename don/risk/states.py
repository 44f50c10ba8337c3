"""Who may trade how: ACTIVE, REDUCING or HALTED for policy, account and system. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from don.model.order import DenialCode


class TradingState(StrEnum):
    """How far trading is allowed; the most severe of the scopes holds."""

    ACTIVE = "active"
    REDUCING = "reducing"  # only orders that reduce a position pass
    HALTED = "halted"  # everything is cancelled and flattened, nothing passes

    @property
    def severity(self) -> int:
        """Higher is more severe."""
        return _SEVERITY[self]


_SEVERITY = {TradingState.ACTIVE: 0, TradingState.REDUCING: 1, TradingState.HALTED: 2}
SCOPES = ("system", "account", "policy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The state of one scope, who set it and why."""

    state: TradingState
    reason: str
    actor: str  # "risk" where a limit set it
    code: DenialCode | None = None  # of the limit

    @property
    def automatic(self) -> bool:
        """True if a limit set it: a resume by a person ends it."""
        return self.code is not None


class States:
    """The standings of all scopes that are not ACTIVE. Policies are named: `policy:momentum`."""

    def __init__(
        self,
        policy: str,
        standings: Mapping[str, Standing] | None = None,
        slots: Sequence[str] = (),
    ) -> None:
        """With `slots` several policies share the account, and each has a state of its own."""
        self._slots = tuple(f"policy:{name}" for name in slots)
        self._mine: tuple[str, ...] = ("system", "account")
        if not slots:
            self._mine = (*self._mine, f"policy:{policy}")
        self.standings: dict[str, Standing] = dict(standings or {})

    def scope(self, name: str) -> str:
        """The full name of a scope: `policy` alone is the policy that runs.

        Raises:
            ValueError: if there is no such scope.
        """
        if name == "policy":
            if self._slots:
                raise ValueError(
                    f"scope policy needs a name, one of {', '.join(self._slots)}: several run"
                )
            return self._mine[2]
        if self._slots and name.startswith("policy:") and name not in self._slots:
            raise ValueError(f"scope must be one of {', '.join(self._slots)}, was {name!r}")
        if name in SCOPES or (name.startswith("policy:") and name != "policy:"):
            return name
        raise ValueError(f"scope must be {', '.join(SCOPES)} or policy:NAME, was {name!r}")

    def concerns(self, scope: str) -> bool:
        """True if the scope holds for all that runs."""
        return scope in self._mine

    def slot(self, scope: str) -> str:
        """The slot whose scope this is; "" if it is none's."""
        return scope.removeprefix("policy:") if scope in self._slots else ""

    def of_slot(self, name: str) -> Standing | None:
        """The standing of one slot alone; None if it is ACTIVE."""
        return self.standings.get(f"policy:{name}")

    def put(self, scope: str, standing: Standing) -> None:
        """Set a scope's state; ACTIVE forgets it."""
        if standing.state is TradingState.ACTIVE:
            self.standings.pop(scope, None)
        else:
            self.standings[scope] = standing

    def worst(self) -> Standing | None:
        """The most severe standing that concerns this policy; None if all are ACTIVE.

        Of equally severe ones the first of system, account, policy.
        """
        worst: Standing | None = None
        if not self.standings:
            return None
        for scope in self._mine:
            found = self.standings.get(scope)
            if found and (worst is None or found.state.severity > worst.state.severity):
                worst = found
        return worst

    @property
    def state(self) -> TradingState:
        """What holds for this policy."""
        worst = self.worst()
        return TradingState.ACTIVE if worst is None else worst.state

    def resume(self) -> None:
        """A person has looked: halts end, and what limits had set; a person's REDUCING stays."""
        self.standings = {
            scope: standing
            for scope, standing in self.standings.items()
            if standing.state is TradingState.REDUCING and not standing.automatic
        }
