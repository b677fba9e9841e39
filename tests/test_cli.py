"""What a person types: help, wrong words, exit codes, files that do not fit. In this process, scripted framework."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from bench import comparing, machine, plan, setup, store
from bench.environments import Environment
from bench.labels import IMPLAUSIBLE_ROOFLINE
from bench.plan import Selection
from bench.process import Worker
from bench.record import Failed, Measured, Unsupported, Wrong
from bench.report import pagefile
from bench.workload import get
from tests import harness
from tests.harness import Cli, command_line, no_processes, only_run, records_of

ROOT = Path(__file__).parent.parent
TINY = ("mlp:tiny-test", "--environment", "fake", "--device", "cpu")
SMALL = ("--processes", "1", "--bursts", "2", "--results", "r")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line in this process, without worker processes, in an empty folder."""
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    no_processes(monkeypatch)
    return command_line(monkeypatch, capsys)


def one_line(text: str) -> str:
    """Folded text as one line."""
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "mpl", "--environment", "fake"), "unknown workload 'mpl'; did you mean 'mlp'?"),
        (("run", "mlp", "--environment", "torhc"), "unknown environment 'torhc'; did you mean 'torch'?"),
        (("run", "mlp", "--environment", "fake-hagn"), "did you mean 'fake-hang'?"),
        (("run", "mlp", "--environment", "fake", "--device", "metal"), "device 'metal' is not available here"),
        (("run", "mlp", "--environment", "fake", "--precision", "fp32,fp8"), "unknown precision 'fp8'"),
        (
            ("run", "mlp", "--environment", "fake", "--batch", "many"),
            "--batch takes whole numbers from 1 to 1,000,000, got 'many'",
        ),
        (("run", "mlp", "--environment", "fake", "--python", "torch"), "--python takes NAME=PATH, got 'torch'"),
        (("run", "mlp", "--python", "torch=/no/such/python"), "'/no/such/python' is not a program"),
        (("run", "mlp", "--environment", "fake", "--profile", "ful"), "unknown profile 'ful'; did you mean 'full'?"),
        (("run", "mlp", "--environment", "fake", "--threads", "0"), "--threads must be at least 1, got 0"),
        (
            ("run", "mlp", "--environment", "fake", "--timeout", "0"),
            "--timeout must be above 0 and at most 1,000,000 seconds, got 0",
        ),
        (("run", "--resume", "--results", "nowhere"), "no runs in nowhere yet"),
        (("report", "--results", "nowhere"), "no runs in nowhere yet"),
        (("compare", "torch", "jaks"), "unknown environment 'jaks'; did you mean 'jax'?"),
        (("compare", "torch/gpu", "jax"), "unknown device 'gpu'"),
        (("compare", "fake", "fake", "--blocks", "4"), "--blocks must be at least 8"),
        (("export", "out.json", "--results", "nowhere"), "no runs in nowhere yet"),
        (("verify", "mlp:tiny-test", "--environment", "fake", "--dump", "o.npz"), "--dump takes one cell"),
        (("run", "mlp", "--environment", "fake", "--seed", "-1"), "--seed must be from 0 to 4294967295, got -1"),
        (("run", "mlp", "--environment", "fake", "--timeout", "nan"), "--timeout must be above 0"),
        (("run", "mlp", "--environment", "fake", "--timeout", "inf"), "--timeout must be above 0"),
        (
            ("run", "mlp", "--environment", "fake", "--batch", "9" * 20),
            "--batch takes whole numbers from 1 to 1,000,000",
        ),
        (("run", "mlp", "--environment", "fake", "--run", "x"), "give --resume, too"),
        (("run", "mlp", "--resume"), "--resume goes on with a run as it was asked for"),
        (("report", "--margin", "nan"), "--margin must be a number from 0, got nan"),
        (("compare", "fake", "fake", "--margin", "-1"), "--margin must be a number from 0, got -1"),
        (("compare", "fake", "fake", "--session-sd", "-1"), "--session-sd must be a number from 0"),
        (("compare", "fake", "fake", "--across", "chip"), "--across is for stored runs"),
        (("compare", "latest", "fake"), "are a run and a side"),
        (("verify", "mlp:wide", "--environment", "fake", "--phase", "training", "--converge"), "has none"),
    ],
)
def test_bad_input_is_an_error_that_names_the_value_and_the_nearest_choice(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = cli(*arguments)
    assert code == 2, out
    assert said in one_line(err)
    assert "Traceback" not in err
    assert not list(tmp_path.glob("r*/*")), "nothing was begun"


def test_a_framework_that_is_not_installed_says_how_to_get_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = cli("run", "mlp", "--environment", "jax")
    assert code == 2
    assert "nox -s 'bench(jax)'" in one_line(err)
    code, _, err = cli("run", "mlp")
    assert code == 2
    assert "no framework is installed" in one_line(err)


def test_the_table_at_the_end_has_every_figure(cli: Cli) -> None:
    code, out, _ = cli("run", *TINY, *SMALL, "--phase", "inference")
    assert code == 0
    for word in ("throughput", "p50 / p90 / p99", "vs baseline", "error (limit)", "measured", "samples/s", "report:"):
        assert word in out


@pytest.mark.parametrize(
    ("environments", "code"),
    [("fake", 0), ("fake-wrong", 4), ("fake,fake-nan", 4), ("fake-impossible", 4)],
)
def test_exit_codes_of_run(cli: Cli, environments: str, code: int) -> None:
    selection = ("mlp:digits", "--phase", "inference", "--precision", "fp32", "--device", "cpu")
    assert cli("run", *selection, "--environment", environments, *SMALL)[0] == code


def test_nothing_measured_is_exit_3(cli: Cli) -> None:
    code, out, _ = cli("run", *TINY, *SMALL, "--mode", "compiled", "--precision", "fp32")
    assert code == 3
    assert "there is nothing to compile" in out


def test_a_wrong_cell_shows_no_speed_anywhere(cli: Cli, tmp_path: Path) -> None:
    selection = ("mlp:tiny-test", "--phase", "inference", "--precision", "fp32", "--device", "cpu")
    _, out, _ = cli("run", *selection, "--environment", "fake-wrong", *SMALL)
    (record,) = records_of(only_run(tmp_path / "r"))
    assert record.measurement is None, "the clock was never started"
    cli("report", "--results", "r", "--out", "page.html")
    assert "samples/s" not in (tmp_path / "page.html").read_text()
    _, markdown, _ = cli("report", "--results", "r", "--format", "markdown")
    assert "samples/s" not in out + markdown
    code, _, _ = cli("export", "out.json", "--results", "r")
    assert code == 3
    assert json.loads((tmp_path / "out.json").read_text())["benchmarks"] == []


def test_a_ceiling_measured_beside_a_neighbour_is_measured_again(cli: Cli, tmp_path: Path) -> None:
    """It was a fiftieth of the true one, and less than the cell then reached; alone, nothing is taken twice."""
    selection = ("mlp:digits", "--phase", "inference", "--precision", "fp32", "--device", "cpu")
    code, out, _ = cli("run", *selection, "--environment", "fake", "--environment", "fake-crowded", *SMALL)
    assert code == 0, out
    rates = {r.cell.environment: r.measurement for r in records_of(only_run(tmp_path / "r"))}
    alone, crowded = (rates[name].gemm_flops_per_s for name in ("fake", "fake-crowded"))  # type: ignore[union-attr]
    assert alone is not None
    assert crowded == pytest.approx(alone, rel=0.02)


def test_an_implausible_cell_is_measured_but_not_believed(cli: Cli, tmp_path: Path) -> None:
    selection = ("mlp:digits", "--phase", "inference", "--precision", "fp32", "--device", "cpu")
    _, out, _ = cli("run", *selection, "--environment", "fake-impossible", *SMALL)
    (record,) = records_of(only_run(tmp_path / "r"))
    assert IMPLAUSIBLE_ROOFLINE in record.labels
    assert "implausible" in out
    table = out[out.index("Throughput and latency per cell") :]
    assert "samples/s" not in table


def _weights(changes: dict[str, np.ndarray | None], path: Path) -> Path:
    spec = get("mlp")
    weights = spec.weights(spec.sizes["tiny-test"].config, 5)
    for name, value in changes.items():
        if value is None:
            del weights[name]
        else:
            weights[name] = value
    save_file(weights, path)
    return path


def test_weights_from_a_file_are_used_and_their_hash_recorded(cli: Cli, tmp_path: Path) -> None:
    path = _weights({}, tmp_path / "own.safetensors")
    one = ("--phase", "inference", "--precision", "fp32")
    assert cli("run", *TINY, *SMALL, *one, "--weights", path)[0] == 0
    assert cli("run", *TINY, *SMALL, *one)[0] == 0
    shas = [records_of(run)[0].fingerprint.weights_sha256 for run in store.runs(tmp_path / "r")]
    assert len(set(shas)) == 2


def test_weights_that_do_not_fit_are_named_each(cli: Cli, tmp_path: Path) -> None:
    changes = {"fc1.bias": None, "fc9.bias": np.zeros(3, np.float32), "fc2.weight": np.zeros((2, 2), np.float32)}
    path = _weights(changes, tmp_path / "bad.safetensors")
    for command in (("verify", *TINY), ("run", *TINY, *SMALL)):
        code, _, err = cli(*command, "--weights", path)
        assert code == 2
        for word in ("fc1.bias", "fc9.bias", "fc2.weight", "(2, 2)"):
            assert word in one_line(err)
        assert "holds weights of" not in err
    code, _, err = cli("verify", *TINY, "--weights", tmp_path / "absent.safetensors")
    assert code == 2
    assert "absent.safetensors" in err


def test_weights_of_another_size_are_recognised(cli: Cli, tmp_path: Path) -> None:
    spec = get("mlp")
    path = tmp_path / "digits.safetensors"
    save_file(dict(spec.weights(spec.sizes["digits"].config, 0)), path)
    code, _, err = cli("verify", *TINY, "--weights", path)
    assert code == 2
    assert "holds weights of mlp:digits, not of mlp:tiny-test" in one_line(err)


def test_inputs_and_outputs_travel_as_npz(cli: Cli, tmp_path: Path) -> None:
    spec = get("mlp")
    inputs = spec.inputs(spec.sizes["tiny-test"].config, "inference", 4, 9)
    np.savez(tmp_path / "in.npz", allow_pickle=False, **inputs)
    one = ("--phase", "inference", "--precision", "fp32")
    code, out, err = cli("verify", *TINY, *one, "--inputs", tmp_path / "in.npz", "--dump", "out.npz")
    assert code == 0, out + err
    weights = spec.weights(spec.sizes["tiny-test"].config, 0)
    truth = spec.reference(spec.sizes["tiny-test"].config, "inference", "default", weights, inputs)
    dumped = np.load(tmp_path / "out.npz")
    assert set(dumped.files) == set(truth)
    for name in truth:
        np.testing.assert_allclose(dumped[name], truth[name], rtol=1e-5)
    np.savez(tmp_path / "bad.npz", wrong=np.zeros(3))
    code, _, err = cli("verify", *TINY, *one, "--inputs", tmp_path / "bad.npz")
    assert code == 2
    assert "wrong" in err


def test_verify_says_what_is_wrong(cli: Cli) -> None:
    code, out, _ = cli(
        "verify", "mlp:tiny-test", "--environment", "fake,fake-wrong", "--device", "cpu", "--precision", "fp32"
    )
    assert code == 4
    assert "right" in out
    assert "wrong" in out
    assert "NumPy float64" in out


def test_compare_live_finds_a_tenth_and_says_slower_with_exit_1(cli: Cli, tmp_path: Path) -> None:
    one = ("-w", "mlp:tiny-test", "--phase", "inference", "--bursts", "3", "--results", "r")
    code, out, _ = cli("compare", "fake", "fake-slower", *one)
    assert code == 1, out
    assert "slower" in out
    records = records_of(only_run(tmp_path / "r"))
    assert len(records) == 24, "it told at the first look, and was measured again in four fresh blocks"
    assert sum(record.block.startswith("again-") for record in records) == 8
    assert "confirmed" in out
    assert all(len(record.measurement.bursts.wall_ns) > 3 for record in records if record.measurement), "turns of six"


def test_the_page_of_a_comparison_says_what_was_said_live(cli: Cli, tmp_path: Path) -> None:
    """Looks at its last block and raised margin are in run.json: report and compare page judge by them."""
    floor = {"wall": 0.05, "cpu": 0.05}
    (tmp_path / "r").mkdir()
    live = {"host": machine.facts()["host"], "floors": floor}
    (tmp_path / "r" / "selftest.json").write_text(json.dumps({"schema": 1, "live": live}))
    one = ("-w", "mlp:tiny-test", "--phase", "inference", "--bursts", "2", "--results", "r", "--blocks", "9")
    code, out, err = cli("compare", "fake", "fake-slower", *one)
    assert code == 1, out + err
    folder = only_run(tmp_path / "r")
    assert store.run_facts(folder)["rule"] == {"margin": 0.03, "looks": [8, 9], "floors": floor}
    for arguments, page in (
        ((folder.name,), f"{folder.name}.html"),
        (("--compare", folder.name, folder.name), f"{folder.name}..{folder.name}.html"),
    ):
        assert cli("report", *arguments, "--results", "r")[0] == 0
        (told,) = pagefile.read(Path("reports") / page).figures["comparisons"]
        assert (told["word"], told["margin"]) == ("slower", 0.05)
        code, out, err = cli("report", *arguments, "--results", "r", "--recheck")
        assert code == 0, out + err
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | {"rule": {"looks": [9, 8]}}))
    code, out, _ = cli("report", folder.name, "--results", "r")
    assert code == 0
    assert "looks must be positive and ascending" in one_line(out)


