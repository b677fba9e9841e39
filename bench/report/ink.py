"""How drawings become pictures: one palette for the page, one for paper, and SVG that a strict policy lets through.

A figure is drawn by a function of a palette. For the page it is drawn with sentinel colours, which become
``var(--ink)`` and so on in the text of the SVG, so that light, dark and print need one picture; its ``style``
attributes become classes of the page's one style sheet, because the Content-Security-Policy forbids styles in
attributes. For papers and slides it is drawn anew in the light palette, as SVG and PNG. The object API only: no pyplot.
"""

from __future__ import annotations

import html
import io
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

PNG_DPI = 200


@dataclass(frozen=True)
class Palette:
    """Colours of one medium; ``series`` tells environments, stages or precisions apart, ``labels`` the noise."""

    ink: str
    muted: str
    rule: str
    band: str
    paper: str
    bad: str
    series: tuple[str, ...]

    def of(self, number: int) -> str:
        """The colour of a series; beyond the last they begin anew, and the words beside them tell them apart."""
        return self.series[number % len(self.series)]


#: Sentinels: what the text of the SVG is searched for.
PAGE = Palette(
    "#0f0f01", "#0f0f02", "#0f0f03", "#0f0f04", "#0f0f05", "#0f0f06", tuple(f"#0f0f1{digit}" for digit in range(6))
)
#: Okabe and Ito's colours, darkened until they reach 3:1 on white; the same as in style.css.
PAPER = Palette(
    "#1a1d21", "#4c555f", "#dcdfe3", "#e3e9ef", "#ffffff", "#b3261e",
    ("#0072b2", "#c25400", "#00855f", "#a5457f", "#8a6700", "#5c6a78"),
)  # fmt: skip
VARIABLES = {
    PAGE.ink: "--ink", PAGE.muted: "--muted", PAGE.rule: "--rule", PAGE.band: "--band", PAGE.paper: "--card",
    PAGE.bad: "--bad",
} | {colour: f"--series-{index}" for index, colour in enumerate(PAGE.series)}  # fmt: skip

Drawing = Callable[[Palette], Figure]


def settings(palette: Palette) -> Any:
    """matplotlib's settings; their names are a literal type that differs between its versions."""
    return {
        "text.parse_math": False,
        "svg.hashsalt": "twinbench",
        "svg.fonttype": "none",
        "font.size": 10.5,
        "text.color": palette.ink,
        "axes.labelcolor": palette.muted,
        "xtick.color": palette.muted,
        "ytick.color": palette.muted,
        "axes.edgecolor": palette.rule,
        "axes.spines.right": False,
        "axes.spines.top": False,
    }


@dataclass
class StyleSheet:
    """The styles of all pictures of a page: each distinct one is a class, which also keeps the page small."""

    classes: dict[str, str] = field(default_factory=dict)

    def name(self, style: str) -> str:
        """The class of a style."""
        return self.classes.setdefault(style, f"m{len(self.classes)}")

    @property
    def css(self) -> str:
        """All of it as text."""
        return "".join(f".{name}{{{style}}}\n" for style, name in self.classes.items())


@dataclass(frozen=True)
class Picture:
    """A figure, what a screen reader says of it, what it leaves out ("" when nothing), and its name as a file.

    ``hover``: what is told of the artist that was given this gid. ``narrow``: the figure as a phone shows it, where the
    wide one would leave the screen; both are in the page, and its style sheet shows one.
    """

    name: str
    draw: Drawing
    alt: str
    cut: str = ""
    hover: tuple[tuple[str, str], ...] = ()
    narrow: Drawing | None = None

    def inline(self, styles: StyleSheet) -> str:
        """The figure as an ``<svg>`` element to be put into HTML as it stands; two where it has a ``narrow`` one."""
        if self.narrow is None:
            return self._element(self.draw, styles)
        return self._element(self.draw, styles, "wide") + self._element(self.narrow, styles, "narrow")

    def _element(self, draw: Drawing, styles: StyleSheet, kind: str = "") -> str:
        text = _svg_text(draw, PAGE, transparent=True)
        for colour, variable in VARIABLES.items():
            text = text.replace(colour, f"var({variable})")
        text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
        text = re.sub(r"font-family: [^;\"]*;?", "", text)
        text = re.sub(r"font: ([^;\"']*px) [^;\"]*", r"font: \1 var(--sans)", text)
        text = _titled(text, dict(self.hover))
        text = _own_ids(text, self.alt + kind)
        text = re.sub(r' style="([^"]*)"', lambda m: f' class="{styles.name(m[1].strip())}"', text)
        view = re.search(r'viewBox="([^"]+)"', text)
        assert view is not None
        body = re.sub(r"\n\s*", "\n", text[text.index(">") + 1 :])
        name = html.escape(self.alt, quote=True)
        links = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
        shown = f' class="{kind}"' if kind else ""
        return f'<svg{shown} role="img" aria-label="{name}" viewBox="{view[1]}" {links}>{body}'

    def save(self, folder: Path) -> list[Path]:
        """The figure as SVG and PNG (200 dpi) in ``folder``, on white, for papers and slides."""
        vector, raster = folder / f"{self.name}.svg", folder / f"{self.name}.png"
        vector.write_text('<?xml version="1.0" encoding="utf-8"?>\n' + _svg_text(self.draw, PAPER), encoding="utf-8")
        with _drawing(PAPER):
            figure = self.draw(PAPER)
            FigureCanvasAgg(figure)
            figure.savefig(raster, dpi=PNG_DPI, facecolor=PAPER.paper, metadata={"Software": None})
        return [vector, raster]


@contextmanager
def _drawing(palette: Palette) -> Iterator[None]:
    """The settings; names from records may hold signs that matplotlib's font lacks, which the page's fonts have."""
    with mpl.rc_context(settings(palette)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _svg_text(draw: Drawing, palette: Palette, *, transparent: bool = False) -> str:
    """From ``<svg`` on, without dates, comments and metadata: the same records give the same bytes."""
    buffer = io.StringIO()
    with _drawing(palette):
        figure = draw(palette)
        FigureCanvasSVG(figure)
        metadata = {"Date": None, "Creator": None}
        figure.savefig(buffer, format="svg", transparent=transparent, facecolor=palette.paper, metadata=metadata)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def _titled(text: str, hover: dict[str, str]) -> str:
    """A ``<title>`` in the group of each gid: browsers show it where the pointer rests."""

    def with_title(match: re.Match[str]) -> str:
        told = hover.get(html.unescape(match[1]))
        return match[0] if told is None else f"{match[0]}<title>{html.escape(told)}</title>"

    return re.sub(r'<g id="([^"]+)">', with_title, text) if hover else text


def _own_ids(text: str, alt: str) -> str:
    """Keep only ids that are referred to, and make them differ between the figures of one page."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    prefix = f"f{zlib.crc32(alt.encode()):x}-"
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", text)
    return re.sub(r'(url\(#|href="#)', lambda m: f"{m[1]}{prefix}", text)


def plain(text: str) -> str:
    """One line without control characters, which XML cannot hold."""
    return "".join(char if char.isprintable() else " " for char in text)
