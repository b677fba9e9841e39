"""The index over all runs: what it says of each, that it reads only what is new, and that its memory is no truth."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from bench import index, store
from bench.record import Failed
from bench.report import index_page, pagefile
from bench.summary import summarise
from tests.harness import Cli, command_line
from tests.samples import CELL, MS, fingerprint, measurement, record
from tests.stored_runs import EVIL, edited, one_of_each, several, write
from tests.test_report import parsed, without_figures

OLD, NEW = "20250101-020000-aaaa", "20261122-100000-bbbb"
RESULTS = Path("results")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line in a folder with an old run of one cell and a new one of all kinds."""
    monkeypatch.chdir(tmp_path)
    write(RESULTS, NEW, one_of_each())
    write(RESULTS, OLD, several({CELL: 5.0 * MS}, started_at="2025-01-01T02:00:00+00:00"))
    return command_line(monkeypatch, capsys)


def page() -> str:
    return Path("reports/index.html").read_text(encoding="utf-8")


def test_newest_first_with_machine_work_and_outcomes(cli: Cli) -> None:
    assert cli("report", "--index")[0] == 0
    text = without_figures(page())
    assert parsed(text).ids == ["month-1", "month-2"]
    assert text.index("November 2026") < text.index(NEW) < text.index("January 2025") < text.index(OLD)
    for words in ("2025-01-01 02:00 UTC", "Imagined M9", "mlp:digits on torch/cpu", "torch 2.14.0", "3 measured",
                  "1 wrong", "1 implausible", "twinbench run (synthetic)"):  # fmt: skip
        assert words in text
    assert "2 runs, the newest of 2026-11-22 10:00 UTC; 1 with cells that are wrong" in text


def test_counts_are_those_of_the_report(cli: Cli) -> None:
    """Every kind of cell, and one whose processes ended in several ways."""
    mixed = CELL.but(precision="bf16")
    ends = [record(mixed, n, Failed("load", kind, "m", f"log {n}")) for n, kind in enumerate("abbcc")]
    stopped = msgspec.structs.replace(measurement().bursts, wall_ns=[0] * 10)
    no_time = record(CELL.but(batch=1), measured=measurement(bursts=stopped))
    folder = write(RESULTS, "20260101-000000-cccc", [*ends, no_time])
    for one in (folder, RESULTS / NEW, RESULTS / OLD):
        entry = index.entry_of(one)
        assert entry.cells == Counter(row.outcome for row in summarise(store.read(one, [])))
        assert entry.records == len(list(store.read(one, [])))


