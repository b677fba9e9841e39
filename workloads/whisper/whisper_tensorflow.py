"""Whisper in TensorFlow (Keras 3). Twins: whisper_torch.py, whisper_jax.py, whisper_mlx.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from workloads.whisper.config import cache_length

#: Keys and values, each (B, H, length, D).
KeyValue = tuple[tf.Tensor, tf.Tensor]

PARTS = ("encode", "first", "next")

#: Scores per head from which on heads are taken one by one: a batched product of such shapes is twice as slow on a CPU,
#: and XLA, given the heads side by side, interleaves them and loses the cache: a loop is 1.5x as fast there.
MANY_SCORES = 1 << 18


def gelu(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.gelu(x, approximate=False)


def layer_norm(name: str) -> layers.LayerNormalization:
    """Keras computes its statistics in float32, whatever the activations are."""
    return layers.LayerNormalization(epsilon=1e-5, name=name)


def attend(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """softmax(q k^T / sqrt D) v of (..., T, D), (..., length, D); the softmax in float32."""
    scores = tf.cast(tf.matmul(q * q.shape[-1] ** -0.5, k, transpose_b=True), tf.float32)  # (..., T, length)
    if mask is not None:
        scores = tf.where(mask, scores, -np.inf)
    return tf.matmul(tf.cast(tf.nn.softmax(scores), v.dtype), v)


class Attention(layers.Layer):
    """Multi-head attention whose keys and values may come from a cache."""

    def __init__(self, state: int, heads: int, name: str) -> None:
        super().__init__(name=name)
        self.state, self.heads = state, heads
        self.query = layers.Dense(state, name="query")
        self.key = layers.Dense(state, use_bias=False, name="key")
        self.value = layers.Dense(state, name="value")
        self.out = layers.Dense(state, name="out")

    def build(self, shape: Any = None) -> None:
        for layer in (self.query, self.key, self.value, self.out):
            layer.build((None, None, self.state))

    def split(self, x: tf.Tensor) -> tf.Tensor:  # (B, T, state) -> (B, H, T, D)
        x = tf.reshape(x, (x.shape[0], x.shape[1], self.heads, self.state // self.heads))
        return tf.transpose(x, (0, 2, 1, 3))

    def key_value(self, x: tf.Tensor) -> KeyValue:
        return self.split(self.key(x)), self.split(self.value(x))

    def call(self, x: tf.Tensor, key_value: KeyValue, mask: tf.Tensor | None = None) -> tf.Tensor:
        """``mask`` (T, length) is true where a position may look."""
        (k, v), q = key_value, self.split(self.query(x))
        if q.shape[2] * k.shape[2] < MANY_SCORES:
            mixed = attend(q, k, v, mask)  # (B, H, T, D)
        else:
            heads = [tf.reshape(x, (-1, *x.shape[2:])) for x in (q, k, v)]  # (B H, T or length, D)
            mixed = tf.map_fn(lambda head: attend(head[0], head[1], head[2], mask), heads, fn_output_signature=q.dtype)
            mixed = tf.reshape(mixed, q.shape)
        return self.out(tf.reshape(tf.transpose(mixed, (0, 2, 1, 3)), x.shape))  # (B, T, state)


class MLP(layers.Layer):
    """Four times as wide within; the layers are ``0`` and ``2``, as upstream numbers them around its GELU."""

    def __init__(self, state: int) -> None:
        super().__init__(name="mlp")
        self.state = state
        self.up, self.down = layers.Dense(4 * state, name="0"), layers.Dense(state, name="2")

    def build(self, shape: Any = None) -> None:
        self.up.build((None, None, self.state))
        self.down.build((None, None, 4 * self.state))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.down(gelu(self.up(x)))


class EncoderBlock(layers.Layer):
    """Attention and perceptron, each behind its norm and beside its input."""

    def __init__(self, state: int, heads: int, name: str) -> None:
        super().__init__(name=name)
        self.state = state
        self.attn = Attention(state, heads, "attn")
        self.attn_ln = layer_norm("attn_ln")
        self.mlp = MLP(state)
        self.mlp_ln = layer_norm("mlp_ln")

    def build(self, shape: Any = None) -> None:
        for layer in (self.attn, self.attn_ln, self.mlp, self.mlp_ln):
            layer.build((None, None, self.state))

    def call(self, x: tf.Tensor) -> tf.Tensor:  # (B, T, state)
        normed = self.attn_ln(x)
        x = x + self.attn(normed, self.attn.key_value(normed))
        return x + self.mlp(self.mlp_ln(x))


class DecoderBlock(layers.Layer):
    """As above, with attention to the audio between the two."""

    def __init__(self, state: int, heads: int, name: str) -> None:
        super().__init__(name=name)
        self.state = state
        self.attn = Attention(state, heads, "attn")
        self.attn_ln = layer_norm("attn_ln")
        self.cross_attn = Attention(state, heads, "cross_attn")
        self.cross_attn_ln = layer_norm("cross_attn_ln")
        self.mlp = MLP(state)
        self.mlp_ln = layer_norm("mlp_ln")

    def build(self, shape: Any = None) -> None:
        for layer in (self.attn, self.attn_ln, self.cross_attn, self.cross_attn_ln, self.mlp, self.mlp_ln):
            layer.build((None, None, self.state))

    def call(
        self, x: tf.Tensor, mask: tf.Tensor, cross: KeyValue, cache: KeyValue | None, here: tf.Tensor | None
    ) -> tuple[tf.Tensor, KeyValue]:
        """``here`` (slots, 1) is true at the slot of the cache that the one token of ``x`` fills."""
        normed = self.attn_ln(x)
        key_value = self.attn.key_value(normed)
        if cache is not None:
            key_value = tuple(tf.where(here, new, old) for old, new in zip(cache, key_value, strict=True))
        x = x + self.attn(normed, key_value, mask)
        x = x + self.cross_attn(self.cross_attn_ln(x), cross)
        return x + self.mlp(self.mlp_ln(x)), key_value


class Encoder(layers.Layer):
    """Log-mel to audio features."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(name="encoder")
        self.ctx, self.mels, self.state = config["audio_ctx"], config["mels"], config["state"]
        self.conv1 = layers.Conv1D(self.state, 3, name="conv1")
        self.conv2 = layers.Conv1D(self.state, 3, strides=2, name="conv2")
        self.blocks = [EncoderBlock(self.state, config["heads"], str(i)) for i in range(config["audio_layers"])]
        self.ln_post = layer_norm("ln_post")

    def build(self, shape: Any = None) -> None:
        self.positional_embedding = self.add_weight(
            shape=(self.ctx, self.state), name="positional_embedding", trainable=False
        )
        self.conv1.build((None, None, self.mels))
        for layer in (self.conv2, *self.blocks, self.ln_post):
            layer.build((None, None, self.state))

    def call(self, mel: tf.Tensor) -> tf.Tensor:  # (B, mels, frames)
        around = [[0, 0], [1, 1], [0, 0]]  # "same" would pad the right side alone at stride 2
        x = tf.transpose(mel, (0, 2, 1))
        x = gelu(self.conv1(tf.pad(x, around)))  # (B, frames, state)
        x = gelu(self.conv2(tf.pad(x, around)))  # (B, ctx, state), ctx = frames / 2
        x = x + tf.cast(self.positional_embedding, x.dtype)
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)


