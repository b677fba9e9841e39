"""The phase ``pipeline``: a workload's host code before and after the model, around a framework's own inference.

Pre- and post-processing are one implementation in NumPy, the spec's, so that only the model differs between the
frameworks. Everything is done within ``step``: it ends with results on the host, and needs no fence.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from bench.frameworks.base import Framework, Program, StageTimes, timed
from bench.workload import Arrays, Config, Workload


class Pipeline(Program):
    """Files in, results out. ``model`` is the framework's inference, fed anew at every call."""

    def __init__(self, spec: Workload, config: Config, framework: Framework, model: Program, inputs: Arrays) -> None:
        self._spec, self._config, self._framework = spec, config, framework
        self._model, self._inputs = model, inputs
        self.step = self._step

    @property
    def model(self) -> Program:
        """The framework's part of it."""
        return self._model

    def _preprocess(self) -> tuple[Arrays, Any]:
        return self._spec.preprocess(self._config, self._inputs)

    def _fetch(self, outputs: dict[str, Any]) -> Arrays:
        """What post-processing reads, on the host: cannot return before the model is done."""
        wanted = self._spec.fetched or tuple(outputs)
        return {name: self._framework.to_numpy(outputs[name]) for name in wanted}

    def _postprocess(self, outputs: Arrays, context: Any) -> Arrays:
        return self._spec.postprocess(self._config, outputs, context)

    def _step(self) -> Arrays:
        tensors, context = self._preprocess()
        self._model.feed(tensors)
        return self._postprocess(self._fetch(self._model.step()), context)

    def measuring(self) -> AbstractContextManager[Any]:
        return self._model.measuring()

    def feed(self, inputs: Arrays) -> None:
        self._inputs = inputs

    def evaluate(self, inputs: Arrays) -> Arrays:
        return self._model.evaluate(self._spec.preprocess(self._config, inputs)[0])

    def verify(self, inputs: Arrays) -> Arrays:
        """The model's inputs and outputs; the results and the answer are kept for who wants to see them."""
        self.feed(inputs)
        tensors, context = self._preprocess()
        outputs = self._model.verify(tensors)
        wanted = self._spec.fetched or tuple(outputs)
        self.results = self._postprocess({name: outputs[name] for name in wanted}, context)
        self.answer = self._spec.answer(self._config, inputs, self.results)
        return {**tensors, **outputs}

    def staged(self, fence: Callable[[Any], Any], clock: Callable[[], int]) -> tuple[Any, StageTimes]:
        def at_once(out: Any) -> None:
            """Host code is done when it returns."""

        times: StageTimes = {}
        tensors, context = timed("preprocess", self._preprocess, at_once, clock, times)()
        timed("transfer", self._model.feed, lambda _: self._framework.barrier(None), clock, times)(tensors)
        outputs, inner = self._model.staged(fence, clock)
        times |= inner
        fetched = timed("fetch", self._fetch, at_once, clock, times)(outputs)
        return timed("postprocess", self._postprocess, at_once, clock, times)(fetched, context), times

    def output_dtype(self) -> str:
        return self._model.output_dtype()
