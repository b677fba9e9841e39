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
#: ``generate`` returns tokens only, so there are no first logits.
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


def inference(params: Any, inputs: dict[str, jax.Array], config: Mapping[str, Any]) -> dict[str, jax.Array]:
    mel, prompt = inputs["mel"], list(config["prompt"])
    model = FlaxWhisperForConditionalGeneration(
        WhisperConfig(**whisper_config(config)),
        input_shape=(1, config["mels"], 2 * config["audio_ctx"]),
        dtype=mel.dtype,
        _do_init=False,
    )
    encoded = model.encode(mel, params=params)
    features = encoded.last_hidden_state  # (B, ctx, state)
    if not config["tokens"]:
        return {"audio_features": features}
    generated = model.generate(
        mel,
        params=params,
        encoder_outputs=encoded,
        decoder_input_ids=jnp.tile(jnp.array([prompt]), (len(mel), 1)),
        max_new_tokens=config["tokens"],
        do_sample=False,
    )
    return {"audio_features": features, "tokens": generated.sequences[:, len(prompt) :]}
