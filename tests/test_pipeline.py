"""Pipelines, parts and stages: a toy workload and a program on a clock of its own, so nothing is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import memory
from bench.errors import UsageError
from bench.frameworks.base import Framework, Program
from bench.frameworks.fake import Fake
from bench.pipeline import Pipeline
from bench.workload import Arrays, Config, Size, Tolerance, Workload

MS = 1_000_000


class Clock:
    """A clock that work moves on."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def work(self, ms: int) -> None:
        """Let ``ms`` pass."""
        self.now += ms * MS


class Toy(Workload):
    """Doubles numbers that lie in a file as bytes; the pipeline adds one before and takes one off after."""

    name = "toy"
    item = "numbers"
    sizes: Mapping[str, Size] = {"tiny-test": Size({}, batch=1)}
    phases: Mapping[str, tuple[str, ...]] = {"inference": ("default",), "pipeline": ("default",)}
    fetched = ("doubled",)

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def shapes(self, config: Config) -> dict[str, tuple[int, ...]]:
        """None."""
        return {}

    def weights(self, config: Config, seed: int) -> Arrays:
        """None."""
        return {}

    def inputs(self, config: Config, phase: str, batch: int, seed: int) -> Arrays:
        """Three bytes."""
        return {"files": np.array([[1, 2, 3]], np.uint8)}

    def preprocess(self, config: Config, inputs: Arrays) -> tuple[Arrays, Any]:
        """Takes 2 ms."""
        self.clock.work(2)
        return {"x": inputs["files"].astype(np.float32) + 1}, "context"

    def postprocess(self, config: Config, outputs: Arrays, context: Any) -> Arrays:
        """Takes 5 ms."""
        assert context == "context"
        assert set(outputs) == {"doubled"}, "only what post-processing reads is fetched"
        self.clock.work(5)
        return {"numbers": outputs["doubled"] - 1}

    def answer(self, config: Config, inputs: Arrays, results: Arrays) -> str:
        """The sum."""
        return f"{results['numbers'].sum():.0f} in all"

    def reference(self, config: Config, phase: str, variant: str, weights: Arrays, inputs: Arrays) -> Arrays:
        """Twice the input."""
        return {"doubled": 2.0 * inputs["x"]}

    def flops(self, config: Config, phase: str, batch: int) -> float:
        """Three products."""
        return 3.0

    def tolerance(self, config: Config, phase: str, precision: str, output: str) -> Tolerance:
        """Exact."""
        return Tolerance(0.0, "exact")


class Model(Program):
    """Doubles in 10 ms of the device; with ``parts``, in two parts, the second of which is called twice."""

    def __init__(self, clock: Clock, in_parts: bool) -> None:
        self.clock = clock
        self.x = np.zeros(3)
        if in_parts:
            self.parts = SimpleNamespace(first=self._first, next=self._next)
        self.step = self._step

    def _first(self, x: Any) -> Any:
        self.clock.work(6)
        return x

    def _next(self, x: Any) -> Any:
        self.clock.work(2)
        return x * np.sqrt(2.0)

    def _step(self) -> dict[str, Any]:
        parts = self.parts
        if parts is None:
            self.clock.work(10)
            return {"doubled": 2.0 * self.x, "unused": self.x}
        return {"doubled": parts.next(parts.next(parts.first(self.x))), "unused": self.x}

    def feed(self, inputs: Arrays) -> None:
        """Takes 1 ms."""
        self.clock.work(1)
        self.x = inputs["x"]

    def evaluate(self, inputs: Arrays) -> Arrays:
        """As ``verify``."""
        return self.verify(inputs)

    def verify(self, inputs: Arrays) -> Arrays:
        """The outputs on other inputs."""
        self.feed(inputs)
        outputs: Arrays = self.step()
        return outputs

    def output_dtype(self) -> str:
        """Always the same."""
        return "float32"


