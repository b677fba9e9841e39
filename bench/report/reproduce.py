"""The options of ``twinbench run`` that a run was made with, beside those that name the cell. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.plan import PROFILES
from bench.sentinel import POLICIES

DEFAULT_PROFILE = "quick"


def options(setup: Any, environment: str) -> tuple[str, ...]:
    """What in a run's setup (the ``setup`` of its run.json) differs from the defaults, as words of the command line.

    The number of threads is always among them: its default is another on another machine. So is the interpreter of
    ``environment``, as it was recorded. What is missing, or of another type than twinbench writes, gives no word.
    """
    known = setup if isinstance(setup, Mapping) else {}
    pythons = known.get("pythons")
    python = pythons.get(environment) if isinstance(pythons, Mapping) else None
    words = ["--python", f"{environment}={python}"] if isinstance(python, str) else []
    words += _profile(known.get("profile"))
    if _number(seed := known.get("seed")) and seed:
        words += ["--seed", str(seed)]
    for name, option in (("threads", "--threads"), ("timeout_s", "--timeout")):
        if _number(value := known.get(name)):
            words += [option, str(value)]
    for name in ("weights", "inputs"):
        if isinstance(path := known.get(name), str):
            words += [f"--{name}", path]
    words += ["--energy"] if known.get("energy") is True else []
    if isinstance(drift := known.get("drift"), str) and drift != POLICIES[0]:
        words += ["--drift", drift]
    return tuple(words)


def _profile(found: Any) -> list[str]:
    """The profile's name, and the counts that are not its own."""
    if not isinstance(found, Mapping) or not isinstance(name := found.get("name"), str):
        return []
    words = [] if name == DEFAULT_PROFILE else ["--profile", name]
    for count in ("processes", "bursts"):
        if _number(value := found.get(count)) and value != getattr(PROFILES.get(name), count, None):
            words += [f"--{count}", str(value)]
    return words


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
