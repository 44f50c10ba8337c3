"""The lake's address is shown where something is wrong with the lake: keys are kept out of it."""

from pathlib import Path

import pytest

from don.config import DonConfig
from don.errors import ConfigError
from don.model.section import parsed
from don.storage.lake.lake import Lake


@pytest.mark.parametrize(
    "root",
    [
        "s3://AKIA:hunter2@bucket/lake",
        "s3://bucket/lake?Secret_Key=hunter2",
        "s3://bucket/lake?ACCESS_KEY=hunter2&region=x",
        "s3://bucket/lake?session%54oken=hunter2",
        "s3://bucket?endpoint_override=user:hunter2@127.0.0.1:9000&scheme=http",
        "s3://bucket?endpoint_override=user:hunter2%40127.0.0.1:9000",
        "s3:/AKIA:hunter2@bucket/lake",
    ],
)
def test_keys_in_an_address_are_refused_and_not_repeated(root: str) -> None:
    with pytest.raises(ConfigError, match=r"^lake URL must ") as lake:
        Lake(root)
    with pytest.raises(ConfigError, match=r"^don\.toml: lake\.root: must ") as config:
        parsed(DonConfig, {"lake": {"root": root}}, "don.toml")
    with pytest.raises(ConfigError, match=r"^don\.toml: lake was .*: must be a table") as misplaced:
        parsed(DonConfig, {"lake": root.replace("s3:/A", "s3://A")}, "don.toml")
    for error in (lake, config, misplaced):
        assert "hunter2" not in str(error.value) + repr(error.value)


def test_addresses_without_keys_are_taken(tmp_path: Path) -> None:
    assert repr(Lake(str(tmp_path / "a@b"))) == f"Lake({tmp_path / 'a@b'})"
    store = "s3://bucket/lake?region=eu&endpoint_override=127.0.0.1:9&scheme=http"
    assert parsed(DonConfig, {"lake": {"root": store}}, "x").lake.root == store
