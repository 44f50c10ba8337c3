"""What is compiled beforehand: drawn bars go the whole way of real ones."""

import pytest

from don.features.config import FeatureConfig
from don.features.rehearse import rehearse


@pytest.mark.parametrize("interval", ["1m", "1h"])
def test_drawn_bars_come_out_as_snapshots(interval: str) -> None:
    assert rehearse(FeatureConfig(interval=interval), ("BTC-USDT-PERP", "ETH-USDT-PERP")) == 2
