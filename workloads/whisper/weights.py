"""Seeded weights of Whisper under upstream's names, and published checkpoints under any of their names. NumPy only."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from bench.workload import Arrays, Config
from workloads.whisper.config import shapes

Array = np.ndarray[Any, Any]

#: Standard deviation of a projection's output for inputs of deviation 1. Queries and keys are strong, so that attention
#: looks at some tens of 1,500 positions and not at their mean, and a wrong mask or a wrong cache entry shows. The
#: others are mild: 32 residual blocks must stay far below fp16's 65,504.
GAINS = {"query": 1.4, "key": 1.4, "value": 1.0, "out": 0.7, "mlp.0": 1.4, "mlp.2": 0.5, "conv1": 2.0, "conv2": 1.5}


def sinusoids(length: int, channels: int) -> Array:
    """Encoder positions (length, channels): sines, then cosines, of wavelengths 2 pi to 10,000 * 2 pi; float32."""
    half = channels // 2
    rates = np.exp(-np.log(10000.0) / (half - 1) * np.arange(half, dtype=np.float64))
    angles = np.arange(length, dtype=np.float64)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def seeded(config: Config, seed: int) -> Arrays:
    """Uniform draws only: the legacy normal draw goes through libm's log, which differs between platforms.

    The positions of the text are much larger than the token embeddings, to which the logits are tied: with embeddings
    as large, a random model says the token it was just given for ever. So it says another one at every position.
    """
    stream = np.random.RandomState(seed)
    weights: Arrays = {}
    for name, shape in shapes(config).items():
        if name == "encoder.positional_embedding":
            weights[name] = sinusoids(*shape)
            continue
        centre, deviation = _scale(name, shape)
        draw = 2.0 * stream.random_sample(shape) - 1.0
        weights[name] = (centre + draw * (deviation * 3**0.5)).astype(np.float32)
    return weights


def _scale(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation of a weight."""
    if name == "decoder.positional_embedding":
        return 0.0, 1.0
    if name == "decoder.token_embedding.weight":
        return 0.0, float(shape[1] ** -0.5)
    if name.endswith(".bias"):
        return 0.0, 0.12
    if len(shape) == 1:
        return 1.0, 0.12
    layer = name.removesuffix(".weight")
    gain = next(value for part, value in GAINS.items() if layer.endswith(part))
    return 0.0, gain * float(np.prod(shape[1:])) ** -0.5


#: Hugging Face's words for upstream's, each replaced wherever it stands between dots.
_HUGGING_FACE = {
    "layers": "blocks",
    "self_attn": "attn",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn": "cross_attn",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "final_layer_norm": "mlp_ln",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "out",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "embed_tokens": "token_embedding",
}
_FINAL_NORM = {"encoder.layer_norm": "encoder.ln_post", "decoder.layer_norm": "decoder.ln"}
_IGNORED = re.compile(r"(model\.)?decoder\.mask|alignment_heads|(model\.)?proj_out\.weight")


def ignored(key: str) -> bool:
    """Buffers that hold no knowledge (the causal mask, the heads for time stamps), and Hugging Face's tied logits."""
    return _IGNORED.fullmatch(key) is not None


def canonical(key: str) -> str:
    """The name that openai's checkpoint has for ``key``, which may be Hugging Face's; others come back as they are."""
    key = key.removeprefix("model.")
    for theirs, ours in _FINAL_NORM.items():
        if key.startswith(f"{theirs}."):
            return ours + key.removeprefix(theirs)
    if key.endswith("embed_positions.weight"):
        return key.replace("embed_positions.weight", "positional_embedding")
    return ".".join(_HUGGING_FACE.get(word, word) for word in key.split("."))


def from_upstream(given: Arrays) -> Arrays:
    """A checkpoint of openai's or of Hugging Face's under canonical names; what is ignored is left out."""
    return {canonical(key): value for key, value in given.items() if not ignored(key)}
