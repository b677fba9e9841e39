"""Records on disk: nothing is lost, nothing stops a reader, two writers do not meet."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from bench import schema, store
from bench.cell import Cell
from bench.errors import UsageError
from bench.record import SCHEMA_VERSION, Failed, Fingerprint, Record
from tests import samples

ROOT = Path(__file__).parent.parent
CELL = Cell("mlp", "tiny-test", "inference", "default", 4, "fake", "cpu", "fp32", "eager")


def record(number: int) -> Record:
    """A small record; ``number`` tells them apart."""
    fingerprint = Fingerprint({}, {}, None, 1, {}, {}, None, 0, None, None)
    outcome = Failed("load", "ValueError", "a message with \n and é", "tail")
    return Record(
        SCHEMA_VERSION,
        f"{number:032x}",
        "run",
        f"{number:05d}",
        0,
        CELL.id,
        CELL,
        "2026-01-01T00:00:00Z",
        outcome,
        {},
        fingerprint,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with three records."""
    made = store.new_run(tmp_path / "results", {"setup": {}})
    with store.appending(made) as appender:
        appender.append([record(1)])
        appender.append([record(2), record(3)])
    return made


def read(folder: Path) -> tuple[list[Record], list[str]]:
    """Records and problems."""
    problems: list[str] = []
    return list(store.read(folder, problems)), problems


def test_what_was_written_is_read(folder: Path) -> None:
    assert read(folder) == ([record(1), record(2), record(3)], [])


def test_a_truncated_line_is_named_and_skipped_and_the_next_writer_starts_a_new_line(folder: Path) -> None:
    path = folder / store.RECORDS
    path.write_bytes(path.read_bytes()[:-40])
    records, problems = read(folder)
    assert [r.block for r in records] == ["00001", "00002"]
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}:3: truncated line")
    with store.appending(folder) as appender:
        appender.append([record(4)])
    records, problems = read(folder)
    assert [r.block for r in records] == ["00001", "00002", "00004"]
    assert problems[0].startswith(f"{path}:3: not a record")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"not json at all\n", "malformed"),
        (b'{"schema": 1, "hello": "world"}\n', "missing required field"),
        (b"[1, 2, 3]\n", "Expected `object`"),
        (b"\xff\xfe\x00binary\n", ""),
        (b'{"schema": 99}\n', "schema 99 is newer than this twinbench reads (4)"),
    ],
)
def test_a_foreign_line_is_named_and_skipped(folder: Path, line: bytes, why: str) -> None:
    path = folder / store.RECORDS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + line + b"".join(lines[1:]))
    records, problems = read(folder)
    assert [r.block for r in records] == ["00001", "00002", "00003"]
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}:2: ")
    assert why in problems[0]


@pytest.mark.parametrize("column", ["wall_ns", "cpu_ns", "foreign_cpu_ns", "started_ns"])
def test_a_record_whose_columns_do_not_fit_is_no_record(column: str) -> None:
    document = msgspec.to_builtins(samples.record())
    assert store.parse(json.dumps(document).encode())
    document["measurement"]["bursts"][column].pop()
    with pytest.raises(ValueError, match="unequal lengths"):
        store.parse(json.dumps(document).encode())


@pytest.mark.parametrize("change", ["items", "iterations", "bursts"])
def test_a_record_without_iterations_or_items_is_no_record(change: str) -> None:
    document = msgspec.to_builtins(samples.record())
    measurement = document["measurement"]
    if change == "items":
        measurement["items_per_iteration"] = 0
    elif change == "iterations":
        measurement["bursts"]["iterations"][0] = 0
    else:
        measurement["bursts"] = {name: [] for name in measurement["bursts"]}
    with pytest.raises(ValueError, match="without bursts, iterations or items"):
        store.parse(json.dumps(document).encode())


def test_a_newer_record_that_would_still_parse_is_not_misread(folder: Path) -> None:
    document = msgspec.to_builtins(record(9)) | {"schema": SCHEMA_VERSION + 1}
    with pytest.raises(ValueError, match="newer"):
        store.parse(json.dumps(document).encode())


def test_a_second_writer_of_the_same_run_is_refused(folder: Path) -> None:
    with store.appending(folder), pytest.raises(UsageError, match="being written by another"), store.appending(folder):
        pass
    with store.appending(folder) as appender:
        appender.append([record(5)])
    assert len(read(folder)[0]) == 4


def test_two_runs_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    folders = [store.new_run(tmp_path, {"n": n}) for n in range(20)]
    assert len(set(folders)) == 20
    assert store.runs(tmp_path) == folders, "in the order in which they began, though in the same second"
    assert [store.run_facts(f)["n"] for f in folders] == list(range(20))


def test_runs_are_found_by_name_by_folder_and_as_latest(folder: Path) -> None:
    results = folder.parent
    assert store.find(results, folder.name) == folder
    assert store.find(results, str(folder)) == folder
    assert store.find(results, "latest") == folder


def test_an_unknown_run_names_the_nearest(folder: Path) -> None:
    with pytest.raises(UsageError, match=f"did you mean '{folder.name}'"):
        store.find(folder.parent, folder.name[:-1] + "x")


def test_an_empty_results_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="twinbench run"):
        store.find(tmp_path, "latest")


def test_the_published_schema_is_the_one_of_the_code() -> None:
    published = json.loads((ROOT / "docs" / "record.schema.json").read_text(encoding="utf-8"))
    assert published == json.loads(json.dumps(schema.schema())), "write it anew: see bench/schema.py"


def test_records_fit_the_published_schema_and_others_do_not(folder: Path) -> None:
    published = json.loads((ROOT / "docs" / "record.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(published)
    for line in (folder / store.RECORDS).read_bytes().splitlines():
        validator.validate(json.loads(line))
    spoilt = json.loads((folder / store.RECORDS).read_bytes().splitlines()[0])
    spoilt["outcome"] = {"kind": "splendid"}
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(spoilt)