def test_a_checkout_is_a_side_of_its_own(cli: Cli, tmp_path: Path) -> None:
    one = ("-w", "mlp:tiny-test", "--phase", "inference", "--bursts", "2", "--results", "r", "--blocks", "8")
    code, out, err = cli("compare", "fake", "fake@old", "--checkout", f"fake@old={ROOT}", *one)
    assert code == 0, out + err
    assert {record.cell.environment for record in records_of(only_run(tmp_path / "r"))} == {"fake", "fake@old"}
    for option, message in (
        ("fake@old", "--checkout takes NAME=FOLDER"),
        (f"fake@odl={ROOT}", "unknown side 'fake@odl'; did you mean 'fake@old'?"),
        ("fake@old=/", "is no checkout of this project"),
    ):
        code, _, err = cli("compare", "fake", "fake@old", "--checkout", option, *one)
        assert (code, message in one_line(err)) == (2, True), err


def test_the_floor_of_this_machine_is_the_margin_unless_one_is_given(cli: Cli, tmp_path: Path) -> None:
    floors = {"wall": 0.2, "cpu": 0.2}
    (tmp_path / "r").mkdir()
    live = {"host": machine.facts()["host"], "floors": floors}
    (tmp_path / "r" / "selftest.json").write_text(json.dumps({"schema": 1, "live": live}))
    one = ("-w", "mlp:tiny-test", "--phase", "inference", "--bursts", "3", "--results", "r", "--blocks", "8")
    code, out, _ = cli("compare", "fake", "fake-slower", *one)
    assert (code, "margin raised to the" in out, "±20.0%" in out) == (0, True, True), out
    assert cli("compare", "fake", "fake-slower", "--margin", "0.03", *one)[0] == 1


