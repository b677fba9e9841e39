"""Where operators really ran: what an audit finds, and the readers of the frameworks' own words. Standard library only.

A pass of its own, in a process that is never timed: listening to every operator, or letting it fall back, costs time.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fallback:
    """An operator of one iteration that did not run on the cell's device.

    ``calls`` is None where the framework does not count; ``evidence`` is its own words, or what was seen.
    """

    operator: str
    where: str
    calls: int | None
    evidence: str


@dataclass(frozen=True)
class Audit:
    """What was found of one iteration on ``device``.

    ``method`` says how it was looked for; ``operators`` is how many calls of operators were seen in all, None where
    they cannot be counted. ``strict_error`` is what the framework says when it may not place anything elsewhere.
    """

    method: str
    operators: int | None
    fallbacks: list[Fallback] = field(default_factory=list)
    strict_error: str | None = None
    note: str = ""


#: What an audit says of the CPU: its operators are counted, and nothing is found.
ON_CPU = "on the CPU: nothing to fall back from"

#: aten/src/ATen/mps/MPSFallback.mm, mps_fallback. Also raised, whatever PYTORCH_ENABLE_MPS_FALLBACK says, for the few
#: operators that the same file registers with that function by name (linalg_svd, col2im, embedding_renorm_, ...).
MPS_FALLBACK = re.compile(
    r"The operator '(?P<operator>[\w:.]+)' is not currently supported on the MPS backend and will fall back to run on "
    r"the CPU"
)


def torch_fallbacks(texts: Iterable[str]) -> list[Fallback]:
    """The operators that torch warned about, each once with the number of its warnings (all of them with warn-always).

    ``texts`` are warnings or whole logs.
    """
    found: Counter[str] = Counter()
    evidence: dict[str, str] = {}
    for text in texts:
        for match in MPS_FALLBACK.finditer(text):
            found[match["operator"]] += 1
            evidence.setdefault(match["operator"], match.group())
    return [Fallback(operator, "cpu", calls, evidence[operator]) for operator, calls in found.items()]


#: tensorflow/core/common_runtime/placer.cc, LogDeviceAssignment, and .../eager/execute.cc: the two lines of
#: tf.debugging.set_log_device_placement. The placer also prints its line a second time, without the file's name.
TF_PLACED = re.compile(r"placer\.cc:\d+\] (?P<node>\S+): \((?P<operator>\w+)\): (?P<device>/job:\S+)")
TF_EXECUTED = re.compile(r"execute\.cc:\d+\] Executing op (?P<operator>\w+) in device (?P<device>/job:\S+)")
#: Nodes that compute nothing: the ends of a graph, its constants, and calls of a traced function as a whole.
TF_PLUMBING = re.compile(r"_Arg|_Retval|NoOp|Const|_EagerConst|Placeholder|__(inference|forward|backward)_\w+")


def tensorflow_placements(log: str) -> Counter[tuple[str, str]]:
    """(operator, ``CPU`` or ``GPU``) -> how often TensorFlow's device log names it, plumbing left out."""
    found: Counter[tuple[str, str]] = Counter()
    for pattern in (TF_PLACED, TF_EXECUTED):
        for match in pattern.finditer(log):
            if not TF_PLUMBING.fullmatch(match["operator"]):
                kind = match["device"].rpartition("device:")[2].partition(":")[0]
                found[match["operator"], kind] += 1
    return found


def tensorflow_fallbacks(log: str, device_type: str) -> list[Fallback]:
    """The operators that the log puts elsewhere than on ``device_type`` (``CPU``, ``GPU``)."""
    return [
        Fallback(operator, kind.lower(), calls, f"TensorFlow's device log puts {operator} on {kind}")
        for (operator, kind), calls in tensorflow_placements(log).items()
        if kind != device_type
    ]


@contextmanager
def listening() -> Iterator[list[str]]:
    """All warnings, and what reaches the two streams below Python: the list is filled when the block is left.

    C++ code warns through Python where a thread of Python's called it and on standard error elsewhere.
    """
    heard: list[str] = []
    with tempfile.TemporaryFile() as file, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = [(number, os.dup(number)) for number in (1, 2)]
        try:
            for number, _ in kept:
                os.dup2(file.fileno(), number)
            yield heard
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in kept:
                os.dup2(copy, number)
                os.close(copy)
            heard.extend(str(warning.message) for warning in caught)
            file.seek(0)
            log = file.read()
            os.write(2, log)  # the worker's log, should it die of what comes next
            heard.append(log.decode(errors="replace"))
