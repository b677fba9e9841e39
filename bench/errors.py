"""Every error that twinbench raises on purpose, drawn as a tree.

    TwinbenchError                  a message for a person, no traceback; the exit code of the command
    ├── UsageError                  (exit 2) a word, file or option that cannot be used; names the nearest valid choice
    │   └── TensorError             (exit 2) tensors of a weights or inputs file that do not fit; names each of them
    ├── Interrupted                 (exit 130) Ctrl-C; the message says how to go on
    └── Unsupported                 a cell that cannot exist here; becomes the outcome ``unsupported(reason)``
        └── Unavailable             a device or environment that cannot be opened here, with METAL.md's reason word

A worker that crashes, hangs or runs out of memory raises nothing in the parent: it becomes an outcome of its record.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TwinbenchError(Exception):
    """Base of all: the message is meant for the person at the terminal."""

    exit_code = 1


class UsageError(TwinbenchError):
    """A word, option or file that cannot be used."""

    exit_code = 2


class TensorError(UsageError):
    """Tensors of a given file that are missing, surplus or misshaped."""


class Interrupted(TwinbenchError):
    """The person pressed Ctrl-C; every finished block is on disk."""

    exit_code = 130


class Unsupported(TwinbenchError):
    """The cell cannot exist: the framework has no such mode, precision or phase."""


class Unavailable(Unsupported):
    """A device or environment that cannot be opened; ``reason`` is one word of a closed list."""

    REASONS = (
        "not_installed",
        "not_darwin",
        "translated",
        "os_too_old",
        "not_built",
        "no_device",
        "virtualized",
        "out_of_memory",
        "version_pair",
        "wrong_result",
    )

    def __init__(self, reason: str, message: str) -> None:
        if reason not in self.REASONS:
            raise ValueError(f"unknown reason {reason!r}; one of {', '.join(self.REASONS)}")
        super().__init__(f"{reason}: {message}")
        self.reason = reason


def unknown(kind: str, value: str, choices: Iterable[str]) -> UsageError:
    """The error for a word that is not one of ``choices``: names the value and the nearest valid choice."""
    options = list(choices)
    near = difflib.get_close_matches(value, options, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown {kind} {value!r}; {hint}valid: {', '.join(options) or 'none'}")
