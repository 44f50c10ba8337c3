"""Closes that wait until somebody asks for what is made of them. Pure.

Taken in at once they give the same bits as one by one, many times faster.
"""

import numpy as np

MOST = 256  # rows that wait


class WaitingCloses:
    """Rows of closes [bar, symbol] at rising times; what is not later than all before is left out.

    Attributes:
        ts: close time of the last row, ns; -1 before the first.
    """

    def __init__(self, ts: int = -1) -> None:
        self.ts = ts
        self._blocks: list[np.ndarray] = []
        self._count = 0

    def add(self, ts: int, close: np.ndarray) -> bool:
        """One row [symbol]; whether so many wait that they should be taken."""
        if ts > self.ts:
            self.ts = ts
            self._keep(np.array(close, dtype=float)[None, :])
        return self._count >= MOST

    def add_many(self, ts: np.ndarray, close: np.ndarray) -> bool:
        """Rows [bar, symbol]; whether so many wait that they should be taken."""
        if len(ts) and ts[0] <= self.ts:
            new = ts > self.ts
            ts, close = ts[new], close[new]
        if len(ts):
            self.ts = int(ts[-1])
            self._keep(np.array(close, dtype=float))
        return self._count >= MOST

    def take(self) -> np.ndarray | None:
        """[bar, symbol] the rows that waited, oldest first; None if there are none."""
        if not self._blocks:
            return None
        rows = self._blocks[0] if len(self._blocks) == 1 else np.concatenate(self._blocks)
        self._blocks.clear()
        self._count = 0
        return rows

    def _keep(self, rows: np.ndarray) -> None:
        self._blocks.append(rows)
        self._count += len(rows)
