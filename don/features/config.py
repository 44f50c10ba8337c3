"""What the feature cache can be told. Pure."""

from enum import StrEnum
from typing import Self

from pydantic import Field, field_validator, model_validator

from don.clock import interval_ns
from don.errors import ConfigError
from don.model.section import Section

DEFAULT_FEATURES = (
    "log_return_1",
    "return_12",
    "return_48",
    "return_192",
    "rank_48",
    "sma_ratio_20",
    "ema_ratio_20",
    "rsi_14",
    "macd_hist",
    "bollinger_20",
    "atr_14",
    "adx_14",
    "stoch",
    "obv",
    "volume_flow_24",
    "volatility_48",
    "parkinson_24",
    "garman_klass_24",
    "zscore_24",
    "volume_zscore_48",
    "spread",
    "book_imbalance",
    "microprice",
    "ofi",
    "trade_imbalance",
    "kyle_lambda_12",
    "funding",
    "basis",
)


class BarSource(StrEnum):
    """Where bars come from."""

    EXCHANGE = "exchange"  # the exchange's own closed bars
    TRADES = "trades"  # built from trades: for exchanges without bars


class FeatureConfig(Section):
    """Which features, and how sets of bars are closed."""

    names: tuple[str, ...] = DEFAULT_FEATURES
    modules: tuple[str, ...] = ()  # Python modules that register features of one's own
    interval: str = "1m"  # of bars; the composition fills it in
    bars: BarSource = BarSource.EXCHANGE
    # A set that lacks bars closes when exchange time is this part of a bar past its close.
    grace: float = Field(default=0.25, ge=0, le=10)
    history: int = Field(default=1024, ge=2, le=1_000_000)  # bars kept, policy: drop the oldest
    # bars whose features are told with the history; the composition fills in what policies want
    rows: int = Field(default=0, ge=0, le=4096)

    @field_validator("interval")
    @classmethod
    def _interval(cls, value: str) -> str:
        interval_ns(value)
        return value

    @model_validator(mode="after")
    def _known(self) -> Self:
        # Imported here: whoever only carries a configuration must not load TA-Lib and the kernels.
        from don.features.sets import FeatureSet

        try:
            FeatureSet(self.names, self.interval_ns, self.modules)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def interval_ns(self) -> int:
        """Length of a bar."""
        return interval_ns(self.interval)

    @property
    def grace_ns(self) -> int:
        """How long after its close a set waits for missing bars, in exchange time."""
        return int(self.interval_ns * self.grace)
