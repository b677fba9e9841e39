"""A reader with the reference runs, and pages at their limits: five questions, five thousand cells, one, no figure."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.screenshots import SAMPLE
from tests.browser.conftest import Open, make, until
from tests.page_records import cells, records, write_run

pytestmark = pytest.mark.browser

#: Labels of a machine that was not quiet; ``stable`` may stand beside them, and ``emulated`` is none of them.
NOISE = {"noisy", "throttled", "contended", "clock-drift"}


def facts(*runs: Path) -> dict[str, Any]:
    """What a reader has to find, read off the lines of the store with nothing of the report's own code."""
    lines = [json.loads(line) for run in runs for line in (run / "records.jsonl").read_text().splitlines()]
    rates: dict[tuple[str, ...], list[float]] = {}
    for one in lines:
        if one["outcome"]["kind"] == "measured":
            taken = one["measurement"]
            bursts = taken["bursts"]
            steps = [wall / n for wall, n in zip(bursts["wall_ns"], bursts["iterations"], strict=True)]
            words = tuple(map(str, one["cell"].values()))
            rates.setdefault(words, []).append(taken["items_per_iteration"] * 1e9 / statistics.median(steps))
    return {
        "devices": {one["cell"]["device"] for one in lines},
        "outcomes": Counter(one["outcome"]["kind"] for one in lines),
        "cells": len({one["cell_id"] for one in lines}),
        "wrong": {tuple(map(str, one["cell"].values())) for one in lines if one["outcome"]["kind"] == "wrong"},
        "chip": lines[0]["fingerprint"]["machine"]["chip"],
        "gpu": lines[0]["fingerprint"]["machine"].get("gpu"),
        "rates": {words: statistics.geometric_mean(found) for words, found in rates.items()},
        "quiet": sum(not NOISE & set(one["labels"]) for one in lines if one["outcome"]["kind"] == "measured"),
        "measured": sum(one["outcome"]["kind"] == "measured" for one in lines),
    }


def card(page: Any, name: str) -> str:
    """The answer, which must be on the first screen."""
    place = page.locator(f"[data-card={name}]")
    box = place.bounding_box()
    assert box["y"] + box["height"] <= 800, f"{name} is not on the first screen"
    text: str = place.inner_text()
    return text


def gains(known: dict[str, Any]) -> dict[tuple[str, ...], float]:
    """The speed of each right cell on CUDA over that of its twin on the CPU."""
    device, found = 6, {}
    for words, rate in known["rates"].items():
        twin = (*words[:device], "cpu", *words[device + 1 :])
        if words[device] == "cuda" and twin in known["rates"] and words not in known["wrong"]:
            found[words] = rate / known["rates"][twin]
    return found


def one_click_further(page: Any) -> None:
    """Each card's link leads to the part of the page that says more."""
    for name in ("faster", "slower", "wrong", "machine", "sure"):
        link = page.locator(f"[data-card={name}] a")
        target = page.locator(link.get_attribute("href"))
        link.click()
        assert -1 <= target.bounding_box()["y"] <= 400, f"one click from {name} shows the rest"
        page.evaluate("scrollTo(0, 0)")


def test_the_first_screen_answers_the_five_questions(sample_file: Path, open_page: Open) -> None:
    """On the committed sample, of a machine with a GPU."""
    known, page = facts(*SAMPLE), open_page(sample_file)
    faster = gains(known)
    assert len(faster) == 6
    mean = statistics.geometric_mean(faster.values())
    assert f"{mean:.0f}×" in card(page, "faster")
    assert f"of {len(faster)} cells that both have" in card(page, "faster")
    assert "Nowhere" in card(page, "slower")
    assert min(faster.values()) > 1
    assert f"{len(known['wrong'])} wrong or failed" in card(page, "wrong")
    assert known["chip"] in card(page, "machine")
    assert known["gpu"] in card(page, "machine")
    assert f"{known['quiet']} of {known['measured']} processes were quiet" in card(page, "sure").replace("\n", " ")
    assert "±" in card(page, "sure")
    one_click_further(page)


def test_the_first_screen_without_an_accelerator(cpu_run: Path, cpu_file: Path, open_page: Open) -> None:
    """The five answers of the reference run on a CPU."""
    known, page = facts(cpu_run), open_page(cpu_file)
    assert known["devices"] == {"cpu"}
    assert "No accelerator" in card(page, "faster")
    assert f"of {known['cells'] - len({words[:5] for words in known['rates']})} cells" in card(page, "slower")
    assert set(known["outcomes"]) == {"measured"}
    assert "Nothing" in card(page, "wrong")
    assert f"All {known['cells']} cells measured" in card(page, "wrong")
    assert known["chip"] in card(page, "machine")
    assert f"{known['quiet']} of {known['measured']} processes were quiet" in card(page, "sure")
    assert "±" in card(page, "sure")
    one_click_further(page)


def test_the_first_screen_where_an_accelerator_is_slower(run: Path, page_file: Path, open_page: Open) -> None:
    """How much, in how many cells, where slower: as the records say."""
    known, page = facts(run), open_page(page_file)
    found = gains(known)
    assert f"{statistics.geometric_mean(found.values()):.2f}×" in card(page, "faster")
    assert f"of {len(found)} cells that both have" in card(page, "faster")
    assert "3 wrong or failed" in card(page, "wrong")
    slower = sorted(found.items(), key=lambda pair: pair[1])
    assert f"In {sum(gain < 1 for _, gain in slower)} cells" in card(page, "slower")
    assert f"{slower[0][0][5]}/cuda" in card(page, "slower")
    assert page.locator("h1").inner_text().startswith("On CUDA, ")


def test_five_thousand_cells_open_and_filter(open_page: Open, tmp_path: Path) -> None:
    base = [one for one in cells() if one.workload == "mlp"]
    which = [one.but(size=f"s{size}") for size in range(93) for one in base][:5000]
    folder = write_run(tmp_path, records(1, which))
    page = open_page(make([folder], tmp_path / "page.html"))
    start = time.monotonic()
    page.fill("#filter", "jax cuda fp16 s17")
    until(page, "document.getElementById('shown').textContent === '3 of 5,000 cells'")
    assert time.monotonic() - start < 30
    page.fill("#filter", "")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.parametrize("kept", ["one", "none measured"])
def test_small_pages(open_page: Open, tmp_path: Path, kept: str) -> None:
    """Without a single figure the script must not stumble."""
    found = records(2)
    chosen = found[:1] if kept == "one" else [one for one in found if one.measurement is None]
    page = open_page(make([write_run(tmp_path, chosen)], tmp_path / "page.html"))
    assert page.locator("[data-card]").count() == 5
    page.fill("#filter", "x")
    page.click("#theme")
