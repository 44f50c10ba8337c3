"""A proxy before PostgreSQL's socket that loses a request or an answer at a chosen moment."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict


class Wire:
    """A proxy before a server's socket that can be cut at a chosen moment.

    Once a client has sent `marker`, the wire either drops it and all behind it (`lose="request"`),
    or passes it on and, when `happened()` says that the server has acted, drops the answer.
    """

    def __init__(self, url: str, folder: Path) -> None:
        parts = conninfo_to_dict(url)
        self._target = f"{parts['host']}/.s.PGSQL.{parts['port']}"
        self.url = f"postgresql://don@/{parts['dbname']}?host={folder}&port={parts['port']}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{folder}/.s.PGSQL.{parts['port']}")
        self._listener.listen()
        self._marker = b""
        self._lose = ""
        self._happened: Callable[[], bool] = lambda: True
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, marker: bytes, lose: str, happened: Callable[[], bool] = lambda: True) -> None:
        """Cut once, at the next marker."""
        self._lose, self._happened, self._marker = lose, happened, marker

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for one
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                seen = threading.Event()
                for work in (self._to_server, self._to_client):
                    threading.Thread(target=work, args=(client, server, seen), daemon=True).start()

    def _to_server(
        self, client: socket.socket, server: socket.socket, seen: threading.Event
    ) -> None:
        recent = b""
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                recent = recent[-1000:] + data if self._marker else b""  # only what follows arm()
                if self._marker and self._marker in recent:
                    self._marker = b""
                    seen.set()
                    if self._lose == "request":
                        self._cut(client, server)
                        return
                server.sendall(data)
        self._hang_up(client, server)

    def _to_client(
        self, client: socket.socket, server: socket.socket, seen: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if seen.is_set():
                    end = time.monotonic() + 30
                    while not self._happened() and time.monotonic() < end:
                        time.sleep(0.001)
                    self._cut(client, server)
                    return
                client.sendall(data)
        self._hang_up(client, server)

    def _cut(self, client: socket.socket, server: socket.socket) -> None:
        self.cuts += 1
        self._hang_up(client, server)

    @staticmethod
    def _hang_up(*ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
