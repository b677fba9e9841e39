"""Our twins against other libraries' models: parity, then duets; writes docs/peers.md and docs/peers.json.

    python -m benchmarks.peers --python torch=PATH --python peer-yolov5=PATH ... [--blocks 5] [--only yolov5]
    python -m benchmarks.peers --device cuda --python torch=PATH --python peer-transformers-torch=PATH ...

``python3 noxfile.py -s peers`` makes the environments and does this. On cuda the lines are others, and the files are
docs/peers-cuda.md and docs/peers-cuda.json; parity scripts run on the CPU there too. A line that fails costs no other,
and the files are written after each, so that an interrupted table can be gone on with by --only. Exit code: 1 if a
parity script failed or ours came out slower, 3 if a line has no comparison.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench import __version__, environments, machine, store
from bench.errors import TwinbenchError
from bench.member import Context
from bench.plan import Profile, Selection
from bench.run import interpreters
from bench.setup import ROOT, Setup, context, default_threads, this_command
from benchmarks.peers import table
from benchmarks.peers.duel import PROFILES, Row, duel
from benchmarks.peers.lines import CUDA_LINES, LINES, PARITY, Line

PARITY_TIMEOUT_S = 3600.0
#: What the peers are; the frameworks' own versions are in the records.
PACKAGES = ("yolov5", "openai-whisper", "transformers", "flax", "tf-keras", "ultralytics", "timm")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, ask every peer for parity, fight, write."""
    asked = _arguments(arguments)
    table_lines = CUDA_LINES if asked.device == "cuda" else LINES
    lines = [line for line in table_lines if any(word in line.name for word in asked.only) or not asked.only]
    if not lines:
        valid = ", ".join(line.name for line in table_lines)
        print(f"no line's name has any of {', '.join(asked.only)}; valid on {asked.device}: {valid}")
        return 2
    names = dict.fromkeys(name for line in lines for name in (line.peer, line.framework))
    pythons = interpreters(
        asked.python, [name for name in names if any(p.startswith(f"{name}=") for p in asked.python)]
    )
    document = table.load(asked.json, asked.device)
    facts = machine.facts()
    parity: list[table.Parity] = []
    rows: list[Row] = []
    if not asked.no_parity:
        for name in (name for name in names if name in PARITY and name in pythons):
            parity.append(check_parity(name, pythons[name]))
            table.write(table.merged(document, facts, parity, rows), asked.json, asked.page)
    folder = store.new_run(asked.results, _run_facts(pythons))
    with store.appending(folder) as appender:
        for threads in asked.threads:
            contexts = [
                _context(pythons, threads, profile, folder.name, asked.device) for profile in PROFILES[asked.device]
            ]
            for line in lines:
                row = fight(line, pythons, asked.blocks, contexts, appender)
                rows.append(row)
                table.write(table.merged(document, facts, parity, rows), asked.json, asked.page)
                print(f"{line.name}, {threads} threads: {row.verdict} {row.ratio or ''} {row.detail}", flush=True)
    print(f"records: {folder}\ntable:   {asked.page}")
    return exit_code(parity, rows)


def exit_code(parity: Sequence[table.Parity], rows: Sequence[Row]) -> int:
    """See the module."""
    if not all(one.passed for one in parity) or any(row.verdict == "slower" for row in rows):
        return 1
    return 3 if any(row.ratio is None for row in rows) else 0


def fight(
    line: Line, pythons: Mapping[str, str], blocks: int, contexts: Sequence[Context], appender: store.Appender
) -> Row:
    """The row of ``line``, whatever becomes of it."""
    screening, dueling = contexts
    missing = [name for name in (line.peer, line.framework) if name not in pythons]
    try:
        if missing:
            raise TwinbenchError(f"no interpreter for {', '.join(missing)}")
        row = duel(line, blocks, screening, dueling, appender)
    except TwinbenchError as error:
        return Row(line.name, dueling.threads, _today(), "no comparison", str(error), 0, line.peer, line.framework)
    versions = (*row.versions, *_installed(line.peer, pythons[line.peer]))
    return replace(row, versions=tuple(sorted(versions)))


def check_parity(name: str, python: str) -> table.Parity:
    """Run the environment's parity script in its interpreter."""
    variables = environments.child_environment(os.environ, environments.get(name), "cpu", 2)
    print(f"parity of {name} ...", flush=True)
    command = [python, "-s", "-m", *PARITY[name].split()]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PARITY_TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return table.Parity(name, _today(), False, str(error))
    print(done.stdout, flush=True)
    text = done.stdout if done.returncode == 0 else f"{done.stdout}\n{done.stderr[-2000:]}"
    return table.Parity(name, _today(), done.returncode == 0, text)


def _installed(name: str, python: str) -> tuple[tuple[str, str], ...]:
    """Versions of the peer's own packages."""
    script = (
        "import importlib.metadata as m, sys\n"
        "for n in sys.argv[1:]:\n"
        "    try: print(n, m.version(n))\n"
        "    except m.PackageNotFoundError: pass"
    )
    done = subprocess.run([python, "-I", "-c", script, *PACKAGES], capture_output=True, text=True)
    pairs = (line.split() for line in done.stdout.splitlines())
    return tuple((f"{name}:{package}", version) for package, version in pairs)


def _context(pythons: Mapping[str, str], threads: int, profile: Profile, run: str, device: str) -> Context:
    return context(Setup(Selection(devices=(device,)), profile, 0, threads, pythons), run)


def _run_facts(pythons: Mapping[str, str]) -> dict[str, object]:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    setup = {"pythons": dict(pythons)}
    return {"twinbench": __version__, "created_at": created, "command": this_command(), "kind": "peers", "setup": setup}


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="interpreter, repeated")
    parser.add_argument("--device", choices=list(PROFILES), default="cpu", help="where both sides run")
    parser.add_argument("--blocks", type=int, default=5, help="duets a line; verdicts look at 8, 16, 32, else the end")
    parser.add_argument("--threads", type=int, nargs="+", help="1 2; on cuda the host's, by default all cores")
    parser.add_argument("--only", nargs="+", default=[], help="lines whose name has one of these words")
    parser.add_argument("--no-parity", action="store_true", help="do not run the parity scripts first")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--json", type=Path, help="docs/peers.json; on cuda docs/peers-cuda.json")
    parser.add_argument("--page", type=Path, help="docs/peers.md; on cuda docs/peers-cuda.md")
    asked = parser.parse_args(arguments)
    on_cuda = asked.device == "cuda"
    asked.threads = asked.threads or ([default_threads()] if on_cuda else [1, 2])
    stem = ROOT / "docs" / ("peers-cuda" if on_cuda else "peers")
    asked.json, asked.page = asked.json or stem.with_suffix(".json"), asked.page or stem.with_suffix(".md")
    if asked.blocks < 1 or min(asked.threads) < 1:
        parser.error("--blocks and --threads are at least 1")
    return asked


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TwinbenchError as error:
        sys.exit(f"benchmarks.peers: {error}")
    except KeyboardInterrupt:
        sys.exit("benchmarks.peers: interrupted; finished lines are in the table, go on with --only")
