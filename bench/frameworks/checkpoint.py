"""Read a torch checkpoint without running anything that it says: a script for a torch interpreter, never imported.

usage: python -I checkpoint.py SOURCE.pt TARGET.npz

Writes the tensors to TARGET, unnamed, and prints one line of JSON: ``{"names": [...], "what": "..."}``, or
``{"error": "..."}``. fp16 stays (NumPy has it), bfloat16 becomes float32.

A published YOLOv5 checkpoint pickles whole ``nn.Module`` objects. ``torch.load(weights_only=True)`` refuses their
classes; here each class from the list below is stood in for by one that does nothing but keep its attributes, and the
tensors are then collected from those. A name that is not on the list is refused: a checkpoint needs none.
"""

from __future__ import annotations

import json
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

#: Where the classes of pickled models live: torch's own layers, YOLOv5's files, the packages that carry them.
MODEL_PREFIXES = ("torch.nn.modules.", "models.", "yolov5.", "ultralytics.")
#: What else training writes beside a model: scores as NumPy scalars, options with paths, a date.
HARMLESS = frozenset(
    {
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
        *(f"numpy.dtypes.{kind}DType" for kind in ("Float16", "Float32", "Float64", "Int32", "Int64")),
        *(f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
        "argparse.Namespace", "datetime.datetime", "numpy.dtype", "numpy.ndarray",
    }
)  # fmt: skip
#: Keys under which a checkpoint keeps its weights, in the order in which they are looked for. YOLOv5 prefers the
#: moving average of the weights where training left one, as its own loader does.
HOLDERS = ("ema", "model", "model_state_dict", "state_dict")

STRANGE = "it names what no checkpoint needs, and unpickling would run it: "


class Refused(Exception):
    """The file cannot be read, or should not be; the message is for people."""


class Inert:
    """Stands for any class on the list: takes what it is given, keeps the attributes, does nothing."""

    def __init__(self, *arguments: Any, **words: Any) -> None:
        """Nothing is done with the arguments."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


def load(path: str) -> Any:
    """The unpickled file, objects on the list as ``Inert``.

    Raises:
        Refused: it names anything else, or is no torch checkpoint.
    """
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        raise Refused(f"torch {torch.__version__} cannot look into a checkpoint before loading it; 2.6 or newer can")
    try:
        named = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except ValueError:
        named = []  # the format before torch 1.6: torch.load below takes plain tensors from it and refuses the rest
    strangers = [name for name in named if not name.startswith(MODEL_PREFIXES) and name not in HARMLESS]
    if strangers:
        raise Refused(STRANGE + ", ".join(strangers))
    try:
        with torch.serialization.safe_globals([(Inert, name) for name in named]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's text recommends weights_only=False, which runs what the file says: it is not passed on.
        named_in_it = re.search(r"GLOBAL (\S+)", str(error))
        raise Refused(f"{STRANGE}{named_in_it[1]}" if named_in_it else "it is not a file of torch.save") from error


def find(content: Any) -> tuple[str, Mapping[str, Any]]:
    """(where the weights were, name -> tensor).

    Raises:
        Refused: there are none where checkpoints keep them.
    """
    if isinstance(content, Inert):
        return "a pickled module", dict(collected(content))
    if not isinstance(content, Mapping):
        raise Refused(f"it holds one {type(content).__name__}, not named tensors")
    for key in HOLDERS:
        held = content.get(key)
        if isinstance(held, Inert):
            return f"the module {key!r}", dict(collected(held))
        if isinstance(held, Mapping) and held and all(map(torch.is_tensor, held.values())):
            return f"the tensors of {key!r}", held
    if content and all(map(torch.is_tensor, content.values())):
        return "named tensors", content
    keys = ", ".join(map(repr, list(content)[:12]))
    raise Refused(
        f"no weights under {', '.join(map(repr, HOLDERS))}, nor are all of its entries tensors; it has: {keys}"
    )


def collected(module: Inert, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What ``state_dict`` would give: parameters and persistent buffers by dotted path."""
    facts = vars(module)
    passing = facts.get("_non_persistent_buffers_set", ())
    for kind in ("_parameters", "_buffers"):
        for name, tensor in facts.get(kind, {}).items():
            if torch.is_tensor(tensor) and not (kind == "_buffers" and name in passing):
                yield prefix + name, tensor
    for name, child in facts.get("_modules", {}).items():
        if isinstance(child, Inert):
            yield from collected(child, f"{prefix}{name}.")


def as_numpy(tensor: Any) -> np.ndarray[Any, Any]:
    """One tensor; bfloat16, which NumPy has not, as float32."""
    plain = tensor.detach()
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()


def main(source: str, target: str) -> dict[str, Any]:
    """Read ``source``, write ``target``; what is to be said about it."""
    try:
        what, tensors = find(load(source))
        if not tensors:
            raise Refused(f"{what} holds no tensor")
        np.savez(target, *(as_numpy(tensor) for tensor in tensors.values()))
    except Refused as refused:
        return {"error": str(refused)}
    except Exception as error:  # whatever a damaged or hostile file makes torch raise
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return {"names": list(tensors), "what": what}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
