"""Find a dotted name in the files of wheels: by syntax tree where it is Python, by word in stubs and binaries.

Wheels are read as archives; nothing is installed or imported, so a Mac's can be read anywhere.
"""

from __future__ import annotations

import ast
import functools
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

BINARIES = (".so", ".dylib")
#: Longest way through re-exports; a longer one is a circle.
DEPTH = 24


@dataclass(frozen=True)
class Found:
    """Where a name is. ``how``: ``source``, ``stub`` or ``binary``; ``node`` is its definition, where that was seen."""

    how: str
    place: str
    node: ast.AST | None = None


def binding(body: Iterable[ast.stmt], name: str) -> ast.AST | None:
    """What gives ``name`` its value in a module or class, also within if, try and with; the last one."""
    last: ast.AST | None = None
    for node in _statements(body):
        match node:
            case ast.FunctionDef(name=found) | ast.AsyncFunctionDef(name=found) | ast.ClassDef(name=found):
                last = node if found == name else last
            case ast.Assign(targets=targets):
                last = node if any(name in _targets(target) for target in targets) else last
            case ast.AnnAssign(target=target):
                last = node if name in _targets(target) else last
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                # `import a.b` binds a; `import a.b as c` and `from a import b` bind what they say.
                bound = [alias.asname or alias.name.partition(".")[0] for alias in names]
                last = node if name in bound else last
    return last


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With | ast.For):
            inner = [*node.body, *getattr(node, "orelse", []), *getattr(node, "finalbody", [])]
            inner += [line for handler in getattr(node, "handlers", []) for line in handler.body]
            yield from _statements(inner)


def _targets(target: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


class Wheels:
    """The files of several wheels, as they would lie in one site-packages."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._files: dict[str, zipfile.ZipFile] = {}
        for path in paths:
            archive = zipfile.ZipFile(path)
            self._files |= dict.fromkeys(archive.namelist(), archive)
        self._trees = functools.lru_cache(maxsize=512)(self._parse)

    def names(self) -> list[str]:
        """All files."""
        return list(self._files)

    def read(self, name: str) -> bytes:
        """One file."""
        return self._files[name].read(name)

    def _parse(self, name: str) -> ast.Module | None:
        """None for the syntax of a newer Python than this one."""
        try:
            return ast.parse(self.read(name))
        except SyntaxError:
            return None

    def module(self, path: str) -> str | None:
        """The file of module ``a.b``: ``a/b/__init__.py``, ``a/b.py``, or an extension; None where there is none."""
        stem = path.replace(".", "/")
        for name in (f"{stem}/__init__.py", f"{stem}.py"):
            if name in self._files:
                return name
        folder = stem.rpartition("/")[0]
        built = (name for name in self._files if name.startswith(f"{stem}.") and name.endswith(BINARIES))
        return next((name for name in built if name.rpartition("/")[0] == folder), None)

    def find(self, path: str, depth: int = 0) -> Found | None:
        """Where ``path`` leads, through re-exports and star imports; None where no source says."""
        if depth > DEPTH:
            return None
        if (file := self.module(path)) is not None:
            return Found("source", file)
        parent, _, name = path.rpartition(".")
        if not parent:
            return None
        file = self.module(parent)
        if file is None:
            return self._member(self.find(parent, depth + 1), name, depth)
        if not file.endswith(".py"):
            return None
        return self._in_module(parent, file, name, depth)

    def _in_module(self, module: str, file: str, name: str, depth: int) -> Found | None:
        tree = self._trees(file)
        if tree is None:
            line = rf"^((async )?def|class) {name}\b|^{name}\s*[:=]"
            return Found("source", file, ast.Pass()) if re.search(line, self.read(file).decode(), re.M) else None
        node = binding(tree.body, name)
        if isinstance(node, ast.Import | ast.ImportFrom):
            return self._imported(module, file, node, name, depth)
        if node is not None:
            return Found("source", file, node)
        for star in _statements(tree.body):
            if isinstance(star, ast.ImportFrom) and any(alias.name == "*" for alias in star.names):
                found = self.find(f"{self._origin(module, file, star)}.{name}", depth + 1)
                if found is not None:
                    return found
        return None

    def _imported(
        self, module: str, file: str, node: ast.Import | ast.ImportFrom, name: str, depth: int
    ) -> Found | None:
        for alias in node.names:
            if (alias.asname or alias.name.partition(".")[0]) != name:
                continue
            if isinstance(node, ast.Import):
                return self.find(alias.name if alias.asname else name, depth + 1)
            return self.find(f"{self._origin(module, file, node)}.{alias.name}", depth + 1)
        return None

    def _origin(self, module: str, file: str, node: ast.ImportFrom) -> str:
        """The absolute name of the module that ``node`` imports from."""
        if not node.level:
            return node.module or ""
        package = module.split(".") if file.endswith("__init__.py") else module.split(".")[:-1]
        base = package[: len(package) - (node.level - 1)]
        return ".".join([*base, *([node.module] if node.module else [])])

    def _member(self, owner: Found | None, name: str, depth: int) -> Found | None:
        """``name`` in the body of a class, or in a module that goes by another name (``tensorflow.config``)."""
        if owner is not None and owner.node is None and owner.place.endswith(".py"):
            module = owner.place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            return self.find(f"{module}.{name}", depth + 1)
        if owner is None or not isinstance(owner.node, ast.ClassDef):
            return None
        node = binding(owner.node.body, name)
        return None if node is None else Found("source", owner.place, node)

    def words(self, wanted: Iterable[str], suffixes: tuple[str, ...]) -> dict[str, str]:
        """Word -> the first file with one of ``suffixes`` that holds it as a whole word."""
        left = set(wanted)
        found: dict[str, str] = {}
        for name in (file for file in self._files if file.endswith(suffixes)):
            if not left:
                break
            text = self.read(name)
            hits = {word for word in left if holds(text, word.encode())}
            found |= dict.fromkeys(hits, name)
            left -= hits
        return found


def holds(text: bytes, word: bytes) -> bool:
    """Whether ``word`` stands in ``text`` with no letter, digit or underscore beside it. Plain search: libraries are
    hundreds of megabytes, and a regular expression takes minutes for them."""
    at = text.find(word)
    while at >= 0:
        before, after = text[max(0, at - 1) : at], text[at + len(word) : at + len(word) + 1]
        if not _WORD.match(before) and not _WORD.match(after):
            return True
        at = text.find(word, at + 1)
    return False


_WORD = re.compile(rb"\w")


def unknown_keywords(found: Found, keywords: Iterable[str]) -> list[str]:
    """Keywords that the definition does not take; [] where it takes any, or where its arguments cannot be seen."""
    node = found.node
    if isinstance(node, ast.ClassDef):
        node = binding(node.body, "__init__")
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.args.kwarg is not None:
        return []
    takes = {argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
    # A decorator may take more, and pass it on or not (keras_export, tf_export and wraps do not; jit does not either).
    return [word for word in keywords if word not in takes]
