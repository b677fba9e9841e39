"""From Whisper's token ids to text: a byte-level BPE vocabulary, decoding only. Standard library and NumPy.

The vocabulary is a ``.tiktoken`` file as openai-whisper ships it (``multilingual.tiktoken``): one token a line, its
bytes in base64 and its rank, which is its id. Ids from the number of ranks on are special (end of text, languages,
timestamps): they stand for no text. The file is not part of this project; without one, answers are token ids.
"""

from __future__ import annotations

import base64
import importlib.util
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from bench.errors import TensorError, UsageError
from bench.workload import Arrays

#: Names a ``.tiktoken`` file; it wins over an installed openai-whisper.
VARIABLE = "TWINBENCH_WHISPER_VOCABULARY"
WANTED = "wanted lines of a base64 token, a space and its rank, as in openai-whisper's multilingual.tiktoken"


def find_vocabulary() -> bytes:
    """The bytes of the vocabulary that this machine has: $TWINBENCH_WHISPER_VOCABULARY, else the one in an installed
    openai-whisper (which is not imported), else none.

    Raises:
        UsageError: the variable names a file that cannot be read.
        TensorError: it is not a vocabulary.
    """
    given = os.environ.get(VARIABLE)
    if given:
        try:
            data = Path(given).read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read ${VARIABLE} {given!r}: {error.strerror}; {WANTED}") from error
        if not ranks(data):
            raise TensorError(f"${VARIABLE} {given!r} is empty; {WANTED}")
        return data
    package = importlib.util.find_spec("whisper")
    # Other packages are named whisper, too: only the file says that it is this one.
    for folder in (package.submodule_search_locations or []) if package else []:
        file = Path(folder) / "assets" / "multilingual.tiktoken"
        if file.is_file():
            return file.read_bytes()
    return b""


@lru_cache(maxsize=2)
def ranks(vocabulary: bytes) -> tuple[bytes, ...]:
    """The bytes of every token, at its rank.

    Raises:
        TensorError: a line is malformed, a rank is missing or comes twice; names the line.
    """
    tokens: dict[int, bytes] = {}
    for number, line in enumerate(vocabulary.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rank, token = _entry(line)
        except ValueError as error:
            raise TensorError(f"line {number} of the vocabulary is {line[:40]!r}; {WANTED}") from error
        if rank in tokens:
            raise TensorError(f"line {number} of the vocabulary gives rank {rank} a second time")
        tokens[rank] = token
    missing = next((rank for rank in range(len(tokens)) if rank not in tokens), None)
    if missing is not None:
        raise TensorError(
            f"the vocabulary has {len(tokens)} tokens up to rank {max(tokens)} but none of rank {missing}"
        )
    return tuple(tokens[rank] for rank in range(len(tokens)))


def _entry(line: bytes) -> tuple[int, bytes]:
    """Rank and bytes of one line; ValueError when it is no entry (base64's own error is one)."""
    token, digits = line.split()
    if not digits.isdigit():
        raise ValueError("a rank is a decimal number")
    # Upstream's last line is "= 50256": a token of no bytes, in base64 that only a lenient decoder takes.
    return int(digits), b"" if token == b"=" else base64.b64decode(token, validate=True)


def decode(tokens: Iterable[int], vocabulary: bytes) -> str:
    """The text of ``tokens``, special ones skipped; bytes that are not UTF-8 become U+FFFD.

    A vocabulary of no bytes: the ids themselves, with spaces between.

    Raises:
        TensorError: an id is negative, or the vocabulary is malformed.
    """
    ids = [int(token) for token in tokens]
    negative = next((token for token in ids if token < 0), None)
    if negative is not None:
        raise TensorError(f"token {negative} is negative; ids count from 0")
    if not vocabulary:
        return " ".join(str(token) for token in ids)
    known = ranks(vocabulary)
    return b"".join(known[token] for token in ids if token < len(known)).decode("utf-8", errors="replace")


def answer(results: Arrays, vocabulary: bytes) -> str:
    """``results["tokens"]`` (B, N) for people, in a line: the text of each clip, or its token ids; " | " between clips.

    Raises:
        TensorError: see ``decode``.
    """
    texts = [decode(row, vocabulary) for row in results["tokens"]]
    if not vocabulary:
        return "token ids " + " | ".join(texts)
    printable = ["".join(letter if letter.isprintable() else " " for letter in text) for text in texts]
    return " | ".join(f'"{" ".join(text.split())}"' for text in printable)
