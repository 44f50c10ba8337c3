"""When a command was asked for. Reads the clock."""

import os
import sys
import time
from pathlib import Path

from don.clock import NS_PER_S, SystemClock

_LONGEST_S = 3_600.0  # older than that no command is that has done nothing yet


def asked_ns() -> int:
    """When whoever asks pressed the key, ns since the epoch: what happened since he has not seen.

    That is when this process began, if it is a `don` command; programs that run several have asked
    now. Where the system does not tell, it is now too.
    """
    now = SystemClock().now_ns()
    if Path(sys.argv[0]).name != "don":
        return now
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, IndexError, ValueError):
        return now
    return now - int(age * NS_PER_S) if 0 <= age < _LONGEST_S else now
