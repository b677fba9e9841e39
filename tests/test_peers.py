"""The driver of the comparison with other libraries, on the scripted framework: what is chosen and written down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.errors import UsageError
from bench.member import Context
from bench.plan import PROFILES, Selection
from bench.setup import ROOT, Setup, context
from bench.store import appending, new_run
from benchmarks.peers import __main__ as driver
from benchmarks.peers import table
from benchmarks.peers.duel import Row, duel
from benchmarks.peers.lines import CUDA_LINES, LINES, PARITY, Line
from tests.harness import no_processes, records_of

FORM = ("default", "eager")
LINE = Line("fast", "mlp", "tiny-test", 4, "fake", "fake-slower", (FORM,), (FORM, ("default", "compiled")))
ROW = Row("yolov5s-b1-torch", 2, "2026-11-22", "faster", "8 blocks", 8, "peer-yolov5 eager", "torch eager",
          114.2, 101.4, 1.126, 1.04, 1.21, 1e-6, 2e-6, 1e-4,
          (("torch eager", 101.0, ""),), (("torch:torch", "2.13.0"),))  # fmt: skip


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Context]:
    """For screening and duets: few bursts, no processes."""
    no_processes(monkeypatch)
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    profile = replace(PROFILES["quick"], bursts=4)
    setup = Setup(Selection(devices=("cpu",)), profile, 0, 1, {})
    return [context(setup, "run") for _ in range(2)]


def fought(line: Line, contexts: list[Context], tmp_path: Path, blocks: int = 4) -> tuple[Row, Path]:
    """The row of ``line`` and the folder of its records."""
    folder = new_run(tmp_path / "results", {})
    with appending(folder) as appender:
        return duel(line, blocks, contexts[0], contexts[1], appender), folder


def test_ratio_is_ours_over_theirs(contexts: list[Context], tmp_path: Path) -> None:
    """The scripted peer is slower, so ours is above 1, with an interval; both are compared with the reference."""
    row, folder = fought(LINE, contexts, tmp_path)
    assert row.peer_ms is not None
    assert row.ours_ms is not None
    assert row.ratio is not None
    assert row.ratio == pytest.approx(row.peer_ms / row.ours_ms, rel=0.05)
    assert row.ratio > 1.05
    assert row.low is not None
    assert row.low > 1
    assert (row.verdict, row.blocks) == ("faster", 4)
    assert row.limit is not None
    assert row.peer_error is not None
    assert row.peer_error <= row.limit
    assert [form for form, _, _ in row.candidates] == ["fake-slower eager", "fake eager", "fake compiled"]
    assert len(records_of(folder)) == 2 + 2 * 4, "two of ours screened, four duets"


def test_the_other_way_round(contexts: list[Context], tmp_path: Path) -> None:
    """Below 1 where ours is the slower one."""
    line = replace(LINE, framework="fake-slower", peer="fake")
    row, _ = fought(line, contexts, tmp_path)
    assert row.ratio is not None
    assert row.ratio < 0.95
    assert row.verdict == "slower"
    assert driver.exit_code([], [row]) == 1


def test_a_wrong_peer_is_no_comparison(contexts: list[Context], tmp_path: Path) -> None:
    """No speed of a wrong answer, and why."""
    row, _ = fought(replace(LINE, peer="fake-wrong"), contexts, tmp_path, blocks=3)
    assert row.ratio is None
    assert row.peer_ms is None
    assert "wrong" in row.detail
    assert driver.exit_code([], [row]) == 3


def test_a_form_that_crashes_is_passed_over(contexts: list[Context], tmp_path: Path) -> None:
    """Nothing left to choose from is a row with the reasons."""
    two = replace(LINE, framework="fake-oom")
    row, _ = fought(two, contexts, tmp_path)
    assert row.verdict == "no comparison"
    assert "fake-oom eager: failed" in row.detail
    assert row.blocks == 0


def test_a_failing_line_costs_no_other(
    contexts: list[Context], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing interpreter is a row; the file is written after each line."""
    lines = (LINE, replace(LINE, name="lost", peer="fake-drifting"))
    monkeypatch.setattr(driver, "LINES", lines)
    monkeypatch.setattr(table, "LINES", lines)
    monkeypatch.setattr(driver, "_context", lambda *_: contexts[0])
    monkeypatch.setattr(driver, "_installed", lambda name, python: ((f"{name}:thing", "1.0"),))
    pythons = ["--python", "fake=sh", "--python", "fake-slower=sh"]
    paths = ["--results", str(tmp_path / "r"), "--json", str(tmp_path / "p.json"), "--page", str(tmp_path / "p.md")]
    code = driver.main([*pythons, *paths, "--blocks", "3", "--threads", "1", "--no-parity"])
    assert code == 3
    rows = {row["line"]: row for row in json.loads((tmp_path / "p.json").read_text())["rows"]}
    assert rows["lost"]["detail"] == "no interpreter for fake-drifting"
    assert rows["fast"]["ratio"] > 1
    assert ["fake-slower:thing", "1.0"] in rows["fast"]["versions"]
    page = (tmp_path / "p.md").read_text()
    assert "no comparison: no interpreter for fake-drifting" in page
    assert "faster" in page


def test_unknown_lines_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """With the valid names."""
    assert driver.main(["--only", "bert"]) == 2
    assert LINES[0].name in capsys.readouterr().out


def test_rows_of_other_lines_stay() -> None:
    """A line that is run again replaces its own row at that number of threads only; order is the table's."""
    other = replace(ROW, line=LINES[-1].name, threads=1)
    old = table.merged(table.Document({}, [], []), {"chip": "A"}, [], [other, ROW])
    assert [row.line for row in old.rows] == [ROW.line, other.line]
    new = table.merged(old, {"chip": "B"}, [], [replace(ROW, ratio=2.0), replace(ROW, threads=1)])
    assert [(row.line, row.threads, row.ratio) for row in new.rows] == [
        (ROW.line, 1, ROW.ratio), (ROW.line, 2, 2.0), (other.line, 1, other.ratio),
    ]  # fmt: skip
    assert new.machine == {"chip": "B"}