def test_compare_live_of_the_same_thing_is_the_same(cli: Cli) -> None:
    one = ("-w", "mlp:tiny-test", "--phase", "inference", "--bursts", "3", "--results", "r")
    code, out, _ = cli("compare", "fake", "fake", *one)
    assert code == 0, out
    assert "same" in out


@pytest.mark.parametrize(("other", "code"), [("fake-wrong", 4), ("fake-nan", 4), ("fake/cpu/fp32/compiled", 3)])
def test_a_live_comparison_without_both_sides_is_no_success(cli: Cli, tmp_path: Path, other: str, code: int) -> None:
    one = ("-w", "mlp:tiny-test", "--phase", "inference", "--bursts", "2", "--results", "r")
    assert cli("compare", "fake", other, *one)[0] == code
    assert len(records_of(only_run(tmp_path / "r"))) <= 4, "what cannot be had is not tried for all blocks"


def test_a_live_comparison_is_nothing_to_go_on_with(cli: Cli, tmp_path: Path) -> None:
    cli("compare", "fake", "fake", "-w", "mlp:tiny-test", "--phase", "inference", "--bursts", "2", "--results", "r")
    folder = only_run(tmp_path / "r")
    before = len(records_of(folder))
    code, _, err = cli("run", "--resume", "--results", "r", "--run", folder.name)
    assert code == 2
    assert "live comparison" in one_line(err)
    assert cli("run", "--resume", "--results", "r")[0] == 2, "nor is it the newest run"
    assert len(records_of(folder)) == before


