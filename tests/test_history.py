"""Nights on disk, the series that they make, what changes are put down to, and the table and figure of a history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from bench import points, trends
from bench.cell import Cell
from bench.changepoints import Change
from bench.errors import UsageError
from bench.history import Cause, Found, Series, attribution, causes_of, series_of
from bench.points import Point
from bench.report.ink import StyleSheet
from bench.report.trends import panels
from tests.harness import command_line
from tests.nights import night, on_disk, prints
from tests.samples import CELL

JITTER = np.random.RandomState(5).normal(0, 0.003, 200).tolist()


def history(count: int, slower_from: int | None = None, newest: str = "2.15.0") -> list[Point]:
    """Quiet nights, and a release that costs a tenth."""
    made = []
    for index in range(count):
        slow = slower_from is not None and index >= slower_from
        made.append(night(index, JITTER[index] - 0.1 * slow, prints(newest if slow else "2.14.0")))
    return made


# --- on disk ---------------------------------------------------------------------------------------------------------


def test_nights_come_back_as_they_were_written(tmp_path: Path) -> None:
    folders = on_disk(tmp_path, {"a": [night(0)], "b": [night(1, -0.2, first=-0.3, confirmed=True)]})
    problems: list[str] = []
    assert points.nights(tmp_path) == folders
    assert points.read_all(folders, problems) == [night(0), night(1, -0.2, first=-0.3, confirmed=True)]
    assert problems == []


def test_damaged_lines_cost_themselves_and_are_named(tmp_path: Path) -> None:
    """Half a line, a figure that is none, a later schema, and a measured point without a figure."""
    (folder,) = on_disk(tmp_path, {"a": [night(0), night(0, cell=CELL.but(batch=8))]})
    path = folder / points.POINTS
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    spoilt = [
        lines[0].replace(b'"error":0.004', b'"error":"x"'),
        lines[0].replace(b'"schema":1', b'"schema":9'),
        lines[0].replace(b'"log_ratio":0.0', b'"log_ratio":null'),
        b"\xff\xfe\n",
        b"\n",
    ]
    path.write_bytes(lines[0] + b"".join(spoilt) + lines[1][:40])
    problems: list[str] = []
    assert list(points.read(folder, problems)) == [night(0)]
    assert [problem.split(": ")[0].rpartition(":")[2] for problem in problems] == ["2", "3", "4", "5", "7"]
    assert "schema 9 is newer than this twinbench reads (1)" in problems[1]
    assert "measured, but log_ratio is None" in problems[2]


def test_many_nights_are_read_as_one_is(tmp_path: Path) -> None:
    """The reader of years leaves what repeats as text and decodes it once: same points, and the same complaints."""
    (folder,) = on_disk(tmp_path, {"a": [night(0), night(1, 0.1, prints("2.15.0", power={"ac": True})), night(2)]})
    path = folder / points.POINTS
    lines = path.read_bytes().splitlines(keepends=True)
    spoilt = [
        (b'"error":0.004', b'"error":"x"'),
        (b'"schema":1', b'"schema":9'),
        (b'"batch":64', b'"batch":"64"'),
        (b'"mode":"eager"', b'"mod":"eager"'),
        (b'"torch":"2.13.0"', b'"torch":2'),
        (b'"torch":"2.14.0"', b'"torch":"\xff"'),
        (b'"machine":{', b'"machine":[{'),
        (b'"variables":{', b'"variables":null,"x":{'),
        (b'"fingerprints":[', b'"fingerprints":[null,'),
        (b'"fingerprints":[', b'"fingerprints":null,"x":['),
        (b'"log_ratio":0.0', b'"log_ratio":0'),
        (b'"blocks":20', b'"blocks":20,"later":[1]'),
        (b'"run":"n000"', b'"run":null'),
    ]
    assert all(old in lines[0] for old, _ in spoilt)
    changed = [lines[0].replace(old, new).replace(b"n000", b"s%03d" % at) for at, (old, new) in enumerate(spoilt)]
    path.write_bytes(b"".join([*lines, *changed, lines[1][:-9], b"\n"]))
    one, many = list[str](), list[str]()
    expected = list(points.read(folder, one))
    found = points.read_all([folder], many)
    assert sorted(found, key=repr) == sorted(expected, key=repr)
    assert (len(found), many) == (5, one)


def test_a_field_of_a_point_is_never_lost(tmp_path: Path) -> None:
    """No field has its default, and none of a fingerprint has another's value."""
    sides = prints("2.15.0", variables={"A": "b"}, power={"ac": True}, git_revision="c", seed=3, threads=5)
    (folder,) = on_disk(
        tmp_path, {"a": [night(0, 0.1, sides, reason="r", first=0.2, confirmed=True, clock="wall", item="token")]}
    )
    (found,), (expected,) = points.read_all([folder], []), points.read(folder, [])
    assert structs.asdict(found) == structs.asdict(expected)
    assert found.fingerprints == sides


