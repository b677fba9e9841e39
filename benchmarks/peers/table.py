"""docs/peers.json and docs/peers.md: rows in, a page out; rows of earlier runs stay until their line is run again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.errors import UsageError
from bench.report.markdown import plain
from bench.report.numbers import error, significant
from benchmarks.peers.duel import Row
from benchmarks.peers.lines import CUDA_LINES, LINES


class Parity(msgspec.Struct, frozen=True):
    """What a parity script said: its table, and whether it found nothing wrong."""

    environment: str
    date: str
    passed: bool
    text: str


class Document(msgspec.Struct, frozen=True):
    """The whole of docs/peers.json or docs/peers-cuda.json."""

    machine: dict[str, Any]
    parity: list[Parity]
    rows: list[Row]
    device: str = "cpu"


def load(path: Path, device: str = "cpu") -> Document:
    """What is there from earlier runs on ``device``; nothing where there is no file.

    Raises:
        UsageError: the file holds another device's rows.
        msgspec.ValidationError: the file is of another version of this program: remove it.
    """
    if not path.is_file():
        return Document({}, [], [], device)
    found = msgspec.json.decode(path.read_bytes(), type=Document)
    if found.device != device:
        raise UsageError(f"{path} holds rows of {found.device}, not of {device}: give another --json and --page")
    return found


def merged(old: Document, machine: Mapping[str, Any], parity: Iterable[Parity], rows: Iterable[Row]) -> Document:
    """New rows and verdicts in place of old ones of the same line and threads (environment), in the table's order."""
    by_environment = {one.environment: one for one in (*old.parity, *parity)}
    by_line = {(row.line, row.threads): row for row in (*old.rows, *rows)}
    order = [line.name for line in (CUDA_LINES if old.device == "cuda" else LINES)]
    kept = sorted(
        (row for row in by_line.values() if row.line in order), key=lambda row: (order.index(row.line), row.threads)
    )
    return Document(dict(machine), list(by_environment.values()), kept, old.device)


def write(document: Document, json_path: Path, page: Path) -> None:
    """Both files, each whole or not at all."""
    text = json.dumps(msgspec.to_builtins(document), indent=1) + "\n"
    for path, content in ((json_path, text), (page, markdown(document, json_path.name))):
        part = path.with_name(path.name + ".part")
        part.write_text(content, encoding="utf-8")
        os.replace(part, path)


#: What differs between the pages: the command; where and how precise; what both sides are compared with.
CPU = ("python3 noxfile.py -s peers", "fp32, on\nthe CPU.", "float64 reference")
CUDA = (
    "python -m benchmarks.peers --device cuda",
    "on one\nGPU; fp32 where a line's name says no other precision.",
    "reference in float64, or of the CPU in fp32,",
)
#: Of the GPU's page alone.
TIMM = (
    "timm has no counterpart of YOLOv5 or Whisper. Of the perceptron it has the first two layers (`timm.layers.Mlp`);\n"
    "its third and the ReLU before it are torch's on both sides.\n"
)
HEAD = """# Our twins against what a user would run instead

Made by `{command}`; the numbers are in [{json}]({json}). Same weights, same input, {where}
Both sides are first compared with one {reference} (the errors below); then the fastest form of the other
library and the fastest of ours run as duets: two fresh processes at once, taking turns at bursts. The ratio is our
speed over theirs with its 95 % interval over the blocks: above 1 we are faster.
"""


def markdown(document: Document, json_name: str = "peers.json") -> str:
    """The page."""
    machine = document.machine
    chip, cores, system = (machine.get(name) for name in ("chip", "usable_cores", "system"))
    command, where, reference = CUDA if document.device == "cuda" else CPU
    head = HEAD.format(command=command, json=json_name, where=where, reference=reference)
    if document.device == "cuda":
        head += f"\n{TIMM}"
    gpu = f"{machine.get('gpu') or 'unknown GPU'}; " if document.device == "cuda" else ""
    lines = [head, f"Machine: {gpu}{chip}, {cores} cores usable, {system}.", ""]
    lines += ["| work | threads | theirs | ours | theirs, ms | ours, ms | ours / theirs | verdict on ours | blocks |"]
    lines += ["|---|---:|---|---|---:|---:|---:|---|---:|"]
    lines += [_row(row) for row in document.rows]
    lines += ["", "## Outputs", "", *_parity(document.parity), *_errors(document.rows, reference)]
    lines += ["## Forms that were tried", "", *_candidates(document.rows), "## Versions", "", *_versions(document.rows)]
    return "\n".join(lines).rstrip() + "\n"


def _row(row: Row) -> str:
    cells = (row.line, str(row.threads), row.peer, row.ours, _ms(row.peer_ms), _ms(row.ours_ms), _ratio(row))
    verdict = row.verdict if row.ratio is not None else f"{row.verdict}: {row.detail}"
    return "| " + " | ".join(plain(cell) for cell in (*cells, verdict, str(row.blocks))) + " |"


def _ms(value: float | None) -> str:
    return "–" if value is None else significant(value, 3)


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return "–"
    within = "" if row.low is None or row.high is None else f" ({row.low:.2f}–{row.high:.2f})"
    return f"{row.ratio:.2f}{within}"


def _parity(parity: Sequence[Parity]) -> list[str]:
    lines = ["Against the other library's own outputs (heads, features, logits, tokens, boxes, losses):", ""]
    for one in parity:
        word = "all within the limits" if one.passed else "NOT all within the limits"
        lines += [f"<details><summary>{one.environment}: {word} ({one.date})</summary>", ""]
        lines += ["```", one.text.strip().replace("```", "'''"), "```", "", "</details>", ""]
    return lines if parity else ["No parity script was run.", ""]


def _errors(rows: Sequence[Row], reference: str) -> list[str]:
    told = [row for row in rows if row.limit is not None]
    if not told:
        return []
    lines = [f"Largest error against the {reference.rstrip(',')}, as a share of the tensor's size:", ""]
    lines += ["| work | threads | theirs | ours | limit |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {row.line} | {row.threads} | {error(row.peer_error)} | {error(row.ours_error)} | {error(row.limit)} |"
        for row in told
    ]
    return [*lines, ""]


def _candidates(rows: Sequence[Row]) -> list[str]:
    """One process each, to choose from; no interval, so no claim."""
    lines = ["One short process each, to choose whom to send into the duets; ms an iteration.", ""]
    for row in rows:
        screened = [(form, ms, why) for form, ms, why in row.candidates if ms is not None or why]
        if screened:
            told = (f"{form} {_ms(ms) if ms is not None else why}" for form, ms, why in screened)
            lines.append(f"- {row.line}, {row.threads} threads: {plain('; '.join(told), 900)}")
    return [*lines, ""]


def _versions(rows: Sequence[Row]) -> list[str]:
    """Per line the date and what was installed; a line that was run again has other ones."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
    for row in rows:
        found.setdefault((row.date, row.versions), []).append(f"{row.line} ({row.threads})")
    return [
        f"- {date}: {', '.join(dict.fromkeys(f'{name} {version}' for name, version in versions))}; {', '.join(names)}"
        for (date, versions), names in found.items()
    ]
