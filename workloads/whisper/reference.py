"""Whisper in NumPy, written apart from the twins: no preallocated cache, no mask where none is needed.

Forced logits come from one pass over all tokens under a causal mask, greedy tokens from a walk that keeps the keys and
values of earlier tokens in growing arrays; the two meet where the walk's own tokens are forced.

Exact in the dtype of its arguments (float64 for the truth). ``layer(name, x)`` is given every operation's result and
returns what goes on: the identity for the truth, a rounding in tests that emulate half precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.workload import Arrays, Config

Array = np.ndarray[Any, Any]
Layer = Callable[[str, Array], Array]
#: Keys and values of one attention, each (B, H, length, D).
KeyValue = tuple[Array, Array]


def untouched(name: str, x: Array) -> Array:
    """The ``layer`` of the truth."""
    return x


def gelu(x: Array) -> Array:
    """x times the normal distribution function at x."""
    # Imported here: workers import this package, and their interpreters hold no SciPy. Only the parent computes truth.
    from scipy.special import ndtr

    return x * ndtr(x)


def layer_norm(w: Arrays, name: str, x: Array) -> Array:
    """Mean 0 and variance 1 over the last axis, eps 1e-5, then scale and shift."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(w: Arrays, name: str, x: Array) -> Array:
    """x W^T + b; ``key`` has no b."""
    y = x @ w[f"{name}.weight"].T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def conv1d(w: Arrays, name: str, x: Array, stride: int) -> Array:
    """Three taps over (B, T, C), zeros on both sides, as three products."""
    kernel = w[f"{name}.weight"]  # (out, in, 3)
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    length = x.shape[1]
    taps = (padded[:, tap : tap + length : stride] @ kernel[:, :, tap].T for tap in range(3))
    return sum(taps, w[f"{name}.bias"])


def key_value(w: Arrays, name: str, x: Array, heads: int, layer: Layer) -> KeyValue:
    """Keys and values of ``x`` (B, T, state), split into heads."""
    k, v = (layer(f"{name}.{part}", linear(w, f"{name}.{part}", x)) for part in ("key", "value"))
    return split(k, heads), split(v, heads)