def test_an_interrupted_night_is_none(tmp_path: Path) -> None:
    on_disk(tmp_path, {"a": [night(0)]})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.json").write_text("{}")
    assert [folder.name for folder in points.nights(tmp_path)] == ["a"]


# --- series ----------------------------------------------------------------------------------------------------------


def test_missing_nights_and_cells_that_come_and_go() -> None:
    """Nights are counted as they are there; a night that failed is no value of the series."""
    other = CELL.but(batch=8)
    lost = night(3, outcome="failed", reason="boom", log_ratio=None, error=None, fingerprints=None)
    found = series_of([night(0), night(0, cell=other), night(2), lost, night(40), night(41, cell=other)])
    assert [(one.cell, len(one.points)) for one in found] == [(CELL, 3), (other, 2)]


@pytest.mark.parametrize(
    ("sides", "why"),
    [
        (prints(machine={"chip": "Imagined M10"}), "chip differs: Imagined M9 against Imagined M10"),
        (prints(threads=4), "threads differs: 1 against 4"),
        (prints(power={"ac": False}), "ac differs: True against False"),
        (prints(weights_sha256="cc"), "weights_sha256 differs: aa against cc"),
        (prints(pinned="2.13.1"), "pinned torch differs: 2.13.0 against 2.13.1"),
    ],
)
def test_another_machine_or_pin_is_another_series(sides: Any, why: str) -> None:
    """And the first machine, when it comes back, goes on with its own."""
    first, second = series_of([night(0), night(1, sides=sides), night(2), night(3, sides=sides)])
    assert (first.began, second.began) == ("", why)
    assert [one.run for one in first.points] == ["n000", "n002"]


@pytest.mark.parametrize(
    "sides",
    [
        prints("2.15.0"),
        prints(machine={"os_version": "macOS 26.3"}),
        prints(git_revision="b"),
        prints(machine={"host": "b"}),
    ],
)
def test_what_a_change_is_put_down_to_does_not_split(sides: Any) -> None:
    assert len(series_of([night(0), night(1, sides=sides)])) == 1


# --- attribution -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        (prints("2.14.0"), prints("2.15.0"), Cause("framework", "torch", "2.14.0", "2.15.0")),
        (
            prints(machine={"os_version": "macOS 26.2"}),
            prints(machine={"os_version": "macOS 26.3"}),
            Cause("operating system", "os_version", "macOS 26.2", "macOS 26.3"),
        ),
        (
            prints(machine={"driver": "550.1"}),
            prints(machine={"driver": "560.2"}),
            Cause("driver", "driver", "550.1", "560.2"),
        ),
        (prints(machine={"host": "a"}), prints(machine={"host": "b"}), Cause("machine", "host", "a", "b")),
        (
            prints(git_revision="0123456789abcdef"),
            prints(git_revision="fedcba9876543210+dirty"),
            Cause("harness", "revision", "0123456789", "fedcba9876+dirty"),
        ),
        (
            prints(variables={"OMP_NUM_THREADS": "1"}),
            prints(variables={}),
            Cause("setting", "OMP_NUM_THREADS", "1", "unset"),
        ),
    ],
)
def test_each_kind_of_cause(before: Any, after: Any, cause: Cause) -> None:
    assert causes_of(night(0, sides=before), night(1, sides=after)) == [cause]
    assert causes_of(night(0, sides=before), night(1, sides=before)) == []


def test_plugins_and_libraries_are_told_from_frameworks() -> None:
    def with_versions(**versions: str) -> Point:
        newest = prints()[1]
        return night(0, sides=(prints()[0], type(newest)(**{**_facts(newest), "versions": versions})))

    a = with_versions(jax="0.10.2", twinbench="0.1.0", numpy="2.4.6", **{"jax-mps": "0.10.11"})
    b = with_versions(jax="0.10.3", twinbench="0.2.0", numpy="2.4.7", **{"jax-mps": "0.10.12"})
    assert {cause.name: cause.kind for cause in causes_of(a, b)} == {
        "jax": "framework",
        "jax-mps": "plugin",
        "numpy": "library",
        "twinbench": "harness",
    }


