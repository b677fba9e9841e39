"""A comparison of two runs as a comment on a pull request: what changed, what differs around it, the rest folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.report.compare_page import Compared, Row, values
from bench.report.folding import MAX_CHARACTERS, fitted, folded
from bench.report.markdown import code, plain

HEAD = ["| verdict on B | B / A | cell |", "|---|---:|---|"]
MAX_FACTS = 12


def render(found: Compared) -> str:
    """GitHub's Markdown, short enough for a comment; where rows are cut, that is said."""
    told = values(found)
    rows: Sequence[Row] = told["rows"]
    head = [f"### {plain(told['title'])}", "", f"**{plain(told['headline'])}**", ""]
    head += [plain(told["mean"]), ""] if told["mean"] else []
    if found.kind == "stored":
        head += [
            plain(told["around"].sentence),
            "",
            "Advisory: two stored runs; a verdict that counts needs a duet.",
            "",
        ]
    parts = [
        _table([row for row in rows if row.word in ("slower", "faster")], "changed", opened=True),
        _facts(told) if found.kind == "stored" else [],
        _inconclusive([row for row in rows if row.word == "inconclusive"], told["limit"]),
        _table([row for row in rows if row.word == "same"], "the same", opened=False),
        folded("not compared", [f"- {plain(cell)}: {code(why)}" for cell, why in told["left_out"]]),
    ]
    tail = [f"Made by {code(told['command'])}, twinbench {plain(told['version'])}."]
    return fitted(head, parts, tail, MAX_CHARACTERS)


def _table(rows: Sequence[Row], what: str, opened: bool) -> list[str]:
    lines = [f"| **{row.word}** | {row.ratio} | {plain(_name(row))} |" for row in rows]
    return folded(what, lines, HEAD, opened=opened)


def _inconclusive(rows: Sequence[Row], limit: str) -> list[str]:
    lines = [f"| {row.ratio} | {plain(_name(row))} | {plain(row.needs or row.why)} |" for row in rows]
    head = [plain(limit), ""] if limit else []
    return folded("inconclusive", lines, [*head, "| B / A | cell | what it would take |", "|---:|---|---|"])


def _facts(told: dict[str, Any]) -> list[str]:
    differing = told["around"].differing
    lines = [f"| {plain(one.fact)} | {plain(one.a)} | {plain(one.b)} |" for one in differing]
    return folded("facts that differ", lines, ["| fact | A | B |", "|---|---|---|"], opened=len(lines) <= MAX_FACTS)


def _name(row: Row) -> str:
    return f"{row.cell} against {row.against}" if row.against else row.cell
