"""Device memory and profiles: contracts with frameworks made here, traces, and real profiles at the smallest size."""

from __future__ import annotations

import gzip
import importlib
import json
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bench import trace
from bench.frameworks import passes
from bench.frameworks.passes import NotMeasured, Passes, highest, passes_for
from bench.trace import Event
from tests.harness import Cli, command_line, no_processes

MB = 1_000_000


def module(name: str, **members: Any) -> ModuleType:
    """A module made here."""
    made = ModuleType(name)
    vars(made).update(members)
    return made


@contextmanager
def made_up(monkeypatch: pytest.MonkeyPatch, framework: str, device: str, **modules: ModuleType) -> Iterator[Passes]:
    """The passes of ``framework`` over modules made here (SYNTHETIC), imported anew and forgotten again."""
    name = f"bench.frameworks.passes_{framework}"
    with monkeypatch.context() as patch:
        for key, value in modules.items():
            patch.setitem(sys.modules, key.replace("__", "."), value)
        patch.delitem(sys.modules, name, raising=False)
        yield importlib.import_module(name).PASSES(device)
    sys.modules.pop(name, None)


def test_a_cpu_and_an_unknown_framework_say_why() -> None:
    with pytest.raises(NotMeasured, match="host's memory"):
        passes_for("nothing-of-that-name", "cpu").memory(lambda: None)
    with pytest.raises(NotMeasured, match="no counter of device memory"):
        passes_for("nothing-of-that-name", "cuda").memory(lambda: None)
    with pytest.raises(NotMeasured, match="no profiler"):
        passes_for("nothing-of-that-name", "cuda").profile(lambda: None, Path())


def test_the_highest_of_many_readings_sees_what_comes_and_goes() -> None:
    level = {"current": 10 * MB}

    def run() -> None:
        level["current"] = 90 * MB
        time.sleep(50 * passes.SAMPLE_S)
        level["current"] = 20 * MB

    assert highest(lambda: dict(level), run) == {"current": 90 * MB}
    with pytest.raises(ZeroDivisionError):
        highest(lambda: dict(level), lambda: [1 / 0])  # type: ignore[arg-type]


