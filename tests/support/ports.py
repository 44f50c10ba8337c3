"""Ports for servers that must come back at the same address."""

import random
import socket
from pathlib import Path

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port that nothing listens at and that the kernel gives to no connection meanwhile.

    Those it gives out by itself (`bind` to 0) are taken again at any time, as the near end of
    somebody's connection.
    """
    first = int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else 49_152
    for _ in range(100):
        port = random.SystemRandom().randrange(20_000, max(first, 20_100))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")
