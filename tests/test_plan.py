"""From words to ordered blocks: pure, and every wrong word names its nearest."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from bench.cell import Cell
from bench.errors import UsageError
from bench.plan import Selection, blocks, cells, parse_work
from bench.setup import profile_of, workloads

HERE = {"torch": ("cpu",), "tensorflow": ("cpu",), "jax": ("cpu",)}
WITH_GPU = {"torch": ("cpu", "cuda"), "jax": ("cpu",)}
DIGITS = Selection(workloads=("mlp:digits",))


def chosen(selection: Selection, devices: dict[str, tuple[str, ...]] | None = None) -> list[Cell]:
    """The cells of a selection."""
    return cells(selection, workloads(), devices or HERE)[0]


def test_the_default_selection_is_the_main_job() -> None:
    found = chosen(Selection())
    assert {cell.workload for cell in found} == set(workloads()) - {"softshrink"}
    mlp = [cell for cell in found if cell.workload == "mlp"]
    assert {cell.size for cell in mlp} == {"digits"}
    assert {cell.phase for cell in mlp} == {"inference", "training"}
    assert {cell.precision for cell in mlp} == {"fp32", "fp16", "bf16"}
    assert {(cell.environment, cell.mode) for cell in mlp} == {
        ("torch", "eager"),
        ("tensorflow", "compiled"),
        ("jax", "compiled"),
    }
    assert len(mlp) == 2 * 3 * 3


def test_all_variants_and_modes() -> None:
    found = chosen(replace(DIGITS, variants=("all",), modes=("all",), phases=("training",), precisions=("fp32",)))
    assert {cell.variant for cell in found} == {"sgd", "adam"}
    assert {cell.mode for cell in found} == {"eager", "compiled", "xla"}
    assert len(found) == 2 * 3 * 3


def test_the_main_job_leaves_out_what_takes_minutes_unless_it_is_named() -> None:
    found = [cell for cell in chosen(Selection()) if cell.workload != "mlp"]
    assert {(c.workload, c.size) for c in found} == {("yolov5", "n"), ("whisper", "tiny")}
    assert {cell.phase for cell in found} == {"inference", "pipeline"}
    assert {cell.precision for cell in found if cell.phase == "pipeline"} == {"fp32"}
    named = chosen(Selection(workloads=("yolov5",), phases=("training",)))
    assert {cell.precision for cell in named} == {"fp32", "fp16", "bf16"}
    by_precision = chosen(Selection(workloads=("yolov5",), precisions=("bf16",)))
    assert {cell.phase for cell in by_precision} == {"inference", "pipeline"}
    by_variant = chosen(
        Selection(workloads=("whisper",), variants=("adamw",), precisions=("fp32",), phases=("training",))
    )
    assert {cell.phase for cell in by_variant} == {"training"}


def test_a_workload_that_is_not_in_the_main_job_runs_when_it_is_named() -> None:
    found = chosen(Selection(workloads=("softshrink:tall",)))
    assert {(cell.size, cell.phase, cell.variant) for cell in found} == {
        ("tall", "inference", "native"),
        ("tall", "training", "native"),
    }
    assert {cell.precision for cell in found} == {"fp32", "fp16", "bf16"}


def test_a_variant_may_hold_a_number() -> None:
    asked = Selection(workloads=("whisper:tiny",), variants=("tokens-64",), phases=("inference",), precisions=("fp32",))
    assert {cell.variant for cell in chosen(asked)} == {"tokens-64"}
    everything = chosen(replace(asked, variants=("all",)))
    assert {cell.variant for cell in everything} == {"default", "encoder"}, "no number can be guessed"
    both = chosen(replace(asked, variants=("all", "tokens-5")))
    assert {cell.variant for cell in both} == {"default", "encoder", "tokens-5"}
    for wrong in ("tokens-", "tokens-x", "tokens-N", "token-5", "tokens-5-5", "tokens--5"):
        with pytest.raises(UsageError, match="unknown variant of whisper"):
            chosen(replace(asked, variants=(wrong,)))
    with pytest.raises(UsageError, match="445"):
        chosen(replace(asked, variants=("tokens-446",)))


def test_the_identity_of_a_cell_is_its_words_and_nothing_else() -> None:
    cell = chosen(DIGITS)[0]
    assert cell.id == cell.but().id
    ids = {cell.id, *(cell.but(**{word: "x"}).id for word in cell.words() if word != "batch"), cell.but(batch=1).id}
    assert len(ids) == 1 + len(cell.words())


def test_the_identity_of_a_cell_never_changes() -> None:
    cell = Cell("mlp", "digits", "inference", "default", 64, "torch", "cpu", "fp32", "eager")
    assert cell.id == "53c61ab8a262", "every stored record and every history is keyed by this"


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (Selection(workloads=("mpl",)), "unknown workload 'mpl'; did you mean 'mlp'?"),
        (Selection(workloads=("mlp:digit",)), "unknown size of mlp 'digit'; did you mean 'digits'?"),
        (replace(DIGITS, phases=("pipeline",)), "unknown phase of mlp 'pipeline'"),
        (replace(DIGITS, phases=("trainig",)), "unknown phase 'trainig'; did you mean 'training'?"),
        (replace(DIGITS, variants=("adamw",)), "unknown variant of mlp 'adamw'; did you mean 'adam'?"),
        (replace(DIGITS, precisions=("fp61",)), "unknown precision 'fp61'; did you mean 'fp16'?"),
        (replace(DIGITS, modes=("compile",)), "unknown mode 'compile'; did you mean 'compiled'?"),
        (replace(DIGITS, devices=("gpu",)), "unknown device 'gpu'"),
        (replace(DIGITS, devices=("metal",)), "device 'metal' is not available here in torch, tensorflow, jax"),
        (replace(DIGITS, batches=(0,)), "batch must be at least 1, got 0"),
    ],
)
def test_a_wrong_word_is_named_with_the_nearest_choice(selection: Selection, said: str) -> None:
    with pytest.raises(UsageError) as error:
        chosen(selection)
    assert said in str(error.value)


def test_a_device_that_only_some_environments_have_is_an_explicit_skip() -> None:
    found, skips = cells(replace(DIGITS, devices=("cuda",)), workloads(), WITH_GPU)
    assert {cell.environment for cell in found} == {"torch"}
    assert skips == ["jax has no cuda here (it has cpu): not measured"]


def test_a_work_is_a_workload_with_or_without_a_size() -> None:
    assert parse_work("mlp", workloads()) == ("mlp", "digits")
    assert parse_work("mlp:wide", workloads()) == ("mlp", "wide")


def test_blocks_hold_every_cell_as_often_as_there_are_processes_and_are_shuffled_by_the_seed() -> None:
    found = chosen(DIGITS)
    planned = blocks(found, 3, seed=1)
    assert Counter(cell for block in planned for cell in block.cells) == dict.fromkeys(found, 3)
    assert [block.index for block in planned] == list(range(len(planned)))
    assert planned == blocks(found, 3, seed=1), "the same seed gives the same order, or resume would be lost"
    assert planned != blocks(found, 3, seed=2)
    first_round = [block.process for block in planned[: len(found)]]
    assert set(first_round) != {0}, "processes of a cell are spread over the run, not measured back to back"


def test_an_accelerator_is_measured_as_a_duet_with_its_cpu() -> None:
    found = chosen(replace(DIGITS, precisions=("fp32",)), WITH_GPU)
    planned = blocks(found, 1, seed=0)
    duets = [block.cells for block in planned if len(block.cells) == 2]
    assert len(duets) == 2  # inference and training of torch
    assert all(a.but(device="cuda") == b for a, b in duets)
    assert len([block for block in planned if len(block.cells) == 1]) == 2  # jax


@pytest.mark.parametrize(("processes", "bursts"), [(0, None), (None, 0), (-1, None)])
def test_a_count_below_one_is_refused(processes: int | None, bursts: int | None) -> None:
    with pytest.raises(UsageError, match="must be at least 1"):
        profile_of("quick", processes, bursts)


def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(UsageError, match="did you mean 'quick'"):
        profile_of("quik", None, None)
