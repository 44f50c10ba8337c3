"""Keys of the user-data stream: one per account, an hour long. Reads the clock.

Keys outlive the process: a client that reconnects after a restart of the exchange finds its own.
"""

import secrets
from collections.abc import Callable

from don.clock import NS_PER_MS, Clock
from don.errors import ExchangeRefused
from don.paper.server import codes
from don.paper.store import ListenKey, Store

LIFETIME_MS = 60 * 60 * 1_000


class ListenKeys:
    """The listen keys in force; `on_change` hears the keys by account after every change."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        on_change: Callable[[dict[str, list[str]]], None],
        lifetime_ms: int = LIFETIME_MS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_change = on_change
        self._lifetime_ms = lifetime_ms
        self._keys = {key.key: key for key in store.listen_keys()}
        self._changed()

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def create(self, account: str) -> str:
        """The account's key, made or extended."""
        return self._extend(self._of(account) or secrets.token_urlsafe(48), account)

    def extend(self, account: str) -> str:
        """Give the account's key another hour.

        Raises:
            ExchangeRefused: -1125 if it has none.
        """
        return self._extend(self._required(account), account)

    def close(self, account: str) -> None:
        """End the account's key.

        Raises:
            ExchangeRefused: -1125 if it has none.
        """
        self._drop(self._required(account))

    def expire(self) -> list[str]:
        """End the keys whose time is over; returns them."""
        now = self._now_ms()
        over = [key.key for key in self._keys.values() if key.expires_ms <= now]
        for key in over:
            self._drop(key)
        return over

    def _extend(self, key: str, account: str) -> str:
        kept = ListenKey(key=key, account=account, expires_ms=self._now_ms() + self._lifetime_ms)
        self._store.keep_listen_key(kept)
        self._keys[key] = kept
        self._changed()
        return key

    def _drop(self, key: str) -> None:
        self._store.drop_listen_key(key)
        del self._keys[key]
        self._changed()

    def _of(self, account: str) -> str | None:
        return next((k.key for k in self._keys.values() if k.account == account), None)

    def _required(self, account: str) -> str:
        key = self._of(account)
        if key is None:
            raise ExchangeRefused(codes.NO_SUCH_LISTEN_KEY, "This listenKey does not exist.")
        return key

    def _changed(self) -> None:
        by_account: dict[str, list[str]] = {}
        for key in self._keys.values():
            by_account.setdefault(key.account, []).append(key.key)
        self._on_change(by_account)

    def _now_ms(self) -> int:
        return self._clock.now_ns() // NS_PER_MS
