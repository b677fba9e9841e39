"""Files of pyperf and pytest-benchmark as runs: what comes in, what is said of it, and what is refused."""

from __future__ import annotations

import gzip
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyperf
import pytest

from bench import exports, foreign, store
from bench.compare import compare_runs
from bench.errors import UsageError
from bench.record import Record
from bench.session import run_file
from bench.summary import CellSummary, summarise
from tests.harness import Cli, command_line, records_of
from tests.samples import CELL, MS, bursts, fingerprint, measurement, record


def suite(path: Path, name: str = "json_loads", time_s: float = 0.002, **metadata: Any) -> Path:
    """A file of pyperf's own making: 4 processes of 3 values, 1 % apart, and a calibration."""
    facts = {
        "name": name,
        "loops": 8,
        "inner_loops": 2,
        "unit": "second",
        "cpu_count": 8,
        "hostname": "mac.example.org",
    }
    facts |= {"date": "2026-11-20 10:00:00.5", "cpu_model_name": "Imagined M9", "python_version": "3.11.9 (64-bit)"}
    facts = {key: value for key, value in (facts | metadata).items() if value is not None}
    calibration = {key: value for key, value in facts.items() if key != "loops"} | {"calibrate_loops": 8}
    runs = [pyperf.Run([], warmups=[(8, time_s)], metadata=calibration, collect_metadata=False)]
    runs += [pyperf.Run([time_s * (1 + place / 100)] * 3, metadata=facts, collect_metadata=False) for place in range(4)]
    pyperf.BenchmarkSuite([pyperf.Benchmark(runs)]).dump(str(path), replace=True)
    return path


def imported(path: Path, results: Path) -> list[Record]:
    """The records of the run that the file became."""
    return records_of(foreign.import_file(path, results).folder)


def summary(path: Path, results: Path) -> CellSummary:
    """The one cell of the file."""
    (one,) = summarise(imported(path, results))
    return one


@pytest.mark.parametrize("name", ["suite.json", "suite.json.gz"])
def test_a_suite_of_pyperf_comes_in_process_by_process(tmp_path: Path, name: str) -> None:
    records = imported(suite(tmp_path / name), tmp_path / "results")
    assert len(records) == 4, "the calibration is no sample"
    first = records[0]
    assert first.measurement is not None
    assert first.measurement.bursts.iterations == [16] * 3
    assert first.measurement.bursts.wall_ns == [32 * MS] * 3
    assert first.cell.label == "json_loads:foreign imported b1 pyperf/unknown unknown unknown"
    assert first.labels == ["imported:pyperf", "not-verified"]
    assert first.started_at.startswith("2026-11-20T10:00:00.5")
    assert first.fingerprint.machine["chip"] == "Imagined M9"
    assert first.fingerprint.machine["host"] != "mac.example.org", "a name of a host is kept as a hash only"
    assert first.fingerprint.versions["python"] == "3.11.9"
    assert first.verification is None
    (one,) = summarise(records)
    assert one.outcome == "measured"
    assert one.imported == "pyperf"
    assert one.throughput is not None
    assert one.throughput.estimate == pytest.approx(1 / 0.00203, rel=1e-3)
    assert one.throughput.low is not None


TEST = """
def test_sum(benchmark):
    assert benchmark.pedantic(sum, args=([1] * 10_000,), rounds=7, iterations=3) == 10_000
"""


