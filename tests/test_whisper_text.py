"""Token ids to text: the vocabulary's file, special tokens, broken UTF-8, and no vocabulary at all."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.errors import TensorError, UsageError
from workloads.whisper import text

TOKENS = (b"Hello", b",", b" world", b"\xc3", b"\xa9", b"\n", b"")


def file_of(tokens: tuple[bytes, ...] = TOKENS) -> bytes:
    """A ``.tiktoken`` file, its empty token written as upstream's."""
    return b"".join(
        (base64.b64encode(token) or b"=") + b" " + str(rank).encode() + b"\n" for rank, token in enumerate(tokens)
    )


def test_tokens_become_text() -> None:
    """Pieces of a letter meet as bytes, before they are read as UTF-8; special ids stand for nothing."""
    vocabulary = file_of()
    assert text.ranks(vocabulary) == TOKENS
    assert text.decode([0, 1, 2], vocabulary) == "Hello, world"
    assert text.decode([3, 4], vocabulary) == "é"
    assert text.decode([7, 0, 50_258, 6, 2], vocabulary) == "Hello world"
    assert text.decode([], vocabulary) == ""


def test_broken_utf8_is_replaced() -> None:
    """A random model's tokens are seldom whole letters."""
    assert text.decode([3, 0, 4], file_of()) == "\ufffdHello\ufffd"


def test_order_of_the_lines_does_not_matter() -> None:
    """The rank is the id, not the line."""
    lines = file_of().splitlines()
    assert text.ranks(b"\n".join(reversed(lines))) == TOKENS


def test_without_a_vocabulary_ids_are_the_answer() -> None:
    """And they are called so."""
    assert text.decode([5, 50_257], b"") == "5 50257"
    assert text.answer({"tokens": np.array([[5, 6], [7, 8]], np.int32)}, b"") == "token ids 5 6 | 7 8"


def test_answers_are_one_printable_line() -> None:
    """One text per clip; a line feed that the model says does not break the terminal's line."""
    results = {"tokens": np.array([[0, 1, 5, 2], [2, 2, 2, 2]], np.int32)}
    assert text.answer(results, file_of()) == '"Hello, world" | "world world world world"'


@pytest.mark.parametrize(
    ("vocabulary", "says"),
    [
        (b"IQ== 0\nIg==\n", "line 2 of the vocabulary is b'Ig=='; wanted lines of a base64"),
        (b"IQ== 0\nIg== one\n", "line 2 .*'Ig== one'"),
        (b"IQ== 0\nIg== -1\n", "line 2 .*'Ig== -1'"),
        (b"I! 0\n", "line 1 of the vocabulary is b'I! 0'"),
        (b"I 0\n", "line 1 of the vocabulary"),
        (b"IQ== 0\nIg== 0\n", "line 2 of the vocabulary gives rank 0 a second time"),
        (b"IQ== 0\nIg== 2\n", "2 tokens up to rank 2 but none of rank 1"),
        (b"fLaC\x00\x00", "line 1"),
        (b'{"!": 0}', "line 1"),
    ],
)
def test_malformed_vocabularies_are_refused(vocabulary: bytes, says: str) -> None:
    """A json vocabulary or a file of something else must not become an empty or shifted one."""
    with pytest.raises(TensorError, match=says):
        text.ranks(vocabulary)


def test_negative_ids_are_refused() -> None:
    """Python would count them from the end."""
    with pytest.raises(TensorError, match="token -1 is negative"):
        text.decode([0, -1], file_of())


def package(folder: Path, monkeypatch: pytest.MonkeyPatch, vocabulary: bytes | None) -> None:
    """A package ``whisper`` that must not be imported, with or without a vocabulary."""
    (folder / "whisper" / "assets").mkdir(parents=True)
    (folder / "whisper" / "__init__.py").write_text("raise RuntimeError('imported')")
    if vocabulary is not None:
        (folder / "whisper" / "assets" / "multilingual.tiktoken").write_bytes(vocabulary)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.delenv(text.VARIABLE, raising=False)


def test_an_installed_package_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing openai-whisper imports torch."""
    package(tmp_path, monkeypatch, file_of())
    assert text.find_vocabulary() == file_of()


def test_another_package_of_that_name_has_no_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphite's database is called whisper, too."""
    package(tmp_path, monkeypatch, None)
    assert text.find_vocabulary() == b""


def test_the_variable_wins_and_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that was given and cannot be used is an error, never a silent fallback."""
    package(tmp_path, monkeypatch, file_of())
    other = tmp_path / "other.tiktoken"
    other.write_bytes(file_of((b"a", b"b")))
    monkeypatch.setenv(text.VARIABLE, str(other))
    assert text.find_vocabulary() == file_of((b"a", b"b"))
    other.write_bytes(b"")
    with pytest.raises(TensorError, match=r"other\.tiktoken' is empty"):
        text.find_vocabulary()
    other.write_bytes(b"junk")
    with pytest.raises(TensorError, match="line 1"):
        text.find_vocabulary()
    monkeypatch.setenv(text.VARIABLE, str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"none': No such file"):
        text.find_vocabulary()
