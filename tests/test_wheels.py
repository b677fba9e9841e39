"""The check of names against wheels (`nox -s wheels`), on wheels made here: what it finds, what it must not miss."""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench import environments
from benchmarks.wheels import check as checking
from benchmarks.wheels.check import Report
from benchmarks.wheels.lookup import Wheels, holds, unknown_keywords
from benchmarks.wheels.names import Use, used

ROOT = Path(__file__).resolve().parent.parent

SOURCE = """
import torch
import torch.nn.functional as F
from torch import nn
import numpy as np

class Model(nn.Module):
    def forward(self, x):
        return F.relu(torch.mps.synchronize(), inplace=True).numpy()

name = getattr(torch.backends.mps, "get_name", None)
must = getattr(torch.backends.mps, "is_built")
np.zeros(3)
"""

TORCH = {
    "torch/__init__.py": "from torch._C import *\nfrom . import mps as mps\nfrom torch._C._VariableFunctions import *\n"
    "if True:\n    from torch.functional import thing as renamed\nlimit: int = 3\nfirst, second = 1, 2\n",
    "torch/_C/__init__.pyi": "class float32: ...\nlong_name_of_another = 1\n",
    "torch/functional.py": "def thing(a, *, flag=False): ...\nclass Open:\n    def __init__(self, a, **rest): ...\n"
    "class Closed:\n    def __init__(self, a): ...\n    def method(self): ...\n",
    "torch/mps/__init__.py": "def synchronize(): ...\nfrom ..functional import Closed\nfrom .. import loop\n"
    "from .. import functional as again\n",
    "torch/newer.py": "def vmap[F: int](fun: F) -> F: ...\nvalue: int = 3\ndef broken(:\n",
    "torch/lib/libtorch.dylib": "\0PYTORCH_ENABLE_MPS_FALLBACK\0in_binary\0prefix_in_nothing\0",
}


def wheel(folder: Path, name: str, files: Mapping[str, str]) -> Path:
    """A wheel with these files."""
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


@pytest.fixture
def wheels(tmp_path: Path) -> Wheels:
    """A small torch."""
    return Wheels([wheel(tmp_path, "torch-1-py3-none-macosx_14_0_arm64.whl", TORCH)])


def test_uses_are_collected_from_imports() -> None:
    """Dotted names, keywords, and names asked for as text; nothing of other modules or of values."""
    found = used(SOURCE, frozenset({"torch"}))
    assert Use("torch.nn.functional.relu", ("inplace",)) in found
    assert Use("torch.mps.synchronize") in found
    assert Use("torch.nn.Module") in found
    assert Use("torch.backends.mps.get_name", optional=True) in found
    assert Use("torch.backends.mps.is_built") in found
    assert not any("numpy" in use.name for use in found)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("torch.mps.synchronize", "torch/mps/__init__.py"),
        ("torch.renamed", "torch/functional.py"),
        ("torch.mps.Closed.method", "torch/functional.py"),
        ("torch.limit", "torch/__init__.py"),
        ("torch.second", "torch/__init__.py"),
        ("torch.mps", "torch/mps/__init__.py"),
        ("torch.mps.again.thing", "torch/functional.py"),
        ("torch.newer.vmap", "torch/newer.py"),
        ("torch.newer.value", "torch/newer.py"),
    ],
)
def test_names_are_followed_through_exports(wheels: Wheels, name: str, place: str) -> None:
    found = wheels.find(name)
    assert found is not None
    assert (found.how, found.place) == ("source", place)


@pytest.mark.parametrize(
    "name",
    [
        "torch.mps.gone",
        "torch.mps.again.gone",
        "torch.newer.fun",
        "torch.mps.Closed.gone",
        "torch.loop",
        "gone",
        "torch.gone.deep",
    ],
)
def test_names_that_are_not_there_are_not_found(wheels: Wheels, name: str) -> None:
    """Also not by a circle of re-exports."""
    assert wheels.find(name) is None