def _facts(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def test_an_unknown_fact_is_no_difference() -> None:
    known, unknown = prints(machine={"driver": "550.1"}), prints(machine={"driver": None})
    assert causes_of(night(0, sides=known), night(1, sides=unknown)) == []


def test_a_change_is_put_down_to_what_changed_with_it() -> None:
    """The place of a step is known to about a night: what changed beside it is named as such."""
    nights = history(20, slower_from=12)
    exact, near = (attribution(nights, Change("step", first, -0.1, 9.0)) for first in (12, 13))
    assert exact == ((Cause("framework", "torch", "2.14.0", "2.15.0"),), False)
    assert near == (exact[0], True)
    assert attribution(nights, Change("step", 16, -0.1, 9.0)) == ((), False)
    assert attribution(nights, Change("drift", 10, -0.1, 9.0))[0] == exact[0]


def test_a_series_finds_its_change_and_what_to_expect() -> None:
    (series,) = series_of(history(24, slower_from=16))
    (found,) = series.found()
    assert found.change.first == 16
    assert found.change.size == pytest.approx(-0.1, abs=0.01)
    assert [str(cause) for cause in found.causes] == ["framework: torch 2.14.0 -> 2.15.0"]
    expected = series.prediction()
    assert expected is not None
    assert expected.centre == pytest.approx(-0.1, abs=0.01)


def test_a_night_is_judged_once_and_later_nights_take_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding night after night says the same as all at once; what was judged is not judged again."""
    nights = history(40, slower_from=16)
    (whole,), (grown,) = series_of(nights), series_of(nights[:20])
    early = grown.found()
    grown.points += nights[20:]
    assert grown.found() == whole.found()
    assert grown.found()[: len(early)] == early
    monkeypatch.setattr("bench.history.changes", lambda *given: pytest.fail("judged again"))
    assert grown.found() == whole.found()


def test_a_series_that_nobody_asks_for_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = [night(index, cell=CELL.but(batch=8)) for index in range(8)]
    on_disk(tmp_path, {"a": other, "b": history(8)})
    asked: list[Cell] = []
    judging = Series.found

    def counted(self: Series) -> list[Found]:
        asked.append(self.cell)
        found: list[Found] = judging(self)
        return found

    monkeypatch.setattr(Series, "found", counted)
    trends.tables(trends.chosen(trends.trends(tmp_path, []), CELL.id, tmp_path))
    assert set(asked) == {CELL}


def test_a_drift_is_not_put_down_to_what_came_after_it() -> None:
    """0.15 % a night; the release of the last night came weeks after it was said."""
    nights = [night(index, JITTER[index] - 0.0015 * index) for index in range(80)]
    nights[-1] = night(79, JITTER[79] - 0.0015 * 79, prints("2.15.0"))
    (series,) = series_of(nights)
    found = series.found()
    assert "drift" in {one.change.kind for one in found}
    assert all(one.causes == () for one in found if one.found_at < 79 and one.change.kind == "drift")


def test_what_nights_share_is_in_memory_once(tmp_path: Path) -> None:
    """Facts that are equal are one object; those that are not stay what they were."""
    nights = [night(0), night(1), night(2, sides=prints("2.15.0", power={"load_1min": 0.5}))]
    folders = on_disk(tmp_path, {one.run: [one] for one in nights})
    first, second, third = points.read_all(folders, [])
    assert [first, second, third] == nights
    assert first.cell is second.cell is third.cell
    assert first.fingerprints is not None
    assert second.fingerprints is not None
    assert third.fingerprints is not None
    assert first.fingerprints[1].machine is second.fingerprints[1].machine is third.fingerprints[1].machine
    assert third.fingerprints[1].versions["torch"] == "2.15.0"


# --- for people ------------------------------------------------------------------------------------------------------


def test_the_command_shows_nights_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_disk(tmp_path / "r", {one.run: [one] for one in history(12, slower_from=8)})
    with (tmp_path / "r" / "n003" / points.POINTS).open("ab") as file:
        file.write(b"{half\n")
    cli = command_line(monkeypatch, capsys)
    code, out, err = cli("history", "mlp torch", "--results", tmp_path / "r", "--figure", tmp_path / "f" / "trend.png")
    assert (code, err) == (0, "")
    text = " ".join(out.split())
    assert "9.5 % slower since 2026-01-09 (n008)" in text or "9.6 % slower since 2026-01-09 (n008)" in text
    assert "framework: torch 2.14.0 -> 2.15.0" in text
    assert "n003/points.jsonl:2: not a point" in text
    assert (tmp_path / "f" / "trend.png").read_bytes()[:4] == b"\x89PNG"


def test_words_that_fit_no_cell_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = command_line(monkeypatch, capsys)
    code, _, err = cli("history", "--results", tmp_path)
    assert code == 2
    assert "no finished nights" in err
    on_disk(tmp_path, {"a": [night(0)]})
    code, _, err = cli("history", "mpl:digits", "--results", tmp_path)
    assert code == 2
    assert "unknown cell 'mpl:digits'" in err
    assert cli("history", CELL.id, "--results", tmp_path)[0] == 0
    code, _, err = cli("history", "--results", tmp_path, "--figure", tmp_path / "trend.doc")
    assert code == 2
    assert "cannot draw" in err


def test_the_panel_shows_changes_first_and_hides_nothing(tmp_path: Path) -> None:
    quiet = [night(index, cell=CELL.but(batch=8)) for index in range(4)]
    problems: list[str] = []
    on_disk(tmp_path, {"a": quiet, "b": history(12, slower_from=8)})
    found = trends.trends(tmp_path, problems)
    first, second = panels(found)
    assert first.label == CELL.label
    assert len(first.rows) == 12
    assert "torch 2.15.0" in first.rows[0][3]
    assert any("slower from here on" in row[4] for row in first.rows)
    assert second.sentences == ()
    assert first.picture.inline(StyleSheet()).startswith("<svg")
    with pytest.raises(UsageError, match="unknown cell"):
        trends.chosen(found, "gone", tmp_path)
