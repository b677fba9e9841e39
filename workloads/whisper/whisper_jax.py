"""Whisper in JAX: pure functions of a pytree. Twins: whisper_torch.py, whisper_tensorflow.py, whisper_mlx.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from workloads.whisper.config import cache_length

Params = dict[str, Any]
Config = Mapping[str, Any]
#: Keys (B, H, D, length), turned so that a single query reads them in rows, and values (B, H, length, D).
KeyValue = tuple[jax.Array, jax.Array]

PARTS = ("encode", "first", "next")
DONATED = {"next": (2,)}

#: Queries whose scores are held at once: 250 x 1,500 x 6 heads are 9 MB and stay in a cache; all 1,500 would be 54 MB.
QUERIES = 250


def gelu(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=False)


def layer_norm(p: Params, x: jax.Array) -> jax.Array:
    """Statistics in float32, whatever the activations are."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    normed = centred * lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
    return (normed * p["weight"] + p["bias"]).astype(x.dtype)


def linear(p: Params, x: jax.Array) -> jax.Array:
    y = x @ p["weight"]
    return y + p["bias"] if "bias" in p else y


def split(x: jax.Array, heads: int) -> jax.Array:  # (B, T, state) -> (B, T, H, D)
    return x.reshape(*x.shape[:2], heads, -1)


def attend(q: jax.Array, key_value: KeyValue, mask: jax.Array | None) -> jax.Array:
    """softmax(q k / sqrt D) v of some queries (B, H, T, D), in float32 between the products.

    The sum of the exponentials is one more column of the product with v, which saves a pass over the scores.
    """
    k, v = key_value
    scores = jnp.matmul(q * q.shape[-1] ** -0.5, k, preferred_element_type=jnp.float32)  # (B, H, T, length)
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    weights = jnp.exp(scores - scores.max(-1, keepdims=True)).astype(v.dtype)
    ones = jnp.ones((*v.shape[:3], 1), v.dtype)
    mixed = jnp.matmul(weights, jnp.concatenate([v, ones], -1), preferred_element_type=jnp.float32)  # (B, H, T, D + 1)
    return (mixed[..., :-1] / mixed[..., -1:]).astype(v.dtype)


def key_value(p: Params, x: jax.Array, heads: int) -> KeyValue:
    k, v = split(linear(p["key"], x), heads), split(linear(p["value"], x), heads)
    return k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3)


def attention(p: Params, x: jax.Array, kv: KeyValue, mask: jax.Array | None = None) -> jax.Array:
    """Multi-head attention; ``mask`` (T, length) is true where a position may look."""
    q = split(linear(p["query"], x), kv[0].shape[1]).transpose(0, 2, 1, 3)  # (B, H, T, D)
    pieces = range(0, q.shape[2], QUERIES)
    mixed = [attend(q[:, :, at : at + QUERIES], kv, None if mask is None else mask[at : at + QUERIES]) for at in pieces]
    return linear(p["out"], jnp.concatenate(mixed, 2).transpose(0, 2, 1, 3).reshape(x.shape))  # (B, T, state)


def mlp(p: Params, x: jax.Array) -> jax.Array:
    return linear(p["2"], gelu(linear(p["0"], x)))


def encoder_block(p: Params, x: jax.Array, heads: int) -> jax.Array:  # (B, T, state)
    normed = layer_norm(p["attn_ln"], x)
    x = x + attention(p["attn"], normed, key_value(p["attn"], normed, heads))
    return x + mlp(p["mlp"], layer_norm(p["mlp_ln"], x))


def decoder_block(
    p: Params, x: jax.Array, mask: jax.Array, cross: KeyValue, cache: KeyValue | None, position: jax.Array
) -> tuple[jax.Array, KeyValue]:
    """As above, with attention to the audio between the two; the cache is written from ``position`` () on."""
    normed = layer_norm(p["attn_ln"], x)
    kv = key_value(p["attn"], normed, cross[0].shape[1])
    if cache is not None:
        kv = (
            lax.dynamic_update_slice_in_dim(cache[0], kv[0], position, axis=3),
            lax.dynamic_update_slice_in_dim(cache[1], kv[1], position, axis=2),
        )
    x = x + attention(p["attn"], normed, kv, mask)
    x = x + attention(p["cross_attn"], layer_norm(p["cross_attn_ln"], x), cross)
    return x + mlp(p["mlp"], layer_norm(p["mlp_ln"], x)), kv


def conv1d(p: Params, x: jax.Array, stride: int) -> jax.Array:  # (B, T, C)
    y = lax.conv_general_dilated(x, p["weight"], (stride,), [(1, 1)], dimension_numbers=("NWC", "WIO", "NWC"))
    return y + p["bias"]


def blocks(p: Params) -> list[Params]:
    return [p["blocks"][str(index)] for index in range(len(p["blocks"]))]


def encoder(p: Params, mel: jax.Array, heads: int) -> jax.Array:  # (B, mels, frames)
    x = gelu(conv1d(p["conv1"], mel.transpose(0, 2, 1), 1))  # (B, frames, state)
    x = gelu(conv1d(p["conv2"], x, 2))  # (B, ctx, state), ctx = frames / 2
    x = x + p["positional_embedding"].astype(x.dtype)  # it is not trained, so training keeps it in fp32
    for block in blocks(p):
        x = encoder_block(block, x, heads)
    return layer_norm(p["ln_post"], x)


def cross_key_values(p: Params, features: jax.Array, heads: int) -> list[KeyValue]:
    """The audio's keys and values, the same for every token."""
    return [key_value(block["cross_attn"], features, heads) for block in blocks(p)]


