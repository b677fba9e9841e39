"""Which names of a framework a file uses, and with which keywords, by its syntax tree; nothing is imported.

Followed are dotted names that begin at an import (``torch.mps.synchronize``), and ``getattr(torch.backends.mps,
"get_name", None)``. What is called on a value (``tensor.numpy()``) has no type here and is not followed.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Use:
    """One dotted name and the keywords of one call of it; ``optional`` when the code asks whether it is there."""

    name: str
    keywords: tuple[str, ...] = ()
    optional: bool = False


def imported(tree: ast.AST) -> dict[str, str]:
    """Local name -> dotted name, of every absolute import."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def dotted(node: ast.AST, local: dict[str, str]) -> str | None:
    """``tf.config.threading`` -> ``tensorflow.config.threading``; None where it does not begin at an import."""
    match node:
        case ast.Name(id=name):
            return local.get(name)
        case ast.Attribute(value=value, attr=attr):
            inner = dotted(value, local)
            return None if inner is None else f"{inner}.{attr}"
    return None


def used(source: str, roots: frozenset[str]) -> set[Use]:
    """All uses in a file of names below the top-level modules ``roots``."""
    tree = ast.parse(source)
    local = {name: path for name, path in imported(tree).items() if path.partition(".")[0] in roots}
    found = {Use(path) for path in local.values()}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (name := dotted(node, local)) is not None:
            found.add(Use(name))
        if not isinstance(node, ast.Call):
            continue
        if (name := dotted(node.func, local)) is not None:
            found.add(Use(name, tuple(sorted(word.arg for word in node.keywords if word.arg))))
        match node:
            case ast.Call(func=ast.Name(id="getattr" | "hasattr"), args=[value, ast.Constant(value=str(attr)), *rest]):
                if (name := dotted(value, local)) is not None:
                    asks = bool(rest) or node.func.id == "hasattr"  # type: ignore[attr-defined]
                    found.add(Use(f"{name}.{attr}", optional=asks))
    return found
