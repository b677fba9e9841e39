"""Whisper in MLX. Twins: whisper_torch.py, whisper_tensorflow.py, whisper_jax.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from workloads.whisper.config import cache_length

#: Keys and values, each (B, H, length, D).
KeyValue = tuple[mx.array, mx.array]

PARTS = ("encode", "first", "next")


class Attention(nn.Module):
    """Multi-head attention whose keys and values may come from a cache; softmax in float32."""

    def __init__(self, state: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(state, state)
        self.key = nn.Linear(state, state, bias=False)
        self.value = nn.Linear(state, state)
        self.out = nn.Linear(state, state)

    def split(self, x: mx.array) -> mx.array:  # (B, T, state) -> (B, H, T, D)
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(0, 2, 1, 3)

    def key_value(self, x: mx.array) -> KeyValue:
        return self.split(self.key(x)), self.split(self.value(x))

    def __call__(self, x: mx.array, key_value: KeyValue, mask: mx.array | None = None) -> mx.array:
        """``mask`` (T, length) is true where a position may look."""
        k, v = key_value
        q = self.split(self.query(x))
        x = mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5, mask=mask)  # (B, H, T, D)
        return self.out(x.transpose(0, 2, 1, 3).flatten(2))  # (B, T, state)


class MLP(nn.Sequential):
    """Four times as wide within, around an exact GELU."""

    def __init__(self, state: int) -> None:
        super().__init__(nn.Linear(state, 4 * state), nn.GELU(), nn.Linear(4 * state, state))


class EncoderBlock(nn.Module):
    """Attention and perceptron, each behind its norm and beside its input. MLX's norm computes in float32 inside."""

    def __init__(self, state: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(state, heads)
        self.attn_ln = nn.LayerNorm(state)
        self.mlp = MLP(state)
        self.mlp_ln = nn.LayerNorm(state)

    def __call__(self, x: mx.array) -> mx.array:  # (B, T, state)
        normed = self.attn_ln(x)
        x = x + self.attn(normed, self.attn.key_value(normed))
        return x + self.mlp(self.mlp_ln(x))


class DecoderBlock(nn.Module):
    """As above, with attention to the audio between the two; the cache is written from ``position`` (1,) on."""

    def __init__(self, state: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(state, heads)
        self.attn_ln = nn.LayerNorm(state)
        self.cross_attn = Attention(state, heads)
        self.cross_attn_ln = nn.LayerNorm(state)
        self.mlp = MLP(state)
        self.mlp_ln = nn.LayerNorm(state)

    def __call__(
        self, x: mx.array, mask: mx.array, cross: KeyValue, cache: KeyValue | None, position: mx.array
    ) -> tuple[mx.array, KeyValue]:
        normed = self.attn_ln(x)
        key, value = self.attn.key_value(normed)
        if cache is not None:
            key = mx.slice_update(cache[0], key, position, axes=(2,))
            value = mx.slice_update(cache[1], value, position, axes=(2,))
        x = x + self.attn(normed, (key, value), mask)
        x = x + self.cross_attn(self.cross_attn_ln(x), cross)
        return x + self.mlp(self.mlp_ln(x)), (key, value)


class Encoder(nn.Module):
    """Log-mel to audio features."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        state = config["state"]
        self.conv1 = nn.Conv1d(config["mels"], state, 3, padding=1)
        self.conv2 = nn.Conv1d(state, state, 3, stride=2, padding=1)
        self.positional_embedding = mx.zeros((config["audio_ctx"], state))
        self.blocks = [EncoderBlock(state, config["heads"]) for _ in range(config["audio_layers"])]
        self.ln_post = nn.LayerNorm(state)
        self.freeze(keys=["positional_embedding"], recurse=False)

    def __call__(self, mel: mx.array) -> mx.array:  # (B, mels, frames)
        x = nn.gelu(self.conv1(mel.transpose(0, 2, 1)))  # (B, frames, state)
        x = nn.gelu(self.conv2(x))  # (B, ctx, state), ctx = frames / 2
        x = x + self.positional_embedding.astype(x.dtype)
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)


class Decoder(nn.Module):
    """Token ids and audio features to logits; keys and values of earlier tokens are in ``caches``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        state = config["state"]
        self.token_embedding = nn.Embedding(config["vocab"], state)
        self.positional_embedding = mx.zeros((config["text_ctx"], state))
        self.blocks = [DecoderBlock(state, config["heads"]) for _ in range(config["text_layers"])]
        self.ln = nn.LayerNorm(state)

    def cross(self, features: mx.array) -> list[KeyValue]:
        """The audio's keys and values, the same for every token; contiguous, for each token reads them all."""
        pairs = (block.cross_attn.key_value(features) for block in self.blocks)
        return [(mx.contiguous(k), mx.contiguous(v)) for k, v in pairs]

    def __call__(
        self,
        tokens: mx.array,
        position: mx.array,
        mask: mx.array,
        cross: list[KeyValue],
        caches: list[KeyValue] | None,
    ) -> tuple[mx.array, list[KeyValue]]:
        """Tokens (B, T) at ``position`` (1,) and after it -> (B, T, state), and keys and values of all tokens."""
        places = position + mx.arange(tokens.shape[1])
        x = self.token_embedding(tokens) + self.positional_embedding[places]  # (B, T, state)
        after = []
        for index, block in enumerate(self.blocks):
            x, key_value = block(x, mask, cross[index], caches[index] if caches else None, position)
            after.append(key_value)
        return self.ln(x), after

    def logits(self, x: mx.array) -> mx.array:  # (..., state) -> (..., vocab)
        return self.token_embedding.as_linear(x)


class Whisper(nn.Module):
    """Encoder and decoder, and the constants of greedy decoding."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.heads = config["heads"]
        self.prompt = tuple(config["prompt"])
        self.slots = cache_length(config)
        self.suppressed = config["eot"]

    def greedy(
        self, tokens: mx.array, position: mx.array, caches: list[KeyValue], cross: list[KeyValue]
    ) -> tuple[mx.array, mx.array, list[KeyValue]]:
        """Logits (B, vocab) after the last of ``tokens``, the best token (B, 1) that is not end of text, the caches."""
        mask = mx.arange(self.slots) <= position + mx.arange(tokens.shape[1])[:, None]  # (T, slots)
        x, caches = self.decoder(tokens, position, mask, cross, caches)
        logits = self.decoder.logits(x[:, -1])
        allowed = mx.where(mx.arange(logits.shape[-1]) == self.suppressed, -mx.inf, logits)
        return logits, allowed.argmax(-1, keepdims=True).astype(mx.int32), caches


def encode(model: Whisper, mel: mx.array) -> mx.array:
    """Audio features (B, ctx, state)."""
    return model.encoder(mel)


def first(model: Whisper, features: mx.array) -> tuple[mx.array, mx.array, mx.array, list[KeyValue], list[KeyValue]]:
    """The prompt: logits, first token, its position (1,), filled caches, the audio's keys and values."""
    B, _, state = features.shape
    shape = (B, model.heads, model.slots, state // model.heads)
    cross = model.decoder.cross(features)
    empty = mx.zeros(shape, features.dtype), mx.zeros(shape, features.dtype)
    prompt = mx.tile(mx.array([model.prompt]), (B, 1))
    logits, token, caches = model.greedy(prompt, mx.array([0]), [empty] * len(cross), cross)
    return logits, token, mx.array([prompt.shape[1]]), caches, cross


def next(
    model: Whisper, token: mx.array, position: mx.array, caches: list[KeyValue], cross: list[KeyValue]
) -> tuple[mx.array, mx.array, mx.array, list[KeyValue]]:
    """One token (B, 1) at ``position`` (1,): logits, the token after it, its position, the caches."""
    logits, token, caches = model.greedy(token, position, caches, cross)
    return logits, token, position + 1, caches


def build(config: Mapping[str, Any]) -> Whisper:
    return Whisper(config)


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Filters are [out, tap, in] here, and a perceptron's layers those of an nn.Sequential."""
    key = key.replace(".mlp.", ".mlp.layers.")
    return (key, value.transpose(0, 2, 1)) if value.ndim == 3 else (key, value)


def inference(parts: Any, inputs: dict[str, mx.array], config: Mapping[str, Any]) -> dict[str, mx.array]:
    features = parts.encode(inputs["mel"])
    if not config["tokens"]:
        return {"audio_features": features}
    first_logits, token, position, caches, cross = parts.first(features)
    tokens = [token]
    for _ in range(config["tokens"] - 1):
        _, token, position, caches = parts.next(token, position, caches, cross)
        tokens.append(token)
    return {"audio_features": features, "first_logits": first_logits, "tokens": mx.concatenate(tokens, 1)}


def verification(parts: Any, inputs: dict[str, mx.array], config: Mapping[str, Any]) -> dict[str, mx.array]:
    """Logits (B, tokens, vocab) after given tokens, through the same parts: right only if every cache entry is."""
    if not config["tokens"]:
        return {}
    forced = mx.split(inputs["forced_tokens"], config["tokens"], 1)
    logits, _, position, caches, cross = parts.first(parts.encode(inputs["mel"]))
    found = [logits]
    for token in forced[:-1]:
        logits, _, position, caches = parts.next(token, position, caches, cross)
        found.append(logits)
    return {"forced_logits": mx.stack(found, 1)}


def training(model: Whisper, inputs: dict[str, mx.array]) -> dict[str, mx.array]:
    """Teacher forcing: logits (B, T, vocab) at every position of ``tokens`` (B, T)."""
    positions = mx.arange(inputs["tokens"].shape[1])
    mask = positions <= positions[:, None]
    cross = model.decoder.cross(model.encoder(inputs["mel"]))
    x, _ = model.decoder(inputs["tokens"], mx.array([0]), mask, cross, None)
    return {"logits": model.decoder.logits(x)}


def loss(outputs: dict[str, mx.array], inputs: dict[str, mx.array]) -> mx.array:
    """Softmax cross-entropy in float32, mean over the labels that are not -1."""
    labels = inputs["labels"]
    entropy = nn.losses.cross_entropy(outputs["logits"].astype(mx.float32), mx.maximum(labels, 0))  # (B, T)
    taught = labels >= 0
    return mx.where(taught, entropy, 0).sum() / taught.sum()
