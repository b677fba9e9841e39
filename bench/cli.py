"""The command line: its entry point and the list of commands, which are in ``bench/commands``.

Exit codes: 0 all is well; 1 a comparison or a night came out slower, a bisection named a release, or a page is not what
its records give; 2 a word, option or file that cannot be used; 3 nothing was measured; 4 some cells are wrong, failed,
timed out or implausible; 5 the figures of a page are right, but its text could not be compared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer
from rich.console import Console

from bench import __version__
from bench.commands import measuring, pages, verdicts
from bench.commands.common import console
from bench.errors import TwinbenchError, UsageError

app = typer.Typer(
    name="twinbench",
    help="The same model with the same weights in four frameworks: which is faster, and is it still right?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
#: In the order of the help.
COMMANDS: Mapping[str, Callable[..., None]] = {
    "list": measuring.list_,
    "doctor": measuring.doctor,
    "run": measuring.run,
    "verify": measuring.verify,
    "coverage": measuring.coverage,
    "compare": verdicts.compare,
    "selftest": verdicts.selftest,
    "report": pages.report,
    "nightly": verdicts.nightly,
    "bisect": verdicts.bisect,
    "history": verdicts.history,
    "export": pages.export,
    "import": pages.import_,
    "profile": measuring.profile,
    "import-weights": measuring.import_weights,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """Entry point of the console script: an error of ours is a message and an exit code, never a traceback."""
    try:
        app()
    except TwinbenchError as error:
        _complain(error)
        sys.exit(error.exit_code)
    except OSError as error:  # a folder that cannot be written, a full disk: ours to say, not to trace
        _complain(error)
        sys.exit(UsageError.exit_code)


def _complain(error: Exception) -> None:
    Console(stderr=True).print(f"twinbench: {error}", style="red", highlight=False, markup=False, soft_wrap=True)


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        console.print(__version__, highlight=False)
        raise typer.Exit
