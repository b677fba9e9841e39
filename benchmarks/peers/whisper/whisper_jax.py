"""transformers 4.57's Flax Whisper as a twin: its encoder, and its ``generate``, compiled whole by the adapter.

The prompt is given whole, so that it is one step and not four.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from transformers import FlaxWhisperForConditionalGeneration, WhisperConfig

from benchmarks.peers.whisper.hugging_face import renamed, transposed, whisper_config

PREPARED = False
#: ``generate`` returns tokens only: the first logits are made apart, by ``verification``.
PARTIAL = True


def build(config: Mapping[str, Any]) -> None:
    return None


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Path in Flax' tree of parameters."""
    name = renamed(key)
    head, _, last = name.rpartition(".")
    if "norm" in head:
        last = {"weight": "scale", "bias": "bias"}[last]
    elif last == "weight":
        last = "embedding" if head.endswith(("embed_tokens", "embed_positions")) else "kernel"
    return f"{head}.{last}", transposed(name, value)


def whisper(config: Mapping[str, Any], dtype: Any) -> FlaxWhisperForConditionalGeneration:
    """The model without parameters: they come as an argument, so that ``jit`` does not make constants of them."""
    frames = (1, config["mels"], 2 * config["audio_ctx"])
    settings = WhisperConfig(**whisper_config(config))
    return FlaxWhisperForConditionalGeneration(settings, input_shape=frames, dtype=dtype, _do_init=False)


def prompts(config: Mapping[str, Any], batch: int) -> jax.Array:  # (B, prompt)
    return jnp.tile(jnp.array([config["prompt"]]), (batch, 1))


def inference(params: Any, inputs: dict[str, jax.Array], config: Mapping[str, Any]) -> dict[str, jax.Array]:
    mel, count = inputs["mel"], config["tokens"]
    model = whisper(config, mel.dtype)
    encoded = model.encode(mel, params=params)
    features = encoded.last_hidden_state  # (B, ctx, state)
    if not count:
        return {"audio_features": features}
    start = prompts(config, len(mel))
    found = model.generate(
        mel, params=params, encoder_outputs=encoded, decoder_input_ids=start, max_new_tokens=count, do_sample=False
    )
    return {"audio_features": features, "tokens": found.sequences[:, start.shape[1] :]}


def verification(params: Any, inputs: dict[str, jax.Array], config: Mapping[str, Any]) -> dict[str, jax.Array]:
    if not config["tokens"]:
        return {}
    mel = inputs["mel"]
    model = whisper(config, mel.dtype)
    return {"first_logits": model(mel, prompts(config, len(mel)), params=params).logits[:, -1]}
