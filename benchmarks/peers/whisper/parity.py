"""Our Whisper against the library's whose environment this is: same weights, same input, same answers.

    python -m benchmarks.peers.whisper.parity [--sizes tiny-test wide tiny] [--peer transformers]

In peer-openai-whisper: mel filters, log-mel, text, encoder, first logits, greedy tokens, training. In the three of
transformers: encoder, first logits, greedy tokens. Prints a table; the exit code is 1 when a row fails. That a row can
fail is part of the table: rows that begin with "sees" compare with something slightly wrong, and must.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.frameworks.base import Framework, Job
from bench.worker import framework_for
from bench.workload import Arrays, Config
from workloads.whisper import audio, text, workload

Array = np.ndarray[Any, Any]

#: Environment of the peer by a distribution that only it has: framework, and the mode in which our twin and it run.
PEERS = {
    "openai-whisper": ("torch", "eager"),
    "tf-keras": ("tensorflow", "compiled"),
    "flax": ("jax", "compiled"),
    # The older transformers of those two has it too: after them.
    "transformers": ("torch", "eager"),
}
LIMIT = 1e-4
#: Made up: more mels, and unlike depths as turbo has them.
WIDE = {"mels": 128, "audio_layers": 4, "text_layers": 1}
#: Gradients that are listed by name; the worst of all is a row of its own.
GRADIENTS = (
    "encoder.conv1.weight",
    "encoder.blocks.0.attn.query.weight",
    "decoder.blocks.0.cross_attn.key.weight",
    "decoder.positional_embedding",
    "decoder.token_embedding.weight",
    "decoder.ln.bias",
)


@dataclass(frozen=True)
class Row:
    """One comparison. ``must_differ``: a saboteur, whose error has to be above the limit."""

    size: str
    what: str
    error: float
    limit: float = LIMIT
    must_differ: bool = False

    @property
    def passed(self) -> bool:
        """NaN never passes, and is no difference that a saboteur was to show."""
        return self.error > self.limit if self.must_differ else self.error <= self.limit


def distance(ours: Array, theirs: Array) -> float:
    """Largest difference over the largest magnitude of ``theirs``; for integers the share of entries that differ."""
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes differ: ours {ours.shape}, theirs {theirs.shape}")
    if theirs.dtype.kind in "iu":
        return float((ours != theirs).mean())
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def compared(size: str, ours: Arrays, theirs: Arrays, must_differ: bool = False) -> Iterator[Row]:
    """A row for each output that both give."""
    common = [name for name in ours if name in theirs]
    assert "audio_features" in common, f"nothing to compare: {sorted(ours)} and {sorted(theirs)}"
    for name in common:
        limit = 0.0 if theirs[name].dtype.kind in "iu" else LIMIT
        what = f"sees weights x 1.001 in {name}" if must_differ else name
        yield Row(size, what, distance(ours[name], theirs[name]), limit, must_differ)


# --- models ----------------------------------------------------------------------------------------------------------


def config_of(size: str, phase: str, variant: str) -> Config:
    """The workload's own, or ``wide``: tiny-test with 128 mels and other depths."""
    known = workload.settings("tiny-test" if size == "wide" else size, phase, variant)
    return {**known, **WIDE} if size == "wide" else known


def verified(framework: Framework, package: str, mode: str, config: Config, weights: Arrays, inputs: Arrays) -> Arrays:
    """What the adapter would hand to the harness' own verification, of our twin or of the peer's."""
    twin = framework.load_twin("whisper", package)
    training = config["phase"] == "training"
    optimizer = workload.optimizer("adamw") if training else None
    ready = workload.prepared(config, config["phase"], weights) if getattr(twin, "PREPARED", True) else weights
    job = Job(twin, config, config["phase"], optimizer, "fp32", mode, ready, inputs)
    return framework.program(job).verify(inputs)


def inference_rows(framework: Framework, package: str, mode: str, size: str, seed: int) -> Iterator[Row]:
    """Encoder, first logits and all greedy tokens; at the test size also with weights that are slightly wrong."""
    config = config_of(size, "inference", "default")
    weights = workload.weights(config, seed)
    inputs = workload.inputs(config, "inference", 1 if size == "tiny" else 2, seed)
    theirs = verified(framework, package, mode, config, weights, inputs)
    label = f"{size}, seed {seed}"
    yield from compared(label, verified(framework, "workloads", mode, config, weights, inputs), theirs)
    if size == "tiny-test":
        scaled = {name: value * np.float32(1.001) for name, value in weights.items()}
        wrong = verified(framework, "workloads", mode, config, scaled, inputs)
        wrong.pop("tokens")  # a thousandth need not change an argmax
        yield from compared(label, wrong, theirs, must_differ=True)


