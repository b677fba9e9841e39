"""What a page and its reader agree on: the element that holds the figures, and the version of what is in it."""

from __future__ import annotations

ELEMENT = "twinbench-figures"
#: History: 1  2026-11  first version.
FORMAT = 1
