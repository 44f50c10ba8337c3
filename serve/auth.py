"""Who may command: reads are open to this machine, commands carry the token. Reads its file."""

import hashlib
import hmac
from pathlib import Path
from typing import Annotated

from fastapi import Depends, params
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from don.security.secrets import Secret, ensure_token
from serve.problems import ApiError

TOKEN_FILE = "token"


def command_token(home: Path) -> tuple[Secret, bool]:
    """The token for commands, made at first start; and whether it was made just now.

    The file is `<home>/token`, readable by its owner only. Whoever starts Don prints a new token
    once; later it is read from there.

    Raises:
        ConfigError: if the file cannot be written, or others can read it.
    """
    return ensure_token(home / TOKEN_FILE)


class Gate:
    """Lets a request pass that carries the token; keeps only the token's digest."""

    _scheme = HTTPBearer(
        auto_error=False, description="The token in the file `token` of Don's state folder."
    )

    def __init__(self, token: Secret) -> None:
        self._digest = _digest(token.reveal())

    def check(self, offered: HTTPAuthorizationCredentials | None) -> None:
        """Compare in constant time.

        Raises:
            ApiError: 401 if there is no token or another one.
        """
        if offered is None:
            raise ApiError(
                401, "unauthorized", "header.Authorization", "must be 'Bearer TOKEN', was absent"
            )
        if not hmac.compare_digest(_digest(offered.credentials), self._digest):
            raise ApiError(
                401,
                "unauthorized",
                "header.Authorization",
                "the token is not the one in the file 'token' of Don's state folder",
            )

    def dependency(self) -> params.Depends:
        """For a route's `dependencies`."""

        async def need_token(
            offered: Annotated[HTTPAuthorizationCredentials | None, Depends(self._scheme)],
        ) -> None:
            self.check(offered)

        return params.Depends(need_token)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
