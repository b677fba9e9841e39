"""A written page read back: its figures as data, and everything that a reader sees, with the place where it stands."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.report.names import ELEMENT, FORMAT

#: Attributes that say something, or hide it; the rest is how it looks.
TELLING = frozenset({"title", "alt", "aria-label", "href", "value", "content", "hidden", "inert"})
#: These tell outside drawings, where rules of style colour and hide by them; within, they are shapes.
TELLING_IN_TEXT = frozenset({"class", "open", "style"})
#: Elements whose text a browser does not show, or not at first.
HIDING = frozenset({"template", "noscript", "dialog"})
#: What a piece stands under, from the widest.
HEADINGS = ("h2", "h3", "summary")
#: Elements without an end.
VOID = frozenset({"meta", "br", "link", "img", "input", "hr", "col", "wbr"})


@dataclass(frozen=True)
class Piece:
    """A piece of text or a telling attribute; ``place`` are the headings and the row that it stands under."""

    text: str
    place: str


@dataclass(frozen=True)
class Page:
    """``figures`` is what ``shown`` wrote, ``pieces`` what a reader sees, in order."""

    figures: dict[str, Any]
    pieces: tuple[Piece, ...]
    text: str


def read(path: Path) -> Page:
    """The page at ``path``.

    Raises:
        UsageError: no such file, or no page of twinbench with its figures.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"there is no page {path} to check; write it first with: twinbench report") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    return parsed(text, str(path))


def parsed(text: str, name: str = "the page") -> Page:
    """A page from its text.

    Raises:
        UsageError: it has no figures, or figures that this twinbench does not read.
    """
    reader = _Reader()
    reader.feed(text)
    reader.close()
    if len(reader.data) != 1:
        found = "no figures" if not reader.data else f"{len(reader.data)} sets of figures"
        raise UsageError(f"{name} holds {found} (<script id={ELEMENT!r}>): not a page of this twinbench; write it anew")
    try:
        figures = json.loads(reader.data[0])
        version = figures["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"the figures of {name} cannot be read: {error!r}") from error
    if version != FORMAT:
        raise UsageError(f"the figures of {name} have format {version!r}; this twinbench reads {FORMAT}")
    return Page(figures, tuple(reader.pieces), text)


class _Reader(HTMLParser):
    """Collects the pieces; style and the figures themselves are none."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.data: list[str] = []
        self.pieces: list[Piece] = []
        self._open: list[str] = []
        self._in_figures = False
        self._headings = [""] * len(HEADINGS)
        self._row = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self._in_figures = tag == "script" and known.get("id") == ELEMENT
        if self._in_figures:
            self.data.append("")
        if tag in HEADINGS:
            level = HEADINGS.index(tag)
            self._headings[level:] = [""] * (len(HEADINGS) - level)
            self._row = ""
        if tag == "tr" or (tag == "th" and known.get("scope") == "row"):
            self._row = ""
        if tag not in VOID:
            self._open.append(tag)
        if tag in HIDING:
            self._take(f"<{tag}>")
        in_text = "svg" not in self._open
        for name, value in attrs:
            if name in TELLING or name.startswith("data-") or (in_text and name in TELLING_IN_TEXT):
                self._take(f"{name}: {value or ''}")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass
        self._in_figures = False

    def handle_data(self, data: str) -> None:
        if self._in_figures:
            self.data[-1] += data
            return
        told = " ".join(data.split())
        if not told or (self._open and self._open[-1] == "style"):
            return
        for level, tag in enumerate(HEADINGS):
            if tag in self._open:
                self._headings[level] += told
        if "th" in self._open and "tbody" in self._open:
            self._row = f"{self._row} {told}".strip()
        self._take(told)

    def _take(self, text: str) -> None:
        place = " / ".join(part for part in (*self._headings, self._row) if part)
        self.pieces.append(Piece(text, place or "the head of the page"))
