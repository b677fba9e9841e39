"""transformers 4.57's TensorFlow Whisper as a twin: its encoder, and its ``generate`` inside one graph.

The adapter traces ``inference`` as users do, ``tf.function(model.generate)``, without or with XLA by the cell's mode.
In a graph ``generate`` takes no prompt of several tokens (its mask of past keys is made for one): the prompt is forced,
a step for each of its tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from transformers import TFWhisperForConditionalGeneration, WhisperConfig

from benchmarks.peers.whisper.hugging_face import renamed, transposed, whisper_config

PREPARED = False
#: ``generate`` keeps no scores in a graph: the first logits are made apart, by ``verification``.
PARTIAL = True


def build(config: Mapping[str, Any]) -> TFWhisperForConditionalGeneration:
    model = TFWhisperForConditionalGeneration(WhisperConfig(**whisper_config(config)))
    frames = tf.zeros((1, config["mels"], 2 * config["audio_ctx"]))
    model(input_features=frames, decoder_input_ids=tf.constant([config["prompt"]]))  # makes the variables
    model.generation_config.forced_decoder_ids = list(enumerate(config["prompt"]))[1:]
    model.greedy = {"prompt": len(config["prompt"]), "tokens": config["tokens"]}
    return model


def remap(key: str, value: Any) -> tuple[str, Any]:
    """The variable's path without the model's name."""
    name = renamed(key)
    head, _, last = name.replace(".layers.", ".layers_").rpartition(".")
    if "norm" in head:
        last = {"weight": "gamma", "bias": "beta"}[last]
    elif last == "weight" and not head.endswith("embed_positions"):
        last = "embeddings" if head.endswith("embed_tokens") else "kernel"
    return f"{head}.{last}".replace(".", "/").replace("layers_", "layers."), transposed(name, value)


def assign(model: TFWhisperForConditionalGeneration, weights: dict[str, np.ndarray[Any, Any]]) -> None:
    """By variable: loading a safetensors file into transformers' TensorFlow models crashes with safetensors 0.8."""
    given = dict(remap(key, value) for key, value in weights.items())
    variables = {variable.name.split("/", 1)[1].removesuffix(":0"): variable for variable in model.variables}
    if set(given) != set(variables):
        raise KeyError(f"model and weights differ in {sorted(set(given) ^ set(variables))}")
    for path, variable in variables.items():
        variable.assign(given[path].astype(variable.dtype.as_numpy_dtype))


def inference(model: TFWhisperForConditionalGeneration, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    encoded = model.model.encoder(inputs["mel"], return_dict=True)
    features = encoded.last_hidden_state  # (B, ctx, state)
    prompt, count = model.greedy["prompt"], model.greedy["tokens"]
    if not count:
        return {"audio_features": features}
    sequences = model.generate(
        inputs["mel"], encoder_outputs=encoded, max_new_tokens=prompt - 1 + count, do_sample=False
    )  # (B, prompt + count)
    return {"audio_features": features, "tokens": sequences[:, prompt:]}


def verification(
    model: TFWhisperForConditionalGeneration, inputs: dict[str, tf.Tensor], config: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    if not config["tokens"]:
        return {}
    prompt = tf.tile(tf.constant([config["prompt"]]), (inputs["mel"].shape[0], 1))
    return {"first_logits": model(input_features=inputs["mel"], decoder_input_ids=prompt).logits[:, -1]}
