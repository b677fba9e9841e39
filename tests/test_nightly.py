"""Nightly runs from the command line to exit code, JSON, Markdown and page; scripted framework, no processes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from bench import machine, nightly, points, recordings, reporting, setup, store, tidings
from bench.budget import Budget
from bench.changepoints import predict
from bench.compare import AGAIN, duets_of
from bench.environments import AT, Environment
from bench.errors import UsageError
from bench.frameworks.fake import TOY
from bench.history import series_of
from bench.nightly import judged
from bench.plan import Block
from bench.process import LocalWorker, Reply, Worker
from bench.record import Record
from bench.report import pagefile
from tests.harness import Cli, command_line, records_of
from tests.nights import night, prints
from tests.samples import CELL, MS, bursts, measurement, record
from tests.stored_runs import edited
from tests.test_report import parsed

ENVIRONMENT = "fake-packaged"
QUICK = ("mlp:tiny-test", "--phase", "inference", "--environment", ENVIRONMENT, "--device", "cpu")
FEW = ("--blocks", "3", "--bursts", "3", "--results", "r", "--python", f"{ENVIRONMENT}@newest={sys.executable}")


class Releases:
    """The releases on the two sides: what an iteration costs in each, and what goes wrong in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.costs = {"": 1.0, nightly.NEWEST: 1.0}
        self.versions = {"": "1.0", nightly.NEWEST: "1.1"}
        self.broken: str | None = None
        #: Added to the newest side's cost in the first measurement of a night only.
        self.spike = 0.0
        self.toy = ModuleType("twinbench_toy")
        monkeypatch.setitem(sys.modules, "twinbench_toy", self.toy)
        monkeypatch.setattr(setup, "spawner", self.spawner)

    def spawner(self, pythons: Mapping[str, str]) -> Callable[..., Worker]:
        """In place of processes."""

        def spawn(environment: Environment, device: str, variables: Mapping[str, str]) -> Worker:
            return Packaged(self, environment.name.partition(AT)[2])

        return spawn


class Packaged(LocalWorker):
    """A worker in whose interpreter one release of the toy is installed."""

    def __init__(self, releases: Releases, side: str) -> None:
        super().__init__()
        self._releases, self._side = releases, side

    def call(self, stage: str, timeout_s: float, **arguments: Any) -> Reply:
        """As ever, with this side's release."""
        releases = self._releases
        spike = releases.spike if self._side else 0.0
        releases.toy.COST = releases.costs[self._side] + spike  # type: ignore[attr-defined]
        if self._side and releases.broken == stage:
            return {
                "outcome": {
                    "kind": "failed",
                    "stage": stage,
                    "type": "ImportError",
                    "message": "no such symbol",
                    "log_tail": "",
                }
            }
        reply = super().call(stage, timeout_s, **arguments)
        if stage == "open":
            reply["ok"]["versions"][TOY] = releases.versions[self._side]
        return reply


@pytest.fixture
def releases(monkeypatch: pytest.MonkeyPatch) -> Releases:
    """Two sides that are the same speed."""
    return Releases(monkeypatch)


WRITE_HTML = reporting.write_html


def no_page(material: reporting.Material, path: Path) -> Path:
    """In place of ``write_html``: drawing takes longer than a scripted night."""
    return path


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, releases: Releases) -> Cli:
    """The command line in an empty folder; CI's summary goes to a file there. Pages are not drawn."""
    monkeypatch.setattr(reporting, "write_html", no_page)
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(tidings.STEP_SUMMARY, str(tmp_path / "step.md"))
    monkeypatch.chdir(tmp_path)
    return command_line(monkeypatch, capsys)


def alerts_of_last() -> dict[str, Any]:
    """What the newest night wrote for programs."""
    found: dict[str, Any] = json.loads((points.nights(Path("r"))[-1] / tidings.ALERTS).read_text())
    return found


def test_nights_without_a_newer_release_are_recordings_of_noise(cli: Cli, tmp_path: Path) -> None:
    """One interpreter under two names, and so identical code; another interpreter is other code whatever it says."""
    for _ in range(2):
        assert cli("nightly", *QUICK, *FEW)[0] == 0
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    cli("nightly", *QUICK, *FEW[:-1], f"{ENVIRONMENT}@newest={other}", "--results", "other")
    found = recordings.read(Path("r"))
    assert found
    assert {(len(one.blocks), *one.sides()) for one in found} == {(2 * 3, "A2")}
    with pytest.raises(UsageError, match="no run in it has compared a cell with itself"):
        recordings.read(Path("other"))


