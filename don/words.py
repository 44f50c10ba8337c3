"""Counts as people read them. Pure."""


def amount(count: int, one: str, many: str = "") -> str:
    """`1 run`, `2 runs`, `1,024 runs`.

    Args:
        count: how many.
        one: the word for a single one.
        many: the word for several; none: `one` with an s.
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
