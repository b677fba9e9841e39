"""transformers 5.17's PyTorch Whisper as a twin: its encoder, and its decoder stepped greedily over its own cache.

Its ``generate`` would also build logits processors, prepare inputs for every token and look whether all are done; this
loop is the least that greedy decoding with the package can be, and so its best.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import WhisperConfig, WhisperForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache, StaticCache

from benchmarks.peers.whisper.hugging_face import renamed, whisper_config

#: What is fused at load for our twin is not for it.
PREPARED = False
#: It is not asked for logits of forced tokens.
PARTIAL = True

PARTS = ("encode", "first", "next")


def build(config: Mapping[str, Any]) -> WhisperForConditionalGeneration:
    settings = WhisperConfig(**whisper_config(config), attn_implementation="sdpa")
    model = WhisperForConditionalGeneration(settings)
    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight, "logits are to share the embedding"
    model.register_load_state_dict_pre_hook(_with_output)
    model.register_buffer("suppressed", torch.arange(config["vocab"]) == config["eot"], persistent=False)
    model.greedy = {name: config[name] for name in ("prompt", "tokens")}
    model.cache = None
    return model


def _with_output(module: Any, state: dict[str, Tensor], *_: Any) -> None:
    """The one tensor that has two names in transformers and one in the canonical weights."""
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Layouts are PyTorch's own."""
    return renamed(key), value


def encode(model: WhisperForConditionalGeneration, mel: Tensor) -> Tensor:
    """Audio features (B, ctx, state)."""
    return model.model.encoder(mel).last_hidden_state


def _first(
    model: WhisperForConditionalGeneration, features: Tensor, compiled: bool
) -> tuple[Tensor, Tensor, EncoderDecoderCache]:
    """The prompt: logits (B, vocab), first token (B, 1), filled caches. Never compiled, as in ``generate``."""
    cache = _static_cache(model) if compiled else EncoderDecoderCache(DynamicCache(), DynamicCache())
    prompt = torch.tensor([model.greedy["prompt"]], device=features.device).expand(len(features), -1)
    return *next(model, prompt, features, cache), cache


#: Behind a call: ``torch.compile`` of the function itself would go around the mark.
_never_compiled: Any = torch.compiler.disable(_first)


def first(model: WhisperForConditionalGeneration, features: Tensor, compiled: bool) -> Any:
    """See ``_first``."""
    return _never_compiled(model, features, compiled)


def next(
    model: WhisperForConditionalGeneration, token: Tensor, features: Tensor, cache: EncoderDecoderCache
) -> tuple[Tensor, Tensor]:
    """Logits (B, vocab) after the last of ``token``, and the best token (B, 1) that is not end of text."""
    decoded = model.model.decoder(token, encoder_hidden_states=features, past_key_values=cache, use_cache=True)
    logits = model.proj_out(decoded.last_hidden_state[:, -1])
    return logits, logits.masked_fill(model.suppressed, -torch.inf).argmax(-1, keepdim=True)


def _static_cache(model: WhisperForConditionalGeneration) -> EncoderDecoderCache:
    """Caches that do not grow, which compiled code needs; the same each time, or it would be compiled each time."""
    if model.cache is None:
        greedy = model.greedy
        own = StaticCache(model.config, max_cache_len=len(greedy["prompt"]) + greedy["tokens"])
        cross = StaticCache(model.config, max_cache_len=model.config.max_source_positions)
        model.cache = EncoderDecoderCache(own, cross)
    else:
        model.cache.reset()
    return model.cache


def inference(parts: Any, inputs: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    features = parts.encode(inputs["mel"])
    if not config["tokens"]:
        return {"audio_features": features}
    # Where stages are timed apart, the parts are wrapped once more.
    compiled = inspect.unwrap(parts.next).func is not next
    first_logits, token, cache = parts.first(features, compiled)
    tokens = [token]
    for _ in range(config["tokens"] - 1):
        _, token = parts.next(token, features, cache)
        tokens.append(token)
    return {"audio_features": features, "first_logits": first_logits, "tokens": torch.cat(tokens, 1)}
