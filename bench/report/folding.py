"""Markdown that fits: long tables folded into ``<details>``, and cut, with the cut said where room ends."""

from __future__ import annotations

from collections.abc import Sequence

#: GitHub refuses a comment above 65,536 characters.
MAX_CHARACTERS = 60_000
#: A table up to so many rows stands open where it may.
MAX_OPEN = 20


def folded(what: str, lines: Sequence[str], head: Sequence[str] = (), opened: bool = False) -> list[str]:
    """A table or list under ``what``, folded unless it is short and ``opened``; [] where there is nothing."""
    if not lines:
        return []
    if opened and len(lines) <= MAX_OPEN:
        return [*head, *lines, ""]
    return [f"<details><summary>{len(lines):,} {what}</summary>", "", *head, *lines, "", "</details>", ""]


def fitted(head: Sequence[str], parts: Sequence[Sequence[str]], tail: Sequence[str], limit: int) -> str:
    """Head, parts and tail as one text of at most ``limit`` characters.

    Parts are taken in their order, so what matters comes first. Of one that does not fit, lines before its last three
    (the end of the fold) are left out, and their number is said.
    """
    room = limit - _size(head) - _size(tail) - 1
    kept: list[str] = []
    for part in parts:
        lines = _shortened(part, room)
        kept += lines
        room -= _size(lines)
    text = "\n".join([*head, *kept, *tail]) + "\n"
    return text if len(text) <= limit else text[: limit - 2] + "…\n"


def _size(lines: Sequence[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _shortened(part: Sequence[str], room: int) -> list[str]:
    if _size(part) <= room:
        return list(part)
    end = ["", "</details>", ""] if "</details>" in part else [""]
    body = list(part[: len(part) - len(end)])
    note = "Here {:,} lines were cut: the page has all."
    room -= _size(end) + len(note) + 12
    kept: list[str] = []
    for line in body:
        if len(line) + 1 > room:
            break
        kept.append(line)
        room -= len(line) + 1
    if len(kept) < 3 and "</details>" in part:
        kept, end = [], [""]
    return [*kept, "", note.format(len(body) - len(kept)), *end]