class Decoder(layers.Layer):
    """Token ids and audio features to (B, T, state); keys and values of earlier tokens are in ``caches``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(name="decoder")
        self.ctx, self.state = config["text_ctx"], config["state"]
        self.token_embedding = layers.Embedding(config["vocab"], self.state, name="token_embedding")
        self.blocks = [DecoderBlock(self.state, config["heads"], str(i)) for i in range(config["text_layers"])]
        self.ln = layer_norm("ln")

    def build(self, shape: Any = None) -> None:
        self.token_embedding.build((None, None))
        self.positional_embedding = self.add_weight(shape=(self.ctx, self.state), name="positional_embedding")
        for layer in (*self.blocks, self.ln):
            layer.build((None, None, self.state))

    def cross(self, features: tf.Tensor) -> list[KeyValue]:
        """The audio's keys and values, the same for every token."""
        return [block.cross_attn.key_value(features) for block in self.blocks]

    def call(
        self, tokens: tf.Tensor, position: tf.Tensor | None, mask: tf.Tensor, cross: Any, caches: Any, here: Any = None
    ) -> tuple[tf.Tensor, list[KeyValue]]:
        """``position`` (1,) of the one token; None: from the first position on, as a slice, whose gradient is dense."""
        places = tf.cast(self.positional_embedding, self.compute_dtype)  # (text_ctx, state)
        places = places[: tokens.shape[1]] if position is None else tf.gather(places, position)
        x = self.token_embedding(tokens) + places  # (B, T, state)
        after = []
        for index, block in enumerate(self.blocks):
            x, key_value = block(x, mask, cross[index], caches[index] if caches else None, here)
            after.append(key_value)
        return self.ln(x), after

    def logits(self, x: tf.Tensor) -> tf.Tensor:  # (n, state) -> (n, vocab)
        return tf.matmul(x, tf.cast(self.token_embedding.embeddings, x.dtype), transpose_b=True)


