"""Pages in a real browser: headless Chromium, driven by Playwright (`nox -s browser`). No browser is a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import reporting
from benchmarks.screenshots import REFERENCE, SAMPLE, launch
from tests.page_records import cells, records, write_run
from tests.samples import fingerprint

#: What a hostile record may hold. ``planted`` is what its scripts would leave behind.
HOSTILE = (
    '</script><script>window.planted = 1</script>"\'><img src=x onerror="window.planted = 2">'
    "<svg onload='window.planted = 3'> javascript:planted \u202egnp\u202c 🙂 é漢"
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser for all tests."""
    with launch() as found:
        yield found


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up run with every kind of outcome."""
    return write_run(tmp_path_factory.mktemp("results"), records(processes=3))


def until(page: Any, condition: str, seconds: float = 30.0) -> None:
    """Wait until the JavaScript ``condition`` holds; asked from outside, because the page forbids ``eval``."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"never true: {condition}"
        page.wait_for_timeout(20)


def make(folders: list[Path], path: Path, baseline: str = "") -> Path:
    """The page of the runs."""
    return reporting.write_html(reporting.gather(folders, baseline, 0.03, ""), path)


@pytest.fixture(scope="session")
def page_file(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page."""
    return make([run], tmp_path_factory.mktemp("pages") / "page.html")


@pytest.fixture(scope="session")
def sample_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the committed runs with an accelerator."""
    return make(SAMPLE, tmp_path_factory.mktemp("sample") / "sample.html")


@pytest.fixture(scope="session")
def cpu_run() -> Path:
    """The committed run without an accelerator."""
    (run,) = (path for path in (REFERENCE / "cpu").iterdir() if path.is_dir())
    return run


@pytest.fixture(scope="session")
def cpu_file(cpu_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page."""
    return make([cpu_run], tmp_path_factory.mktemp("cpu") / "cpu.html")


@pytest.fixture(scope="session")
def hostile_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of which every text that a record can hold is hostile."""
    which = [one.but(size=HOSTILE, environment=f"{one.environment} {HOSTILE}") for one in cells((1, 8))]
    facts = fingerprint(
        machine={"chip": HOSTILE, HOSTILE: HOSTILE}, device_name=HOSTILE, versions={HOSTILE: HOSTILE},
        variables={HOSTILE: HOSTILE}, power={"governor": HOSTILE},
    )  # fmt: skip
    found = [
        type(one)(**{name: getattr(one, name) for name in one.__struct_fields__}
                  | {"fingerprint": facts, "labels": [HOSTILE], "answer": HOSTILE, "layout": HOSTILE})
        for one in records(2, which)
    ]  # fmt: skip
    folder = write_run(tmp_path_factory.mktemp("hostile"), found)
    material = reporting.gather([folder], "", 0.03, HOSTILE)
    meta = replace(material.meta, command=HOSTILE, skipped_lines=(HOSTILE,))
    return reporting.write_html(replace(material, meta=meta), folder / "page.html")


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Opens a file; at the end there must have been no error, warning or dialog, and no request but for the file."""
    contexts: list[Any] = []
    faults: list[str] = []

    def dialog(found: Any) -> None:
        faults.append(f"dialog: {found.message}")
        found.dismiss()

    def request(found: Any) -> None:
        if not found.url.startswith(("file:", "blob:", "data:")):
            faults.append(found.url)

    def opened(file: Path, fragment: str = "", **settings: Any) -> Any:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | settings))
        contexts.append(context)
        page = context.new_page()
        page.faults = faults
        page.on("console", lambda message: faults.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("dialog", dialog)
        page.on("request", request)
        page.goto(f"{file.resolve().as_uri()}{f'#{fragment}' if fragment else ''}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []
