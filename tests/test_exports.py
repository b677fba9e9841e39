"""Every export, read by the program that it is for where that can be installed, else checked by its documentation."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pandas
import pytest

from bench import exports
from bench.errors import UsageError
from bench.exports import alike, asv_results, samples
from bench.record import Failed, Record, Unsupported, Wrong
from bench.summary import summarise
from tests.samples import CELL, MS, bursts, fingerprint, measurement, record

WRONG = Wrong("outputs", 0.5, 2e-5, "logits")
FAILED = Failed("burst", "RuntimeError", "lost", "")
#: Walls of a burst of ten iterations that must never be seen outside: no other figure of these tests has such digits.
HIDDEN_NS = 777_777_777
JSON_FORMATS = ("pytest-benchmark", "pyperf", "bencher", "github-action-benchmark")
#: Cells that may not show a speed.
UNSPEAKABLE = {word: CELL.but(environment=word) for word in ("half-wrong", "all-failed", "impossible", "not-supported")}


def timed(cell: Any = CELL, slowdown: float = 1.0, **facts: Any) -> list[Record]:
    """Three processes of ten bursts: 4.9, 5.0 and 5.1 ms an iteration of 64 samples, times ``slowdown``."""
    walls = [round(share * slowdown * 50 * MS) for share in (0.98, 1.0, 1.02)]
    return [
        record(cell, process, measured=measurement(bursts=bursts([wall] * 10)), block=f"b{process}", **facts)
        for process, wall in enumerate(walls)
    ]


def with_unspeakable() -> list[Record]:
    """One good cell, and cells that are wrong, failed, implausible and unsupported; what was timed is planted."""
    hidden = measurement(bursts=bursts([HIDDEN_NS] * 10))
    return [
        *timed(),
        record(UNSPEAKABLE["half-wrong"], 0, measured=hidden),
        record(UNSPEAKABLE["half-wrong"], 1, outcome=WRONG),
        record(UNSPEAKABLE["all-failed"], 0, outcome=FAILED),
        record(UNSPEAKABLE["impossible"], 0, measured=hidden, labels=["implausible:fence"]),
        record(UNSPEAKABLE["not-supported"], 0, outcome=Unsupported("no such mode")),
    ]


def read(*command: str | Path, folder: Path) -> str:
    """What a consumer says, run as a person would; it must succeed."""
    line = [sys.executable, "-m", *map(str, command)]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def leaks(text: str) -> list[str]:
    """Traces of cells that must not show a speed in an export that holds measured cells only."""
    return [word for word in (*UNSPEAKABLE, "7777777", "NaN", "Infinity") if word in text]


@pytest.mark.parametrize("format_", JSON_FORMATS)
def test_a_cell_without_a_right_answer_is_in_no_file(tmp_path: Path, format_: str) -> None:
    assert exports.write(with_unspeakable(), format_, tmp_path / "out.json") == 1
    text = (tmp_path / "out.json").read_text()
    assert CELL.label in text
    assert leaks(text) == []


@pytest.mark.parametrize("format_", JSON_FORMATS)
def test_that_check_sees_a_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str) -> None:
    """Saboteur: the rule is gone, every cell with a sample counts as measured."""
    monkeypatch.setattr(samples, "plausible", lambda labels: True)
    real = summarise

    def lenient(records: Any) -> list[Any]:
        good = real([r for r in records if r.measurement is not None and r.outcome is not WRONG])
        rate = next(one for one in good if one.throughput is not None)
        return [replace(one, outcome="measured", throughput=rate.throughput) for one in good]

    monkeypatch.setattr(samples, "summarise", lenient)
    exports.write(with_unspeakable(), format_, tmp_path / "out.json")
    assert {"half-wrong", "impossible"} <= set(leaks((tmp_path / "out.json").read_text()))


@pytest.mark.parametrize("format_", [*JSON_FORMATS, "asv"])
def test_nothing_measured_is_no_benchmark(tmp_path: Path, format_: str) -> None:
    one = record(outcome=FAILED, fingerprint=fingerprint(git_revision=commit(tmp_path / "repo")))
    if format_ == "asv":
        assert asv_results.write([one], tmp_path / "out", tmp_path / "repo") == 0
    else:
        assert exports.write([one], format_, tmp_path / "out") == 0


# --- pyperf and pytest-benchmark -------------------------------------------------------------------------------------


def test_pyperf_itself_compares_two_exports(tmp_path: Path) -> None:
    """The second run is twice as slow, and pyperf says slower: units and direction are right."""
    exports.write(timed(), "pyperf", tmp_path / "a.json")
    exports.write(timed(slowdown=2.0), "pyperf", tmp_path / "b.json")
    told = read("pyperf", "compare_to", "a.json", "b.json", folder=tmp_path)
    assert "Mean +- std dev: [a] 5.00 ms +- 0.08 ms -> [b] 10.0 ms +- 0.2 ms: 2.00x slower" in told
    told = read("pyperf", "compare_to", "b.json", "a.json", folder=tmp_path)
    assert "2.00x faster" in told


def test_pyperf_itself_counts_processes_bursts_and_warm_up(tmp_path: Path) -> None:
    exports.write(timed(), "pyperf", tmp_path / "a.json.gz")
    told = read("pyperf", "stats", "a.json.gz", folder=tmp_path)
    for line in (
        "Number of run with values: 3",
        "Number of value per run: 10",
        "Number of warmup per run: 1",
        "Loop iterations per value: 10",
        "Total duration: 1.5 sec",
        "Median +- MAD:   5.00 ms",
        "Start date: 2026-11-22 10:00:00+00:00",
    ):
        assert line in told
    assert "cpu_model_name: Imagined M9" in read("pyperf", "metadata", "a.json.gz", folder=tmp_path)


def test_pyperf_takes_no_cell_from_two_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyperf's own rule too, should ours not see it; said with the cell's name, and the file that is there stays."""
    (tmp_path / "out.json").write_text("mine")
    here, there = timed(), timed(fingerprint=fingerprint(machine={"chip": "Imagined M10"}))
    with pytest.raises(UsageError, match="chip differs: Imagined M9 against Imagined M10"):
        exports.write([here[0], there[1]], "pyperf", tmp_path / "out.json")
    monkeypatch.setattr(alike.Groups, "place", lambda self, record: 0)
    with pytest.raises(
        UsageError, match=r"mlp:digits inference b64 torch/cpu fp32 eager: pyperf does not take its runs"
    ):
        exports.write([here[0], there[1]], "pyperf", tmp_path / "out.json")
    assert (tmp_path / "out.json").read_text() == "mine"