def training_rows(framework: Framework, size: str, seed: int) -> Iterator[Row]:
    """First loss, gradients and five losses of AdamW: our step in our adapter against a plain loop of torch's."""
    config = config_of(size, "training", "adamw")
    weights = workload.weights(config, seed)
    inputs = workload.inputs(config, "training", 1 if size == "tiny" else 2, seed)
    theirs = plain_training(framework, config, weights, inputs)
    ours = verified(framework, "workloads", "eager", config, weights, inputs)
    label = f"{size}, seed {seed}"
    for name in ("loss", "losses", *(f"grad.{name}" for name in GRADIENTS)):
        yield Row(label, f"training {name}", distance(ours[name], theirs[name]))
    gradients = [name for name in theirs if name.startswith("grad.")]
    missing = sorted(set(gradients) ^ {name for name in ours if name.startswith("grad.")})
    assert not missing, f"gradients that only one side has: {missing}"
    worst = max(distance(ours[name], theirs[name]) for name in gradients)
    yield Row(label, f"training worst of {len(gradients)} gradients", worst)
    if size == "tiny-test":
        shifted = {**inputs, "labels": np.where(inputs["labels"] < 0, -1, np.roll(inputs["labels"], 1, axis=1))}
        wrong = verified(framework, "workloads", "eager", config, weights, shifted)
        yield Row(label, "sees other labels in training loss", distance(wrong["loss"], theirs["loss"]), LIMIT, True)


def plain_training(framework: Framework, config: Config, weights: Arrays, inputs: Arrays) -> Arrays:
    """openai-whisper's model under torch's autograd and AdamW, without the adapter."""
    import torch

    twin = framework.load_twin("whisper", "benchmarks.peers")
    model = twin.build(config)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    options: Mapping[str, Any] = workload.optimizer("adamw")
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=options["lr"],
        betas=(options["beta1"], options["beta2"]),
        eps=options["eps"],
        weight_decay=options["weight_decay"],
    )
    mel, tokens, labels = (torch.from_numpy(inputs[name]) for name in ("mel", "tokens", "labels"))
    losses: list[float] = []
    gradients: Arrays = {}
    for _ in range(5):
        optimizer.zero_grad()
        logits = model(mel, tokens.long()).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, labels.long().flatten(), ignore_index=-1)
        loss.backward()
        if not losses:
            gradients = {f"grad.{name}": weight.grad.numpy().copy() for name, weight in model.named_parameters()}
        losses.append(loss.item())
        optimizer.step()
    return {"loss": np.asarray(losses[0], np.float32), "losses": np.asarray(losses, np.float32), **gradients}


# --- host ------------------------------------------------------------------------------------------------------------


def signals() -> dict[str, Array]:
    """Recordings at 16 kHz, float32: the clip that ships, and what strains a spectrogram."""
    time = np.arange(30 * audio.SAMPLE_RATE) / audio.SAMPLE_RATE
    noise = np.random.RandomState(0).uniform(-1, 1, len(time))
    made = {
        "noise": noise,
        "tone of 1 kHz": 0.5 * np.sin(2 * np.pi * 1000 * time),
        "chirp to 7 kHz": np.sin(2 * np.pi * (50 * time + 116 * time**2)),
        "quiet noise, 12.5 s": 1e-4 * noise[:200_000],
        "0.1 ms short of 30 s": noise[:-2],
        "35 s": np.concatenate([noise, noise[:80_000]]),
        "37 samples": noise[:37],
        "silence": np.zeros(1000),
    }
    return {"the clip": audio.load(audio.asset()), **{name: made[name].astype(np.float32) for name in made}}


def audio_rows() -> Iterator[Row]:
    """Mel filters against the ones that openai-whisper ships, spectrograms against its own."""
    from whisper.audio import log_mel_spectrogram, mel_filters, pad_or_trim

    for n_mels in (80, 128):
        theirs = mel_filters("cpu", n_mels).numpy()
        yield Row(f"{n_mels} mels", "mel filters", distance(audio.mel_filters(n_mels), theirs), 1e-6)
        for name, samples in signals().items():
            theirs = log_mel_spectrogram(pad_or_trim(samples), n_mels).numpy()
            yield Row(f"{n_mels} mels", f"log-mel of {name}", distance(audio.log_mel(samples, n_mels), theirs))
        clip = audio.load(audio.asset())
        late = log_mel_spectrogram(pad_or_trim(clip[1:]), n_mels).numpy()
        yield Row(f"{n_mels} mels", "sees one sample's delay", distance(audio.log_mel(clip, n_mels), late), LIMIT, True)