class Host(Fake):
    """A framework whose tensors are NumPy's; reading one takes 3 ms."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.toy_clock = clock

    def to_numpy(self, out: Any) -> Any:
        """Takes its time."""
        self.toy_clock.work(3)
        return out


def pipeline(in_parts: bool) -> tuple[Pipeline, Clock, Toy]:
    """A pipeline over the toy."""
    clock = Clock()
    spec = Toy(clock)
    framework: Framework = Host(clock)
    made = Pipeline(spec, {}, framework, Model(clock, in_parts), spec.inputs({}, "pipeline", 1, 0))
    return made, clock, spec


def test_a_step_goes_from_the_bytes_of_a_file_to_results_on_the_host() -> None:
    made, clock, _ = pipeline(in_parts=False)
    np.testing.assert_array_equal(made.step()["numbers"], [[3, 5, 7]])
    assert clock.now == (2 + 1 + 10 + 3 + 5) * MS


def test_the_stages_of_a_pipeline_are_timed_apart() -> None:
    made, clock, _ = pipeline(in_parts=False)
    results, times = made.staged(lambda out: None, clock)
    expected = {"preprocess": [2], "transfer": [1], "model": [10], "fetch": [3], "postprocess": [5]}
    assert times == {name: [ms * MS for ms in spans] for name, spans in expected.items()}
    np.testing.assert_array_equal(results["numbers"], [[3, 5, 7]])


def test_parts_are_timed_by_name_and_every_call_of_them() -> None:
    made, clock, _ = pipeline(in_parts=True)
    fenced: list[Any] = []
    _, times = made.staged(fenced.append, clock)
    assert times["first"] == [6 * MS]
    assert times["next"] == [2 * MS, 2 * MS]
    assert "model" not in times
    assert len(fenced) == 3 + 1, "every part is fenced, and the whole"
    assert sum(map(sum, times.values())) == clock.now


def test_timing_the_parts_leaves_them_as_they_were() -> None:
    clock = Clock()
    model = Model(clock, in_parts=True)
    before = model.parts
    model.staged(lambda out: None, clock)
    assert model.parts is before
    broken = Model(clock, in_parts=True)
    kept = broken.parts
    with pytest.raises(ZeroDivisionError):
        broken.staged(lambda out: 1 / 0, clock)
    assert broken.parts is kept


def test_a_pipeline_verifies_what_the_model_got_and_gave_and_keeps_the_answer() -> None:
    made, _, spec = pipeline(in_parts=False)
    outputs = made.verify(spec.inputs({}, "pipeline", 1, 0))
    assert set(outputs) == {"x", "doubled", "unused"}
    assert made.answer == "15 in all"
    np.testing.assert_array_equal(made.results["numbers"], [[3, 5, 7]])


def test_a_workload_without_a_pipeline_says_so() -> None:
    spec = Toy(Clock())
    with pytest.raises(UsageError, match=r"'toy' has no pipeline"):
        Workload.preprocess(spec, {}, {})
    with pytest.raises(UsageError, match=r"'toy' has no pipeline"):
        Workload.postprocess(spec, {}, {}, None)
    with pytest.raises(UsageError, match=r"toy takes inputs as .npz, not 'photo.jpg'"):
        spec.file_inputs({}, "inference", 1, Path("photo.jpg"))


def test_peak_memory_is_this_process_at_its_highest() -> None:
    before = memory.peak_rss_bytes()
    assert before is not None
    block = np.ones(before + (64 << 20), np.uint8)
    after = memory.peak_rss_bytes()
    assert after is not None
    assert after >= block.nbytes
    del block
    now = memory.peak_rss_bytes()
    assert now is not None
    assert now >= after - (4 << 20), "a peak does not come down, but for what the kernel counts late"


def test_unknown_memory_is_none_and_not_zero(tmp_path: Path) -> None:
    assert memory.peak_rss_bytes(tmp_path / "nothing") is None
    (tmp_path / "status").write_text("VmRSS:\t12 kB\n")
    assert memory.peak_rss_bytes(tmp_path / "status") is None