def test_pytest_benchmark_itself_orders_two_exports(tmp_path: Path) -> None:
    exports.write(timed(), "pytest-benchmark", tmp_path / "a.json")
    exports.write(timed(slowdown=2.0), "pytest-benchmark", tmp_path / "b.json")
    told = read("pytest_benchmark", "compare", "a.json", "b.json", "--columns", "median,rounds", folder=tmp_path)
    assert "time in ms" in told
    rows = [line.split()[-3:] for line in told.splitlines() if line.startswith("mlp:digits")]
    assert [(float(time), float(ratio.strip("()")), rounds) for time, ratio, rounds in rows] == [
        (5.0, 1.0, "30"),
        (10.0, 2.0, "30"),
    ]


# --- asv -------------------------------------------------------------------------------------------------------------


def commit(repository: Path, message: str = "one") -> str:
    """The hash of a new commit in ``repository``, made when it is not there."""
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    repository.mkdir(exist_ok=True)
    for line in (["init", "-q", "-b", "trunk"], [*who, "commit", "-q", "--allow-empty", "-m", message]):
        subprocess.run(["git", *line], cwd=repository, check=True, capture_output=True)
    shown = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True)
    return shown.stdout.strip()


def at(revision: str | None) -> dict[str, Any]:
    """Facts of a record that was measured on this commit."""
    return {"fingerprint": fingerprint(git_revision=revision, machine={"host": "abcd0123", "chip": "Imagined M9"})}


def points(folder: Path, benchmark: str) -> list[Any]:
    """The points that asv's page draws: one graph for each set of parameters."""
    found = [path for path in folder.glob(f"html/graphs/**/{benchmark}.json") if "summary" not in path.parts]
    return [json.loads(path.read_text()) for path in found]