def test_words_are_whole_words(wheels: Wheels) -> None:
    """A part of a longer name proves nothing."""
    found = wheels.words(["float32", "long_name", "in_binary", "in_nothing"], (".pyi", ".dylib"))
    assert found == {"float32": "torch/_C/__init__.pyi", "in_binary": "torch/lib/libtorch.dylib"}
    assert holds(b"aab ab", b"ab")
    assert not holds(b"aab abb", b"ab")


def test_keywords_are_compared_with_the_definition(wheels: Wheels) -> None:
    """A function, a class by its __init__, and one that takes anything."""
    names = {"torch.renamed": ["flag"], "torch.functional.Closed": ["a"], "torch.functional.Open": ["a", "z"]}
    for name, keywords in names.items():
        found = wheels.find(name)
        assert found is not None
        assert unknown_keywords(found, keywords) == []
        assert unknown_keywords(found, ["z"]) == ([] if name.endswith("Open") else ["z"])


def test_what_is_missing_is_a_problem(wheels: Wheels) -> None:
    """A name that is nowhere, a keyword that is not taken; what the code asks for first may be absent."""
    uses = [
        Use("torch.mps.synchronize"),
        Use("torch.float32"),
        Use("torch.in_binary"),
        Use("torch.mps.gone"),
        Use("torch.mps.perhaps", optional=True),
        Use("torch.renamed", ("flags",)),
    ]
    report = Report("torch")
    checking.check_names(uses, wheels, report)
    assert report.problems == [
        "torch.renamed in torch/functional.py does not take flags",
        "torch.mps.gone is in no source, stub or binary",
    ]
    assert report.found["stub"] == ["torch.float32"]
    assert report.found["binary"] == ["torch.in_binary"]
    assert report.found["absent, and asked for first"] == ["torch.mps.perhaps"]


def test_variables_must_be_read_by_somebody(wheels: Wheels, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable is ignored without a word by every framework."""
    torch = environments.get("torch")
    report = Report("torch")
    checking.check_variables(torch, wheels, report)
    assert report.problems == []
    assert report.found == {"variable": ["PYTORCH_ENABLE_MPS_FALLBACK"]}
    monkeypatch.setattr(checking, "variables", lambda *_: {"PYTORCH_ENABLE_MPS_FALLBAK": "0"})
    checking.check_variables(torch, wheels, report)
    assert report.problems == ["nothing reads the variable PYTORCH_ENABLE_MPS_FALLBAK"]


@pytest.mark.parametrize(
    ("name", "word", "problems"),
    [
        ("jax_mps-0.10.11-py3-none-macosx_14_0_arm64.whl", "mps", []),
        ("jax_mps-0.10.12-py3-none-macosx_15_0_arm64.whl", "mps", ["is for macOS (15, 0), our table says (14, 0)"]),
        ("jax_mps-0.10.11-py3-none-macosx_14_0_arm64.whl", "metal", ["registers ['metal'], our table says 'mps'"]),
    ],
)
def test_plugins_are_as_the_table_says(tmp_path: Path, name: str, word: str, problems: list[str]) -> None:
    """The oldest macOS by the wheel's tag, and the word that it registers."""
    code = f"def initialize():\n    xb.register_plugin('{word}', priority=500)\n"
    path = wheel(tmp_path, name, {"jax_plugins/mps/__init__.py": code})
    report = Report("jax-mps")
    checking.check_plugin(environments.get("jax-mps"), [path], Wheels([path]), report)
    assert len(report.problems) == len(problems)
    assert all(end in problem for end, problem in zip(problems, report.problems, strict=True))


def test_our_files_have_uses() -> None:
    """The adapters and twins as they are: else the check would pass by looking at nothing."""
    for framework in ("torch", "tensorflow", "jax"):
        files = checking.files_of(framework, ROOT)
        assert len(files) >= 4
        assert all(ast.parse(path.read_text(encoding="utf-8")) for path in files)
        assert len(checking.uses_of(framework, ROOT)) > 40
    assert Use("torch.mps.synchronize") in checking.uses_of("torch", ROOT)
    assert Use("tensorflow.test.experimental.sync_devices") in checking.uses_of("tensorflow", ROOT)
