"""CSV and Markdown of a report: every cell, documented columns, no speed of a wrong cell, no formula, short enough."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import pandas
import pytest

from bench.report import as_markdown, csv_table
from bench.report.folding import fitted, folded
from tests.report_fixtures import META, cell, comparisons, grid, measured, without_speed, wrong
from tests.stored_runs import EVIL

DOCUMENT = Path(__file__).parents[1] / "docs" / "reports-and-index.md"


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_row_for_every_cell_that_pandas_reads_back() -> None:
    summaries = grid(synthetic_gpu=True)
    table = pandas.read_csv(io.StringIO(csv_table.report(summaries, "")))
    assert list(table.columns) == list(csv_table.COLUMNS)
    assert list(table.cell_id) == [one.cell.id for one in summaries]
    good = table[table.outcome == "measured"]
    assert good.items_per_s.notna().all()
    assert table[table.outcome != "measured"][["items_per_s", "latency_p50_s", "over_baseline"]].isna().all().all()
    one = good.iloc[5]
    base = table[table.cell_id == one.baseline_cell_id].iloc[0]
    assert one.over_baseline == pytest.approx(one.items_per_s / base.items_per_s)


def test_every_column_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for columns in (csv_table.COLUMNS, csv_table.COMPARED):
        lacking = [name for name in columns if f"| `{name}` |" not in text and not name.endswith(("_a", "_b"))]
        assert lacking == []
    for name, meaning in csv_table.COLUMNS.items():
        assert f"| `{name}` | {meaning} |" in text


def test_a_wrong_cell_has_no_speed() -> None:
    (row,) = rows(csv_table.report([wrong(cell(), 987654.3)], ""))
    assert "987" not in str(row)
    assert row["outcome"] == "wrong"


def test_text_is_no_formula_and_stays_on_its_line() -> None:
    for formula in ("=1+1", "+1", "-1", "@SUM(A1)"):
        (row,) = rows(csv_table.report([without_speed(cell(), "failed", f'{formula}\nnext, "quoted"')], ""))
        assert row["reason"] == f'\'{formula} next, "quoted"'
    assert rows(csv_table.report([without_speed(cell(), "failed", "\t=1")], ""))[0]["reason"] == "'=1"
    (row,) = rows(csv_table.report([replace(measured(cell(size=EVIL), 5.0), error=-0.0)], ""))
    assert row["size"] == EVIL
    assert row["error"] == "-0.0", "a number is no text"


def test_markdown_is_a_comment_whatever_the_records_hold() -> None:
    """Thousands of cells with long, hostile names, each failing in a way of its own, and many comparisons."""
    long = EVIL * 20
    summaries = [measured(cell(size=f"{long}{n}", environment=f"{long}{n % 7}"), 9.0 + n) for n in range(400)]
    summaries += [
        without_speed(cell(size=f"{n}", environment=f"{long}{n}"), outcome, f"{n} {long}")
        for n, outcome in enumerate(["wrong", "implausible", "failed", "timed_out", "unsupported"] * 60)
    ]
    text = as_markdown(summaries, comparisons() * 30, META)
    assert len(text) < 65_536
    assert len(text.encode("utf-16-le")) / 2 < 65_536, "as a browser counts"
    assert text.count("<details>") == text.count("</details>")
    assert "lines were cut: the page has all." in text
    for word in ("wrong", "failed"):
        assert f"<summary>{word}: 60</summary>" in text


def test_long_tables_and_further_works_are_folded() -> None:
    works = [measured(cell(size=f"s{n}", environment=f"e{m}"), 9.0 + m) for n in range(6) for m in range(2)]
    text = as_markdown(works, [], META)
    assert text.count("<details>") == 2
    assert "<details><summary>mlp:s4 inference, batch 64: 2 cells</summary>" in text
    long = [measured(cell(environment=f"e{m}"), 9.0 + m) for m in range(30)]
    assert "<details><summary>mlp:digits inference, batch 64: 30 cells</summary>" in as_markdown(long, [], META)


def test_what_is_cut_is_said_and_folds_stay_closed() -> None:
    part = folded("things", [f"- {n:04d} {'x' * 40}" for n in range(100)])
    text = fitted(["# head"], [part, folded("more", ["- y"] * 50)], ["tail"], 2000)
    assert len(text) <= 2000
    assert text.startswith("# head\n<details><summary>100 things</summary>")
    shown = text.count(" xxxx")
    assert f"Here {100 - shown} lines were cut: the page has all." in text
    assert text.count("<details>") == text.count("</details>") >= 1
    assert text.endswith("tail\n")
    assert math.isclose(len(fitted([], [part], [], 10**6)), sum(len(line) + 1 for line in part), abs_tol=1)
