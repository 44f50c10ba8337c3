"""Asking policies and models over HTTP: requests and responses. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from serve.schemas import Estimate, View


class PolicyInfo(View):
    """A policy that can be asked."""

    name: str
    summary: str
    features: tuple[str, ...] = ()  # what an observation must name


class ActRequest(BaseModel):
    """One observation: per symbol, the values of the policy's features and the volatility."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    features: dict[str, dict[str, float | None]] = Field(
        min_length=1,
        max_length=500,
        examples=[{"BTC-USDT-PERP": {"zscore_24": -1.4}}],
        description="symbol -> feature -> value; null while a feature warms up",
    )
    volatility: dict[str, Annotated[float, Field(ge=0)]] = Field(
        examples=[{"BTC-USDT-PERP": 0.004}],
        description="symbol -> standard deviation of its returns per bar",
    )


class ActResponse(View):
    """What the policy makes of an observation: the desk runs the same code."""

    policy: str
    forecast: dict[str, Estimate]  # expected return per bar
    usable: dict[str, bool]  # a symbol that is not keeps its position
    weights: dict[str, float] | None  # fractions of equity to track instead, if it names any
    reason: str


class ModelActRequest(BaseModel):
    """Observations of a trained model, as its environment or its desk makes them."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    feature_hash: str = Field(
        max_length=64,
        description="of the features in the observations; another than the model's is a 409",
    )
    schema_hash: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="of what the numbers mean: order of symbols, window, parts, scaling, actions; "
        "another than the model's is a 409; null: not compared",
    )
    observations: list[list[list[float]]] = Field(
        min_length=1, max_length=4096, description="[row][agent][number]; one row or many"
    )
    group: str = Field(default="agents", max_length=64)
    state: list[list[list[float]]] | None = Field(
        default=None, description="of the answer before, for models that remember; null: begins"
    )

    @model_validator(mode="after")
    def _even(self) -> Self:
        for what, rows in (("observations", self.observations), ("state", self.state or [])):
            agents = {len(row) for row in rows}
            sizes = {len(one) for row in rows for one in row}
            if len(agents) > 1 or len(sizes) > 1:
                raise ValueError(f"{what} must be equally long, were {agents} x {sizes}")
        return self


def _kind(given: Any) -> str:
    named = given.keys() if isinstance(given, Mapping) else ()
    return "model" if "observations" in named or "feature_hash" in named else "policy"


AnyActRequest = Annotated[
    Annotated[ActRequest, Tag("policy")] | Annotated[ModelActRequest, Tag("model")],
    Discriminator(_kind),
]


class ModelActResponse(View):
    """What the model does: the desk runs the same code."""

    model: str  # name@version
    id: str  # of its content
    actions: list[Any]  # [row][agent], as the environment takes them
    weights: list[Any] | None  # [row][agent][symbol] exposures that they ask for
    state: list[Any] | None  # [row][agent][unit] to give with the next observation


class LoadRequest(BaseModel):
    """Which version: the one that a name is to mean, or that is to be forgotten."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1)


class LoadResponse(View):
    """What every replica means by the name now."""

    replicas: list[str]


class UnloadResponse(View):
    """What no replica has in memory any more."""

    model: str
