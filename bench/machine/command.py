"""The one place where machine facts start a program; tests put a table of answers in its place."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

#: A command and its output; None when it is missing, fails or takes too long.
Runner = Callable[[Sequence[str]], str | None]

TIMEOUT_S = 10.0


def run(command: Sequence[str], timeout_s: float = TIMEOUT_S) -> str | None:
    """Standard output of a command, or None. Never raises, never asks (no stdin), never takes longer than its limit."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")