def test_links_go_to_pages_beside_it_that_exist(cli: Cli, tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    assert cli("report", "--compare", OLD, NEW)[0] == 0
    (reports / f"{OLD}.html").write_text("a page")
    (reports / "a b&c.html").write_text("somebody's")
    assert cli("report", "--index")[0] == 0
    links = re.findall(r'<a href="([^"]+)">([^<]+)</a>', page())
    both = f"{OLD}..{NEW}.html"
    assert links == [(both, f"against {OLD}"), (f"{OLD}.html", "report"), (both, f"against {NEW}")]
    assert all((reports / address).exists() for address, _ in links)


def test_one_more_run_costs_one_run_and_what_changed_is_read_again(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    truth = index.entry_of

    def counted(folder: Path) -> index.Entry:
        read.append(folder.name)
        return truth(folder)

    monkeypatch.setattr(index, "entry_of", counted)
    assert cli("report", "--index")[0] == 0
    assert read == [OLD, NEW]
    first = page()
    assert cli("report", "--index")[0] == 0
    assert read == [OLD, NEW], "nothing is read twice"
    assert page() == first
    write(RESULTS, "20261123-100000-cccc", several({CELL: 4.0 * MS}))
    with (RESULTS / OLD / store.RECORDS).open("ab") as file:
        file.write(b"half a li")
    assert cli("report", "--index")[0] == 0
    assert read[2:] == [OLD, "20261123-100000-cccc"]
    assert "1 line could not be read" in page()
    shutil.rmtree(RESULTS / NEW)
    assert cli("report", "--index")[0] == 0
    assert NEW not in page()


def test_saboteur_a_damaged_memory_is_forgotten_and_an_edited_one_is_caught(cli: Cli) -> None:
    """The records are the truth: nothing in the memory outlives a look at them."""
    memory = RESULTS / index.MEMORY
    assert cli("report", "--index")[0] == 0
    first = page()
    lines = memory.read_bytes().splitlines()
    old = lines[0].replace(b'"key":[%d,' % index.VERSION, b'"key":[0,')
    assert old != lines[0]
    memory.write_bytes(b"\xff{not json\n" + lines[1] + b"\n" + old + b"\n")
    assert cli("report", "--index")[0] == 0
    assert page() == first
    assert memory.read_bytes().splitlines() == lines
    edited(memory, '"cells":{"measured":1}', '"cells":{"measured":7}')
    assert cli("report", "--index")[0] == 0
    assert "7 measured" in page(), "a memory whose key fits is believed"
    code, _, err = cli("report", "--index", "--recheck")
    assert code == 1
    assert f"run {OLD}: cells_measured is 7 on the page, 1 from the raw samples" in " ".join(err.split())
    memory.unlink()
    assert cli("report", "--index")[0] == 0
    assert page() == first


def test_recheck_reads_every_run_and_finds_a_run_that_the_page_lacks(cli: Cli) -> None:
    assert cli("report", "--index")[0] == 0
    code, out, _ = cli("report", "--index", "--recheck")
    assert code == 0
    assert "figures recomputed from the raw samples, all as shown" in out
    Path("reports/another.html").write_text("pages that came later are no difference")
    assert cli("report", "--index", "--recheck")[0] == 0
    later = write(RESULTS, "20261123-100000-cccc", several({CELL: 4.0 * MS}))
    code, _, err = cli("report", "--index", "--recheck")
    assert code == 1
    assert f"run {later.name} is in the records, but not on the page" in " ".join(err.split())
    shutil.rmtree(later)
    edited(Path("reports/index.html"), ">3 measured<", ">4 measured<")
    told = cli("report", "--index", "--recheck")[2]
    assert "the page says '4 measured', the records give '3 measured'" in " ".join(told.split())


def test_no_runs_at_all_is_a_page_that_says_so(cli: Cli) -> None:
    assert cli("report", "--index", "--results", "nowhere")[0] == 0
    assert "No runs yet; make one with: twinbench run" in page()
    assert not Path("nowhere").exists()
    assert cli("report", "--index", "--results", "nowhere", "--recheck")[0] == 0


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("run.json", "{", "cannot be read"),
        ("run.json", "[]", "it holds no object"),
        ("records.jsonl", "", "no records"),
        ("records.jsonl", '{"schema": 99}\nnot json\n', "2 lines could not be read"),
    ],
)
def test_a_damaged_run_is_a_row_with_its_reason(cli: Cli, file: str, content: str, said: str) -> None:
    (RESULTS / OLD / file).write_text(content)
    assert cli("report", "--index")[0] == 0
    assert said in page()
    assert OLD in page()
    assert NEW in page()


def test_a_folder_that_cannot_be_written_is_indexed_all_the_same(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refused)
    assert cli("report", "--index")[0] == 0
    assert NEW in page()
    assert [path.name for path in RESULTS.iterdir() if path.name.startswith(".")] == []


def test_text_from_records_is_never_markup(cli: Cli) -> None:
    evil = CELL.but(workload=EVIL, size=EVIL, environment=EVIL, precision=EVIL)
    facts = fingerprint(machine={"chip": EVIL, "os_version": EVIL}, versions={EVIL: EVIL}, device_name=EVIL)
    write(RESULTS, "20261124-100000-dddd", several({evil: 5.0 * MS}, fingerprint=facts, started_at=EVIL), command=EVIL)
    assert cli("report", "--index", "--title", EVIL)[0] == 0
    parser = parsed(without_figures(page()))
    assert not {"script", "img"} & set(parser.tags)
    assert not [name for name, _ in parser.attributes if name.startswith("on")]
    assert page().count("&lt;script&gt;") > 5
    assert "Date unknown" in page()
    assert pagefile.read(Path("reports/index.html")).figures["title"] == EVIL
    assert cli("report", "--index", "--recheck")[0] == 0


def test_an_address_cannot_leave_the_folder_or_run() -> None:
    links = index_page.links_of(["javascript:alert(1).html", 'x" onclick="y.html', "r#1?.html"])
    assert [address for each in links.values() for address, _ in each] == [
        "javascript%3Aalert%281%29.html", "x%22%20onclick%3D%22y.html", "r%231%3F.html",
    ]  # fmt: skip


def test_open_shows_the_page_that_was_written(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("typer.launch", shown.append)
    assert cli("report", "--index", "--open")[0] == 0
    assert cli("report", "--compare", OLD, NEW, "--open", "--out", "c.html")[0] == 0
    assert shown == [str(Path("reports/index.html").resolve()), str(Path("c.html").resolve())]