def test_files_come_back_as_they_were(tmp_path: Path) -> None:
    """JSON is read as it was written; the page has the ratio, the errors, the versions and what parity said."""
    failed = table.Parity("peer-yolov5", "2026-11-22", False, "heads  3e-2  FAILED ```")
    document = table.merged(table.Document({}, [], []), {"chip": "M9", "usable_cores": 8}, [failed], [ROW])
    table.write(document, tmp_path / "p.json", tmp_path / "p.md")
    assert table.load(tmp_path / "p.json") == document
    page = (tmp_path / "p.md").read_text()
    assert (
        "| yolov5s-b1-torch | 2 | peer-yolov5 eager | torch eager | 114 | 101 | 1.13 (1.04–1.21) | faster | 8 |" in page
    )
    assert "NOT all within the limits" in page
    assert "torch:torch 2.13.0" in page
    assert "M9, 8 cores" in page
    assert page.count("```") == 2
    assert table.load(tmp_path / "gone.json").rows == []


@pytest.mark.parametrize("code", [0, 1])
def test_parity_is_what_the_script_says(code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its exit status decides; what it printed is kept, and of a failure what it complained about."""
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho table of $3 $4\necho trouble >&2\nexit {code}\n")
    script.chmod(0o755)
    monkeypatch.setattr(driver, "PARITY", {"peer-yolov5": "some.parity --all"})
    found = driver.check_parity("peer-yolov5", str(script))
    assert found.passed == (code == 0)
    assert "table of some.parity --all" in found.text
    assert ("trouble" in found.text) == (code == 1)
    assert driver.exit_code([found], []) == (0 if found.passed else 1)


def test_every_line_names_what_exists() -> None:
    """Workloads, sizes, variants, environments and modes of the table are real ones."""
    from bench import environments
    from bench.cell import MODES, PRECISIONS
    from bench.workload import get

    for line in (*LINES, *CUDA_LINES):
        spec: Any = get(line.workload)
        for cell in (*line.peers(), *line.ours()):
            assert cell.size in spec.sizes, cell.label
            assert cell.variant in spec.phases[cell.phase], cell.label
            assert cell.mode in MODES, cell.label
            assert environments.get(cell.environment).framework == line.framework
            assert cell.device in environments.get(cell.environment).devices, cell.label
            assert cell.precision in PRECISIONS, cell.label
        assert line.device == ("cuda" if line in CUDA_LINES else "cpu")
    for lines in (LINES, CUDA_LINES):
        assert len({line.name for line in lines}) == len(lines)


def test_every_twin_of_another_library_is_where_its_environment_says() -> None:
    """The worker imports ``<twins>.<workload>.<workload>_<framework>``; parity scripts are modules, too."""
    from bench import environments

    for line in (*LINES, *CUDA_LINES):
        twins = environments.get(line.peer).twins
        for module in (f"{twins}.{line.workload}.{line.workload}_{line.framework}", PARITY[line.peer].split()[0]):
            assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), module


def test_cuda_has_lines_and_files_of_its_own(
    contexts: list[Context], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cells are on the GPU at the line's precision, and no file holds rows of two devices."""
    line = replace(LINE, name="gpu", device="cuda", precision="bf16")
    for module in (driver, table):
        monkeypatch.setattr(module, "CUDA_LINES", (line,))
    monkeypatch.setattr(driver, "_context", lambda *_: contexts[0])
    monkeypatch.setattr(driver, "_installed", lambda *_: ())
    results = tmp_path / "results"
    options = ["--device", "cuda", "--python", "fake=sh", "--python", "fake-slower=sh", "--results", str(results)]
    files = ["--json", str(tmp_path / "g.json"), "--page", str(tmp_path / "g.md"), "--blocks", "3", "--no-parity"]
    assert driver.main([*options, *files, "--threads", "1"]) == 0
    assert [row.line for row in table.load(tmp_path / "g.json", "cuda").rows] == ["gpu"]
    page = (tmp_path / "g.md").read_text()
    assert "[g.json](g.json)" in page
    assert "--device cuda" in page
    assert "timm has no counterpart" in page
    document = msgspec.structs.replace(table.load(tmp_path / "g.json", "cuda"), machine={"gpu": "H100", "chip": "Xeon"})
    assert "Machine: H100; Xeon, " in table.markdown(document)
    assert "Machine: Xeon, " in table.markdown(msgspec.structs.replace(document, device="cpu"))
    (folder,) = results.iterdir()
    assert {(record.cell.device, record.cell.precision) for record in records_of(folder)} == {("cuda", "bf16")}
    with pytest.raises(UsageError, match="holds rows of cuda, not of cpu"):
        table.load(tmp_path / "g.json")
    assert driver.main(["--device", "cuda", "--only", LINES[0].name]) == 2


def test_files_and_threads_by_device() -> None:
    """Where nothing is said: the CPU's table as it was, and a GPU's apart from it."""
    cpu, cuda = driver._arguments([]), driver._arguments(["--device", "cuda"])
    assert (cpu.json.name, cpu.page.name, cpu.threads) == ("peers.json", "peers.md", [1, 2])
    assert (cuda.json.name, cuda.page.name, len(cuda.threads)) == ("peers-cuda.json", "peers-cuda.md", 1)
    assert table.load(cpu.json).device == "cpu"
    with pytest.raises(SystemExit):
        driver._arguments(["--device", "metal"])