def test_asv_itself_publishes_two_commits(tmp_path: Path) -> None:
    """Two exports into one folder; the second is slower. One on a side branch is shown as well."""
    repository, out = tmp_path / "repo", tmp_path / "out"
    first, second = commit(repository), commit(repository, "two")
    other = CELL.but(precision="bf16")
    assert asv_results.write([*timed(**at(first)), *timed(other, **at(first))], out, repository) == 2
    for line in (["branch", "side"], ["checkout", "-q", "-B", "trunk", first]):
        subprocess.run(["git", *line], cwd=repository, check=True, capture_output=True)
    failed = [record(CELL.but(mode="compiled"), outcome=FAILED, **at(second))]
    refused = [record(CELL.but(mode="xla"), outcome=Unsupported("no"), **at(second))]
    assert asv_results.write([*timed(slowdown=2.0, **at(second)), *failed, *refused], out, repository) == 1
    told = read("asv", "--config", out / "asv.conf.json", "publish", "--no-pull", folder=tmp_path)
    assert "Couldn't find" not in told
    benchmarks = json.loads((out / "results" / "benchmarks.json").read_text())
    assert benchmarks["mlp.digits.inference.b64.torch"]["params"] == [
        ["cpu bf16 eager", "cpu fp32 eager", "cpu fp32 compiled", "cpu fp32 xla"]
    ]
    quick, slow = pytest.approx(0.005, rel=1e-3), pytest.approx(0.010, rel=1e-3)
    trunk, side = sorted(points(out, "mlp.digits.inference.b64.torch"), key=len)
    assert [values for _, values in trunk] == [[quick, quick, None, None]]
    assert [values for _, values in side] == [[quick, quick, None, None], [None, slow, None, None]]
    shown = read("asv", "--config", out / "asv.conf.json", "show", second, folder=tmp_path)
    told_of = {tuple(line.split()[:3]): line.split()[3:] for line in shown.splitlines() if "cpu fp32" in line}
    assert told_of["cpu", "fp32", "compiled"] == ["failed"]
    assert told_of["cpu", "fp32", "xla"] == ["n/a"]
    assert told_of["cpu", "fp32", "eager"][0].startswith("10.0")


def test_asv_exports_of_two_runs_of_one_commit_add_up(tmp_path: Path) -> None:
    """fp32 first and fp16 after it: asv itself draws both, and a cell that comes again has the newer figure."""
    repository, out = tmp_path / "repo", tmp_path / "out"
    here = at(commit(repository))
    half, name = CELL.but(precision="fp16"), "mlp.digits.inference.b64.torch"
    failed = record(CELL.but(mode="compiled"), outcome=FAILED, **here)
    assert asv_results.write([*timed(**here), failed], out, repository) == 1
    assert asv_results.write(timed(half, slowdown=2.0, **here), out, repository) == 1
    assert asv_results.write(timed(half.but(phase="training"), **here), out, repository) == 1
    assert asv_results.write(timed(half, slowdown=3.0, **here), out, repository) == 1
    (file,) = (out / "results" / "abcd0123").glob("*torch*.json")
    document = json.loads(file.read_text())
    row = dict(zip(document["result_columns"], document["results"][name], strict=True))
    assert row["params"] == [["cpu fp32 compiled", "cpu fp32 eager", "cpu fp16 eager"]]
    quick, slow = pytest.approx(0.005, rel=1e-3), pytest.approx(0.015, rel=1e-3)
    assert row["result"] == [None, quick, slow]
    assert row["samples"][1:] == [pytest.approx([0.0049, 0.005, 0.0051]), pytest.approx([0.0147, 0.015, 0.0153])]
    assert all(len(row[column]) == 3 for column in asv_results.BY_CELL)
    read("asv", "--config", out / "asv.conf.json", "publish", "--no-pull", folder=tmp_path)
    ((point,),) = points(out, name)
    listed = json.loads((out / "results" / "benchmarks.json").read_text())[name]["params"][0]
    assert dict(zip(listed, point[1], strict=True)) == {
        "cpu fp32 eager": quick,
        "cpu fp32 compiled": None,
        "cpu fp16 eager": slow,
    }
    assert points(out, "mlp.digits.training.b64.torch"), "another work of the same commit"