def text_rows() -> Iterator[Row]:
    """Every single token, and runs of random ones, against openai-whisper's tokenizer: share of texts that differ."""
    from whisper.tokenizer import get_tokenizer

    tokenizer = get_tokenizer(multilingual=True)
    vocabulary = text.find_vocabulary()
    count = len(text.ranks(vocabulary))
    stream = np.random.RandomState(0)
    runs: list[list[int]] = [[token] for token in range(count)]
    runs += [stream.randint(0, count, 40).tolist() for _ in range(200)]
    runs += [tokenizer.encode(words) for words in ("Grüße, 世界! 😀 naïve café", "A benchmark is a promise.", " ")]
    special = [tokenizer.sot, *runs[-1], tokenizer.eot, *tokenizer.encode("tail"), tokenizer.timestamp_begin + 7]
    plain = [token for token in special if token < tokenizer.eot]
    differing = sum(text.decode(run, vocabulary) != tokenizer.decode(run) for run in runs)
    differing += text.decode(special, vocabulary) != tokenizer.decode(plain)
    yield Row("multilingual", f"text of {len(runs) + 1} runs of tokens", differing / (len(runs) + 1), 0.0)
    shifted = sum(text.decode([run[0] + 1], vocabulary) != tokenizer.decode(run[:1]) for run in runs[:100])
    yield Row("multilingual", "sees ids that are one too high", shifted / 100, 0.0, True)


# --- table -----------------------------------------------------------------------------------------------------------


def peer_here(asked: str | None) -> tuple[str, str, str]:
    """Distribution, framework and mode of the peer whose environment this is, or of the one that is asked for."""
    for distribution, (framework, mode) in PEERS.items():
        if asked not in (None, distribution):
            continue
        try:
            importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        return distribution, framework, mode
    sys.exit(f"parity runs in the environment of a peer: {asked or 'one of ' + ', '.join(PEERS)} must be installed")


def versions() -> str:
    """The distributions that matter, with their versions."""
    names = (*PEERS, "torch", "tensorflow-cpu", "tensorflow", "jax", "numpy")
    installed = {
        found.metadata["Name"].lower().replace("_", "-"): found.version for found in importlib.metadata.distributions()
    }
    return ", ".join(f"{name} {installed[name]}" for name in names if name in installed)


def rows(distribution: str, framework: Framework, mode: str, sizes: Sequence[str]) -> Iterator[Row]:
    """Everything that this environment can compare, the quick first."""
    whole = distribution == "openai-whisper"
    package = "benchmarks.peers.transformers_torch" if distribution == "transformers" else "benchmarks.peers"
    if whole:
        yield from audio_rows()
        yield from text_rows()
    for size in sizes:
        for seed in (0, 1) if size != "tiny" else (0,):
            yield from inference_rows(framework, package, mode, size, seed)
            if whole:
                yield from training_rows(framework, size, seed)


def main() -> int:
    """Print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["tiny-test", "wide", "tiny"], help="tiny-test, wide, tiny, ...")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mode", help="instead of the environment's usual: TensorFlow also has xla, torch compiled")
    parser.add_argument("--peer", choices=list(PEERS), help="where one interpreter has several: which")
    asked = parser.parse_args()
    distribution, name, usual = peer_here(asked.peer)
    mode = asked.mode or usual
    framework = framework_for(name, name)
    framework.open("cpu", asked.threads)
    head = f"Our Whisper ({name}, {mode}) against {distribution}: {versions()}"
    return tell(head, rows(distribution, framework, mode, asked.sizes))


def tell(head: str, compared: Iterable[Row]) -> int:
    """Print the table as its rows are made; the exit code."""
    print(f"{head}\n\n| size | what | error | limit | |\n|---|---|---|---|---|")
    failed = total = 0
    for row in compared:
        total, failed = total + 1, failed + (not row.passed)
        sign = ">" if row.must_differ else "<="
        verdict = "ok" if row.passed else "FAILED"
        print(f"| {row.size} | {row.what} | {row.error:.1e} | {sign} {row.limit:g} | {verdict} |", flush=True)
    print(f"\n{total} comparisons, {failed} failed")
    return 1 if failed or not total else 0


if __name__ == "__main__":
    sys.exit(main())