def test_facts_that_may_differ_are_words(cli: Cli, tmp_path: Path) -> None:
    for _ in range(2):
        cli("run", *TINY, *SMALL, "--phase", "inference", "--precision", "fp32")
    a, b = (run.name for run in store.runs(tmp_path / "r"))
    code, _, err = cli("compare", a, b, "--across", "chpi", "--results", "r")
    assert code == 2
    assert "did you mean 'chip'" in one_line(err)
    code, _, err = cli("compare", a, b, "-w", "mlp", "--results", "r")
    assert code == 2
    assert "no selection goes with them" in one_line(err)


def test_a_run_named_twice_counts_once(cli: Cli, tmp_path: Path) -> None:
    cli("run", *TINY, *SMALL, "--phase", "inference", "--precision", "fp32")
    name = only_run(tmp_path / "r").name
    cli("report", name, "latest", str(tmp_path / "r" / name), "--results", "r", "--format", "markdown", "--out", "m.md")
    assert "1 process, no interval" in (tmp_path / "m.md").read_text()


def test_runs_under_other_conditions_are_not_one_cell(cli: Cli, tmp_path: Path) -> None:
    for _ in range(2):
        cli("run", *TINY, *SMALL, "--phase", "inference", "--precision", "fp32")
    a, b = store.runs(tmp_path / "r")
    assert cli("report", a.name, b.name, "--results", "r", "--out", "p.html")[0] == 0
    path = b / store.RECORDS
    (record,) = records_of(b)
    numpy = record.fingerprint.versions["numpy"]
    path.write_text(path.read_text().replace(f'"numpy":"{numpy}"', '"numpy":"9.9.9"'))
    code, _, err = cli("report", a.name, b.name, "--results", "r", "--out", "p.html")
    assert code == 2
    assert f"numpy differs: {numpy} against 9.9.9" in one_line(err)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1, 2]", "holds no object"),
        ("{}", "was not written by this version"),
        ("not json", "cannot be read"),
        ('{"twinbench": "0.0.9"}', "was not written by this version"),
    ],
)
def test_a_damaged_run_file_is_named(cli: Cli, tmp_path: Path, content: str, said: str) -> None:
    cli("run", *TINY, *SMALL, "--phase", "inference", "--precision", "fp32")
    folder = only_run(tmp_path / "r")
    (folder / store.RUN).write_text(content)
    code, _, err = cli("run", "--resume", "--run", folder.name, "--results", "r")
    assert code == 2
    assert said in one_line(err)
    assert cli("report", folder.name, "--results", "r", "--out", "p.html")[0] == 0, "its records are still good"


