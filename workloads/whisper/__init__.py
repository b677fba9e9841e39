"""Whisper: speech to text by an encoder of log-mel spectrograms and a decoder of tokens, greedy with a fixed length.

What is computed, timed and tolerated, and where the data come from: ``README.md`` in this folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import TensorError, UsageError
from bench.itemwise import itemwise
from bench.workload import Arrays, Config, Size, Tolerance, Workload
from workloads.whisper import audio, reference, text
from workloads.whisper import config as sizes
from workloads.whisper import weights as naming
from workloads.whisper.tolerance import tolerance

#: Samples per mel frame, and by how many samples each further clip of a batch is turned: a second.
HOP, TURN = 160, 16_000
#: beta2 is the one that Whisper was trained with (Radford et al. 2022, table 17). Why eps and rate are not, and what
#: half precision makes of them: README.md, "Optimizer".
ADAMW: Mapping[str, float | str] = {
    "name": "adamw", "lr": 5e-4, "beta1": 0.9, "beta2": 0.98, "eps": 1e-8, "weight_decay": 0.01,
}  # fmt: skip


def clips(config: Config, batch: int) -> np.ndarray[Any, Any]:
    """Log-mel (batch, mels, frames) of the spoken clip, turned by a second for each further clip."""
    samples = audio.load(audio.asset())
    frames = 2 * config["audio_ctx"]
    turned = (np.roll(samples, -TURN * index) for index in range(batch))
    return np.stack([audio.log_mel(clip, config["mels"], frames) for clip in turned])


def some_tokens(config: Config, batch: int, count: int, seed: int) -> np.ndarray[Any, Any]:
    """Seeded token ids (batch, count), int32, none of them special: below end of text."""
    stream = np.random.RandomState([seed, 1])
    return np.floor(stream.random_sample((batch, count)) * config["eot"]).astype(np.int32)


class Whisper(Workload):
    """The spec; inputs ``mel`` (B, mels, frames) and ``forced_tokens`` (B, N), or ``tokens`` and ``labels`` (B, T)."""

    name = "whisper"
    item = "audio s"
    sizes: Mapping[str, Size] = {
        name: Size(dims, batch=2 if name == "tiny-test" else 1) for name, dims in sizes.SIZES.items()
    }
    phases: Mapping[str, tuple[str, ...]] = {
        "inference": ("default", "encoder", "tokens-N"),
        "pipeline": ("default", "tokens-N"),
        "training": ("adamw",),
    }
    #: What a CPU does in seconds: two cores have 20 minutes for all workloads. Training takes minutes, and so does half
    #: precision where the CPU has no instructions for it; name them and they are measured.
    main: Mapping[str, tuple[str, ...]] | None = {"inference": ("fp32",), "pipeline": ("fp32",)}
    fetched = ("tokens",)

    def settings(self, size: str, phase: str, variant: str) -> Config:
        """The size's dimensions, ``phase``, and how many ``tokens`` are decoded or taught; 0: the encoder alone."""
        return sizes.settings(self.sizes[size].config, phase, variant)

    def producer(self, size: str, phase: str) -> str:
        """NumPy in float64 up to small; beyond that, and for gradients, a framework in float32."""
        large = size in ("medium", "large-v3", "turbo")
        return "cpu-fp32" if large or phase == "training" else "numpy-fp64"

    def shapes(self, config: Config) -> dict[str, tuple[int, ...]]:
        """Under the names of openai's checkpoints, in their order."""
        return sizes.shapes(config)

    def weights(self, config: Config, seed: int) -> Arrays:
        """See ``weights.seeded``."""
        return naming.seeded(config, seed)

    def inputs(self, config: Config, phase: str, batch: int, seed: int) -> Arrays:
        """The spoken clip that ships, and seeded tokens.

        ``pipeline`` also takes the bytes of a vocabulary, where this machine has one (see ``text.find_vocabulary``).
        """
        if phase == "pipeline":
            return self._files(audio.asset(), batch)
        mel = clips(config, batch)
        if phase == "training":
            return {"mel": mel, **self._lesson(config, batch, seed)}
        if not config["tokens"]:
            return {"mel": mel}
        return {"mel": mel, "forced_tokens": some_tokens(config, batch, config["tokens"], seed)}

    def _files(self, path: Path, batch: int) -> Arrays:
        vocabulary = np.frombuffer(text.find_vocabulary(), np.uint8)
        return {**audio.file_inputs(path, batch), "vocabulary": vocabulary}

    def _lesson(self, config: Config, batch: int, seed: int) -> Arrays:
        """Teacher forcing: the prompt and seeded text in, the same moved by one out; no loss (-1) within the prompt."""
        prompt = np.tile(np.asarray(config["prompt"], np.int32), (batch, 1))
        taught = some_tokens(config, batch, config["tokens"] - 1, seed)
        end = np.full((batch, 1), config["eot"], np.int32)
        unlabelled = np.full((batch, prompt.shape[1] - 1), -1, np.int32)
        return {
            "tokens": np.concatenate([prompt, taught], axis=1),
            "labels": np.concatenate([unlabelled, taught, end], axis=1),
        }

    def check_inputs(self, config: Config, inputs: Arrays) -> None:
        """Every token is in the vocabulary, every label too or -1.

        Raises:
            TensorError: one is not; frameworks would clamp it, ignore it, or crash on a GPU.
        """
        for name, lowest in (("forced_tokens", 0), ("tokens", 0), ("labels", -1)):
            ids = inputs.get(name, np.zeros(0, np.int32))
            wrong = ids[(ids < lowest) | (ids >= config["vocab"])]
            if wrong.size:
                raise TensorError(f"{name!r} holds {wrong[0]}, wanted {lowest} to {config['vocab'] - 1}")
        labels = inputs.get("labels")
        if labels is not None and (labels < 0).all():
            raise TensorError("'labels' are all -1: nothing is taught, and the loss is a mean over nothing")

    def ignores(self, key: str) -> bool:
        """See ``weights.ignored``."""
        return naming.ignored(key)

    def from_upstream(self, config: Config, given: Arrays) -> Arrays:
        """From openai's or Hugging Face's names; the encoder's sinusoids are added where a file leaves them out."""
        found = naming.from_upstream(given)
        positions = "encoder.positional_embedding"
        if positions not in found and "decoder.positional_embedding" in found:
            found[positions] = naming.sinusoids(*self.shapes(config)[positions])
        return found

    def file_inputs(self, config: Config, phase: str, batch: int, path: Path) -> Arrays:
        """A recording in place of the clip that ships.

        Raises:
            UsageError: training takes none, or the file cannot be read.
        """
        if phase == "training":
            raise UsageError(
                f"whisper trains on tensors (.npz), not on recordings like {path.name!r}: no text goes with it"
            )
        files = self._files(path, batch)
        return files if phase == "pipeline" else self._model_inputs(config, files)

    def _model_inputs(self, config: Config, files: Arrays) -> Arrays:
        mel = audio.preprocess(files, config["mels"], 2 * config["audio_ctx"])
        if not config["tokens"]:
            return {"mel": mel}
        return {"mel": mel, "forced_tokens": some_tokens(config, len(mel), config["tokens"], 0)}

    def preprocess(self, config: Config, inputs: Arrays) -> tuple[Arrays, Any]:
        """File bytes -> 16 kHz -> log-mel; ``forced_tokens`` are for verification and cost nothing."""
        return self._model_inputs(config, inputs), None

    def postprocess(self, config: Config, outputs: Arrays, context: Any) -> Arrays:
        """The tokens are the result; text is made for people, by ``answer``."""
        return {"tokens": outputs["tokens"]}

    def answer(self, config: Config, inputs: Arrays, results: Arrays) -> str:
        """The spoken text, or the token ids where there is no vocabulary."""
        return text.answer(results, inputs["vocabulary"].tobytes())

    def items(self, config: Config, phase: str, batch: int) -> dict[str, float]:
        """Seconds of audio, and tokens decoded or taught."""
        seconds = batch * 2 * config["audio_ctx"] * sizes.FRAME_S
        tokens = float(batch * config["tokens"])
        return {self.item: seconds, "tokens": tokens} if tokens else {self.item: seconds}

    def reference(self, config: Config, phase: str, variant: str, weights: Arrays, inputs: Arrays) -> Arrays:
        """The truth in float64; of training the loss alone, for its gradients are a framework's."""
        exact = {name: value.astype(np.float64) for name, value in weights.items()}
        if phase == "training":
            return {"loss": reference.loss(exact, config, {**inputs, "mel": inputs["mel"].astype(np.float64)})}
        model = self._model_inputs(config, inputs) if phase == "pipeline" else inputs

        def infer(items: Arrays) -> Arrays:
            return reference.inference(exact, config, items["mel"].astype(np.float64), items.get("forced_tokens"))

        outputs = itemwise(infer, model)
        return {**model, **outputs} if phase == "pipeline" else outputs

    def flops(self, config: Config, phase: str, batch: int) -> float:
        """Matrix products and convolutions; see ``config.flops``."""
        return batch * sizes.flops(config, phase)

    def tolerance(self, config: Config, phase: str, precision: str, output: str) -> Tolerance:
        """Limits and reasons stand in ``tolerance.py``."""
        return tolerance(config, precision, output)

    def optimizer(self, variant: str) -> dict[str, float | str]:
        """AdamW at a constant rate.

        Raises:
            UsageError: no such variant.
        """
        if variant != "adamw":
            raise UsageError(f"whisper trains with adamw, not {variant!r}")
        return dict(ADAMW)


workload = Whisper()