def test_cuda_sets_the_peak_back_before_and_reads_it_after(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def says(name: str, value: Any = None) -> Any:
        def say() -> Any:
            calls.append(name)
            return value

        return say

    cuda = SimpleNamespace(
        synchronize=says("synchronize"),
        reset_peak_memory_stats=says("reset"),
        max_memory_allocated=says("peak", 300 * MB),
        max_memory_reserved=says("reserved", 400 * MB),
        mem_get_info=says("info", (1, 80_000 * MB)),
    )
    with made_up(monkeypatch, "torch", "cuda", torch=module("torch", cuda=cuda)) as made:
        found = made.memory(says("run"))
    assert calls == ["synchronize", "reset", "run", "peak", "reserved", "info"]
    assert (found["peak_bytes"], found["kind"], found["limit_bytes"]) == (300 * MB, "peak", 80_000 * MB)


def test_mps_is_sampled_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    level = [10 * MB]
    mps = SimpleNamespace(
        current_allocated_memory=lambda: level[0],
        driver_allocated_memory=lambda: level[0] + 5 * MB,
        recommended_max_memory=lambda: 9_000 * MB,
    )

    def run() -> None:
        level[0] = 70 * MB
        time.sleep(50 * passes.SAMPLE_S)
        level[0] = 20 * MB

    with made_up(monkeypatch, "torch", "metal", torch=module("torch", mps=mps)) as made:
        found = made.memory(run)
    assert found == {
        "peak_bytes": 70 * MB, "kind": "sampled", "source": "torch.mps.current_allocated_memory",
        "reserved_bytes": 75 * MB, "limit_bytes": 9_000 * MB,
    }  # fmt: skip


class Averages:
    """What torch.profiler gives: operators with their time, kernels beside them."""

    def __init__(self, device_us: float) -> None:
        self.device_us = device_us

    def __call__(self, activities: list[str]) -> Averages:
        return self

    def __enter__(self) -> Averages:
        return self

    def __exit__(self, *_: object) -> None:
        """Over."""

    def key_averages(self) -> list[Any]:
        """Two operators and a kernel."""
        row = SimpleNamespace
        return [
            row(key="aten::addmm", count=3, device_type="CPU", self_cpu_time_total=30.0,
                self_device_time_total=self.device_us),
            row(key="aten::copy_", count=1, device_type="CPU", self_cpu_time_total=10.0, self_device_time_total=0.0),
            row(key="gemm_kernel", count=3, device_type="CUDA", self_cpu_time_total=0.0, self_device_time_total=7.0),
        ]  # fmt: skip

    def export_chrome_trace(self, path: str) -> None:
        """The file."""
        Path(path).write_text('{"traceEvents": []}')


def profiling_torch(device_us: float, calls: list[str], warning: str = "") -> ModuleType:
    """A torch whose profiler gives ``Averages``."""
    mps_profiler = SimpleNamespace(
        start=lambda mode, wait_until_completed: calls.append(f"start {mode}"), stop=lambda: calls.append("stop")
    )
    return module(
        "torch",
        profiler=SimpleNamespace(profile=Averages(device_us), ProfilerActivity=SimpleNamespace(CPU="CPU", CUDA="CUDA")),
        autograd=SimpleNamespace(DeviceType=SimpleNamespace(CPU="CPU")),
        mps=SimpleNamespace(profiler=mps_profiler),
        set_warn_always=lambda on: calls.append(f"warn {on}"),
    )


def test_torch_on_cuda_counts_kernels_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for device_us, expected in ((21.0, [("aten::addmm", 21_000)]), (0.0, [("gemm_kernel", 7_000)])):
        with made_up(monkeypatch, "torch", "cuda", torch=profiling_torch(device_us, [])) as made:
            found = made.profile(lambda: None, tmp_path)
        assert [(one["name"], one["self_ns"]) for one in found["operators"]] == expected
        assert all(one["on_device"] for one in found["operators"])


def test_mps_is_signposted_and_falling_back_is_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SYNTHETIC: the warning in MPSFallback.mm's words; signposts end also when the run fails."""
    calls: list[str] = []
    said = (
        "The operator 'aten::foo' is not currently supported on the MPS backend and will fall back to run on the CPU. "
        "This may have performance implications."
    )

    def run() -> None:
        calls.append("run")
        warnings.warn(said, UserWarning, stacklevel=1)

    with made_up(monkeypatch, "torch", "metal", torch=profiling_torch(0.0, calls)) as made:
        found = made.profile(run, tmp_path)
        with pytest.raises(ZeroDivisionError):
            made.profile(lambda: [1 / 0], tmp_path)  # type: ignore[arg-type]
    assert calls[:5] == ["start interval,event", "warn True", "run", "warn False", "stop"]
    assert calls[-2:] == ["warn False", "stop"]
    assert found["fallbacks"] == [said]
    assert {one["kind"] for one in found["operators"]} == {"compute", "copy"}
    assert "Instruments" in " ".join(found["notes"])


def test_jax_gives_the_peak_since_the_start_or_says_that_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimpleNamespace(platform="cuda", memory_stats=lambda: {"peak_bytes_in_use": 7 * MB, "bytes_limit": 9 * MB})
    jax = module("jax", devices=lambda: [device])
    with made_up(monkeypatch, "jax", "cuda", jax=jax) as made:
        found = made.memory(lambda: None)
        assert (found["peak_bytes"], found["kind"], found["limit_bytes"]) == (7 * MB, "peak-since-start", 9 * MB)
        device.memory_stats = lambda: None
        with pytest.raises(NotMeasured, match="peak_bytes_in_use"):
            made.memory(lambda: None)


def test_tensorflow_without_a_counting_allocator_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = {"current": 1, "peak": 8 * MB}

    def info(device: str) -> dict[str, int]:
        assert device == "GPU:0"
        if not peak:
            raise ValueError("Allocator stats not available for device 'GPU:0'")
        return peak

    experimental = SimpleNamespace(reset_memory_stats=lambda device: None, get_memory_info=info)
    tensorflow = module(
        "tensorflow",
        config=SimpleNamespace(experimental=experimental),
        errors=SimpleNamespace(OpError=type("OpError", (Exception,), {})),
    )
    with made_up(monkeypatch, "tensorflow", "metal", tensorflow=tensorflow) as made:
        assert made.memory(lambda: None)["peak_bytes"] == 8 * MB
        peak.clear()
        with pytest.raises(NotMeasured, match="Allocator stats not available"):
            made.memory(lambda: None)


def test_mlx_sets_its_peak_back_and_captures_on_metal_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[str] = []
    metal = SimpleNamespace(
        is_available=lambda: True,
        device_info=lambda: {"max_recommended_working_set_size": 5},
        start_capture=lambda path: calls.append(Path(path).name),
        stop_capture=lambda: calls.append("stop"),
    )
    core = module(
        "mlx.core", metal=metal, synchronize=lambda: calls.append("sync"),
        reset_peak_memory=lambda: calls.append("reset"),
        get_peak_memory=lambda: 3, get_active_memory=lambda: 1, get_cache_memory=lambda: 1,
    )  # fmt: skip
    package = module("mlx", core=core)
    with made_up(monkeypatch, "mlx", "metal", mlx=package, mlx__core=core) as made:
        assert made.memory(lambda: calls.append("run"))["peak_bytes"] == 3
        assert calls == ["sync", "reset", "run"]
        monkeypatch.delenv("MTL_CAPTURE_ENABLED", raising=False)
        with pytest.raises(NotMeasured, match="MTL_CAPTURE_ENABLED=1"):
            made.profile(lambda: None, tmp_path)
        monkeypatch.setenv("MTL_CAPTURE_ENABLED", "1")
        assert made.profile(lambda: calls.append("run"), tmp_path)["operators"] == []
    assert calls[-3:] == ["capture.gputrace", "run", "stop"]


def event(name: str, start: int, duration: int, thread: str = "t", kind: str = "compute") -> Event:
    """An operator on the host."""
    return Event("p", thread, name, start, duration, "host", name, kind)


def test_own_time_leaves_out_what_ran_within() -> None:
    events = [
        event("outer", 0, 100), event("inner", 10, 30), event("inner", 50, 20), event("innermost", 12, 5),
        event("other", 10, 30, thread="u"), Event("p", "t", "no operator", 0, 100, "host", "", "compute"),
    ]  # fmt: skip
    found = {one.name: (one.calls, one.self_ns) for one in trace.operators(events)}
    assert found == {"outer": (1, 50), "inner": (2, 45), "innermost": (1, 5), "other": (1, 30)}
    beside = trace.operators([event("a", 0, 10), event("b", 10, 10), event("c", 15, 10)])
    assert [one.self_ns for one in beside] == [10, 10, 10], "neighbours and overlapping ones lie in nobody"


def test_the_trace_is_chromes_format(tmp_path: Path) -> None:
    trace.write_chrome([event("a", 2_000, 1_500), event("b", 0, 10, thread="u")], tmp_path / "t.json")
    rows = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    drawn = {row["name"]: row for row in rows if row["ph"] == "X"}
    assert (drawn["a"]["ts"], drawn["a"]["dur"]) == (2.0, 1.5)
    assert drawn["a"]["pid"] == drawn["b"]["pid"]
    assert drawn["a"]["tid"] != drawn["b"]["tid"]
    assert {row["args"]["name"] for row in rows if row["ph"] == "M"} == {"p", "t", "u"}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line in this process, in an empty folder."""
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return command_line(monkeypatch, capsys)


ONE = ("mlp:tiny-test", "--phase", "inference")


def written(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """profile.json, the events of the trace, and the table of the one profile in ``folder``."""
    (made,) = folder.iterdir()
    facts = json.loads((made / "profile.json").read_text(encoding="utf-8"))
    path = made / facts["trace"]
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")
    return facts, json.loads(text)["traceEvents"], (made / "operators.txt").read_text(encoding="utf-8")


def test_a_profile_of_the_scripted_framework(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_processes(monkeypatch)
    code, out, err = cli("profile", *ONE, "--environment", "fake", "--device", "cuda")
    assert code == 0, err
    facts, events, table = written(tmp_path / "profiles")
    assert [(row["name"], row["share"]) for row in facts["rows"]] == [("product", 0.75), ("upload", 0.25)]
    assert facts["copied_share"] == 0.25
    assert facts["fallbacks"] == ["sort"]
    assert facts["cell"]["device"] == "cuda"
    assert len([one for one in events if one["ph"] == "X"]) == 2
    for text in (out, table):
        assert "ran elsewhere than on the cuda: sort" in text
        assert "copies and conversions: 25 % of the operators' time" in text
        assert "ui.perfetto.dev" in text


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((*ONE, "--environment", "fake"), 2, "profile takes one cell, the selection has 2"),
        (("mlp:tiny", "--environment", "fake"), 2, "did you mean 'tiny-test'"),
        ((*ONE, "--environment", "fake", "--device", "cpu", "--iterations", "0"), 2, "--iterations must be at least 1"),
        ((*ONE, "--environment", "fake-oom", "--device", "cpu"), 4, "could not be profiled: MemoryError"),
        ((*ONE, "--environment", "fake", "--device", "cpu", "--mode", "compiled"), 4, "there is nothing to compile"),
    ],
)
def test_what_cannot_be_profiled_is_a_sentence(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, said: str
) -> None:
    no_processes(monkeypatch)
    got, _, err = cli("profile", *arguments)
    assert got == code
    assert said in " ".join(err.split())


def test_a_framework_without_a_profiler_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    no_processes(monkeypatch)
    monkeypatch.setattr("bench.passes.passes_for", lambda framework, device: Passes(device))
    code, _, err = cli("profile", *ONE, "--environment", "fake", "--device", "cpu")
    assert code == 4
    assert "has no profile: this framework has no profiler" in " ".join(err.split())


@pytest.mark.parametrize("environment", ["torch", "tensorflow", "jax"])  # MLX's captures need Metal
def test_a_real_profile_names_the_product(cli: Cli, tmp_path: Path, environment: str, interpreter: Path) -> None:
    """Each framework's own profiler on the CPU: its table has matrix products, its trace opens as JSON."""
    words = ("--environment", environment, "--python", f"{environment}={interpreter}", "--device", "cpu")
    code, out, err = cli("profile", *ONE, *words, "--iterations", "3", "--threads", "1", "--out", "p")
    assert code == 0, out + err
    facts, events, table = written(tmp_path / "p")
    assert sum(row["share"] for row in facts["rows"]) == pytest.approx(1.0)
    names = [row["name"] for row in facts["rows"]]
    assert any("mm" in name or "MatMul" in name or "dot" in name or "fusion" in name for name in names), names
    calls = max(row["calls"] for row in facts["rows"])
    assert calls >= 3, "every iteration is there"
    assert len([one for one in events if one.get("ph") == "X"]) >= 3
    assert names[0] in table
    assert facts["fallbacks"] == []