def test_asv_keeps_two_pythons_apart(tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    revision = commit(repository)
    for python in ("3.11.1", "3.12.1"):
        facts = fingerprint(git_revision=revision, versions={"torch": "2.0", "python": python}, machine={"host": "h"})
        asv_results.write(timed(fingerprint=facts), tmp_path / "out", repository)
    files = (tmp_path / "out" / "results" / "h").glob("*torch*.json")
    assert sorted(json.loads(file.read_text())["python"] for file in files) == ["3.11.1", "3.12.1"]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"result_columns": ["result"], "results": {}}'])
def test_asv_does_not_write_over_a_damaged_file(tmp_path: Path, content: str) -> None:
    repository, out = tmp_path / "repo", tmp_path / "out"
    here = at(commit(repository))
    asv_results.write(timed(**here), out, repository)
    (file,) = (out / "results" / "abcd0123").glob("*torch*.json")
    file.write_text(content)
    before = {path: path.read_text() for path in out.rglob("*.json")}
    with pytest.raises(UsageError, match=rf"{file.name} is damaged or not of this export"):
        asv_results.write(timed(CELL.but(precision="fp16"), **here), out, repository)
    assert {path: path.read_text() for path in out.rglob("*.json")} == before


def test_asvs_interval_is_the_one_for_99_percent(tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    asv_results.write(timed(**at(commit(repository))), tmp_path / "out", repository)
    (file,) = (tmp_path / "out" / "results" / "abcd0123").glob("*torch*.json")
    document = json.loads(file.read_text())
    row = dict(zip(document["result_columns"], document["results"]["mlp.digits.inference.b64.torch"], strict=True))
    # Student's t with 2 degrees of freedom: 9.925 at 99 %; logs of 0.98, 1 and 1.02 scatter by 0.0200.
    half = 9.925 * 0.0200 / math.sqrt(3)
    assert row["stats_ci_99_a"] == [pytest.approx(0.005 * math.exp(-half), rel=1e-3)]
    assert row["stats_ci_99_b"] == [pytest.approx(0.005 * math.exp(half), rel=1e-3)]
    assert row["samples"] == [pytest.approx([0.0049, 0.005, 0.0051])]
    assert row["stats_repeat"] == [3]


def test_a_changed_checkout_is_another_line(tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    revision = commit(repository)
    asv_results.write([*timed(**at(revision)), *timed(**at(revision + "+dirty"))], tmp_path / "out", repository)
    files = sorted((tmp_path / "out" / "results" / "abcd0123").glob(f"{revision[:8]}*.json"))
    assert sorted(json.loads(file.read_text())["params"]["checkout"] for file in files) == ["changed", "clean"]
    assert {json.loads(file.read_text())["commit_hash"] for file in files} == {revision}


def test_asv_needs_a_commit_that_is_there(tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    commit(repository)
    with pytest.raises(UsageError, match="name none: twinbench ran outside a checkout"):
        asv_results.write(timed(**at(None)), tmp_path / "out", repository)
    with pytest.raises(UsageError, match=f"no branch or tag of .* has commit {'0' * 40}: export in"):
        asv_results.write(timed(**at("0" * 40)), tmp_path / "out", repository)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ['{"project": "numpy", "branches": []}', "{", '{"project": "twinbench"}'])
def test_asv_leaves_another_projects_folder_alone(tmp_path: Path, content: str) -> None:
    repository, out = tmp_path / "repo", tmp_path / "out"
    revision = commit(repository)
    out.mkdir()
    (out / "asv.conf.json").write_text(content)
    with pytest.raises(UsageError, match="give a folder of its own"):
        asv_results.write(timed(**at(revision)), out, repository)
    assert [path.name for path in out.iterdir()] == ["asv.conf.json"]
    assert (out / "asv.conf.json").read_text() == content
    (out / "asv.conf.json").rename(out / "thesis.tex")
    with pytest.raises(UsageError, match="was not made by this export"):
        asv_results.write(timed(**at(revision)), out, repository)


# --- Bencher and github-action-benchmark: by their documentation ------------------------------------------------------

#: Stricter than Bencher's: only its two built-in measures, positive, and both bounds or none.
METRIC = {
    "type": "object",
    "required": ["value"],
    "additionalProperties": False,
    "properties": {name: {"type": "number", "exclusiveMinimum": 0} for name in ("value", "lower_value", "upper_value")},
    "dependentRequired": {"lower_value": ["upper_value"], "upper_value": ["lower_value"]},
}
BENCHER = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "propertyNames": {"minLength": 1, "maxLength": 1024},
    "additionalProperties": {
        "type": "object",
        "required": ["throughput"],
        "additionalProperties": False,
        "properties": {"latency": METRIC, "throughput": METRIC},
    },
}
#: The keys that the action reads, with their types.
GITHUB = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["name", "unit", "value"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "unit": {"type": "string", "minLength": 1},
            "value": {"type": "number", "exclusiveMinimum": 0},
            "range": {"type": "string"},
            "extra": {"type": "string"},
        },
    },
}


