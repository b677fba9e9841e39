"""Is a page what its records give? Figures against a second computation, text against a page made anew. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.report.pagefile import Page, Piece

#: Figures are written to seven digits; the two ways of computing them agree to more than that.
TOLERANCE = 1e-6
#: The heading of what a page quotes from `twinbench selftest`: no record gives it, and a later selftest changes it.
QUOTED = "How often the suite itself errs"
MISSING = "missing"


def differences(page: Mapping[str, Any], raw: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each figure on the page that the raw samples do not give, in the page's order.

    Both map a name (``cells``, ``runs``, ...) to groups, and a group (a cell by its id) to figures by name.
    """
    for section, wanted in raw.items():
        shown = page.get(section, {})
        yield from _groups(section, shown, wanted)


def _groups(section: str, page: Mapping[str, Any], raw: Mapping[str, Any]) -> Iterator[str]:
    noun = {"cells": "cell", "runs": "run", "comparisons": "comparison"}.get(section, section)
    for key, figures in page.items():
        if key not in raw:
            yield f"{noun} {key} is on the page, but not in the records"
            continue
        label = f" ({raw[key]['label']})" if "label" in raw[key] else ""
        for name in dict.fromkeys(name for name in (*figures, *raw[key]) if name != "label"):
            told, found = figures.get(name, MISSING), raw[key].get(name, MISSING)
            if not alike(told, found):
                yield f"{noun} {key}{label}: {name} is {_text(told)} on the page, {_text(found)} from the raw samples"
    yield from (f"{noun} {key} is in the records, but not on the page" for key in raw if key not in page)


def data_differences(page: Any, fresh: Any, path: str = "") -> Iterator[str]:
    """A sentence for each place where the page's data are not those of the page made anew, named by its keys."""
    if isinstance(page, dict) and isinstance(fresh, dict):
        for key in dict.fromkeys((*page, *fresh)):
            yield from data_differences(page.get(key, MISSING), fresh.get(key, MISSING), f"{path}.{key}".strip("."))
    elif isinstance(page, list) and isinstance(fresh, list) and len(page) == len(fresh):
        for number, (told, found) in enumerate(zip(page, fresh, strict=True)):
            yield from data_differences(told, found, f"{path}[{number}]")
    elif not alike(page, fresh):
        yield f"{path} is {_quoted(page)} in the page's data, {_quoted(fresh)} in those of the page made anew"


def alike(told: Any, found: Any) -> bool:
    """Whether two figures are the same, but for how they were rounded."""
    if isinstance(told, bool) or isinstance(found, bool):
        return told is found
    if isinstance(told, int | float) and isinstance(found, int | float):
        return math.isclose(told, found, rel_tol=TOLERANCE)
    return type(told) is type(found) and bool(told == found)


def _text(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _quoted(value: Any) -> str:
    """Text in quotes, cut; a figure, or that it is missing, as it is."""
    return _cut(value) if isinstance(value, str) and value is not MISSING else _text(value)


def text_differences(page: Page, fresh: Page) -> Iterator[str]:
    """The first place where the page's text is not that of the page made anew; nothing where all of it is.

    What is ``QUOTED`` is left out.
    """
    shown, made = split(page)[0], split(fresh)[0]
    for old, new in zip(shown, made, strict=False):
        if old.text != new.text:
            yield f"under {new.place}: the page says {_cut(old.text)}, the records give {_cut(new.text)}"
            return
    if len(shown) != len(made):
        longer = shown if len(shown) > len(made) else made
        extra = longer[min(len(shown), len(made))]
        where = "the page has more than the records give" if longer is shown else "the page lacks what the records give"
        yield f"under {extra.place}: {where}: {_cut(extra.text)}"


def split(page: Page) -> tuple[list[Piece], list[Piece]]:
    """What records give, and what is quoted."""
    quoted = [one.place.startswith(QUOTED) for one in page.pieces]
    pairs = list(zip(page.pieces, quoted, strict=True))
    return [one for one, is_quoted in pairs if not is_quoted], [one for one, is_quoted in pairs if is_quoted]


def _cut(text: str, width: int = 160) -> str:
    return repr(text if len(text) <= width else text[: width - 1] + "…")


def verdict_differences(comparisons: Sequence[Mapping[str, Any]], margin: float) -> Iterator[str]:
    """Words that claim what their interval does not show."""
    for one in comparisons:
        word, low, high = one.get("word"), one.get("ratio_low"), one.get("ratio_high")
        band = max(margin, one.get("margin", margin))
        fits = {
            "faster": low is not None and low > 1 + band,
            "slower": high is not None and high < 1 / (1 + band),
        }
        if not fits.get(str(word), True):
            yield f"comparison {one['a']} {one['b']} ({one['label']}): {word}, but the interval is {low} to {high}"