def test_a_run_of_another_version_is_not_gone_on_with(cli: Cli, tmp_path: Path) -> None:
    cli("run", *TINY, *SMALL, "--phase", "inference", "--precision", "fp32")
    path = only_run(tmp_path / "r") / store.RUN
    path.write_text(path.read_text().replace('"twinbench": "', '"twinbench": "0.0.9-'))
    code, _, err = cli("run", "--resume", "--results", "r")
    assert code == 2
    assert "start a new run" in one_line(err)


def test_a_folder_that_cannot_be_written_is_a_sentence(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "file"))
    code, _, err = cli("run", *TINY, *SMALL)
    assert code == 2
    assert "file" in err
    assert "Traceback" not in err


def test_an_interpreter_that_vanishes_costs_its_own_records_only(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = harness.local_spawner({})
    spawned: list[str] = []

    def spawner(pythons: object) -> object:
        def spawn(environment: Environment, device: str, variables: dict[str, str]) -> Worker:
            spawned.append(environment.name)
            if environment.name == "fake-slower" and spawned.count("fake-slower") > 1:
                raise FileNotFoundError(2, "No such file or directory", "/gone/python")
            return real(environment, device, variables)

        return spawn

    monkeypatch.setattr(setup, "spawner", spawner)
    selection = ("mlp:tiny-test", "--environment", "fake,fake-slower", "--device", "cpu", "--precision", "fp32")
    code, _, _ = cli("run", *selection, "--phase", "inference", *SMALL)
    assert code == 4
    outcomes = {r.cell.environment: r.outcome for r in records_of(only_run(tmp_path / "r"))}
    assert isinstance(outcomes["fake"], Measured)
    failed = outcomes["fake-slower"]
    assert isinstance(failed, Failed)
    assert failed.stage == "spawn"


def test_compare_stored_runs_is_advisory(cli: Cli, tmp_path: Path) -> None:
    for _ in range(2):
        cli("run", *TINY, "--phase", "inference", "--bursts", "2", "--results", "r")
    a, b = store.runs(tmp_path / "r")
    code, out, _ = cli("compare", a.name, b.name, "--results", "r")
    assert code == 0, out
    assert "advisory" in out


def test_compare_of_stored_runs_without_a_common_cell_says_what_each_has(cli: Cli, tmp_path: Path) -> None:
    made: list[str] = []
    for precision in ("fp32", "fp16", "fp32,fp16"):
        selection = ("mlp:tiny-test", "--environment", "fake", "--device", "cpu", "--phase", "inference")
        cli("run", *selection, "--precision", precision, *SMALL)
        # Names of runs within one second are in no order.
        made += [run.name for run in store.runs(tmp_path / "r") if run.name not in made]
    a, b, both = made
    code, _, err = cli("compare", a, b, "--results", "r")
    assert code == 2
    assert "no cell in common: A has (mlp:tiny-test inference b4 fake/cpu fp32 eager), B has (mlp" in one_line(err)
    assert "precision differs: fp32 against fp16 (--across precision compares them)" in one_line(err)
    code, out, _ = cli("compare", a, b, "--across", "precision", "--results", "r")
    assert code == 0, out
    assert "left out" not in out
    code, out, _ = cli("compare", a, both, "--results", "r")
    assert code == 0, out
    assert "left out: mlp:tiny-test inference b4 fake/cpu fp16 eager: in B only" in out
    (tmp_path / "r" / b / store.RECORDS).write_text("garbage\n")
    code, _, err = cli("compare", a, b, "--across", "precision", "--results", "r")
    assert code == 2
    assert "B has none; 1 lines could not be read, the first:" in one_line(err)


def test_compare_lists_what_has_no_ratio_also_where_nothing_has_one(cli: Cli, tmp_path: Path) -> None:
    made: list[str] = []
    for environment in ("fake", "fake,fake-wrong"):
        cli("run", "mlp:tiny-test", "--environment", environment, "--device", "cpu", "--precision", "fp32",
            "--phase", "inference", *SMALL)  # fmt: skip
        made += [run.name for run in store.runs(tmp_path / "r") if run.name not in made]
    a, b = made
    records = tmp_path / "r" / a / store.RECORDS
    records.write_text(re.sub(r'"threads":\d+', '"threads":77', records.read_text()))
    code, out, _ = cli("compare", a, b, "--results", "r")
    assert code == 3, out
    assert "left out: mlp:tiny-test inference b4 fake/cpu fp32 eager: threads differs: 77 against" in out
    assert "left out: mlp:tiny-test inference b4 fake-wrong/cpu fp32 eager: in B only" in out


def test_works_that_one_side_of_a_live_comparison_has_are_listed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = plan.cells

    def fewer(selection: Selection, *rest: Any) -> Any:
        found, skips = real(selection, *rest)
        return [one for one in found if one.environment == "fake" or one.batch == 4], skips

    monkeypatch.setattr(comparing, "cells", fewer)
    one = ("-w", "mlp:tiny-test", "--phase", "inference", "--bursts", "2", "--results", "r")
    _, out, _ = cli("compare", "fake", "fake-slower", "--batch", "4,8", *one)
    assert "left out: mlp:tiny-test inference b8 fake/cpu fp32 eager: in A only" in out
    code, _, err = cli("compare", "fake", "fake-slower", "--batch", "8", *one)
    assert code == 2
    assert "no cell in common: A has (mlp:tiny-test inference b8 fake/cpu fp32 eager), B has none" in one_line(err)


def test_a_mistyped_run_is_told_the_nearest(cli: Cli, tmp_path: Path) -> None:
    cli("run", *TINY, *SMALL, "--phase", "inference", "--precision", "fp32")
    name = only_run(tmp_path / "r").name
    typo = f"{name[:-1]}{'0' if name[-1] != '0' else '1'}"
    for pair in ((name, typo), (typo, name), (typo, typo), ("lates", name)):
        code, _, err = cli("compare", *pair, "--results", "r")
        assert code == 2
        assert "unknown run" in one_line(err), pair
        assert "did you mean" in one_line(err)
    assert f"did you mean '{name}'" in one_line(cli("compare", name, typo, "--results", "r")[2])
    code, _, err = cli("compare", name, "fake", "--results", "r")
    assert code == 2
    assert "are a run and a side" in one_line(err)


def test_a_damaged_line_is_shown_and_skipped_by_every_reader(cli: Cli, tmp_path: Path) -> None:
    cli("run", *TINY, *SMALL, "--phase", "inference")
    folder = only_run(tmp_path / "r")
    path = folder / store.RECORDS
    path.write_bytes(b"garbage\n" + path.read_bytes())
    for command in (("report", "--out", "p.html"), ("export", "o.csv", "--format", "csv")):
        code, out, _ = cli(*command, "--results", "r")
        assert code == 0
        assert f"{path}:1" in one_line(out).replace(" ", "") or f"{store.RECORDS}:1" in out
    assert "records.jsonl:1" in (tmp_path / "p.html").read_text()


def test_list_and_doctor(cli: Cli) -> None:
    code, out, _ = cli("list")
    assert code == 0
    for word in ("mlp", "tiny-test", "digits *", "wide", "torch", "tensorflow", "jax"):
        assert word in out
    code, out, _ = cli("doctor", "--environment", "fake", "--json", "-")
    assert code == 0
    facts = json.loads(out)
    assert {sight["device"] for sight in facts["environments"]} == {"cpu", "cuda"}
    assert facts["environments"][0]["probe"]["precisions"]["bf16"] == "bf16"
    by_device = {sight["device"]: sight["probe"] for sight in facts["environments"]}
    assert (by_device["cpu"]["precisions"]["tf32"], by_device["cuda"]["precisions"]["tf32"]) == ("fp32", "tf32")
    rates = by_device["cpu"]["gemm_rates_flops_per_s"]
    assert rates["bf16"] == pytest.approx(rates["fp32"], rel=0.2)
    code, out, _ = cli("doctor", "--environment", "fake-never-syncing")
    assert code == 0
    assert "DOES NOT WAIT" in out
    assert "emulated" not in out
    code, out, _ = cli("doctor", "--environment", "fake-emulating")
    assert code == 0
    assert any("bf16: bf16" in line and "emulated" in line for line in out.splitlines())
    assert not any("fp16: fp16" in line and "emulated" in line for line in out.splitlines())


def test_tf32_is_measured_where_it_is_and_unsupported_where_it_is_not(cli: Cli, tmp_path: Path) -> None:
    cli("run", "mlp:tiny-test", "--environment", "fake", "--phase", "inference", "--precision", "tf32", *SMALL)
    found = {record.cell.device: record for record in records_of(only_run(tmp_path / "r"))}
    assert found["cpu"].outcome == Unsupported("asked for tf32, measured fp32")
    assert isinstance(found["cuda"].outcome, Measured)
    assert found["cuda"].precision is not None
    assert found["cuda"].precision.label == "tf32"


def test_fp32_that_is_fp16_for_large_products_is_wrong(cli: Cli, tmp_path: Path) -> None:
    """A plugin that casts large operands only: the model's own small products are right, and prove nothing."""
    arguments = ("--environment", "fake-casting", "--device", "cpu", "--phase", "inference", "--precision", "fp32")
    code, _, _ = cli("run", "mlp:tiny-test", *arguments, *SMALL)
    assert code == 4
    (record,) = records_of(only_run(tmp_path / "r"))
    assert isinstance(record.outcome, Wrong)
    assert "asked for fp32, a matrix product shows fp32, large: fp16" in record.outcome.detail


def test_an_emulated_precision_is_labelled_and_still_measured(cli: Cli, tmp_path: Path) -> None:
    arguments = ("--environment", "fake-emulating", "--device", "cpu", "--phase", "inference")
    cli("run", "mlp:digits", *arguments, "--precision", "bf16,fp16", *SMALL)
    labelled = {record.cell.precision: record.labels for record in records_of(only_run(tmp_path / "r"))}
    assert "emulated" in labelled["bf16"]
    assert "emulated" not in labelled["fp16"]


def test_help_and_version_from_a_process() -> None:
    for arguments in (["--help"], ["run", "--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-m", "bench", *arguments], capture_output=True, text=True, check=True)
        assert done.stdout
