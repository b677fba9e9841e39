"""Drive the command line from a test: in this process with the scripted framework, or as a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bench import cli, session, setup, store
from bench.environments import Environment
from bench.process import LocalWorker, Worker
from bench.record import Record

#: What happened on the command line: exit code, standard output, standard error.
Ran = tuple[int, str, str]
Cli = Callable[..., Ran]


def local_spawner(pythons: Mapping[str, str], checkouts: Mapping[str, str] | None = None) -> Callable[..., Worker]:
    """In place of ``bench.run.spawner``: no processes."""

    def spawn(environment: Environment, device: str, variables: Mapping[str, str]) -> Worker:
        return LocalWorker()

    return spawn


def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are sessions of this process from here on."""
    monkeypatch.setattr(setup, "spawner", local_spawner)


def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """A function that runs ``twinbench ARGUMENTS`` in this process; it takes no second to see what is swapped."""
    monkeypatch.setattr(session, "READING_S", 0.0)

    def run(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["twinbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return run


def records_of(folder: Path) -> list[Record]:
    """All records of a run; a line that cannot be read fails the test."""
    problems: list[str] = []
    records = list(store.read(folder, problems))
    assert problems == []
    return records


def only_run(results: Path) -> Path:
    """The one run folder in ``results``."""
    (folder,) = store.runs(results)
    return folder
