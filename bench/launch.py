"""The first file a worker runs, by path: makes ``bench`` and ``workloads`` importable, and nothing else.

The interpreter belongs to a framework's environment and runs without user site and script folder (``-s -P``; ``-I``
would also ignore PYTHONHASHSEED). Putting the parent's whole ``site-packages`` on its path would mix two environments,
so only our own packages are added (``benchmarks`` for other libraries' models), by a finder of their own.

usage: python -s -P launch.py CHANNEL_FD LIFELINE_FD
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OURS = ("bench", "workloads", "benchmarks")


class OurPackages:
    """A meta-path finder for the packages beside this file."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find ``OURS`` in ROOT; everything below them is found through their own paths."""
        return PathFinder.find_spec(name, [ROOT]) if name in OURS else None


def die_with_parent(lifeline: int) -> None:
    """End this process when the other end of ``lifeline`` closes: a killed parent leaves no worker behind.

    The thread sleeps in a read and costs nothing while measuring; it works on Linux and macOS alike.
    """

    def wait() -> None:
        os.read(lifeline, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="lifeline").start()


def main() -> None:
    """Hand the private channel to the worker."""
    channel, lifeline = int(sys.argv[1]), int(sys.argv[2])
    for descriptor in (channel, lifeline):
        os.set_inheritable(descriptor, False)
    die_with_parent(lifeline)
    sys.meta_path.insert(0, OurPackages)
    from bench.worker import serve

    serve(channel)


if __name__ == "__main__":
    main()
