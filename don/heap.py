"""Python's cycle collector in a process that lives long and makes many small objects. Impure.

By default it looks every 700 objects, and again and again at all that was imported: a quarter of
the time of a process that makes thousands of rows a second.
"""

import gc

_THRESHOLDS = (50_000, 10, 10)  # objects, young looks a middle one, middle looks a full one


def settle() -> None:
    """Take all that there is by now out of the collector's sight, and have it look less often.

    To be called once, when a process has imported and built what it needs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