def split(x: Array, heads: int) -> Array:
    """(B, T, state) -> (B, H, T, D)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def attend(q: Array, kv: KeyValue, causal: bool) -> Array:
    """softmax(q k^T / sqrt D) v, a head at a time: scores of all heads at once would be 216 MB at small."""
    out = np.empty_like(q)
    above = np.triu(np.ones((q.shape[2], kv[0].shape[2]), bool), 1) if causal else None
    for index in np.ndindex(q.shape[:2]):
        scores = (q[index] @ kv[0][index].T) * q.dtype.type(q.shape[-1] ** -0.5)
        if above is not None:
            scores[above] = -np.inf
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        out[index] = (scores @ kv[1][index]) / scores.sum(axis=-1, keepdims=True)
    return out


def attention(w: Arrays, name: str, x: Array, kv: KeyValue, causal: bool, layer: Layer) -> Array:
    """``x`` (B, T, state) looks at ``kv``."""
    heads = kv[0].shape[1]
    q = split(layer(f"{name}.query", linear(w, f"{name}.query", x)), heads)
    mixed = layer(f"{name}.mixed", attend(q, kv, causal).transpose(0, 2, 1, 3).reshape(x.shape))
    return layer(f"{name}.out", linear(w, f"{name}.out", mixed))


def perceptron(w: Arrays, name: str, x: Array, layer: Layer) -> Array:
    """Norm, four times as wide, GELU, back."""
    x = layer(f"{name}.mlp_ln", layer_norm(w, f"{name}.mlp_ln", x))
    x = layer(f"{name}.mlp.0", linear(w, f"{name}.mlp.0", x))
    x = layer(f"{name}.mlp.1", gelu(x))
    return layer(f"{name}.mlp.2", linear(w, f"{name}.mlp.2", x))


def encode(w: Arrays, config: Config, mel: Array, layer: Layer = untouched) -> Array:
    """Log-mel (B, mels, frames) -> audio features (B, ctx, state)."""
    x = mel.transpose(0, 2, 1)
    for name, stride in (("encoder.conv1", 1), ("encoder.conv2", 2)):
        x = layer(name, conv1d(w, name, x, stride))
        x = layer(f"{name}.gelu", gelu(x))
    x = layer("encoder.embedded", x + w["encoder.positional_embedding"])
    for index in range(config["audio_layers"]):
        name = f"encoder.blocks.{index}"
        normed = layer(f"{name}.attn_ln", layer_norm(w, f"{name}.attn_ln", x))
        kv = key_value(w, f"{name}.attn", normed, config["heads"], layer)
        x = layer(f"{name}.attended", x + attention(w, f"{name}.attn", normed, kv, False, layer))
        x = layer(name, x + perceptron(w, name, x, layer))
    return layer("encoder.ln_post", layer_norm(w, "encoder.ln_post", x))


def cross_key_values(w: Arrays, config: Config, features: Array, layer: Layer = untouched) -> list[KeyValue]:
    """What every decoder block sees of the audio."""
    names = (f"decoder.blocks.{index}.cross_attn" for index in range(config["text_layers"]))
    return [key_value(w, name, features, config["heads"], layer) for name in names]


def decode(
    w: Arrays,
    config: Config,
    tokens: Array,
    cross: list[KeyValue],
    seen: list[KeyValue] | None = None,
    layer: Layer = untouched,
) -> tuple[Array, list[KeyValue]]:
    """Tokens (B, T) after those ``seen`` -> (B, T, state) behind the last norm, and all keys and values up to here."""
    begin = seen[0][0].shape[2] if seen else 0
    positions = w["decoder.positional_embedding"][begin : begin + tokens.shape[1]]
    x = layer("decoder.embedded", w["decoder.token_embedding.weight"][tokens] + positions)
    after = []
    for index in range(config["text_layers"]):
        name = f"decoder.blocks.{index}"
        normed = layer(f"{name}.attn_ln", layer_norm(w, f"{name}.attn_ln", x))
        kv = key_value(w, f"{name}.attn", normed, config["heads"], layer)
        if seen:
            kv = (np.concatenate([seen[index][0], kv[0]], axis=2), np.concatenate([seen[index][1], kv[1]], axis=2))
        after.append(kv)
        x = layer(f"{name}.attended", x + attention(w, f"{name}.attn", normed, kv, tokens.shape[1] > 1, layer))
        normed = layer(f"{name}.cross_attn_ln", layer_norm(w, f"{name}.cross_attn_ln", x))
        x = layer(f"{name}.crossed", x + attention(w, f"{name}.cross_attn", normed, cross[index], False, layer))
        x = layer(name, x + perceptron(w, name, x, layer))
    return layer("decoder.ln", layer_norm(w, "decoder.ln", x)), after


def logits(w: Arrays, x: Array, layer: Layer = untouched) -> Array:
    """(..., state) -> (..., vocab), tied to the token embeddings."""
    return layer("logits", x @ w["decoder.token_embedding.weight"].T)


def best(config: Config, scores: Array) -> Array:
    """The best token (B, 1) of (B, vocab) that is not end of text."""
    allowed = scores.copy()
    allowed[:, config["eot"]] = -np.inf
    return allowed.argmax(axis=-1)[:, None]


def inference(w: Arrays, config: Config, mel: Array, forced: Array | None) -> Arrays:
    """``audio_features``; and, for a config with tokens, ``first_logits``, ``tokens`` and ``forced_logits``."""
    features = encode(w, config, mel)
    if not config["tokens"]:
        return {"audio_features": features}
    assert forced is not None, "a config with tokens has forced tokens among its inputs"
    cross = cross_key_values(w, config, features)
    prompt = np.tile(np.asarray(config["prompt"]), (len(mel), 1))
    x, seen = decode(w, config, prompt, cross)
    first = logits(w, x[:, -1])
    tokens = [best(config, first)]
    for _ in range(config["tokens"] - 1):
        x, seen = decode(w, config, tokens[-1], cross, seen)
        tokens.append(best(config, logits(w, x[:, -1])))
    x, _ = decode(w, config, np.concatenate([prompt, forced[:, :-1]], axis=1), cross)
    return {
        "audio_features": features,
        "first_logits": first,
        "tokens": np.concatenate(tokens, axis=1).astype(np.int32),
        "forced_logits": logits(w, x[:, len(config["prompt"]) - 1 :]),
    }


def cross_entropy(scores: Array, labels: Array) -> Array:
    """Mean of -log softmax at the labels that are not -1, of scores (B, T, vocab)."""
    scores, labels = scores[labels >= 0], labels[labels >= 0]
    shifted = scores - scores.max(axis=-1, keepdims=True)
    entropy = np.log(np.exp(shifted).sum(axis=-1)) - shifted[np.arange(len(labels)), labels]
    return np.asarray(entropy.mean())


def loss(w: Arrays, config: Config, inputs: Arrays) -> Array:
    """The first loss of training, by teacher forcing."""
    cross = cross_key_values(w, config, encode(w, config, inputs["mel"]))
    x, _ = decode(w, config, inputs["tokens"], cross)
    return cross_entropy(logits(w, x), inputs["labels"])
