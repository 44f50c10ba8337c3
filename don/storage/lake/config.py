"""Where the lake is, and when data move there: the section `[lake]` of the configuration. Pure."""

from pydantic import Field, field_validator

from don.model.channels import CHANNELS
from don.model.section import Section

RETENTION_DAYS = {
    "trades": 14, "quotes": 7, "books": 7, "book_deltas": 3, "bars": 730, "marks": 30,
    "funding": 3650, "open_interest": 365, "liquidations": 365, "features": 90,
}  # fmt: skip


class LakeConfig(Section):
    """Where the lake is, and when the database's partitions move there."""

    root: str = ""  # folder or URL such as s3://bucket/prefix; empty: `lake` in the state folder
    retention_days: dict[str, int] = Field(default_factory=dict)  # by channel, over the defaults
    compact_below_mb: int = Field(default=32, ge=1)  # smaller files are joined
    grace_s: int = Field(default=3_600, ge=0)  # how long replaced files stay for their readers

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
