"""Markdown that fits: long tables folded into ``<details>``, and cut, with the cut said where room ends."""

from __future__ import annotations

from collections.abc import Sequence

#: GitHub refuses a comment above 65,536 characters.
MAX_CHARACTERS = 60_000
#: A table up to so many rows stands open where it may.
MAX_OPEN = 20
CUT = "Here {:,} lines were cut: the page has all."


def folded(what: str, lines: Sequence[str], head: Sequence[str] = (), opened: bool = False) -> list[str]:
    """A table or list under ``what``, folded unless it is short and ``opened``; [] where there is nothing."""
    if not lines:
        return []
    if opened and len(lines) <= MAX_OPEN:
        return [*head, *lines, ""]
    return [f"<details><summary>{len(lines):,} {what}</summary>", "", *head, *lines, "", "</details>", ""]


def fitted(head: Sequence[str], parts: Sequence[Sequence[str]], tail: Sequence[str], limit: int) -> str:
    """Head, parts and tail as one text of at most ``limit`` characters.

    Of a part that does not fit, lines before its end (that of the fold) are left out, and their number is said.
    """
    kept = fitted_parts(parts, limit - _size(head) - _size(tail) - len(parts) * len(CUT))
    text = "\n".join([*head, *(line for part in kept for line in part), *tail]) + "\n"
    return text if len(text) <= limit else text[: limit - 2] + "…\n"


def fitted_parts(parts: Sequence[Sequence[str]], room: int) -> list[list[str]]:
    """As many lines of each part as there is room for.

    What a later part does not need goes to those before it; none takes the equal share of one that needs it.
    """
    found: list[list[str]] = []
    for number, part in enumerate(parts):
        later = list(map(_size, parts[number + 1 :]))
        share = room // (len(later) + 1)
        found.append(_shortened(part, room - sum(min(size, share) for size in later)))
        room = max(0, room - _size(found[-1]))
    return found


def _size(lines: Sequence[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _shortened(part: Sequence[str], room: int) -> list[str]:
    if _size(part) <= room:
        return list(part)
    end = ["", "</details>", ""] if "</details>" in part else [""]
    body = list(part[: len(part) - len(end)])
    room -= _size(end) + len(CUT) + 12
    kept: list[str] = []
    for line in body:
        if len(line) + 1 > room:
            break
        kept.append(line)
        room -= len(line) + 1
    if len(kept) < 3 and "</details>" in part:
        kept, end = [], [""]
    return [*kept, "", CUT.format(len(body) - len(kept)), *end]
