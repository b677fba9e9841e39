"""Run one command while nothing else of twinbench measures on this machine, and keep a Mac awake meanwhile.

    python3 -m bench.alone --wait-minutes 120 -- python3 noxfile.py -s nightly -- --strict

For CI runners and launchd: their jobs know nothing of each other, and two that share a GPU measure each other. The lock
ends with the command, however it ends. Needs the standard library only. Exit code: the command's; 128 + n after signal
n; 75 where another job kept the machine for longer than one would wait; 127 where the command cannot be started.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

#: sysexits.h: EX_TEMPFAIL, try again later; and what a shell says of a command that it cannot find.
BUSY = 75
NO_SUCH_COMMAND = 127
CAFFEINATE = "/usr/bin/caffeinate"
LOCK = Path.home() / ".cache" / "twinbench" / "machine.lock"
#: How often a job that waits looks again.
POLL_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.alone", description="Run a command alone on this machine.")
    parser.add_argument("--wait-minutes", type=float, default=0.0, help="how long to wait for another; default: 0")
    parser.add_argument("--lock", type=Path, default=LOCK, help=f"default: {LOCK}")
    parser.add_argument("command", nargs="+", help="after --")
    asked = parser.parse_args(arguments)
    if not asked.wait_minutes >= 0:
        parser.error(f"--wait-minutes must be a number from 0, got {asked.wait_minutes}")
    try:
        asked.lock.parent.mkdir(parents=True, exist_ok=True)
        file = asked.lock.open("a+")
    except OSError as error:
        parser.error(f"cannot open the lock {asked.lock}: {error.strerror}")
    with file:
        if not acquire(file, asked.wait_minutes * 60):
            print(f"twinbench: not started, another job has this machine: {holder(file)}", file=sys.stderr)
            return BUSY
        file.truncate(0)
        file.write(f"process {os.getpid()}: {shlex.join(asked.command)}\n")
        file.flush()
        return run(asked.command, file)


def acquire(file: IO[str], wait_s: float) -> bool:
    """Take the lock, waiting up to ``wait_s``; False where somebody kept it."""
    end = time.monotonic() + wait_s
    told = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            left_s = end - time.monotonic()
            if left_s <= 0:
                return False
            if not told:
                print(f"twinbench: waiting for another job: {holder(file)}", file=sys.stderr, flush=True)
                told = True
            time.sleep(min(POLL_S, left_s))
        else:
            return True


def holder(file: IO[str]) -> str:
    """Who wrote itself into the lock."""
    file.seek(0)
    return file.read().strip() or "one that does not say who it is"


def run(command: Sequence[str], lock: IO[str]) -> int:
    """Run it to its end. It inherits the lock, so that killing this process does not free the machine."""
    try:
        child = subprocess.Popen(command, pass_fds=(lock.fileno(),))
    except OSError as error:
        print(f"twinbench: cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return NO_SUCH_COMMAND
    # A terminal sends Ctrl-C to the command as well, which ends in order; who stops a job sends SIGTERM to us alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: child.send_signal(number))
    if sys.platform == "darwin":
        # No idle sleep of system or disk, on mains no sleep at all; the display may sleep. It ends with the command.
        subprocess.Popen([CAFFEINATE, "-ims", "-w", str(child.pid)], stdin=subprocess.DEVNULL)
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
