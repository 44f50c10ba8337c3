"""TLS trust for loopback exchanges: the certificate may change whenever the exchange restarts."""

import ssl
from pathlib import Path


class Trust:
    """SSL contexts that trust one PEM file, or the system's authorities if there is none.

    The file is looked at for each connection, because an exchange with a self-signed certificate
    makes a new one when it starts.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._stamp: tuple[int, int, int] | None = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """A context for a connection made now.

        Raises:
            OSError: if the file is not there, or holds no certificate (`ssl.SSLError`).
        """
        if self._ca_file is None:
            if self._context is None:
                self._context = ssl.create_default_context()
            return self._context
        status = self._ca_file.stat()
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if self._context is None or stamp != self._stamp:
            self._context = ssl.create_default_context(cafile=str(self._ca_file))
            self._stamp = stamp
        return self._context
