"""openai-whisper 20250625 as a twin: its model, and its own cached inference stepped greedily.

Its ``decode`` would also compute log-probabilities, suppress more tokens and call a tokenizer; this loop is the least
that greedy decoding with the package can be, and so its best.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from whisper.decoding import PyTorchInference
from whisper.model import ModelDimensions, Whisper

#: The package's names and layouts are the canonical ones; what is fused at load for our twin is not for it.
PREPARED = False
#: It is not asked for logits of forced tokens.
PARTIAL = True


def build(config: Mapping[str, Any]) -> Whisper:
    model = Whisper(
        ModelDimensions(
            n_mels=config["mels"],
            n_audio_ctx=config["audio_ctx"],
            n_audio_state=config["state"],
            n_audio_head=config["heads"],
            n_audio_layer=config["audio_layers"],
            n_vocab=config["vocab"],
            n_text_ctx=config["text_ctx"],
            n_text_state=config["state"],
            n_text_head=config["heads"],
            n_text_layer=config["text_layers"],
        )
    )
    # For time stamps of words only; as a sparse buffer it cannot be moved to every device.
    del model.alignment_heads
    model.greedy = {name: config[name] for name in ("prompt", "tokens", "eot")}
    return model


def remap(key: str, value: Any) -> tuple[str, Any]:
    return key, value


def inference(model: Whisper, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    features = model.encoder(inputs["mel"])  # (B, ctx, state)
    greedy = model.greedy
    if not greedy["tokens"]:
        return {"audio_features": features}
    prompt = torch.tensor([greedy["prompt"]], device=features.device)
    tokens = prompt.repeat(len(features), 1)
    cached = PyTorchInference(model, initial_token_length=len(greedy["prompt"]))
    first_logits = None
    try:
        for _ in range(greedy["tokens"]):
            logits = cached.logits(tokens, features)[:, -1]  # (B, vocab)
            if first_logits is None:
                first_logits = logits.clone()
            logits[:, greedy["eot"]] = -torch.inf
            tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], dim=-1)
    finally:
        cached.cleanup_caching()
    return {"audio_features": features, "first_logits": first_logits, "tokens": tokens[:, len(greedy["prompt"]) :]}


def training(model: Whisper, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": model(inputs["mel"], inputs["tokens"])}


def loss(outputs: dict[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
    """Softmax cross-entropy, mean over the labels that are not -1; the package has none of its own."""
    return torch.nn.functional.cross_entropy(
        outputs["logits"].flatten(0, 1), inputs["labels"].flatten(), ignore_index=-1
    )
