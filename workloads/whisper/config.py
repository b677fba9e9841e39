"""Whisper's published sizes as data, what phase and variant add to them, and counts of parameters and operations.

Dimensions: the checkpoints' own ``dims`` (github.com/openai/whisper, model card; paper: Radford et al. 2022, table 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.errors import UsageError, unknown
from bench.workload import Config

#: <|startoftranscript|> <|en|> <|transcribe|> <|notimestamps|>. large-v3 and turbo know one language more, which shifts
#: all ids from <|translate|> on by one.
PROMPT = (50258, 50259, 50359, 50363)
PROMPT_V3 = (50258, 50259, 50360, 50364)
EOT = 50257
#: Seconds of one mel frame: 160 samples at 16 kHz.
FRAME_S = 0.01


def dims(state: int, heads: int, audio_layers: int, text_layers: int | None = None, v3: bool = False) -> dict[str, Any]:
    """The config of a published size: the encoder sees 30 s as 3,000 mel frames, 1,500 positions after conv2."""
    return {
        "mels": 128 if v3 else 80,
        "audio_ctx": 1500,
        "state": state,
        "heads": heads,
        "audio_layers": audio_layers,
        "text_layers": audio_layers if text_layers is None else text_layers,
        "vocab": 51866 if v3 else 51865,
        "text_ctx": 448,
        "prompt": PROMPT_V3 if v3 else PROMPT,
        "eot": EOT,
        "tokens": 32,
    }


TINY_TEST: Mapping[str, Any] = {
    **dims(32, 2, 2),
    "audio_ctx": 50,
    "vocab": 96,
    "text_ctx": 48,
    "prompt": (91, 92, 94, 95),
    "eot": 90,
    "tokens": 8,
}

SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny-test": TINY_TEST,
    "tiny": dims(384, 6, 4),
    "base": dims(512, 8, 6),
    "small": dims(768, 12, 12),
    "medium": dims(1024, 16, 24),
    "large-v3": dims(1280, 20, 32, v3=True),
    "turbo": dims(1280, 20, 32, 4, v3=True),
}


def most_tokens(config: Config) -> int:
    """How many tokens can follow the prompt: the last one is never fed back, so it needs no position."""
    return int(config["text_ctx"]) - len(config["prompt"]) + 1


def settings(config: Config, phase: str, variant: str) -> dict[str, Any]:
    """``config`` with ``phase`` and its ``tokens``: 0 for the encoder alone, N for ``tokens-N``.

    Training: the tokens that are taught, end of text among them.

    Raises:
        UsageError: N does not fit the model's text positions, or there is no such variant.
    """
    if variant == "encoder":
        return {**config, "phase": phase, "tokens": 0}
    if variant in ("default", "adamw"):
        return {**config, "phase": phase}
    word, _, number = variant.partition("-")
    if word != "tokens" or not number.isdecimal():
        raise unknown("variant of whisper", variant, ["default", "encoder", "tokens-N", "adamw"])
    if not 1 <= int(number) <= most_tokens(config):
        raise UsageError(f"whisper decodes 1 to {most_tokens(config)} tokens here, not {number} (variant {variant!r})")
    return {**config, "phase": phase, "tokens": int(number)}


def cache_length(config: Config) -> int:
    """Positions of the key-value cache: the prompt and every token that is fed back."""
    return len(config["prompt"]) + max(int(config["tokens"]), 1) - 1


def attention_shapes(name: str, state: int) -> dict[str, tuple[int, ...]]:
    """The four projections of one attention; ``key`` has no bias."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part in ("query", "key", "value", "out"):
        shapes[f"{name}.{part}.weight"] = (state, state)
        if part != "key":
            shapes[f"{name}.{part}.bias"] = (state,)
    return shapes


def block_shapes(name: str, state: int, cross: bool) -> dict[str, tuple[int, ...]]:
    """One residual block, in upstream's order."""
    norm = {"weight": (state,), "bias": (state,)}
    shapes = attention_shapes(f"{name}.attn", state)
    shapes |= {f"{name}.attn_ln.{key}": shape for key, shape in norm.items()}
    if cross:
        shapes |= attention_shapes(f"{name}.cross_attn", state)
        shapes |= {f"{name}.cross_attn_ln.{key}": shape for key, shape in norm.items()}
    shapes[f"{name}.mlp.0.weight"], shapes[f"{name}.mlp.0.bias"] = (4 * state, state), (4 * state,)
    shapes[f"{name}.mlp.2.weight"], shapes[f"{name}.mlp.2.bias"] = (state, 4 * state), (state,)
    return shapes | {f"{name}.mlp_ln.{key}": shape for key, shape in norm.items()}


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Canonical name and shape of every weight, the encoder's sinusoids included (a buffer upstream)."""
    state = config["state"]
    found: dict[str, tuple[int, ...]] = {
        "encoder.positional_embedding": (config["audio_ctx"], state),
        "encoder.conv1.weight": (state, config["mels"], 3),
        "encoder.conv1.bias": (state,),
        "encoder.conv2.weight": (state, state, 3),
        "encoder.conv2.bias": (state,),
    }
    for layer in range(config["audio_layers"]):
        found |= block_shapes(f"encoder.blocks.{layer}", state, cross=False)
    found |= {"encoder.ln_post.weight": (state,), "encoder.ln_post.bias": (state,)}
    found["decoder.positional_embedding"] = (config["text_ctx"], state)
    found["decoder.token_embedding.weight"] = (config["vocab"], state)
    for layer in range(config["text_layers"]):
        found |= block_shapes(f"decoder.blocks.{layer}", state, cross=True)
    return found | {"decoder.ln.weight": (state,), "decoder.ln.bias": (state,)}


def encoder_flops(config: Config) -> float:
    """Matrix products and convolutions of one encoder pass over one clip, multiply-add = 2."""
    state, ctx = config["state"], config["audio_ctx"]
    convolutions = 3 * state * (config["mels"] * 2 * ctx + state * ctx)
    block = 12 * state**2 * ctx + 2 * ctx**2 * state
    return 2.0 * (convolutions + config["audio_layers"] * block)


def cross_flops(config: Config) -> float:
    """The decoder's keys and values of the audio, all layers, once per clip."""
    return 2.0 * config["text_layers"] * 2 * config["state"] ** 2 * config["audio_ctx"]


def decoder_flops(config: Config, tokens: int, seen: float, logits: int) -> float:
    """``tokens`` positions through all decoder blocks, each looking at ``seen`` others on average; ``logits`` of them
    to the vocabulary."""
    state = config["state"]
    block = 14 * state**2 + 2 * state * (seen + config["audio_ctx"])
    return 2.0 * (config["text_layers"] * tokens * block + logits * state * config["vocab"])


def flops(config: Config, phase: str) -> float:
    """Of one clip: the encoder, and what ``tokens`` adds. Attention to what is masked out is not counted.

    Training counts the forward pass three times, less the gradient by the mel, which nobody needs.
    """
    prompt, tokens = len(config["prompt"]), int(config["tokens"])
    if phase == "training":
        length = prompt + tokens - 1
        forward = encoder_flops(config) + cross_flops(config)
        forward += decoder_flops(config, length, (length + 1) / 2, length)
        return 3 * forward - 2.0 * 3 * config["state"] * config["mels"] * 2 * config["audio_ctx"]
    if tokens == 0:
        return encoder_flops(config)
    prefill = decoder_flops(config, prompt, (prompt + 1) / 2, 1)
    steps = decoder_flops(config, tokens - 1, prompt + tokens / 2, tokens - 1)
    return encoder_flops(config) + cross_flops(config) + prefill + steps