def test_three_quiet_nights_then_a_slower_release(
    cli: Cli, releases: Releases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of it: exit codes, the alarm with cell, size and attribution, JSON, Markdown and the page."""
    for _ in range(3):
        code, out, err = cli("nightly", *QUICK, *FEW)
        assert (code, err) == (0, "")
    assert "Night 3: no alarm; 1 cell measured" in out
    assert alerts_of_last()["alarms"] == []
    releases.costs[nightly.NEWEST], releases.versions[nightly.NEWEST] = 1.15, "1.2"
    monkeypatch.setattr(reporting, "write_html", WRITE_HTML)
    code, out, _ = cli("nightly", *QUICK, *FEW, "--note", "from the tests")
    assert code == 1
    assert "measured again" in out
    (alarm,) = alerts_of_last()["alarms"]
    assert alarm["cell"]["workload"] == "mlp"
    assert alarm["change"] == pytest.approx(1 / 1.15 - 1, abs=0.01)
    assert alarm["attribution"] == [{"kind": "framework", "name": TOY, "before": "1.1", "after": "1.2"}]
    sentence = f"slower since {alarm['first_night_started_at'][:10]} ({points.nights(Path('r'))[-1].name})"
    assert sentence in alarm["text"]
    assert f"framework: {TOY} 1.1 -> 1.2" in " ".join(out.split())
    summary = (tmp_path / "step.md").read_text()
    assert summary.count("### Night") == 4
    assert "ALARM: mlp:tiny-test" in summary
    assert "note: from the tests" in summary
    (page,) = (tmp_path / "reports").glob(f"{points.nights(Path('r'))[-1].name}.html")
    text = page.read_text()
    trends = text.partition('id="trends"')[2].partition("</section>")[0]
    assert "13.0 % slower" in trends or "12.9 % slower" in trends
    assert '<svg role="img"' in trends
    assert not [name for name, _ in parsed(text).attributes if name == "style"], "the policy forbids them"
    assert len(points.nights(Path("r"))) == 4


def shouldered(random: np.random.RandomState, blocks: int, name: str = "night-000") -> list[Record]:
    """Blocks of two equal sides on a busy machine: many bursts met the same conditions, the others half a core."""
    sides = (CELL, CELL.but(environment=nightly.candidate_of(CELL.environment)))
    made = []
    for block in range(blocks):
        for process, cell in enumerate(sides):
            share = random.uniform(0.1, 0.65)  # some processes meet more of it than others
            busy = np.where(random.random_sample(24) < share, random.uniform(1.3, 2.5, 24), 1.0)
            walls = [int(wall) for wall in 8 * MS * busy * np.exp(random.normal(0, 0.01, 24))]
            timed = measurement(
                bursts=structs.replace(bursts(walls), started_ns=[2 * (at // 6) + process for at in range(24)])
            )
            made.append(record(cell, 2 * block + process, measured=timed, block=f"{name}-{block:03d}"))
    return made


def test_a_night_is_estimated_as_a_comparison_is() -> None:
    """The same estimate from the same records; on a busy machine it scatters far less than means of block medians."""
    random = np.random.RandomState(3)
    pair = (CELL, CELL.but(environment=nightly.candidate_of(CELL.environment)))
    figures, plain = [], []
    for _ in range(30):
        records = shouldered(random, 6)
        clock, duets = duets_of(records)[pair]
        point = nightly.point_of(pair, records, "n")
        assert point.log_ratio is not None
        found = duets.estimate(0.05, 0.0)
        assert (point.log_ratio, point.error, point.clock, point.blocks) == (found.log, found.error, clock, 6)
        figures.append(point.log_ratio)
        plain.append(np.mean([block.median for block in duets.pairs]))
    print(np.std(figures), np.std(plain))
    assert np.std(figures) < 0.6 * np.std(plain)


def test_blocks_that_were_measured_again_make_a_point() -> None:
    pair = (CELL, CELL.but(environment=nightly.candidate_of(CELL.environment)))
    point = nightly.point_of(pair, shouldered(np.random.RandomState(3), 6, f"{AGAIN}000"), "n")
    assert (point.outcome, point.blocks) == ("measured", 6)


def test_the_second_measurement_stands_unless_it_is_the_spike() -> None:
    expected = predict([0.0, 0.01, -0.01, 0.005, -0.005], [0.005] * 5)
    assert expected is not None
    pair = (CELL, CELL.but(environment=nightly.candidate_of(CELL.environment)))
    records = shouldered(np.random.RandomState(3), 6, f"{AGAIN}000")
    second = nightly.point_of(pair, records, "n")
    assert second.log_ratio is not None
    picked = structs.replace(second, log_ratio=-0.15)
    assert nightly._second(picked, pair, records, expected, "n").log_ratio == second.log_ratio
    # The same records where 0.3 was expected: both are outside, and the first is the likelier.
    high = predict([0.3, 0.31, 0.29, 0.305, 0.295], [0.005] * 5)
    assert high is not None
    stands = nightly._second(structs.replace(second, log_ratio=0.2), pair, records, high, "n")
    assert (stands.log_ratio, stands.first, stands.confirmed) == (0.2, 0.2, True)


def test_the_page_of_a_night_says_what_the_night_said_and_stays_right(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks at its last block, and its own history: nights that came later do not make the page wrong."""
    monkeypatch.setattr(reporting, "write_html", WRITE_HTML)
    assert cli("nightly", *QUICK, *FEW)[0] == 0
    first = points.nights(Path("r"))[-1].name
    assert store.run_facts(Path("r") / first)["rule"]["looks"] == [3]
    monkeypatch.setattr(reporting, "write_html", no_page)
    assert cli("nightly", *QUICK, *FEW)[0] == 0
    code, out, err = cli("report", first, "--results", "r", "--recheck")
    assert code == 0, out + err
    (told,) = pagefile.read(Path("reports") / f"{first}.html").figures["comparisons"]
    assert (told["word"], told["blocks"]) == ("same", 3)
    page = Path("reports") / f"{first}.html"
    edited(page, "1 night</summary>", "9 nights</summary>")
    code, out, err = cli("report", first, "--results", "r", "--recheck")
    assert code == 1
    assert "History and change points / Trends" in out + err


def test_strict_refuses_a_machine_that_is_in_no_state(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is measured, and without a run folder; otherwise the night goes on and says so."""
    real = machine.power()
    monkeypatch.setattr("bench.machine.power", lambda: real | {"ac": False, "load_1min": 0.0})
    code, _, err = cli("nightly", *QUICK, *FEW, "--strict")
    assert code == 2
    assert "not measured (--strict): this machine runs on its battery" in " ".join(err.split())
    assert not Path("r").exists()
    code, out, _ = cli("nightly", *QUICK, *FEW)
    assert code == 0
    assert "runs on its battery" in out
    quiet = {"ac": True, "low_power_mode": False, "thermal_state": "nominal", "load_1min": 0.0, "swap_used_bytes": 0}
    monkeypatch.setattr("bench.machine.power", lambda: real | quiet)
    assert cli("nightly", *QUICK, *FEW, "--strict")[0] == 0


def test_a_night_is_measured_in_short_neighbouring_bursts(cli: Cli) -> None:
    """As verdicts are: see ``plan.for_duets``."""
    assert cli("nightly", *QUICK, *FEW)[0] == 0
    (folder,) = points.nights(Path("r"))
    assert all(len(one.measurement.bursts.wall_ns) > 3 for one in records_of(folder) if one.measurement)


def test_the_same_slower_release_alarms_once(cli: Cli, releases: Releases) -> None:
    for cost, version in ((1.0, "1.1"),) * 3 + ((1.15, "1.2"),) * 2:
        releases.costs[nightly.NEWEST], releases.versions[nightly.NEWEST] = cost, version
        code, *_ = cli("nightly", *QUICK, *FEW)
    assert code == 0
    alerts = alerts_of_last()
    assert alerts["alarms"] == []
    assert [known["kind"] for known in alerts["known"]] == ["tonight"]


def test_what_cannot_be_written_does_not_hide_an_alarm(
    cli: Cli, releases: Releases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is said once: neither CI's summary nor the page may take its exit code, and the rest is written."""
    for _ in range(3):
        cli("nightly", *QUICK, *FEW)
    (tmp_path / "file").write_text("")
    nowhere = tmp_path / "file" / "step.md"
    monkeypatch.setenv(tidings.STEP_SUMMARY, str(nowhere))
    monkeypatch.setattr(reporting, "write_html", WRITE_HTML)
    releases.costs[nightly.NEWEST], releases.versions[nightly.NEWEST] = 1.15, "1.2"
    page = tmp_path / "file" / "page.html"
    code, out, err = cli("nightly", *QUICK, *FEW, "--out", page)
    assert code == 1, out + err
    said = err.splitlines()
    assert [line.rpartition(": ")[0] for line in said] == [f"twinbench: cannot write {one}" for one in (nowhere, page)]
    assert len(alerts_of_last()["alarms"]) == 1
    assert "ALARM" in (points.nights(Path("r"))[-1] / tidings.SUMMARY).read_text()
    monkeypatch.setattr(reporting, "write_html", no_page)
    assert cli("nightly", *QUICK, *FEW)[0] == 2, "without an alarm it is wrong usage"


def test_a_strange_measurement_is_no_alarm(cli: Cli, releases: Releases, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is measured again, and the second one stands for the night."""
    for _ in range(3):
        cli("nightly", *QUICK, *FEW)
    releases.spike = 0.5
    duets = nightly._duets

    def spiked(word: str, *arguments: Any) -> Any:
        if word == "again":
            releases.spike = 0.0
        return duets(word, *arguments)

    monkeypatch.setattr(nightly, "_duets", spiked)
    releases.versions[nightly.NEWEST] = "1.2"
    code, out, _ = cli("nightly", *QUICK, *FEW)
    assert code == 0
    assert "as expected when measured again" in " ".join(out.split())
    (point,) = points.read(points.nights(Path("r"))[-1], [])
    assert point.first == pytest.approx(-math.log(1.5), abs=0.02)
    assert point.log_ratio == pytest.approx(0.0, abs=0.01)
    assert not point.confirmed


def test_a_second_measurement_that_fails_is_said(cli: Cli, releases: Releases, monkeypatch: pytest.MonkeyPatch) -> None:
    """The night is not "as expected": its first figure stands, doubted, with the reason why there is no second."""
    for _ in range(3):
        cli("nightly", *QUICK, *FEW)
    duets = nightly._duets

    def breaking(word: str, *arguments: Any) -> Any:
        if word == "again":
            releases.broken = "verify"
        return duets(word, *arguments)

    monkeypatch.setattr(nightly, "_duets", breaking)
    releases.costs[nightly.NEWEST] = 1.5
    code, out, _ = cli("nightly", *QUICK, *FEW)
    said = " ".join(out.split())
    assert code == 4
    assert "as expected" not in said
    assert "1 suspected" in said
    assert "not confirmed: mlp:tiny-test" in said
    (suspect,) = alerts_of_last()["suspected"]
    assert suspect["reason"] in said
    assert suspect["reason"].startswith(f"the second measurement failed: {ENVIRONMENT}@newest: ")
    assert "no such symbol" in suspect["reason"]
    assert suspect["ratio"] == pytest.approx(1 / 1.5, abs=0.02)


def test_as_expected_is_said_of_nights_within_their_interval_only() -> None:
    """A second measurement outside, on the other side than the first: not confirmed, and not as expected."""
    quiet = [night(index) for index in range(8)]
    for log_ratio, word in ((0.0, "as expected when measured again"), (0.1, "outside of the expected when measured")):
        (finding,) = judged(series_of(quiet), [night(8, log_ratio, first=-0.1)])
        assert word in tidings._row(finding)[-1]


def test_a_release_that_does_not_work_is_said(cli: Cli, releases: Releases) -> None:
    releases.broken = "open"
    code, out, _ = cli("nightly", *QUICK, *FEW)
    assert code == 4
    assert "does not open: ImportError: no such symbol" in " ".join(out.split())
    releases.broken = "verify"
    code, out, _ = cli("nightly", *QUICK, *FEW)
    assert code == 4
    assert [one["outcome"] for one in alerts_of_last()["not_measured"]] == ["failed"]
    releases.broken = None
    assert cli("nightly", *QUICK, *FEW)[0] == 0


def test_without_a_newest_side_the_pinned_one_is_measured_against_itself(cli: Cli) -> None:
    code, out, _ = cli("nightly", *QUICK, "--blocks", "3", "--bursts", "3", "--results", "r")
    assert code == 0
    assert "the pinned one is measured against itself" in " ".join(out.split())


class Clockwork:
    """In place of ``run_block``: every block takes a minute of a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(nightly, "run_block", self)

    def __call__(self, block: Block, name: str, running: Any) -> list[Record]:
        """One record a side."""
        self.now += 60
        return [record(cell, block.process, block=name) for cell in block.cells]

    def night(self, cells: int, minutes: float, run: str = "n1") -> list[points.Point]:
        """The points of a night of 20 blocks with ``--hours``."""
        pinned = [CELL.but(batch=2**index) for index in range(cells)]
        pairs = [(cell, cell.but(environment="torch@newest")) for cell in pinned]
        quiet: Any = SimpleNamespace(
            append=lambda records: None, planned=lambda count: None, block=lambda records: None, note=lambda text: None
        )
        running: Any = SimpleNamespace(seed=0, run=run)
        budget = Budget(minutes / 60, lambda: self.now)
        return nightly._measured(pairs, 20, running, quiet, quiet, [], budget)


@pytest.mark.parametrize(("cells", "minutes", "measured"), [(6, 60, 6), (6, 200, 6), (54, 60, 17), (6, 1, 0)])
def test_a_night_with_a_budget_ends_in_order(
    monkeypatch: pytest.MonkeyPatch, cells: int, minutes: float, measured: int
) -> None:
    """Round robin; every cell that was begun has three blocks or more, and the others are listed."""
    clockwork = Clockwork(monkeypatch)
    tonight = clockwork.night(cells, minutes)
    assert clockwork.now <= max(minutes, 1) * 60
    assert len(tonight) == cells
    had = [point.blocks for point in tonight if point.outcome == "measured"]
    assert len(had) == measured
    assert all(blocks >= nightly.FEWEST_BLOCKS for blocks in had)
    assert not had or max(had) - min(had) <= 1
    lost = [point for point in tonight if point.outcome != "measured"]
    assert {point.outcome for point in lost} <= {nightly.OUT_OF_TIME}
    assert all("blocks by the end of --hours; 3 are needed" in point.reason for point in lost)


def test_what_a_short_night_leaves_out_is_measured_another_night(monkeypatch: pytest.MonkeyPatch) -> None:
    clockwork = Clockwork(monkeypatch)
    nights = [
        {point.cell.batch for point in clockwork.night(12, 30, run) if point.outcome == "measured"}
        for run in ("n1", "n2", "n3", "n4")
    ]
    assert all(0 < len(one) < 12 for one in nights)
    assert len(set.union(*nights)) > len(nights[0])


def test_a_night_that_ran_out_of_time_is_a_night(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its points are written, the summary says why there are few, and it is no failure."""
    times = iter([0.0] * 4 + [1e9] * 1000)  # the second block would begin too late
    monkeypatch.setattr(nightly, "Budget", lambda hours: Budget(hours, lambda: next(times)))
    code, out, _ = cli("nightly", *QUICK, *FEW, "--hours", "0.5")
    assert code == 3, "the only cell had no three blocks"
    assert "note: --hours 0.5: no cell had enough, 1 fewer than 3" in " ".join(out.split())
    (folder,) = points.nights(Path("r"))
    (point,) = points.read(folder, [])
    assert (point.outcome, alerts_of_last()["not_measured"][0]["outcome"]) == ("out_of_time", "out_of_time")


def test_an_interrupted_night_is_no_part_of_the_history(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(nightly, "run_block", interrupted)
    code, _, err = cli("nightly", *QUICK, *FEW)
    assert code == 130
    assert "this night is no part of the history" in " ".join(err.split())
    assert len(store.runs(Path("r"))) == 1
    assert points.nights(Path("r")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--blocks", "2"), "--blocks must be at least 3, got 2"),
        (("--hours", "0"), "--hours must be a number above 0, got 0"),
        (("--hours", "nan"), "--hours must be a number above 0, got nan"),
        (("--python", f"fake@@x={sys.executable}"), "after @ comes a label"),
        (("--python", f"fkae@newest={sys.executable}"), "unknown environment 'fkae'"),
        (
            ("--python", f"{ENVIRONMENT}@newst={sys.executable}"),
            f"unknown side of a night '{ENVIRONMENT}@newst'; did you mean '{ENVIRONMENT}@newest'?",
        ),
    ],
)
def test_wrong_words(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = cli("nightly", *QUICK, "--results", "r", *arguments)
    assert code == 2
    assert said in " ".join(err.split())


def test_a_newest_side_without_a_pinned_one_is_refused(cli: Cli) -> None:
    """Nothing was asked for by name: it would be left out of the night in silence."""
    newest = f"--python={ENVIRONMENT}@newest={sys.executable}"
    code, _, err = cli("nightly", "mlp:tiny-test", "--device", "cpu", "--results", "r", newest)
    assert code == 2
    assert f"{ENVIRONMENT}@newest has no pinned side; give --python {ENVIRONMENT}=PATH, too" in " ".join(err.split())
    assert not Path("r").exists()


# --- the judgement, without measuring --------------------------------------------------------------------------------


def test_a_strange_night_without_a_reason_is_suspected_until_it_lasts() -> None:
    quiet = [night(index, 0.001 * (-1) ** index) for index in range(8)]
    first = night(8, -0.1, confirmed=True, first=-0.1)
    (finding,) = judged(series_of(quiet), [first])
    assert finding.suspect
    assert not finding.slower
    second = night(9, -0.1, confirmed=True, first=-0.1)
    (finding,) = judged(series_of([*quiet, first]), [second])
    assert not finding.slower
    (finding,) = judged(series_of([*quiet, first, second]), [night(10, -0.1, confirmed=True, first=-0.1)])
    assert finding.slower
    assert finding.found is not None
    assert finding.found.change.kind == "step"
    assert finding.found.causes == ()
    assert finding.series is not None
    assert tidings.NOTHING_CHANGED in tidings.sentence(finding.series, finding.found)


@pytest.mark.parametrize(
    "both",
    [
        {"git_revision": "fedcba9876543210"},
        {"machine": {"os_version": "macOS 26.3"}},
        {"variables": {"OMP_NUM_THREADS": "1"}},
    ],
)
def test_what_changed_on_both_sides_alike_is_no_reason(both: dict[str, Any]) -> None:
    """One night alarms with a reason only: a commit of twinbench or a new system is none, it is on both sides."""
    quiet = [night(index, sides=prints(git_revision="0123456789abcdef")) for index in range(8)]
    sides = prints(**{"git_revision": "0123456789abcdef"} | both)
    (finding,) = judged(series_of(quiet), [night(8, -0.2, sides, confirmed=True, first=-0.2)])
    assert (finding.suspect, finding.slower) == (True, False)
    assert nightly.changed_since(finding), "it is said all the same"
    alone = (quiet[0].fingerprints or sides)[0], sides[1]
    for reason in (alone, prints("2.15.0", **{"git_revision": "0123456789abcdef"} | both)):
        (finding,) = judged(series_of(quiet), [night(8, -0.2, reason, confirmed=True, first=-0.2)])
        assert finding.slower, "on the newest side alone it is a reason"


def test_faster_is_no_alarm_and_another_machine_begins_anew(tmp_path: Path) -> None:
    quiet = [night(index) for index in range(8)]
    (finding,) = judged(series_of(quiet), [night(8, 0.2, prints("2.15.0"), confirmed=True)])
    assert finding.found is not None
    assert not finding.slower
    elsewhere = night(8, -0.3, prints(machine={"chip": "Imagined M10"}), confirmed=True)
    (finding,) = judged(series_of(quiet), [elsewhere])
    assert (finding.found, finding.expected) == (None, None)
    said = nightly.Night(tmp_path, [finding], [], [], 9)
    assert list(tidings.lines(said)) == [f"a new series: {CELL.label}: chip differs: Imagined M9 against Imagined M10"]


def test_the_prediction_that_is_shown_is_the_one_that_decides() -> None:
    quiet = [night(index) for index in range(5)]
    (finding,) = judged(series_of(quiet), [night(5, 0.01)])
    assert finding.expected == predict([0.0] * 5, [0.004] * 5)
    assert "+" in tidings.expected_words(finding.expected)
