"""Whisper in PyTorch. Twins: whisper_tensorflow.py, whisper_jax.py, whisper_mlx.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.whisper.config import cache_length

#: Keys and values, each (B, H, length, D).
KeyValue = tuple[Tensor, Tensor]

PARTS = ("encode", "first", "next")


def gelu(x: Tensor) -> Tensor:
    """Exact GELU. In place where autograd needs no input: a fresh 9 MB buffer is dear in page faults."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


def residual(x: Tensor, y: Tensor) -> Tensor:
    """x + y, in place as above."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


class LayerNorm(nn.LayerNorm):
    """Statistics in float32, whatever the activations are."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps).to(
            x.dtype
        )


class Attention(nn.Module):
    """Multi-head attention whose keys and values may come from a cache."""

    def __init__(self, state: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(state, state)
        self.key = nn.Linear(state, state, bias=False)
        self.value = nn.Linear(state, state)
        self.out = nn.Linear(state, state)

    def split(self, x: Tensor) -> Tensor:  # (B, T, state) -> (B, H, T, D)
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def key_value(self, x: Tensor) -> KeyValue:
        return self.split(self.key(x)), self.split(self.value(x))

    def forward(self, x: Tensor, key_value: KeyValue, mask: Tensor | None = None) -> Tensor:
        """``mask`` (T, length) is true where a position may look."""
        k, v = key_value
        x = F.scaled_dot_product_attention(self.split(self.query(x)), k, v, attn_mask=mask)  # (B, H, T, D)
        return self.out(x.transpose(1, 2).flatten(2))  # (B, T, state)


class MLP(nn.Sequential):
    """Four times as wide within; the layers are ``0`` and ``2``, as upstream numbers them around its GELU."""

    def __init__(self, state: int) -> None:
        super().__init__(nn.Linear(state, 4 * state), nn.Identity(), nn.Linear(4 * state, state))

    def forward(self, x: Tensor) -> Tensor:
        return self[2](gelu(self[0](x)))


class EncoderBlock(nn.Module):
    """Attention and perceptron, each behind its norm and beside its input."""

    def __init__(self, state: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(state, heads)
        self.attn_ln = LayerNorm(state)
        self.mlp = MLP(state)
        self.mlp_ln = LayerNorm(state)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, state)
        normed = self.attn_ln(x)
        x = residual(x, self.attn(normed, self.attn.key_value(normed)))
        return residual(x, self.mlp(self.mlp_ln(x)))


class DecoderBlock(nn.Module):
    """As above, with attention to the audio between the two."""

    def __init__(self, state: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(state, heads)
        self.attn_ln = LayerNorm(state)
        self.cross_attn = Attention(state, heads)
        self.cross_attn_ln = LayerNorm(state)
        self.mlp = MLP(state)
        self.mlp_ln = LayerNorm(state)

    def forward(self, x: Tensor, mask: Tensor, cross: KeyValue, cache: KeyValue | None, positions: Tensor) -> Tensor:
        normed = self.attn_ln(x)
        key_value = self.attn.key_value(normed)
        if cache is not None:
            key_value = tuple(old.index_copy_(2, positions, new) for old, new in zip(cache, key_value, strict=True))
        x = residual(x, self.attn(normed, key_value, mask))
        x = residual(x, self.cross_attn(self.cross_attn_ln(x), cross))
        return residual(x, self.mlp(self.mlp_ln(x)))


class Encoder(nn.Module):
    """Log-mel to audio features."""

    positional_embedding: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        state = config["state"]
        self.conv1 = nn.Conv1d(config["mels"], state, 3, padding=1)
        self.conv2 = nn.Conv1d(state, state, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", torch.empty(config["audio_ctx"], state))
        self.blocks = nn.ModuleList(EncoderBlock(state, config["heads"]) for _ in range(config["audio_layers"]))
        self.ln_post = LayerNorm(state)

    def forward(self, mel: Tensor) -> Tensor:  # (B, mels, frames)
        x = gelu(self.conv1(mel))  # (B, state, frames)
        x = gelu(self.conv2(x))  # (B, state, ctx), ctx = frames / 2
        # Contiguous, or the sum and all residuals after it keep the transposed strides and every norm copies.
        x = residual(x.transpose(1, 2).contiguous(), self.positional_embedding)  # (B, ctx, state)
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)


class Decoder(nn.Module):
    """Token ids and audio features to logits; keys and values of earlier tokens are in ``caches``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        state = config["state"]
        self.token_embedding = nn.Embedding(config["vocab"], state)
        self.positional_embedding = nn.Parameter(torch.empty(config["text_ctx"], state))
        self.blocks = nn.ModuleList(DecoderBlock(state, config["heads"]) for _ in range(config["text_layers"]))
        self.ln = LayerNorm(state)

    def cross(self, features: Tensor) -> list[KeyValue]:
        """The audio's keys and values, the same for every token; contiguous, for each token reads them all."""
        pairs = (block.cross_attn.key_value(features) for block in self.blocks)
        return [(k.contiguous(), v.contiguous()) for k, v in pairs]

    def forward(
        self, tokens: Tensor, positions: Tensor, mask: Tensor, cross: list[KeyValue], caches: list[KeyValue] | None
    ) -> Tensor:
        x = self.token_embedding(tokens) + self.positional_embedding[positions]  # (B, T, state)
        for index, block in enumerate(self.blocks):
            x = block(x, mask, cross[index], caches[index] if caches else None, positions)
        return self.ln(x)

    def logits(self, x: Tensor) -> Tensor:  # (..., state) -> (..., vocab)
        return F.linear(x, self.token_embedding.weight)


class Whisper(nn.Module):
    """Encoder and decoder, and the constants of greedy decoding."""

    prompt: Tensor
    slots: Tensor
    suppressed: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.heads = config["heads"]
        self.register_buffer("prompt", torch.tensor([config["prompt"]]), persistent=False)
        self.register_buffer("slots", torch.arange(cache_length(config)), persistent=False)
        self.register_buffer("suppressed", torch.arange(config["vocab"]) == config["eot"], persistent=False)

    def greedy(
        self, tokens: Tensor, positions: Tensor, caches: list[KeyValue], cross: list[KeyValue]
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, vocab) after the last of ``tokens``, and the best token (B, 1) that is not end of text."""
        mask = self.slots <= positions[:, None]  # (T, slots)
        x = self.decoder(tokens, positions, mask, cross, caches)
        logits = self.decoder.logits(x[:, -1])
        return logits, logits.masked_fill(self.suppressed, -torch.inf).argmax(-1, keepdim=True)


def encode(model: Whisper, mel: Tensor) -> Tensor:
    """Audio features (B, ctx, state)."""
    return model.encoder(mel)


def first(model: Whisper, features: Tensor) -> tuple[Tensor, Tensor, Tensor, list[KeyValue], list[KeyValue]]:
    """The prompt: logits, first token, its position (1,), filled caches, the audio's keys and values."""
    B, _, state = features.shape
    shape = (B, model.heads, len(model.slots), state // model.heads)
    cross = model.decoder.cross(features)
    caches = [(cross[0][0].new_zeros(shape), cross[0][0].new_zeros(shape)) for _ in cross]
    prompt = model.prompt.expand(B, -1)
    logits, token = model.greedy(prompt, model.slots[: prompt.shape[1]], caches, cross)
    return logits, token, model.prompt.new_full((1,), prompt.shape[1]), caches, cross


def next(
    model: Whisper, token: Tensor, position: Tensor, caches: list[KeyValue], cross: list[KeyValue]
) -> tuple[Tensor, Tensor, Tensor, list[KeyValue]]:
    """One token (B, 1) at ``position`` (1,): logits, the token after it, its position, the same caches."""
    logits, token = model.greedy(token, position, caches, cross)
    return logits, token, position + 1, caches


def build(config: Mapping[str, Any]) -> Whisper:
    return Whisper(config)


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Canonical names and layouts are PyTorch's own."""
    return key, value


def inference(parts: Any, inputs: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    features = parts.encode(inputs["mel"])
    if not config["tokens"]:
        return {"audio_features": features}
    first_logits, token, position, caches, cross = parts.first(features)
    tokens = [token]
    for _ in range(config["tokens"] - 1):
        _, token, position, caches = parts.next(token, position, caches, cross)
        tokens.append(token)
    return {"audio_features": features, "first_logits": first_logits, "tokens": torch.cat(tokens, 1)}


def verification(parts: Any, inputs: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Logits (B, tokens, vocab) after given tokens, through the same parts: right only if every cache entry is."""
    if not config["tokens"]:
        return {}
    forced = inputs["forced_tokens"].split(1, 1)
    logits, _, position, caches, cross = parts.first(parts.encode(inputs["mel"]))
    found = [logits]
    for token in forced[:-1]:
        logits, _, position, caches = parts.next(token, position, caches, cross)
        found.append(logits)
    return {"forced_logits": torch.stack(found, 1)}


def training(model: Whisper, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Teacher forcing: logits (B, T, vocab) at every position of ``tokens`` (B, T)."""
    positions = torch.arange(inputs["tokens"].shape[1], device=inputs["tokens"].device)
    mask = positions <= positions[:, None]
    cross = model.decoder.cross(model.encoder(inputs["mel"]))
    x = model.decoder(inputs["tokens"], positions, mask, cross, None)
    return {"logits": model.decoder.logits(x)}


def loss(outputs: dict[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
    """Softmax cross-entropy in float32, mean over the labels that are not -1."""
    logits = outputs["logits"].float().flatten(0, 1)  # (B T, vocab)
    return F.cross_entropy(logits, inputs["labels"].flatten(), ignore_index=-1)
