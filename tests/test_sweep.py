"""Sweeps: words to points, where a series ends and what is left out, resuming, and what the report makes of it."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree
from pathlib import Path

import pytest

from bench import store, sweep
from bench.errors import UsageError
from bench.plan import Selection, blocks, cells
from bench.record import Failed, Measured, Outcome, Record, TimedOut
from bench.report import as_markdown
from bench.report.scaling import Curve, crossover, scalings
from bench.setup import workloads
from bench.summary import CellSummary, Interval
from tests.harness import Cli, command_line, no_processes, only_run, records_of
from tests.report_fixtures import META, cell, measured, without_speed
from tests.test_report import page, parsed

OOM = "first_call: XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 8 GiB"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line in this process, without worker processes."""
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    no_processes(monkeypatch)
    return command_line(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("batch", "--sweep takes AXIS=VALUES, got 'batch'"),
        ("btach=1,2", "unknown axis of --sweep 'btach'; did you mean 'batch'?"),
        ("batch=", "needs at least one value"),
        ("batch=...", "needs at least one value"),
        ("batch=1,x", "takes whole numbers from 1 to 1,000,000, got 'x'"),
        ("batch=0", "got '0'"),
    ],
)
def test_a_malformed_sweep_is_named(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        sweep.parse(text)
    assert said in str(error.value)


def test_an_open_list_doubles_and_a_closed_one_ends() -> None:
    assert sweep.batches(sweep.parse("batch=8,1,2")) == (1, 2, 8)
    opened = sweep.batches(sweep.parse("batch=3,..."))
    assert opened[:4] == (3, 6, 12, 24)
    assert opened[-1] <= sweep.LARGEST_BATCH < 2 * opened[-1]


def test_sizes_go_on_in_the_workloads_order() -> None:
    spec = workloads()["yolov5"]
    assert sweep.sizes(sweep.parse("size=s,n"), spec) == ("n", "s")
    known = list(spec.sizes)
    assert sweep.sizes(sweep.parse("size=s,..."), spec) == tuple(known[known.index("s") :])
    with pytest.raises(UsageError, match="unknown size of yolov5 'sm'"):
        sweep.sizes(sweep.parse("size=sm"), spec)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mlp:digits", "--sweep", "size=digits,wide"), "give 'mlp', not 'mlp:digits'"),
        (("mlp", "--sweep", "batch=1,2", "--batch", "4"), "leave --batch out"),
        (("mlp", "--sweep", "batch=1", "--sweep", "batch=2"), "--sweep batch is given twice"),
        (("mlp", "--sweep", "batch=1", "--sweep-limit", "0"), "--sweep-limit must be above 0"),
        (("--resume", "--sweep", "batch=1"), "--resume goes on with a run as it was asked for"),
    ],
)
def test_words_that_do_not_go_together(cli: Cli, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    environment = () if "--resume" in arguments else ("--environment", "fake")
    code, _, err = cli("run", *arguments, *environment, "--results", "r")
    assert code == 2
    assert said in " ".join(err.split())
    assert not (tmp_path / "r").exists()


def test_first_processes_go_upwards_and_the_others_are_shuffled() -> None:
    selection = Selection(("mlp:digits",), ("inference",), precisions=("fp32",), sweeps=("batch=1,2,4,8,16,32",))
    chosen, _ = cells(selection, workloads(), {"torch": ("cpu",), "jax": ("cpu",)})
    series = sweep.Series(sweep.parsed(selection.sweeps), workloads())
    planned = blocks(chosen, 3, 0, series.rank)
    assert [block.index for block in planned] == list(range(36))
    first = [block.cells[0].batch for block in planned[:12]]
    assert first == sorted(first)
    assert {block.process for block in planned[:12]} == {0}
    later = [block.cells[0].batch for block in planned[12:]]
    assert later != sorted(later)


def test_what_is_an_end() -> None:
    ends: list[Outcome] = [
        TimedOut("first_call", 9.0),
        Failed("first_call", "OutOfMemoryError", "CUDA out of memory. Tried to allocate 20 GiB", ""),
        Failed("load", "RuntimeError", "MPS backend out of memory", ""),
        Failed("prepare", "XlaRuntimeError", "RESOURCE_EXHAUSTED: ...", ""),
        Failed("load", "ResourceExhaustedError", "", ""),
        Failed("load", "_ArrayMemoryError", "Unable to allocate 4 EiB", ""),
        Failed("burst", "SIGKILL", "ended by SIGKILL (the kernel's out-of-memory killer sends this)", ""),
        Failed("load", "RuntimeError", "[metal::malloc] Attempting to allocate 9 bytes greater than the maximum", ""),
    ]
    assert all(sweep.is_end(one) for one in ends)
    others: list[Outcome] = [Measured(), Failed("load", "KeyError", "memory_layout", "")]
    assert not any(sweep.is_end(one) for one in others)


LIMIT = 100
SERIES = ("mlp:digits", "--phase", "inference", "--precision", "fp32", "--bursts", "3", "--results", "r")


def outcomes(records: list[Record], device: str = "cpu") -> dict[int, list[str]]:
    """Batch -> outcomes of its processes."""
    found: dict[int, list[str]] = {}
    for one in records:
        if one.cell.device == device:
            found.setdefault(one.cell.batch, []).append(type(one.outcome).__name__)
    return dict(sorted(found.items()))


def test_memory_ends_a_series_and_that_is_no_error(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli(
        "run", *SERIES, "--environment", "fake-small-memory", "--processes", "2", "--sweep", "batch=16,32,..."
    )
    assert code == 0, out
    records = records_of(only_run(tmp_path / "r"))
    for device in ("cpu", "cuda"):
        assert outcomes(records, device) == {16: ["Measured"] * 2, 32: ["Measured"] * 2, 64: ["Measured"] * 2,
                                             128: ["Failed"]}  # fmt: skip
    assert "b128 fake-small-memory/cuda fp32 eager: the memory ends here, nothing larger is tried" in out
    cli("report", "--results", "r", "--out", "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    section = text.partition('id="scaling"')[2].partition("</section>")[0]
    assert "out of memory at 128" in section
    assert "no crossover in the range batch 16 to 64" in section


def test_a_sweep_of_which_nothing_fits_has_measured_nothing(cli: Cli) -> None:
    code, _, _ = cli("run", *SERIES, "--environment", "fake-oom", "--processes", "1", "--sweep", "batch=1,2,...")
    assert code == 3


def test_another_failure_does_not_end_a_series_and_is_an_error(cli: Cli, tmp_path: Path) -> None:
    code, _, _ = cli("run", *SERIES, "--environment", "fake-wrong", "--processes", "1", "--sweep", "batch=1,2,4")
    assert code == 4
    assert list(outcomes(records_of(only_run(tmp_path / "r")))) == [1, 2, 4]


def test_time_ends_an_open_series_and_not_a_closed_one(cli: Cli, tmp_path: Path) -> None:
    words = ("run", *SERIES[:-1])
    tail = ("--environment", "fake", "--device", "cpu", "--processes", "1", "--sweep-limit", "0.000001")
    assert cli(*words, "open", *tail, "--sweep", "batch=1,2,...")[0] == 0
    assert outcomes(records_of(only_run(tmp_path / "open"))) == {1: ["Measured"]}
    assert cli(*words, "closed", *tail, "--sweep", "batch=1,2,4")[0] == 0
    assert list(outcomes(records_of(only_run(tmp_path / "closed")))) == [1, 2, 4]


def test_a_sweep_goes_on_where_it_was_cut_and_still_knows_its_end(cli: Cli, tmp_path: Path) -> None:
    words = ("--environment", "fake-small-memory", "--processes", "2", "--sweep", "batch=16,32,...", "--device", "cpu")
    cli("run", *SERIES, *words)
    folder = only_run(tmp_path / "r")
    path = folder / store.RECORDS
    whole = records_of(folder)
    for keep in (2, 4, 5):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:keep]))
        code, out, _ = cli("run", "--resume", "--results", "r")
        assert code == 0, out
        again = records_of(folder)
        assert sorted((r.cell_id, r.process) for r in again) == sorted((r.cell_id, r.process) for r in whole)