def exported(tmp_path: Path, format_: str, records: list[Record], schema: dict[str, Any]) -> Any:
    """The document, which fits ``schema``."""
    exports.write(records, format_, tmp_path / "out.json")
    document = json.loads((tmp_path / "out.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    return document


def test_bencher_has_true_intervals_in_its_own_units(tmp_path: Path) -> None:
    document = exported(tmp_path, "bencher", timed(), BENCHER)
    measures = document[CELL.label]
    half = 4.303 * 0.0200 / math.sqrt(3)  # Student's t with 2 degrees of freedom at 95 %
    assert measures["throughput"]["value"] == pytest.approx(64 / 0.005, rel=1e-3), "items per second"
    assert measures["throughput"]["lower_value"] == pytest.approx(64 / 0.005 * math.exp(-half), rel=1e-3)
    assert measures["throughput"]["upper_value"] == pytest.approx(64 / 0.005 * math.exp(half), rel=1e-3)
    assert measures["latency"] == pytest.approx({"value": 6e6, "lower_value": 6e6, "upper_value": 6e6}), "ns"


def test_one_process_has_no_bounds_anywhere(tmp_path: Path) -> None:
    measures = exported(tmp_path, "bencher", timed()[:1], BENCHER)[CELL.label]
    assert set(measures["throughput"]) == set(measures["latency"]) == {"value"}
    (entry,) = exported(tmp_path, "github-action-benchmark", timed()[:1], GITHUB)
    assert "range" not in entry


def test_the_action_gets_one_unit_and_direction(tmp_path: Path) -> None:
    quick, slow = (
        exported(tmp_path, "github-action-benchmark", timed(slowdown=slowdown), GITHUB)[0] for slowdown in (1.0, 1e4)
    )
    assert quick["value"] > slow["value"] > 0, "bigger is better"
    assert quick["unit"] == slow["unit"] == "sample/s"
    assert quick["value"] == pytest.approx(64 / 0.005, rel=1e-3)
    assert quick["range"] == "95 % interval 12,180 to 13,450"
    assert quick["extra"].startswith("higher is better\nfresh processes: 3\n")


@pytest.mark.parametrize(
    ("schema", "document"),
    [
        (BENCHER, {"a": {"throughput": {"value": None}}}),
        (BENCHER, {"a": {"throughput": {"value": 1, "lower_value": 1}}}),
        (BENCHER, {"a": {"throughput": {"value": -1}}}),
        (BENCHER, {"": {"throughput": {"value": 1}}}),
        (BENCHER, {"a": {"latency": {"value": 1}}}),
        (GITHUB, []),
        (GITHUB, {"name": "a", "unit": "x", "value": 1}),
        (GITHUB, [{"name": "a", "unit": "x", "value": "1"}]),
        (GITHUB, [{"name": "a", "unit": "x", "value": 0}]),
    ],
)
def test_the_checks_by_documentation_can_fail(schema: dict[str, Any], document: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(document)


# --- tables ----------------------------------------------------------------------------------------------------------

READERS: dict[str, Callable[[Path], pandas.DataFrame]] = {"csv": pandas.read_csv, "parquet": pandas.read_parquet}


@pytest.mark.parametrize("format_", READERS)
def test_tables_have_every_cell_and_no_figure_without_a_right_answer(tmp_path: Path, format_: str) -> None:
    assert exports.write(with_unspeakable(), format_, tmp_path / "out") == 5
    table = READERS[format_](tmp_path / "out").set_index("environment")
    assert table.items_per_s["torch"] == pytest.approx(12_800, rel=1e-3)
    for word in UNSPEAKABLE:
        row = table.loc[word]
        figures = [name for name in table.columns if name.endswith("_s") or name.startswith("latency")]
        assert row[figures].isna().all(), word
    assert dict(table.outcome) == {
        "torch": "measured",
        "half-wrong": "wrong",
        "all-failed": "failed",
        "impossible": "implausible",
        "not-supported": "unsupported",
    }


def test_a_column_of_parquet_has_one_type_in_every_file(tmp_path: Path) -> None:
    import pyarrow.parquet

    schemas = []
    for number, records in enumerate(([record(outcome=FAILED)], timed())):
        exports.write(records, "parquet", tmp_path / str(number))
        schemas.append(pyarrow.parquet.read_schema(tmp_path / str(number)).remove_metadata())
    assert schemas[0].equals(schemas[1])
    types = dict(zip(schemas[0].names, map(str, schemas[0].types), strict=True))
    assert types["items_per_s"] == types["latency_p50_s"] == "double"
    assert types["batch"] == types["peak_rss_bytes"] == "int64"
    assert "null" not in types.values()


# --- unlike runs -----------------------------------------------------------------------------------------------------


def two_machines() -> list[Record]:
    """The same cell of two runs; the second is twice as slow, and its last process failed before it knew anything."""
    machine = {"chip": "Imagined M10", "physical_cores": 8, "gpu_cores": 10}
    other = fingerprint(machine=machine, versions={"torch": "2.15.0", "numpy": "2"}, threads=4)
    nothing = fingerprint(machine={}, versions={}, threads=None)
    failed = record(process=3, outcome=FAILED, run="r2", fingerprint=nothing)
    return [*timed(), *timed(slowdown=2.0, fingerprint=other, run="r2"), failed]


@pytest.mark.parametrize("format_", READERS)
def test_tables_have_a_row_for_each_machine_and_set_of_versions(tmp_path: Path, format_: str) -> None:
    assert exports.write([*two_machines(), *timed(run="r3")], format_, tmp_path / "out") == 2
    table = READERS[format_](tmp_path / "out")
    assert list(table.run) == ["r r3", "r2"]
    assert list(table.chip) == ["Imagined M9", "Imagined M10"]
    assert list(table.threads) == [1, 4]
    assert list(table.versions) == ["torch=2.14.0", "numpy=2 torch=2.15.0"]
    assert list(table.items_per_s) == [pytest.approx(12_800, rel=1e-3), pytest.approx(6_400, rel=1e-3)]
    assert list(table.attempted) == [6, 4]


@pytest.mark.parametrize("format_", JSON_FORMATS)
def test_what_cannot_hold_unlike_runs_refuses_them_and_names_the_facts(tmp_path: Path, format_: str) -> None:
    with pytest.raises(UsageError, match=r"run r and run r2 are unlike") as refused:
        exports.write(two_machines(), format_, tmp_path / "out.json")
    for told in ("chip differs: Imagined M9 against Imagined M10", "threads differs: 1 against 4", "version of torch"):
        assert told in str(refused.value)
    assert not (tmp_path / "out.json").exists()
    assert exports.write([*timed(), *timed(run="r3")], format_, tmp_path / "out.json") == 1, "alike runs are one"


def test_a_file_of_pytest_benchmark_is_of_one_machine(tmp_path: Path) -> None:
    there = timed(CELL.but(precision="fp16"), fingerprint=fingerprint(machine={"chip": "Imagined M10"}), run="r2")
    with pytest.raises(UsageError, match="names one machine, and runs r2 and r are of two: chip differs"):
        exports.write([*timed(), *there], "pytest-benchmark", tmp_path / "out.json")
    assert exports.write([*timed(), *there], "bencher", tmp_path / "out.json") == 2


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", exports.FORMATS)
def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, format_: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*file/out"):
        exports.write(timed(**at(None)), format_, tmp_path / "file" / "out")


@pytest.mark.parametrize(("format_", "package"), [("pyperf", "pyperf"), ("parquet", "pyarrow")])
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"needs {package}: pip install 'twinbench\[report,exports\]'"):
        exports.write(timed(), format_, tmp_path / "out")
