"""Requests that never pause, while what answers them is exchanged."""

import threading
from itertools import groupby
from types import TracebackType
from typing import Any, Self

import httpx

PATIENCE_S = 120.0


class Flow:
    """Several clients that ask one after the other until the block ends.

    Args:
        url: of the API.
        name: of the model.
        body: of each question.
        clients: connections.
    """

    def __init__(self, url: str, name: str, body: dict[str, Any], clients: int = 3) -> None:
        self._url, self._path, self._body = url, f"/v1/policies/{name}/act", body
        self._over = threading.Event()
        self._told = threading.Condition()
        self.answers: list[list[str]] = [[] for _ in range(clients)]  # model, or what failed
        self._threads = [
            threading.Thread(target=self._ask, args=(own,), name=f"client-{n}")
            for n, own in enumerate(self.answers)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def wait_for(self, model: str, more: int = 5) -> None:
        """Wait until every client has had this many more answers, the last of them by a model."""
        begin = [len(own) for own in self.answers]

        def done() -> bool:
            return all(
                len(own) >= had + more and own[-1] == model
                for own, had in zip(self.answers, begin, strict=True)
            )

        with self._told:
            assert self._told.wait_for(done, PATIENCE_S), f"{model} does not answer: {self.turns}"

    @property
    def turns(self) -> list[list[str]]:
        """Who answered each client, in order, without repetitions."""
        return [[model for model, _ in groupby(list(own))] for own in self.answers]

    def _ask(self, own: list[str]) -> None:
        with httpx.Client(base_url=self._url, timeout=PATIENCE_S) as client:
            while not self._over.is_set():
                try:
                    answer = client.post(self._path, json=self._body)
                    told = answer.json()["model"] if answer.status_code == 200 else answer.text
                except (httpx.TransportError, ValueError, KeyError) as error:
                    told = repr(error)
                with self._told:
                    own.append(told)
                    self._told.notify_all()