def test_sizes_are_swept_too(cli: Cli, tmp_path: Path) -> None:
    words = ("--phase", "inference", "--precision", "fp32", "--bursts", "3", "--results", "r", "--device", "cpu")
    code, out, _ = cli(
        "run", "mlp", *words, "--environment", "fake", "--processes", "1", "--sweep", "size=tiny-test,digits"
    )
    assert code == 0, out
    assert {r.cell.size for r in records_of(only_run(tmp_path / "r"))} == {"tiny-test", "digits"}


def test_inputs_that_no_memory_holds_are_not_made(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel would end the parent, and with it the run."""
    from types import SimpleNamespace

    monkeypatch.setattr("bench.materials.psutil.virtual_memory", lambda: SimpleNamespace(total=10**9, available=10**6))
    code, out, _ = cli("run", *SERIES, "--environment", "fake", "--processes", "1", "--sweep", "batch=64,128,...")
    assert code == 0, out
    records = records_of(only_run(tmp_path / "r"))
    last = max(records, key=lambda one: one.cell.batch)
    assert isinstance(last.outcome, Failed)
    assert last.outcome.stage == "reference"
    assert "inputs and reference of batch" in last.outcome.message


def curves(cpu: list[float], device: list[float], width: float = 0.05) -> list[CellSummary]:
    """Throughputs at batch 1, 2, 4, ... on two devices."""
    found = []
    for name, rates in (("cpu", cpu), ("cuda", device)):
        found += [measured(cell(device=name, batch=2**i), rate, width) for i, rate in enumerate(rates)]
    return found


def test_the_crossover_lies_where_the_lines_meet() -> None:
    """CPU 100 throughout, GPU 25, 50, 141, 200: they meet between batch 2 and 4, by 2/3 of the way."""
    (found,) = scalings(curves([100.0] * 4, [25.0, 50.0, 100.0 * math.sqrt(2), 200.0]))
    (one,) = found.crossovers
    assert one.at == pytest.approx(2 ** (1 + 2 / 3), rel=1e-6)
    assert one.low is not None
    assert one.high is not None
    assert one.at is not None
    assert 2 < one.low < one.at < one.high < 4
    where = r"at batch 3\.2 \(interval 3\.0 to 3\.3\), interpolated between the measured batches 2 and 4"
    assert re.fullmatch(rf"torch/cuda eager overtakes torch/cpu eager {where}", one.text)


def test_a_crossover_at_a_measured_batch_is_not_interpolated() -> None:
    (found,) = scalings(curves([100.0] * 3, [50.0, 100.0, 200.0]))
    assert found.crossovers[0].at == pytest.approx(2)
    assert "interpolated" not in found.crossovers[0].text


def test_a_cpu_can_overtake_and_curves_can_cross_twice() -> None:
    (back,) = scalings(curves([10.0, 100.0], [40.0, 50.0]))[0].crossovers
    assert back.text.startswith("torch/cpu eager overtakes torch/cuda eager at batch 1.6")
    (twice,) = scalings(curves([100.0] * 3, [50.0, 200.0, 50.0]))[0].crossovers
    assert "cross 2 times" in twice.text


def test_no_crossover_is_said_and_never_extrapolated() -> None:
    (faster,) = scalings(curves([100.0] * 3, [103.0, 300.0, 900.0]))[0].crossovers
    assert faster.at is None
    assert "no crossover in the range batch 1 to 4: torch/cuda eager is faster" in faster.text
    assert "at 1 the interval includes 1×" in faster.text
    (slower,) = scalings(curves([100.0] * 2, [10.0, 20.0]))[0].crossovers
    assert "is slower than torch/cpu eager throughout" in slower.text


def test_open_ends_of_the_interval_say_so() -> None:
    (wide,) = scalings(curves([100.0] * 3, [95.0, 99.0, 104.0], width=0.2))[0].crossovers
    assert (wide.low, wide.high) == (None, None)
    assert "(interval below 1 to beyond 4)" in wide.text
    single = [measured(cell(device=d, batch=b), r, processes=1) for d, b, r in
              (("cpu", 1, 10.0), ("cpu", 2, 10.0), ("cuda", 1, 5.0), ("cuda", 2, 20.0))]  # fmt: skip
    assert "(no interval)" in scalings(single)[0].crossovers[0].text


def test_one_point_is_no_curve_and_a_wrong_cell_no_point() -> None:
    assert scalings([measured(cell(), 1.0)]) == []
    shown = [*curves([100.0, 110.0], []), without_speed(cell(batch=4), "wrong", "outputs: error 1")]
    (found,) = scalings(shown)
    assert len(found.curves[0].points) == 2
    alike = crossover(found.curves[0], found.curves[0], "batch", dict(found.ticks))
    assert alike is not None
    assert alike.at is None, "two that are level everywhere cross nowhere"
    assert crossover(found.curves[0], Curve("torch", "cuda", "eager", ()), "batch", {}) is None


def test_sizes_are_in_the_workloads_order_and_cross_between_names() -> None:
    shown = [
        measured(cell(workload="whisper", size=size, device=device, batch=1), rate)
        for device, rates in (("cpu", (50.0, 30.0, 10.0)), ("cuda", (40.0, 38.0, 35.0)))
        for size, rate in zip(("tiny", "base", "small"), rates, strict=True)
    ]
    (found,) = scalings(list(reversed(shown)))
    assert [name for _, name in found.ticks] == ["tiny", "base", "small"]
    assert "torch/cuda eager overtakes torch/cpu eager between tiny and base" in found.crossovers[0].text


def test_page_and_markdown_show_the_scaling(tmp_path: Path) -> None:
    shown = [
        *curves([100.0, 150.0, 170.0, 180.0], [20.0, 60.0, 180.0, 500.0]),
        without_speed(cell(device="cuda", batch=16), "failed", OOM),
    ]
    text = page(shown, tmp_path)
    assert "scaling" in set(parsed(text).ids) & set(parsed(text).targets)
    section = text.partition('id="scaling"')[2].partition("</section>")[0]
    for figure in re.findall(r"<svg.*?</svg>", section, flags=re.DOTALL):
        xml.etree.ElementTree.fromstring(figure)
    assert "overtakes torch/cpu eager at batch 3.8" in section
    assert "out of memory at 16" in section
    assert "Scaling" not in page([measured(cell(), 1.0)], tmp_path)
    told = as_markdown(shown, [], META)
    assert "overtakes torch/cpu eager at batch 3.8" in told
    assert "ended: out of memory at 16" in told


def test_intervals_that_are_missing_are_passed_over() -> None:
    bare = [(1.0, Interval(10.0, None, None)), (2.0, Interval(10.0, None, None))]
    cpu = Curve("torch", "cpu", "eager", tuple(bare))
    gpu = Curve("torch", "cuda", "eager", ((1.0, Interval(5.0, 4.0, 6.0)), (2.0, Interval(20.0, 19.0, 21.0))))
    found = crossover(cpu, gpu, "batch", {1.0: "1", 2.0: "2"})
    assert found is not None
    assert found.at == pytest.approx(math.sqrt(2))
    assert (found.low, found.high) == (None, None)
