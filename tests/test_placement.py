"""The readers of what frameworks say about fallbacks, on their real words; and the coverage pass from end to end."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

from bench import audits, environments
from bench.audits import Coverage, Fallen
from bench.cell import Cell
from bench.frameworks import placement
from bench.frameworks.placement import Fallback
from tests.harness import Cli, command_line, no_processes, only_run
from tests.placement_texts import MPS_1_13, MPS_2_5, MPS_REFUSED, TF_LOG


def test_torchs_warnings_name_their_operators() -> None:
    found = placement.torch_fallbacks([MPS_2_5, "some other warning", MPS_1_13, MPS_2_5])
    assert [(one.operator, one.where, one.calls) for one in found] == [
        ("aten::_upsample_bilinear2d_aa.out", "cpu", 2),
        ("aten::nonzero", "cpu", 1),
    ]
    assert found[1].evidence in MPS_1_13


def test_a_log_may_hold_several_warnings_and_a_refusal_is_none() -> None:
    log = f"[W1122] {MPS_1_13}\n[W1122] {MPS_2_5}\n"
    assert len(placement.torch_fallbacks([log])) == 2
    assert placement.torch_fallbacks([MPS_REFUSED, ""]) == []


def test_tensorflows_log_tells_what_lies_where() -> None:
    seen = placement.tensorflow_placements(TF_LOG)
    assert dict(seen) == {("MatMul", "GPU"): 1, ("AddV2", "GPU"): 1, ("Cumsum", "CPU"): 2}
    (fallen,) = placement.tensorflow_fallbacks(TF_LOG, "GPU")
    assert fallen == Fallback("Cumsum", "cpu", 2, "TensorFlow's device log puts Cumsum on CPU")
    assert {one.operator for one in placement.tensorflow_fallbacks(TF_LOG, "CPU")} == {"MatMul", "AddV2"}


def test_listening_hears_python_and_what_is_below_it(capfd: pytest.CaptureFixture[str]) -> None:
    with placement.listening() as heard:
        warnings.warn(MPS_1_13, UserWarning, stacklevel=1)
        os.write(2, MPS_2_5.encode())
        os.write(1, b"on standard output")
    assert {one.operator for one in placement.torch_fallbacks(heard)} == {
        "aten::nonzero",
        "aten::_upsample_bilinear2d_aa.out",
    }
    assert "on standard output" in heard[-1]
    assert MPS_2_5 in capfd.readouterr().err, "a worker's log keeps what was said"
    os.write(2, b"restored")
    assert capfd.readouterr().err == "restored"


def test_a_timed_worker_forbids_what_an_audit_lets_happen() -> None:
    torch = environments.get("torch")
    parent = {"PYTORCH_ENABLE_MPS_FALLBACK": "1", "PATH": "/bin"}
    timed = environments.child_environment(parent, torch, "metal", 1)
    assert timed["PYTORCH_ENABLE_MPS_FALLBACK"] == "0"
    assert environments.audit_variables(torch) == {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}
    assert environments.audit_variables(environments.get("tensorflow")) == {"TF_CPP_MIN_LOG_LEVEL": "0"}
    assert environments.audit_variables(environments.get("jax")) == {}


# --- the pass --------------------------------------------------------------------------------------------------------

TINY = ("mlp:tiny-test", "--phase", "inference", "--precision", "fp32")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line in this process, in an empty folder."""
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    no_processes(monkeypatch)
    return command_line(monkeypatch, capsys)


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_what_fell_back_is_listed_kept_and_reported(cli: Cli, tmp_path: Path) -> None:
    run = ("run", *TINY, "--processes", "1", "--bursts", "2", "--results", "r")
    code, out, err = cli(*run, "--environment", "fake,fake-falling-back")
    assert code == 0, out + err
    folder = only_run(tmp_path / "r")
    cli("report", folder, "--out", "before.html")
    assert "Not measured: no such pass was run for any work on this page." in one_line(
        (tmp_path / "before.html").read_text()
    )

    code, out, _ = cli("coverage", *TINY, "--environment", "fake-falling-back", "--run", "latest", "--results", "r")
    assert code == 0
    assert "scripted::softshrink on cpu (7 calls)" in one_line(out)
    assert "on the CPU: nothing to fall back from" in one_line(out)
    problems: list[str] = []
    found = {one.cell.device: one for one in audits.read([folder], problems)}
    assert problems == []
    assert found["cuda"].fallbacks == [Fallen("scripted::softshrink", "cpu", 7, "it says so")]
    assert (found["cpu"].fallbacks, found["cuda"].operators) == ([], 14)

    cli("report", folder, "--out", "after.html")
    page = one_line((tmp_path / "after.html").read_text())
    assert "2 of 4 cells audited: scripted::softshrink on cpu" in page
    code, out, _ = cli("report", folder, "--format", "markdown")
    assert "scripted::softshrink on cpu" in out


def test_nothing_fell_back_is_said_only_where_it_was_looked_for(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("coverage", *TINY, "--environment", "fake", "--device", "cuda")
    assert code == 0
    assert "none of 14 calls" in one_line(out)
    assert not list(tmp_path.glob("results/*")), "without --run nothing is written"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--environment", "fake-crash"), 4, "failed"),
        (("--environment", "fake", "--run", "nowhere"), 2, "unknown run 'nowhere'"),
        (("--environment", "fake", "--mode", "compiled"), 3, "unsupported"),
    ],
)
def test_how_a_pass_can_end(
    arguments: tuple[str, ...], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """In processes of their own: one of them crashes."""
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    found, out, err = command_line(monkeypatch, capsys)("coverage", *TINY, "--device", "cpu", *arguments)
    assert found == code, out + err
    assert said in one_line(out + err)


def test_a_bad_line_is_named_and_skipped_and_the_newest_counts(tmp_path: Path) -> None:
    (cell,) = {environments_cell()}
    first = audited(cell, "2026-11-22T10:00:00.000+00:00", [])
    second = audited(cell, "2026-11-22T11:00:00.000+00:00", [Fallen("aten::nonzero", "cpu", None, "said")])
    path = audits.append(tmp_path, [second, first])
    path.write_bytes(path.read_bytes() + b'{"schema": 1}\n' + b'{"half a li')
    problems: list[str] = []
    (found,) = audits.read([tmp_path], problems)
    assert found == second
    assert found.finding == "aten::nonzero on cpu"
    assert [problem.split(": ")[0] for problem in problems] == [f"{path}:3", f"{path}:4"]


def environments_cell() -> Cell:
    return Cell("mlp", "digits", "inference", "default", 64, "torch", "metal", "fp32", "eager")


def audited(cell: Cell, started_at: str, fallbacks: list[Fallen]) -> Coverage:
    return Coverage(1, cell, started_at, "audited", "", "warnings", 5, fallbacks, None, "", {}, {}, "M9")
