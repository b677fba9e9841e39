"""The command beside each cell measures it again as the run did: read by the command line's own parser."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from bench import cli, options, reporting, store
from bench.report import cells
from bench.setup import Setup
from tests.samples import CELL, MS
from tests.stored_runs import EVIL, several, write

RUN = "20261122-100000-aaaa"


def parsed(command: str) -> Setup:
    """The request that ``command`` makes."""
    words = shlex.split(command)
    assert words[:2] == ["twinbench", "run"]
    given: dict[str, Any] = get_command(cli.app).commands["run"].make_context("run", words[2:]).params  # type: ignore[attr-defined]
    axes = ("works", "phase", "variant", "environment", "device", "precision", "mode", "batch")
    selection = options.selection(*(given[name] for name in axes))
    rest = ("python", "profile", "processes", "bursts", "seed", "threads", "timeout", "weights", "inputs")
    made = options.setup(selection, *(given[name] for name in rest))
    return options.with_passes(made, given["energy"], given["drift"], given["sweep_limit"])


def commands(results: Path, facts: dict[str, Any]) -> list[str]:
    """The commands of the page on a run of one cell with these facts."""
    folder = write(results, RUN, several({CELL: 5.0 * MS}))
    (folder / store.RUN).write_text(json.dumps({"command": "twinbench run", **facts}))
    material = reporting.gather([folder], "", 0.03, "")
    return [one.command for one in cells.entries(material.summaries, material.meta.options)]


def asked(*words: str) -> Setup:
    """The request of a person who names one cell and adds ``words``."""
    return parsed(shlex.join(["twinbench", "run", "mlp:digits", "--environment", "torch", *words]))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--profile", "full"),
        ("--profile", "full", "--processes", "3", "--bursts", "10"),
        ("--profile", "full", "--processes", "2", "--bursts", "11", "--seed", "7", "--threads", "3", "--timeout",
         "2.5", "--weights", "a b's.safetensors", "--inputs", "x.npz", "--energy", "--drift", "discard"),
    ],
)  # fmt: skip
def test_the_command_gives_the_setup_of_its_run(tmp_path: Path, words: tuple[str, ...]) -> None:
    setup = asked("--python", f"torch={sys.executable}", *words)
    (command,) = commands(tmp_path, {"setup": json.loads(json.dumps(setup.facts()))})
    again = parsed(command)
    assert again.selection.workloads == (f"{CELL.workload}:{CELL.size}",)
    assert {**again.facts(), "selection": None} == {**setup.facts(), "selection": None}


def test_what_is_the_default_is_not_said(tmp_path: Path) -> None:
    setup = asked("--python", f"torch={sys.executable}", "--threads", "3")
    (command,) = commands(tmp_path, {"setup": setup.facts()})
    assert command.endswith(f"--batch 64 --python torch={sys.executable} --threads 3")


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"setup": [1]},
        {"setup": {"pythons": 7, "profile": "quick", "seed": "x", "threads": None, "weights": 3, "drift": []}},
    ],
)
def test_a_run_that_does_not_say_gives_the_cell_alone(tmp_path: Path, facts: dict[str, Any]) -> None:
    (command,) = commands(tmp_path, facts)
    assert command.endswith("--batch 64")


def test_text_in_a_setup_stays_one_word(tmp_path: Path) -> None:
    (command,) = commands(tmp_path, {"setup": {"weights": EVIL, "pythons": {"torch": "x; rm -r ~"}}})
    assert shlex.split(command)[-4:] == ["--python", "torch=x; rm -r ~", "--weights", EVIL]
