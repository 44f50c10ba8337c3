"""Where the lake is, and when data move there: the section `[lake]` of the configuration. Pure."""

import re
from urllib.parse import parse_qsl

from pydantic import Field, field_validator

from don.model.channels import CHANNELS
from don.model.complaint import Unshown
from don.model.section import Section

RETENTION_DAYS = {
    "trades": 14, "quotes": 7, "books": 7, "book_deltas": 3, "bars": 730, "marks": 30,
    "funding": 3650, "open_interest": 365, "liquidations": 365, "features": 90,
}  # fmt: skip


_SECRETS = re.compile("key|token|secret|passw|credential|signature", re.IGNORECASE)
_STORES = re.compile(r"(s3|gs|gcs|abfss?|hdfs|https?):/?(?!/)", re.IGNORECASE)


def check_root(root: str) -> str:
    """A lake's address that may be shown: it is repeated in messages, logs and manifests.

    Args:
        root: a folder, or a URL such as `s3://bucket/prefix?region=…`.

    Raises:
        ValueError: if it carries a user or keys; the message does not repeat it.
    """
    if _STORES.match(root):
        raise Unshown("must be a folder or a URL such as s3://bucket/prefix, had no ://")
    if "://" not in root:
        return root
    where, _, options = root.split("://", 1)[1].partition("?")
    given = parse_qsl(options, keep_blank_values=True)
    if "@" in where.split("/", 1)[0] or any("@" in v or _SECRETS.search(n) for n, v in given):
        raise Unshown(
            "must not hold keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
        )
    return root


class LakeConfig(Section):
    """Where the lake is, and when the database's partitions move there."""

    root: str = ""  # folder or URL such as s3://bucket/prefix; empty: `lake` in the state folder
    retention_days: dict[str, int] = Field(default_factory=dict)  # by channel, over the defaults
    compact_below_mb: int = Field(default=32, ge=1)  # smaller files are joined
    grace_s: int = Field(default=3_600, ge=0)  # how long replaced files stay for their readers

    @field_validator("root")
    @classmethod
    def _root(cls, value: str) -> str:
        return check_root(value)

    @field_validator("retention_days")
    @classmethod
    def _channels(cls, value: dict[str, int]) -> dict[str, int]:
        for channel, days in value.items():
            if channel not in CHANNELS:
                raise ValueError(f"must be one of {', '.join(CHANNELS)}, was {channel!r}")
            if days < 0:
                raise ValueError(f"must be 0 or more days, was {days} of {channel}")
        return value

    def keep_days(self, channel: str) -> int:
        """Days that a channel's partitions stay in the database after their end."""
        return self.retention_days.get(channel, RETENTION_DAYS[channel])
