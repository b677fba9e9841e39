"""The sample page and its pictures, made again: ``nox -s screenshots``.

Reads ``results/reference/h100``, writes ``reports/reference/sample.html`` and, in headless Chromium, ``docs/*.png``.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import reporting
from bench.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "results" / "reference"
#: One machine's runs: a page never mixes machines.
SAMPLE = sorted(path for path in (REFERENCE / "h100").iterdir() if path.is_dir())
PAGE = ROOT / "reports" / "reference" / "sample.html"
#: Where a browser may be; Playwright's own download comes last, for many networks do not let it through.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
#: Without these Chromium asks its maker's servers as it starts; as root it has no sandbox of its own.
ARGUMENTS = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
#: File, theme, width, height, and the part of the page that it shows.
SHOTS = (
    ("report.png", "light", 1280, 960, ""),
    ("report-dark.png", "dark", 1280, 960, "grid"),
    ("report-phone.png", "light", 390, 844, ""),
)


def chromium() -> str | None:
    """The browser on this machine: ``TWINBENCH_CHROMIUM``, or one by a usual name; None leaves it to Playwright."""
    given = os.environ.get("TWINBENCH_CHROMIUM")
    if given:
        if not Path(given).is_file():
            raise UsageError(f"TWINBENCH_CHROMIUM is {given}: no such file")
        return given
    return next((path for name in NAMES if (path := shutil.which(name))), str(MAC) if MAC.is_file() else None)


@contextmanager
def launch() -> Iterator[Any]:
    """Headless Chromium; closed at the end.

    Raises:
        UsageError: there is none, or TWINBENCH_CHROMIUM names no file.
    """
    from playwright.sync_api import Error, sync_playwright

    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(
                executable_path=chromium(), args=[*ARGUMENTS, *(["--no-sandbox"] if root else [])]
            )
        except Error as error:
            raise UsageError(
                "no browser: install Chromium (Debian: apt-get install chromium; elsewhere: playwright install "
                f"chromium), or name one in TWINBENCH_CHROMIUM; {str(error).splitlines()[0]}"
            ) from error
        try:
            yield browser
        finally:
            browser.close()


def main() -> int:
    """Write the sample and its pictures."""
    material = reporting.gather(SAMPLE, "", 0.03, "twinbench: PyTorch and JAX on an NVIDIA H100")
    reporting.write_html(material, PAGE)
    print(PAGE)
    with launch() as browser:
        for name, theme, width, height, fragment in SHOTS:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
            page.goto(f"{PAGE.as_uri()}#{fragment}" if fragment else PAGE.as_uri())
            page.screenshot(path=ROOT / "docs" / name)
            page.close()
            print(ROOT / "docs" / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
