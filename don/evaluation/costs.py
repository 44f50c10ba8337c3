"""Costs of a test: never below what the exchange takes, and the same for all that is compared.

Pure. A training may be told anything: no fees, fills at the open, a deep book. What is told of bars
that were not seen may not.
"""

from collections.abc import Callable, Sequence
from typing import Any

from don.backtest.config import BarFillConfig, BarFills
from don.envs.config import CostConfig, EnvConfig, Form
from don.envs.layout import MAKER, RATE
from don.envs.market import EnvMarket
from don.errors import ConfigError

_DEAREST_FIRST = (BarFills.PESSIMISTIC, BarFills.PATH, BarFills.OPEN)
Choose = Callable[[Any, Any], Any]


def _dearer_price(one: BarFills, two: BarFills) -> BarFills:
    return min(one, two, key=_DEAREST_FIRST.index)


# which of two is dearer, for each field; what is no cost is not here
DEARER: dict[str, Choose] = {
    "maker": max,
    "taker": max,
    "maintenance": max,  # liquidated sooner
    "liquidation_fee": max,
    "percent_up": max,  # a narrow band would bar what is filled badly
    "percent_down": min,
}
DEARER_FILLS: dict[str, Choose] = {
    "price": _dearer_price,
    "half_spread": max,
    "levels": max,  # the same depth, farther away
    "step": max,
    "participation": min,  # a thinner book
    "after": max,  # more of the bar to be filled at the worst of
}


def dearest(several: Sequence[CostConfig]) -> CostConfig:
    """The dearest of several, field by field.

    Funding is paid and received: no factor of it is dearer for all, so it must be the same.

    Raises:
        ConfigError: if some are of spot and some are not, or funding differs.
    """
    first = several[0]
    for name in ("spot", "funding"):
        told = sorted({getattr(each, name) for each in several})
        if len(told) > 1:
            raise ConfigError(
                f"env.costs.{name} of what is compared must be the same, was "
                f"{' and '.join(str(value) for value in told)}: evaluate them apart"
            )
    costs, fills = first, first.fills
    for each in several[1:]:
        costs = costs.model_copy(
            update={n: f(getattr(costs, n), getattr(each, n)) for n, f in DEARER.items()}
        )
        fills = fills.model_copy(
            update={
                n: f(getattr(fills, n), getattr(each.fills, n)) for n, f in DEARER_FILLS.items()
            }
        )
    return costs.model_copy(update={"fills": fills})


def charged(costs: CostConfig, market: EnvMarket) -> CostConfig:
    """Costs of a test on a market: at least the default in every field, and funding as recorded.

    A rebate is not multiplied: where the exchange lists one, makers get what it lists.
    """
    listed = CostConfig(spot=costs.spot)
    found = dearest([costs.model_copy(update={"funding": listed.funding}), listed])
    rebate = bool((market.spec[:, MAKER] < 0).any())
    return found.model_copy(update={"maker": listed.maker}) if rebate else found


def differing(one: CostConfig, two: CostConfig) -> dict[str, tuple[Any, Any]]:
    """Fields that differ, by name, with both values."""
    a, b = _flat(one), _flat(two)
    return {name: (a[name], b[name]) for name in a if a[name] != b[name]}


def _flat(costs: CostConfig) -> dict[str, Any]:
    own = {n: getattr(costs, n) for n in CostConfig.model_fields if n != "fills"}
    return own | {f"fills.{n}": getattr(costs.fills, n) for n in BarFillConfig.model_fields}


def accounts(config: EnvConfig, symbols: int) -> int:
    """Accounts of an episode, each with `episode.capital`."""
    if config.form is Form.SHARED:
        return 1
    return symbols if config.form is Form.SINGLE else config.agents


def together(configs: Sequence[EnvConfig], market: EnvMarket) -> EnvConfig:
    """One account that stands for all that is compared: whatever order they are in, it is the same.

    It pays the dearest of their costs and has the most capital, since more moves the price more.

    Raises:
        ConfigError: as of `dearest`.
    """
    episodes = [config.episode for config in configs]
    N = len(market.symbols)
    first = configs[0]
    return first.model_copy(
        update={
            "form": Form.OWN,
            "agents": 1,
            "costs": dearest([charged(config.costs, market) for config in configs]),
            "action": first.action.model_copy(
                update={"gross": max(config.action.gross for config in configs)}
            ),
            "episode": first.episode.model_copy(
                update={
                    "capital": max(c.episode.capital * accounts(c, N) for c in configs),
                    "ruin": max(episode.ruin for episode in episodes),
                    "end_on_liquidation": any(e.end_on_liquidation for e in episodes),
                }
            ),
        }
    )


def told_of(trained: Sequence[CostConfig], market: EnvMarket) -> list[str]:
    """What a reader must know of costs: where a test's are not those of the trainings."""
    own = [charged(costs, market) for costs in trained]
    paid, said = dearest(own), []
    raised = {
        f"{name} {was} in training, {_flat(paid)[name]} here"
        for one, two in zip(trained, own, strict=True)
        for name, (was, _) in differing(one, two).items()
    }
    if raised:
        said.append(f"It was trained with other costs: {'; '.join(sorted(raised))}.")
    apart = sorted({name for each in own for name in differing(paid, each)})
    if apart:
        said.append(
            f"The models were trained with costs that differ in {', '.join(apart)}: all of them, "
            "and the baselines, pay the dearest here."
        )
    if paid.spot and bool((market.bars[:, :, RATE] != 0).any()):
        said.append("The data are of perpetuals, traded here as spot: no funding is paid.")
    return said
