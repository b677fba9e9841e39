"""The first sentence and figure: over the same cells, between environments, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from bench import store
from bench.report import pictures, ranking
from bench.report.facts import accelerations
from bench.report.headline import headline
from bench.report.ink import PAPER
from bench.summary import CellSummary, summarise
from benchmarks.screenshots import REFERENCE, SAMPLE
from tests.report_fixtures import cell, measured

#: Gain of an environment, times that of a cell: who is faster is so in every cell.
GAINS = {"jax": 10.0, "tensorflow": 8.0, "torch": 6.0}
SIZES = {"digits": 0.2, "wide": 1.0, "huge": 2.0}


def pairs(gains: dict[str, float], sizes: dict[str, float], **words: object) -> list[CellSummary]:
    """Every environment on both devices, in every size."""
    return [
        measured(cell(environment=name, size=size, device=device, **words), rate)
        for name, gain in gains.items()
        for size, share in sizes.items()
        for device, rate in (("cpu", 100.0), ("cuda", 100.0 * gain * share))
    ]


def without(summaries: Sequence[CellSummary], **words: str) -> list[CellSummary]:
    """All but the cells with these words."""
    return [one for one in summaries if any(getattr(one.cell, name) != word for name, word in words.items())]


def texts(summaries: Sequence[CellSummary]) -> list[str]:
    """The words in the figure of the first screen, from top to bottom."""
    drawn = pictures.answer(summaries, pictures.series_of(summaries), "")
    assert drawn is not None
    axes = drawn.draw(PAPER).axes[0]
    return [text.get_text() for text in axes.texts]


def test_a_lost_slow_cell_moves_nobody_up() -> None:
    """Saboteur: torch, the slowest everywhere, loses its slowest cell; over its own cells it would lead."""
    whole, lost = pairs(GAINS, SIZES), without(pairs(GAINS, SIZES), environment="torch", size="digits", device="cuda")
    own = [one for one in accelerations(lost)[0].members if one[0].cell.environment == "torch"]
    assert math.exp(sum(math.log(ratio.estimate) for _, ratio in own) / 2) > 10 * 0.4 ** (1 / 3), "the trap is there"
    found = [ranking.over_cpu(accelerations(each)[0]) for each in (whole, lost)]
    for each in found:
        assert [row.name for row in each.ranked] == ["jax/cuda", "tensorflow/cuda", "torch/cuda"]
        means = [row.mean.estimate for row in each.ranked]
        assert [mean / means[0] for mean in means] == pytest.approx([1.0, 0.8, 0.6])
    assert [each.shared for each in found] == [3, 2]
    for summaries in (whole, lost):
        names = [word for word in texts(summaries) if word.endswith("/cuda")]
        assert names == ["jax/cuda", "tensorflow/cuda", "torch/cuda"]
        told = headline(summaries, "")
        assert told.index("jax runs at") < told.index("tensorflow at") < told.index("torch at")


def test_a_row_of_other_cells_stands_apart() -> None:
    lone = pairs({"mlx": 50.0}, {"huge": 2.0})
    summaries = [*pairs(GAINS, SIZES), *lone]
    found = ranking.over_cpu(accelerations(summaries)[0])
    assert ([row.name for row in found.apart], found.shared) == (["mlx/cuda"], 3)
    words = texts(summaries)
    assert words.index("not the same cells") == words.index("mlx/cuda") - 1
    assert words.index("torch/cuda") < words.index("not the same cells")
    told = headline(summaries, "")
    assert told.endswith("not the same cells, so not ranked: mlx.")
    assert "mlx at" not in told


def test_over_the_baseline_rows_share_their_works() -> None:
    """Without an accelerator: jax loses the work in which it was slowest."""
    cells = [
        measured(cell(environment=name, size=size), 100.0 * gain * share)
        for name, gain, share_of in (("torch", 1.0, 0.0), ("jax", 1.1, 1.0), ("tensorflow", 1.2, 1.0))
        for size, share in (("digits", 0.2**share_of), ("wide", 1.0), ("huge", 2.0**share_of))
    ]
    for each in (cells, without(cells, environment="jax", size="digits")):
        ranked = ranking.over_baseline(each, "")["fp32"].ranked
        assert [row.environment for row in ranked] == ["tensorflow", "jax"]
        assert ranked[0].mean.estimate / ranked[1].mean.estimate == pytest.approx(1.2 / 1.1)


def test_a_precision_with_fewer_works_takes_none_from_the_others() -> None:
    """bf16 runs one work of three: the mean at fp32 keeps all of them."""
    three = [measured(cell(environment=name, size=size), 100.0) for name in ("torch", "jax") for size in SIZES]
    found = ranking.over_baseline([*three, measured(cell(environment="jax", precision="bf16"), 50.0)], "")
    assert {precision: each.shared for precision, each in found.items()} == {"fp32": 3, "bf16": 1}
    words = texts([*three, measured(cell(environment="jax", precision="bf16"), 50.0)])
    assert [word for word in words if "n =" not in word] == ["fp32", "jax/cpu fp32 eager", "bf16", "jax/cpu bf16 eager"]


def test_modes_are_rows_of_their_own() -> None:
    """torch eager and compiled are not averaged, so that jax, which has no eager mode, meets the same cells."""
    both = [*pairs({"torch": 2.0}, SIZES), *pairs({"torch": 4.0, "jax": 3.0}, SIZES, mode="compiled")]
    found = ranking.over_cpu(accelerations(both)[0])
    assert [row.name for row in found.ranked] == ["torch/cuda compiled", "jax/cuda", "torch/cuda eager"]
    assert found.shared == 3


def test_the_sentence_holds_the_interval() -> None:
    told = headline(pairs({"jax": 10.0, "torch": 6.0}, {"wide": 1.0}), "")
    assert told == (
        "On CUDA, jax runs at 10.0× (9.6–10.4×) and torch at 6.00× (5.75–6.26×) the speed of its own CPU side "
        "(geometric mean of 1 cell that all of these have)."
    )


def test_an_environment_is_not_level_with_itself() -> None:
    """jax at fp16 is as fast as jax at fp32, and both are faster than torch: jax wins."""
    jax = [
        measured(cell(environment="jax", precision=precision), 200.0 + n)
        for n, precision in enumerate(("fp32", "fp16"))
    ]
    torch = [measured(cell(precision=precision), 100.0) for precision in ("fp32", "fp16")]
    level = [measured(one.cell.but(size="wide"), 100.0) for one in (*jax, *torch)]
    assert headline([*jax, *torch], "") == (
        "mlp:digits inference, batch 64: jax/cpu fp16 eager is fastest, 2.01× (1.93–2.10×) the speed of "
        "torch/cpu fp32 eager."
    )
    told = headline([*jax, *torch, *level], "")
    assert told.startswith("jax/cpu is fastest in 1 of 2 works; no clear winner in 1; the fastest reach ")
    assert headline(level, "").endswith("no clear winner; the intervals of jax/cpu and torch/cpu overlap at the top.")
    assert headline([*level, *(measured(one.cell.but(size="huge"), 100.0) for one in level)], "").startswith(
        "No clear winner in 2 of 2 works: the intervals"
    )


def test_the_first_sentence_of_the_reference_runs() -> None:
    """With an accelerator: how much faster, over which cells. Without: who wins, in how many works, by how much."""
    assert headline(summarise(store.read_all(SAMPLE, [])), "") == (
        "On CUDA, jax runs at 26× (20–34×) and torch at 9.7× (6.7–14×) the speed of its own CPU side (geometric mean "
        "of 3 cells that all of these have)."
    )
    (cpu,) = (path for path in (REFERENCE / "cpu").iterdir() if path.is_dir())
    assert headline(summarise(store.read(cpu, [])), "") == (
        "jax/cpu is fastest in 1 of 6 works; no clear winner in 5; the fastest reach 1.1× (0.84–1.5×) to 3.6× "
        "(2.6–4.9×) the speed of torch/cpu fp32 eager."
    )
