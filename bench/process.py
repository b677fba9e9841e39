"""One worker process, seen from the parent: start it, ask it for a stage, end it. The parent sleeps while it works."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any, Protocol

from bench import worker

LAUNCH = Path(__file__).with_name("launch.py")
#: How much of a worker's output is kept with a failure.
LOG_TAIL_BYTES = 4000
#: Between asking a worker to end and killing it.
GRACE_S = 2.0

Reply = dict[str, Any]


class WorkerTimeout(Exception):
    """A stage did not answer in time; the worker has been ended."""


class WorkerDied(Exception):
    """The process ended without an answer; ``type`` names the signal or exit status, as far as can be known."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Worker(Protocol):
    """The seam: a real process, or the same session in this one."""

    def ahead(self, stage: str, **arguments: Any) -> None:
        """Let it begin with a stage already; the next call must be for that stage, and only waits. Never raises."""

    def call(self, stage: str, timeout_s: float, **arguments: Any) -> Reply:
        """Ask for a stage; returns ``{"ok": ...}`` or ``{"outcome": ...}``.

        Raises:
            WorkerTimeout: no answer within ``timeout_s``.
            WorkerDied: the process ended.
        """

    def log_tail(self) -> str:
        """The end of what the worker printed."""

    def close(self) -> None:
        """End the worker, whatever state it is in. Never raises; may be called twice."""


class ProcessWorker:
    """A fresh process of an environment's own interpreter."""

    def __init__(self, python: str, environment: Mapping[str, str], launch: Path = LAUNCH) -> None:
        self._log = tempfile.TemporaryFile(prefix="twinbench-worker-")  # noqa: SIM115 - lives as long as the worker
        self._tail = ""
        self._ahead: str | None = None
        self._channel, theirs = Pipe()
        lifeline_read, self._lifeline = os.pipe()
        try:
            self._process = subprocess.Popen(
                [python, "-s", "-P", str(launch), str(theirs.fileno()), str(lifeline_read)],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), lifeline_read),
                # A group of its own: compilers that a framework starts end with it; Ctrl-C reaches the parent alone.
                start_new_session=True,
            )
        except BaseException:
            self._channel.close()
            os.close(self._lifeline)
            self._log.close()
            raise
        finally:
            theirs.close()
            os.close(lifeline_read)

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def ahead(self, stage: str, **arguments: Any) -> None:
        """See Worker.ahead; that the worker has died is found by the call."""
        self._ahead = stage
        with contextlib.suppress(ConnectionError):
            self._send(stage, arguments)

    def _send(self, stage: str, arguments: Mapping[str, Any]) -> None:
        self._channel.send_bytes(json.dumps({"stage": stage, **arguments}).encode())

    def call(self, stage: str, timeout_s: float, **arguments: Any) -> Reply:
        """See Worker.call."""
        sent, self._ahead = self._ahead, None
        assert sent in (None, stage), f"{sent} was begun, {stage} is asked for"
        try:
            if sent is None:
                self._send(stage, arguments)
            if not self._channel.poll(timeout_s):
                self.close()
                raise WorkerTimeout(f"{stage} did not answer within {timeout_s:g} s")
            reply: Reply = json.loads(self._channel.recv_bytes())
        except (EOFError, ConnectionError):
            raise self._death(stage) from None
        return reply

    def log_tail(self) -> str:
        """See Worker.log_tail."""
        if self._log.closed:
            return self._tail
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - LOG_TAIL_BYTES))
        return self._log.read().decode(errors="replace")

    def close(self) -> None:
        """Close the channel (a healthy worker ends by itself), terminate the group, then kill it."""
        if self._log.closed:
            return
        self._channel.close()
        if not self._ended(GRACE_S / 4):
            self._signal(signal.SIGTERM)
            if not self._ended(GRACE_S):
                self._signal(signal.SIGKILL)
                self._process.wait()
        self._signal(signal.SIGKILL)  # what is left of the group: compilers, helpers
        os.close(self._lifeline)
        self._tail = self.log_tail()
        self._log.close()

    def _ended(self, timeout_s: float) -> bool:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            # Ended meanwhile. macOS says "not permitted" for a group of which only a zombie is left.
            return

    def _death(self, stage: str) -> WorkerDied:
        self._ended(GRACE_S)
        status = self._process.poll()
        self.close()
        if status is not None and status < 0:
            name = signal.Signals(-status).name
            killed = " (the kernel's out-of-memory killer sends this)" if name == "SIGKILL" else ""
            return WorkerDied(name, f"the worker was ended by {name} in {stage}{killed}")
        return WorkerDied("ExitStatus", f"the worker exited with status {status} in {stage}")


class LocalWorker:
    """The same session within this process: for the scripted framework, where a process would only cost time."""

    def __init__(self) -> None:
        self._session = worker.Session()

    def call(self, stage: str, timeout_s: float, **arguments: Any) -> Reply:
        """See Worker.call; the round trip through JSON is kept, so that nothing passes here that could not there."""
        message = json.loads(json.dumps({"stage": stage, **arguments}))
        reply: Reply = json.loads(json.dumps(worker.answer(self._session, message)))
        return reply

    def ahead(self, stage: str, **arguments: Any) -> None:
        """Nothing runs beside this process."""

    def log_tail(self) -> str:
        """Nothing is captured."""
        return ""

    def close(self) -> None:
        """Nothing to end."""
