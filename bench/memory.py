"""How much memory this process has had at most. Standard library only: workers use it."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def peak_rss_bytes(status: Path = Path("/proc/self/status")) -> int | None:
    """The peak resident set of this process in bytes; None where it cannot be known.

    Linux: ``VmHWM``, for ``ru_maxrss`` survives exec there and can be the parent's. macOS: ``ru_maxrss``, in bytes.
    """
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