class Whisper(keras.Model):
    """Encoder and decoder, and the constants of greedy decoding."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(name="whisper")
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.decodes = bool(config["tokens"])
        self.prompt = tf.constant([config["prompt"]], tf.int32)
        self.slots = cache_length(config)
        self.suppressed = tf.constant(np.arange(config["vocab"]) == config["eot"])

    def build(self, shape: Any = None) -> None:
        self.encoder.build()
        self.decoder.build()

    def greedy(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits (B, vocab) after the last position of ``x``, and the best token (B, 1) that is not end of text."""
        logits = tf.matmul(x[:, -1], tf.cast(self.unembedding, x.dtype))
        allowed = tf.where(self.suppressed, tf.cast(-np.inf, logits.dtype), logits)
        return logits, tf.argmax(allowed, -1, output_type=tf.int32)[:, None]


def encode(model: Whisper, mel: tf.Tensor) -> tf.Tensor:
    """Audio features (B, ctx, state)."""
    return model.encoder(mel)


def first(model: Whisper, features: tf.Tensor) -> tuple[Any, ...]:
    """The prompt: logits, first token, its position (1,), filled caches, the audio's keys and values."""
    prompt = tf.repeat(model.prompt, features.shape[0], 0)
    positions = tf.range(prompt.shape[1])
    cross = model.decoder.cross(features)
    x, given = model.decoder(prompt, None, positions <= positions[:, None], cross, None)
    rest = [[0, 0], [0, 0], [0, model.slots - prompt.shape[1]], [0, 0]]
    caches = [(tf.pad(k, rest), tf.pad(v, rest)) for k, v in given]
    logits, token = model.greedy(x)
    return logits, token, tf.fill((1,), prompt.shape[1]), caches, cross


def next(
    model: Whisper, token: tf.Tensor, position: tf.Tensor, caches: list[KeyValue], cross: list[KeyValue]
) -> tuple[Any, ...]:
    """One token (B, 1) at ``position`` (1,): logits, the token after it, its position, the caches."""
    slots = tf.range(model.slots)
    here = tf.equal(slots, position)[:, None]
    x, caches = model.decoder(token, position, (slots <= position)[None], cross, caches, here)
    logits, token = model.greedy(x)
    return logits, token, position + 1, caches


def build(config: Mapping[str, Any]) -> Whisper:
    model = Whisper(config)
    model.build()
    return model


def loaded(model: Whisper) -> None:
    """A transposed copy of the embedding: on a CPU the logits of one position then take two thirds of the time."""
    if model.decodes:
        model.unembedding = tf.Variable(tf.transpose(model.decoder.token_embedding.embeddings), trainable=False)


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Keras' paths and words; kernels are [in, out], of convolutions [tap, in, out]."""
    path = key.replace(".blocks.", ".").replace(".", "/")
    if path.endswith("token_embedding/weight"):
        return path.replace("weight", "embeddings"), value
    if path.endswith("positional_embedding"):
        return path, value
    if "ln" in path.split("/")[-2].split("_"):
        return path.replace("/weight", "/gamma").replace("/bias", "/beta"), value
    return path.replace("/weight", "/kernel"), value.T


def inference(parts: Any, inputs: dict[str, tf.Tensor], config: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    features = parts.encode(inputs["mel"])
    if not config["tokens"]:
        return {"audio_features": features}
    first_logits, token, position, caches, cross = parts.first(features)
    tokens = [token]
    for _ in range(config["tokens"] - 1):
        _, token, position, caches = parts.next(token, position, caches, cross)
        tokens.append(token)
    return {"audio_features": features, "first_logits": first_logits, "tokens": tf.concat(tokens, 1)}


def verification(parts: Any, inputs: dict[str, tf.Tensor], config: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Logits (B, tokens, vocab) after given tokens, through the same parts: right only if every cache entry is."""
    if not config["tokens"]:
        return {}
    forced = tf.split(inputs["forced_tokens"], config["tokens"], 1)
    logits, _, position, caches, cross = parts.first(parts.encode(inputs["mel"]))
    found = [logits]
    for token in forced[:-1]:
        logits, _, position, caches = parts.next(token, position, caches, cross)
        found.append(logits)
    return {"forced_logits": tf.stack(found, 1)}


def training(model: Whisper, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Teacher forcing: logits (B, T, vocab) at every position of ``tokens`` (B, T)."""
    B, T = inputs["tokens"].shape
    positions = tf.range(T)
    cross = model.decoder.cross(model.encoder(inputs["mel"]))
    x, _ = model.decoder(inputs["tokens"], None, positions <= positions[:, None], cross, None)
    logits = model.decoder.logits(tf.reshape(x, (B * T, -1)))
    return {"logits": tf.reshape(logits, (B, T, -1))}


def loss(outputs: dict[str, tf.Tensor], inputs: dict[str, tf.Tensor]) -> tf.Tensor:
    """Softmax cross-entropy in float32, mean over the labels that are not -1."""
    labels = inputs["labels"]
    logits = tf.cast(outputs["logits"], tf.float32)
    taught = tf.cast(labels >= 0, tf.float32)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.maximum(labels, 0), logits=logits)
    return tf.reduce_sum(entropy * taught) / tf.reduce_sum(taught)