def decoder(
    p: Params,
    tokens: jax.Array,
    position: jax.Array,
    mask: jax.Array,
    cross: list[KeyValue],
    caches: list[KeyValue] | None,
) -> tuple[jax.Array, list[KeyValue]]:
    """Tokens (B, T) at ``position`` () and after it -> (B, T, state), and keys and values of all tokens."""
    places = lax.dynamic_slice_in_dim(p["positional_embedding"], position, tokens.shape[1])
    x = p["token_embedding"]["weight"][tokens] + places
    after = []
    for index, block in enumerate(blocks(p)):
        x, kv = decoder_block(block, x, mask, cross[index], caches[index] if caches else None, position)
        after.append(kv)
    return layer_norm(p["ln"], x), after


def to_logits(p: Params, x: jax.Array) -> jax.Array:  # (..., state) -> (..., vocab)
    return lax.dot_general(x, p["token_embedding"]["weight"], (((x.ndim - 1,), (1,)), ((), ())))


def greedy(
    params: Params,
    tokens: jax.Array,
    position: jax.Array,
    caches: list[KeyValue],
    cross: list[KeyValue],
    config: Config,
) -> tuple[jax.Array, jax.Array, list[KeyValue]]:
    """Logits (B, vocab) after the last of ``tokens``, the best token (B, 1) that is not end of text, the caches."""
    slots = jnp.arange(cache_length(config))
    mask = slots <= position + jnp.arange(tokens.shape[1])[:, None]  # (T, slots)
    x, caches = decoder(params["decoder"], tokens, position, mask, cross, caches)
    logits = to_logits(params["decoder"], x[:, -1])
    allowed = jnp.where(jnp.arange(config["vocab"]) == config["eot"], -jnp.inf, logits)
    return logits, allowed.argmax(-1, keepdims=True).astype(jnp.int32), caches


def encode(params: Params, mel: jax.Array, config: Config) -> jax.Array:
    """Audio features (B, ctx, state)."""
    return encoder(params["encoder"], mel, config["heads"])


def first(params: Params, features: jax.Array, config: Config) -> tuple[Any, ...]:
    """The prompt: logits, first token, its position (), filled caches, the audio's keys and values."""
    B, _, state = features.shape
    heads, slots = config["heads"], cache_length(config)
    empty = (
        jnp.zeros((B, heads, state // heads, slots), features.dtype),
        jnp.zeros((B, heads, slots, state // heads), features.dtype),
    )
    cross = cross_key_values(params["decoder"], features, heads)
    prompt = jnp.tile(jnp.array([config["prompt"]], jnp.int32), (B, 1))
    logits, token, caches = greedy(params, prompt, jnp.int32(0), [empty] * len(cross), cross, config)
    return logits, token, jnp.int32(prompt.shape[1]), caches, cross


def next(
    params: Params, token: jax.Array, position: jax.Array, caches: list[KeyValue], cross: list[KeyValue], config: Config
) -> tuple[Any, ...]:
    """One token (B, 1) at ``position`` (): logits, the token after it, its position, the caches."""
    logits, token, caches = greedy(params, token, position, caches, cross, config)
    return logits, token, position + 1, caches


def build(config: Config) -> None:
    """No model object: the parameters are all there is."""


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Weights are [in, out] here, of convolutions [tap, in, out]; embeddings as they are."""
    return (key, value) if "embedding" in key else (key, value.T)


def trainable(path: str) -> bool:
    """All but the encoder's sinusoids."""
    return path != "encoder.positional_embedding"


def inference(parts: Any, inputs: dict[str, jax.Array], config: Config) -> dict[str, jax.Array]:
    features = parts.encode(inputs["mel"])
    if not config["tokens"]:
        return {"audio_features": features}
    first_logits, token, position, caches, cross = parts.first(features)
    tokens = [token]
    for _ in range(config["tokens"] - 1):
        _, token, position, caches = parts.next(token, position, caches, cross)
        tokens.append(token)
    return {"audio_features": features, "first_logits": first_logits, "tokens": jnp.concatenate(tokens, 1)}


def verification(parts: Any, inputs: dict[str, jax.Array], config: Config) -> dict[str, jax.Array]:
    """Logits (B, tokens, vocab) after given tokens, through the same parts: right only if every cache entry is."""
    if not config["tokens"]:
        return {}
    forced = jnp.split(inputs["forced_tokens"], config["tokens"], 1)
    logits, _, position, caches, cross = parts.first(parts.encode(inputs["mel"]))
    found = [logits]
    for token in forced[:-1]:
        logits, _, position, caches = parts.next(token, position, caches, cross)
        found.append(logits)
    return {"forced_logits": jnp.stack(found, 1)}


def training(params: Params, inputs: dict[str, jax.Array], config: Config) -> dict[str, jax.Array]:
    """Teacher forcing: logits (B, T, vocab) at every position of ``tokens`` (B, T)."""
    positions = jnp.arange(inputs["tokens"].shape[1])
    mask = positions <= positions[:, None]
    features = encoder(params["encoder"], inputs["mel"], config["heads"])
    cross = cross_key_values(params["decoder"], features, config["heads"])
    x, _ = decoder(params["decoder"], inputs["tokens"], jnp.int32(0), mask, cross, None)
    return {"logits": to_logits(params["decoder"], x)}


def loss(outputs: dict[str, jax.Array], inputs: dict[str, jax.Array]) -> jax.Array:
    """Softmax cross-entropy in float32, mean over the labels that are not -1."""
    labels = inputs["labels"]
    log_softmax = jax.nn.log_softmax(outputs["logits"].astype(jnp.float32))  # (B, T, vocab)
    picked = jnp.take_along_axis(log_softmax, jnp.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    taught = labels >= 0
    return -jnp.where(taught, picked, 0).sum() / taught.sum()