def test_a_file_of_pytest_benchmarks_own_making_comes_in_as_one_process(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "test_it.py",
        "--benchmark-json=out.json",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (one,) = imported(tmp_path / "out.json", tmp_path / "results")
    assert one.cell.label == "test_it.py::test_sum:foreign imported b1 pytest-benchmark/unknown unknown unknown"
    assert one.measurement is not None
    (document,) = json.loads((tmp_path / "out.json").read_text())["benchmarks"]
    told = document["stats"]
    assert one.measurement.bursts.iterations == [3] * 7
    median_ns = statistics.median(one.measurement.bursts.wall_ns) / 3
    assert median_ns == pytest.approx(told["median"] * 1e9, abs=1), "seconds of one iteration"
    (row,) = summarise([one])
    assert row.throughput is not None
    assert row.throughput.low is None, "rounds of one process are no interval"


@pytest.mark.parametrize("format_", ["pyperf", "pytest-benchmark"])
def test_our_own_export_comes_back_as_the_same_cell(tmp_path: Path, format_: str) -> None:
    """Cell, unit, processes and estimate survive; that the outputs were verified does not."""
    records = [
        record(process=number, block=f"b{number}", measured=measurement(bursts=bursts([wall * MS] * 10)))
        for number, wall in enumerate((49, 50, 52))
    ]
    (before,) = summarise(records)
    exports.write(records, format_, tmp_path / "out.json")
    back = imported(tmp_path / "out.json", tmp_path / "results")
    (after,) = summarise(back)
    assert after.cell == CELL
    assert (after.item, after.processes) == (before.item, 3)
    assert after.rates == pytest.approx(before.rates, rel=1e-6)
    assert back[0].fingerprint.threads == 1
    assert back[0].fingerprint.weights_sha256 == "aa"
    assert back[0].fingerprint.versions["torch"] == "2.14.0"
    assert after.imported == format_
    assert after.limit is None


def test_other_units_are_left_out_and_said(tmp_path: Path) -> None:
    suite(tmp_path / "a.json", name="peak", unit="byte")
    with pytest.raises(UsageError, match=r"a\.json: peak: its values are in byte, not in seconds"):
        foreign.import_file(tmp_path / "a.json", tmp_path / "results")
    assert not (tmp_path / "results").exists(), "nothing is written"
    both = pyperf.BenchmarkSuite.load(str(tmp_path / "a.json"))
    both.add_benchmark(pyperf.BenchmarkSuite.load(str(suite(tmp_path / "b.json"))).get_benchmarks()[0])
    both.dump(str(tmp_path / "both.json"))
    made = foreign.import_file(tmp_path / "both.json", tmp_path / "results")
    assert made.benchmarks == 1
    assert made.problems == (f"{tmp_path / 'both.json'}: peak: its values are in byte, not in seconds",)


def document(**stats: Any) -> dict[str, Any]:
    """A small file of pytest-benchmark's."""
    facts = {"data": [0.001, 0.002], "iterations": 1} | stats
    benchmark = {"name": "t", "fullname": "f.py::t", "extra_info": {}, "stats": facts}
    return {"machine_info": {"node": "n"}, "benchmarks": [benchmark], "datetime": "2026-11-20T10:00:00+00:00"}


UNUSABLE = [
    ({"data": None}, "f.py::t: it has no times of single rounds: save it with --benchmark-json"),
    ({"data": []}, "f.py::t: it has no times of single rounds"),
    ({"data": [0.0]}, "f.py::t: time 0 is 0.0, not a positive number"),
    ({"data": [0.1, -1]}, "f.py::t: time 1 is -1, not a positive number"),
    ({"data": [float("nan")]}, "f.py::t: time 0 is nan"),
    ({"data": [float("inf")]}, "f.py::t: time 0 is inf"),
    ({"data": ["1"]}, "f.py::t: time 0 is '1'"),
    ({"data": [True]}, "f.py::t: time 0 is True"),
    ({"data": [1e-12]}, "f.py::t: a round took 1e-12 s: shorter than any clock"),
    ({"iterations": 0}, "f.py::t: iterations of a round are 0"),
    ({"iterations": "3"}, "f.py::t: iterations of a round are '3'"),
    ({"data": [10**400]}, "is a damaged pytest-benchmark file: OverflowError"),
    ({"data": [1e300]}, "f.py::t: time 0 is 1e+300"),
    ({"iterations": 10**400}, "f.py::t: iterations of a round are 1000"),
    ({"data": "0.1"}, "is a damaged pytest-benchmark file: TypeError"),
]


@pytest.mark.parametrize(("stats", "message"), UNUSABLE)
def test_times_that_cannot_be_are_refused(tmp_path: Path, stats: dict[str, Any], message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(document(**stats)))
    with pytest.raises(UsageError) as refused:
        foreign.import_file(tmp_path / "a.json", tmp_path / "results")
    assert message in str(refused.value)
    assert not (tmp_path / "results").exists()


FOREIGN = [
    (b"", "is no JSON"),
    (b"\xff\xfe", "is no JSON"),
    (b"[" * 100_000, "is no JSON"),
    (gzip.compress(b"{}")[:-4], "is no JSON"),
    (b"[]", "neither a pyperf nor a pytest-benchmark"),
    (b'{"benchmarks": []}', "neither a pyperf nor a pytest-benchmark"),
    (b'{"benchmarks": [{"runs": 5}], "version": "1.0"}', "is a damaged pyperf file"),
    (b'{"benchmarks": [{"runs": [{"values": [-1]}]}], "version": "1.0"}', "is a damaged pyperf file"),
    (b'{"benchmarks": [{"runs": []}], "version": "99"}', "is a damaged pyperf file: ValueError: file format version"),
    (b'{"machine_info": {}, "benchmarks": [5]}', "is a damaged pytest-benchmark file"),
    (b'{"machine_info": {}, "benchmarks": [{"fullname": "x"}]}', "is a damaged pytest-benchmark file: KeyError"),
    (b'{"machine_info": {}, "benchmarks": []}', "holds no benchmark"),
    (
        rb'{"machine_info": {}, "benchmarks": [{"fullname": "\ud800", "stats": {"data": [1.0], "iterations": 1}}]}',
        "is a damaged pytest-benchmark file: UnicodeEncodeError",
    ),
]


@pytest.mark.parametrize(("data", "message"), FOREIGN)
def test_a_file_of_something_else_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(UsageError, match=message):
        foreign.import_file(tmp_path / "a.json", tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_words_that_are_no_cell_of_ours_stay_foreign(tmp_path: Path) -> None:
    facts = document()
    facts["benchmarks"][0]["extra_info"] = {"cell": {**CELL.words(), "batch": "64"}, "items_per_iteration": 64}
    (tmp_path / "a.json").write_text(json.dumps(facts))
    one = summary(tmp_path / "a.json", tmp_path / "results")
    assert one.cell.phase == "imported"
    assert one.item == "iterations"


def test_a_unit_that_cannot_be_is_refused_and_a_date_that_cannot_be_is_unknown(tmp_path: Path) -> None:
    facts = document()
    facts["benchmarks"][0]["extra_info"] = {"cell": CELL.words(), "items_per_iteration": 1e308}
    (tmp_path / "a.json").write_text(json.dumps(facts))
    with pytest.raises(UsageError, match=r"f\.py::t: items of an iteration are 1e\+308"):
        foreign.import_file(tmp_path / "a.json", tmp_path / "results")
    (tmp_path / "b.json").write_text(json.dumps(document() | {"datetime": "0001-01-01T00:00:00"}))
    (one,) = imported(tmp_path / "b.json", tmp_path / "results")
    assert one.warnings == [foreign.NO_DATE]
    assert one.started_at.startswith("20")


@pytest.mark.parametrize("format_", ["pyperf", "pytest-benchmark", "github-action-benchmark", "csv"])
def test_an_imported_cell_is_exported_with_its_mark(tmp_path: Path, format_: str) -> None:
    exports.write(imported(suite(tmp_path / "a.json"), tmp_path / "results"), format_, tmp_path / "out")
    text = (tmp_path / "out").read_text()
    assert "json_loads" in text
    assert "imported:pyperf" in text or "imported from pyperf, not verified" in text


# --- the command, the report, the comparison --------------------------------------------------------------------------


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return command_line(monkeypatch, capsys)


def test_the_report_says_that_nobody_verified_it(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("import", suite(tmp_path / "a.json"))
    assert (code, out.partition(":")[0]) == (0, "1 benchmarks of pyperf, not verified")
    assert cli("report", "latest", "--out", "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text()
    assert "1 cell: 1 measured. 1 cell imported from other tools: not verified." in page
    assert "not verified: pyperf" in page
    assert page.count("imported from pyperf, not verified") >= 1, "on its square"
    assert "imported from a file of pyperf, not verified" in page
    assert "twinbench run json_loads" not in page, "no command measures it again"
    code, text, _ = cli("report", "latest", "--format", "markdown")
    assert code == 0
    assert "imported from other tools: not verified" in text


def test_an_imported_cell_leads_no_table(tmp_path: Path) -> None:
    """Ten times as fast, in the same work, and still not the fastest; a verified cell of that speed would be."""
    from bench.report.facts import leaders

    def cells(environment: str, wall_ms: float, labels: list[str]) -> list[Record]:
        times = [round(wall_ms * MS * share) for share in (0.99, 1.0, 1.01)]
        return [
            record(CELL.but(environment=environment), n, measured=measurement(bursts=bursts([t] * 3)), labels=labels)
            for n, t in enumerate(times)
        ]

    slow, near = cells("torch", 50, ["stable"]), cells("jax", 60, ["stable"])
    for labels, winner in ((["imported:pyperf", "not-verified"], "torch"), (["stable"], "mlx")):
        found, alone = leaders(summarise([*slow, *near, *cells("mlx", 5, labels)]))
        assert [one.cell.environment for one in found] == [winner]
        assert alone


def test_an_imported_cell_is_in_no_headline(tmp_path: Path) -> None:
    """No winner by it, no gain of an accelerator, and no baseline where a verified cell is there."""
    from bench.report.facts import accelerations, find_baselines
    from bench.report.headline import headline

    def one(device: str, labels: list[str], environment: str = "torch") -> list[Record]:
        return [record(CELL.but(device=device, environment=environment), process, labels=labels) for process in (0, 1)]

    marked = ["imported:pyperf", "not-verified"]
    verified = summarise([*one("cpu", ["stable"]), *one("metal", ["stable"])])
    assert accelerations(verified)[0].pairs == 1
    mixed = summarise([*one("cpu", marked), *one("metal", ["stable"])])
    assert accelerations(mixed) == []
    assert "imported cells were not verified" in headline(mixed, "")
    both = summarise([*one("cpu", marked, "jax"), *one("cpu", ["stable"], "mlx")])
    assert [base.cell.environment for base in find_baselines(both, "").values()] == ["mlx"]


def test_stored_runs_compare_and_say_what_was_imported(cli: Cli, tmp_path: Path) -> None:
    """The second is four times as slow: found, exit code 1; both sides are said to be imported."""
    folders = [
        foreign.import_file(suite(tmp_path / f"{name}.json", time_s=time_s), tmp_path / "results").folder
        for name, time_s in (("a", 0.002), ("b", 0.008))
    ]
    code, out, _ = cli("compare", folders[0].name, folders[1].name)
    assert code == 1, out
    assert "slower" in out
    a, b = (summarise(records_of(folder)) for folder in folders)
    (found,) = compare_runs(a, b).comparisons
    assert "A was imported from pyperf: not verified" in found.notes
    assert "B was imported from pyperf: not verified" in found.notes


def test_a_machine_that_differs_refuses_the_comparison(cli: Cli, tmp_path: Path) -> None:
    folders = [
        foreign.import_file(suite(tmp_path / f"{chip}.json", cpu_model_name=chip), tmp_path / "results").folder
        for chip in ("M9", "M10")
    ]
    code, out, _ = cli("compare", folders[0].name, folders[1].name)
    assert code == 3
    assert "chip differs" in " ".join(out.split())


def test_an_imported_cell_is_never_averaged_with_a_measured_one(cli: Cli, tmp_path: Path) -> None:
    """The same cell, measured here and imported: apart, or not at all."""
    own = store.new_run(tmp_path / "results", {"command": "twinbench run"})
    mine = record(run=own.name, fingerprint=fingerprint(versions={"torch": "2.14.0"}))
    with store.appending(own) as appender:
        appender.append([mine])
    exports.write([mine], "pyperf", tmp_path / "out.json")
    other = foreign.import_file(tmp_path / "out.json", tmp_path / "results").folder
    code, _, err = cli("report", own.name, other.name)
    assert code == 2
    assert "imported from differs: None against pyperf" in err


def test_an_imported_run_cannot_be_gone_on_with(tmp_path: Path) -> None:
    folder = foreign.import_file(suite(tmp_path / "a.json"), tmp_path / "results").folder
    with pytest.raises(UsageError, match="is imported: there is nothing to go on with"):
        run_file(folder)


def test_a_missing_file_is_said(cli: Cli) -> None:
    code, _, err = cli("import", "nowhere.json")
    assert code == 2
    assert "cannot read nowhere.json: No such file or directory" in err
