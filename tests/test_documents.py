"""Documents that name files tell the truth, and workflows are pinned and may do little."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("workloads/**/*.md")])
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))

#: `bench/plan.py`, `workloads/mlp`, `noxfile.py`: backticked words that look like a path of the repository.
FOLDERS = r"(?:bench|workloads|tests|benchmarks|docs|\.ci|\.github)/"
PATHS = re.compile(rf"`((?:{FOLDERS}[^\s`]*)|(?:[\w-]+\.(?:py|toml|md)))`")
LINKS = re.compile(r"\]\(([^)\s]+)\)")


def dead_links(document: Path) -> list[str]:
    """Relative links of a Markdown file whose target is not there."""
    links = LINKS.findall(document.read_text(encoding="utf-8"))
    files = [link.partition("#")[0] for link in links if "://" not in link and not link.startswith(("#", "mailto:"))]
    return [name for name in files if not (document.parent / name).exists()]


def missing_paths(text: str) -> list[str]:
    """Backticked paths that are not in the repository; <name> and * are placeholders."""
    return [path for path in PATHS.findall(text) if not set("<*") & set(path) and not (ROOT / path).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """Within the repository; the world outside is not asked."""
    assert dead_links(document) == []


def test_contributing_names_files_that_exist() -> None:
    """The three recipes stay true when files move; and they do name files."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for recipe in ("workload", "framework", "device"):
        section = text.partition(f"## Add a {recipe}\n")[2].partition("\n## ")[0]
        assert len(PATHS.findall(section)) >= 3, recipe
    assert missing_paths(text) == []


def test_contributing_names_words_that_exist() -> None:
    """The functions and tables that the recipes send people to."""
    for path, word in {
        "bench/worker.py": "def framework_for",
        "bench/plan.py": "IDIOM",
        "bench/cell.py": "DEVICES",
        "bench/environments.py": "def default_devices",
        "bench/errors.py": "class Unavailable",
        "bench/workload.py": "class Workload",
        "bench/frameworks/base.py": "class Framework",
        "tests/test_environments.py": "BUSY",
    }.items():
        assert word in (ROOT / path).read_text(encoding="utf-8"), path


def test_the_checks_can_fail(tmp_path: Path) -> None:
    """A dead link and a moved file are found; addresses, anchors and placeholders are not taken for files."""
    document = tmp_path / "a.md"
    document.write_text("[x](gone.md#part) [y](a.md) [z](https://example.org/gone.md) [w](#part)")
    assert dead_links(document) == ["gone.md"]
    assert missing_paths("`bench/gone.py` `bench/<name>.py` `bench/plan.py` `gone.toml`") == [
        "bench/gone.py",
        "gone.toml",
    ]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_pinned_and_may_read_only(workflow: Path) -> None:
    """Actions by commit, permissions said and minimal at the top."""
    text = workflow.read_text(encoding="utf-8")
    uses = re.findall(r"uses:\s*(\S+)", text)
    assert uses
    assert all(re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action) for action in uses)
    assert re.search(r"^permissions:\n  contents: read\n", text, re.MULTILINE)
