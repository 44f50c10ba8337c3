"""Conditional orders with their ids: what is remembered, what is armed, what is unsaved. Pure."""

from collections import defaultdict, deque
from collections.abc import Iterable

from don.errors import ExchangeRefused
from don.paper.algo import AlgoState, AlgoStatus, Working


class AlgoRecords:
    """Keeps all open conditional orders and the last `history` finished ones."""

    def __init__(self, history: int) -> None:
        self._history = history
        self.algo_id = 0  # last one given out
        self._algos: dict[int, AlgoState] = {}
        self._armed: dict[tuple[str, Working], dict[int, None]] = defaultdict(dict)
        self._open: dict[str, dict[int, None]] = defaultdict(dict)  # by account
        self._by_client: dict[tuple[str, str], int] = {}  # its latest one
        self._by_order: dict[int, int] = {}  # what a triggered one became -> it
        self._finished: deque[int] = deque()
        self._new: dict[int, AlgoState] = {}
        self.ended: list[int] = []  # triggered ones whose order has ended, to be told

    def load(self, algos: Iterable[AlgoState], last_id: int) -> None:
        """Take stored ones back."""
        ordered = sorted(algos, key=lambda a: (not a.status.final, a.ts_updated, a.algo_id))
        for algo in ordered:
            self.put(algo)
        for ids in (*self._armed.values(), *self._open.values()):
            by_id = sorted(ids)
            ids.clear()
            ids.update(dict.fromkeys(by_id))
        for ident in sorted(self._algos):
            algo = self._algos[ident]
            self._by_client[algo.account, algo.client_algo_id] = ident
        self.algo_id = last_id
        self._new = {}

    def next_id(self) -> int:
        """A fresh id."""
        self.algo_id += 1
        return self.algo_id

    def put(self, algo: AlgoState) -> None:
        """Keep the newest state of a conditional order."""
        ident = algo.algo_id
        if ident not in self._algos:
            self._by_client[algo.account, algo.client_algo_id] = ident
        self._algos[ident] = self._new[ident] = algo
        armed, opened = self._armed[algo.symbol, algo.working], self._open[algo.account]
        if algo.status is AlgoStatus.NEW and not algo.waiting:
            armed[ident] = None
        else:
            armed.pop(ident, None)
        if algo.status is AlgoStatus.TRIGGERED:
            self._by_order[algo.order_id] = ident
        if not algo.status.final:
            opened[ident] = None
            return
        opened.pop(ident, None)
        self._by_order.pop(algo.order_id, None)
        self._finished.append(ident)
        if len(self._finished) > self._history:
            self._forget(self._finished.popleft())

    def _forget(self, ident: int) -> None:
        algo = self._algos.pop(ident)
        client = (algo.account, algo.client_algo_id)
        if self._by_client.get(client) == ident:
            del self._by_client[client]

    def order_ended(self, order_id: int) -> None:
        """Note that an order has ended: it may be what a triggered one became."""
        ident = self._by_order.get(order_id)
        if ident is not None:
            self.ended.append(ident)

    def get(self, algo_id: int) -> AlgoState:
        """One by id; KeyError when it is not known."""
        return self._algos[algo_id]

    def peek(self, algo_id: int) -> AlgoState | None:
        """One by id, None when it is not known (any more)."""
        return self._algos.get(algo_id)

    def find(
        self, account: str, algo_id: int | None, client_algo_id: str | None
    ) -> AlgoState | None:
        """An account's conditional order; the id wins, a client id means its latest one.

        Raises:
            ExchangeRefused: -1102 if neither id is given.
        """
        if algo_id is None:
            if not client_algo_id:
                raise ExchangeRefused(
                    -1102,
                    "Param 'algoId' or 'clientAlgoId' must be sent, but both were empty/null!",
                )
            algo_id = self._by_client.get((account, client_algo_id))
        algo = self._algos.get(algo_id) if algo_id is not None else None
        return algo if algo is not None and algo.account == account else None

    def armed(self, symbol: str, working: Working) -> list[AlgoState]:
        """Those that a price of a symbol may set off, oldest first."""
        return [self._algos[ident] for ident in self._armed.get((symbol, working), ())]

    def open(self, account: str, symbol: str | None = None) -> list[AlgoState]:
        """Those that are not yet set off, oldest first; also those that still wait."""
        found = (self._algos[ident] for ident in self._open.get(account, ()))
        return [a for a in found if a.status is AlgoStatus.NEW and symbol in (None, a.symbol)]

    def all_open(self) -> list[AlgoState]:
        """Those of all accounts that are not final."""
        return [self._algos[i] for i in sorted(i for ids in self._open.values() for i in ids)]

    def known(self, account: str, symbol: str) -> list[AlgoState]:
        """All that are remembered, oldest first."""
        found = (self._algos[ident] for ident in sorted(self._algos))
        return [a for a in found if (a.account, a.symbol) == (account, symbol)]

    def take_new(self) -> tuple[AlgoState, ...]:
        """Those that changed since the last call."""
        new, self._new = tuple(self._new.values()), {}
        return new

    def dump(self) -> tuple[AlgoState, ...]:
        """All in memory."""
        return tuple(self._algos[ident] for ident in sorted(self._algos))
