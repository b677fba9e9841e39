"""``twinbench report --recheck``: a right page passes, and no figure can be changed in it or under it unseen."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from bench import rechecking, reporting, store
from bench.errors import UsageError
from bench.record import Measured
from bench.report import pagefile, raw, recheck, shown
from bench.report.facts import find_baselines
from bench.report.names import ELEMENT
from bench.summary import summarise
from tests.harness import Cli, command_line
from tests.samples import CELL, MS, bursts, measurement, record
from tests.stored_runs import EVIL, edited, one_of_each, several, write

RUN = "20261122-100000-aaaa"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return command_line(monkeypatch, capsys)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has one cell of each kind, and its report; drawn once."""
    folder = tmp_path_factory.mktemp("original")
    run = write(folder / "results", RUN, one_of_each())
    reporting.write_html(reporting.gather([run], "", 0.03, ""), folder / "reports" / f"{RUN}.html")
    return folder


@pytest.fixture
def page(cli: Cli, original: Path, tmp_path: Path) -> Path:
    """A copy of the report, with its run in the results."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path / "reports" / f"{RUN}.html"


def checked(cli: Cli, *arguments: str) -> tuple[int, str]:
    """Exit code and what was said, on one line."""
    code, out, err = cli("report", *arguments, "--recheck")
    return code, " ".join((out + err).split())


def test_a_page_that_is_right_passes_and_says_how_much_was_recomputed(cli: Cli, page: Path) -> None:
    code, told = checked(cli, RUN)
    assert code == 0, told
    count = re.search(r"(\d+) figures recomputed from the raw samples, all as shown", told)
    assert count is not None
    assert int(count[1]) > 100
    assert checked(cli, "--out", str(page))[0] == 0, "the page knows its runs"


def test_the_second_path_gives_every_figure_that_pages_carry(tmp_path: Path) -> None:
    """All figures of all kinds of cells, by the same names, from code that shares no arithmetic."""
    folder = write(tmp_path, RUN, one_of_each())
    summaries = summarise(store.read(folder, []))
    baselines, by_cell = find_baselines(summaries, ""), {one.cell: one for one in summaries}
    found = raw.cells(raw.Samples(store.read(folder, [])), "")
    assert set(found) == {one.cell.id for one in summaries}
    names: set[str] = set()
    for one in summaries:
        wanted = shown.cell(one, baselines.get(one.cell.work), by_cell)
        recomputed = {name: value for name, value in found[one.cell.id].items() if name != "label"}
        assert recomputed.keys() == wanted.keys()
        assert list(recheck.differences({"cells": {"x": wanted}}, {"cells": {"x": recomputed}})) == []
        names |= wanted.keys()
    assert {"items_per_s_low", "over_baseline_high", "over_cpu", "latency_p99_s", "start_up_load_s"} <= names
    assert {"stage_next_s", "joules_per_item_dram", "device_memory_bytes", "peak_rss_bytes", "error"} <= names
    outcomes = {"measured", "wrong", "implausible", "failed", "timed_out", "unsupported"}
    assert {one.outcome for one in summaries} == outcomes


def test_saboteur_an_edited_figure_in_the_data_is_named_with_its_cell(cli: Cli, page: Path) -> None:
    figures = pagefile.read(page).figures["cells"][CELL.id]
    edited(page, f'"items_per_s":{figures["items_per_s"]}', f'"items_per_s":{1.1 * figures["items_per_s"]:.7g}')
    code, told = checked(cli, RUN)
    assert code == 1
    assert f"cell {CELL.id} ({CELL.label}): items_per_s is" in told


def test_saboteur_an_edited_figure_in_the_text_is_named_with_its_place(cli: Cli, page: Path) -> None:
    """The data are untouched: what a reader sees is compared, too."""
    head, grid, rest = page.read_text(encoding="utf-8").partition('<h2 id="grid"')
    square = re.search(r">(\d[\d.,]*)<", rest)
    assert square is not None
    changed = rest[: square.start(1)] + "9,999" + rest[square.end(1) :]
    page.write_text(head + grid + changed, encoding="utf-8")
    assert ELEMENT not in rest[: square.end()], "the data stand further down"
    code, told = checked(cli, RUN)
    assert code == 1
    assert f"the page says '9,999', the records give '{square[1]}'" in told
    assert "mlp:digits inference, batch 64 / " in told


def test_saboteur_an_edited_tooltip_is_seen(cli: Cli, page: Path) -> None:
    title = re.search(r'title="([^"]* samples?/s, [^"]*)"', page.read_text(encoding="utf-8"))
    assert title is not None
    edited(page, title[1], title[1].replace("95 %", "99 %"))
    code, told = checked(cli, RUN)
    assert code == 1
    assert "99 % interval" in told


def test_saboteur_an_edited_record_is_seen(cli: Cli, page: Path, tmp_path: Path) -> None:
    path = tmp_path / "results" / RUN / "records.jsonl"
    lines = path.read_text().splitlines()
    victim = json.loads(lines[0])
    victim["measurement"]["bursts"]["wall_ns"] = [2 * ns for ns in victim["measurement"]["bursts"]["wall_ns"]]
    path.write_text("\n".join([json.dumps(victim), *lines[1:]]) + "\n")
    code, told = checked(cli, RUN)
    assert code == 1
    assert f"cell {victim['cell_id']} (" in told
    path.write_text("\n".join(lines[1:]) + "\n")
    assert "attempted is 3 on the page, 2 from the raw samples" in checked(cli, RUN)[1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('id="twinbench-figures"', 'id="other"', "holds no figures"),
        ('{"format":1,', '{"format":99,', "have format 99; this twinbench reads 1"),
        ('{"format":1,', '{"format"1,', "cannot be read"),
        ('"kind":"report"', '"kind":"opinion"', "a page of kind 'opinion'; known are report, compare, index"),
        ('"cells":{', '"cells":7,"was":{', "are damaged"),
        (f'"runs":["{RUN}"]', '"runs":["gone"]', "unknown run 'gone'"),
    ],
)
def test_a_damaged_page_is_a_sentence(cli: Cli, page: Path, old: str, new: str, said: str) -> None:
    edited(page, old, new)
    code, told = checked(cli, "--out", str(page))
    assert code == 2
    assert said in told


@pytest.mark.parametrize(
    ("pattern", "new", "said"),
    [
        (r'"counts":{[^}]*"measured":\d+', '"counts":{"measured":99', "counts.measured is 99 in the page's data"),
        (r'"title":"[^"]*"', '"title":"best of all"', "the records give 'best of all'"),
        (r'"looks":\[[^]]*\]', '"looks":[8]', "looks is"),
        (r'"baseline":""', '"baseline":"","claim":7', "claim is 7 in the page's data, missing in"),
        (r"<p ([^>]*)>", r"<p hidden \1>", "the page says 'hidden: '"),
        (r'<p class="lead">', '<p class="needs-script">', "the page says 'class: needs-script'"),
        (r'<p class="lead">', '<template></template><p class="lead">', "the page says '<template>'"),
    ],
)
def test_saboteur_what_only_the_page_made_anew_can_tell_is_found(
    cli: Cli, page: Path, pattern: str, new: str, said: str
) -> None:
    """Counts and words that the second path does not compute, and what hides or colours a sentence."""
    text = page.read_text(encoding="utf-8")
    changed = re.sub(pattern, new, text, count=1)
    assert changed != text
    page.write_text(changed, encoding="utf-8")
    code, told = checked(cli, RUN)
    assert code == 1, told
    assert said in told


@pytest.mark.parametrize(
    ("pattern", "new", "said"),
    [
        (r'"word":"inconclusive"', '"word":"same"', "comparisons[0].word is 'same' in the page's data"),
        (r'"blocks":0', '"blocks":64', "comparisons[0].blocks is 64"),
        (r'("mean":{.*?"ratio_low":)[0-9.]+', r"\g<1>0.001", "mean.ratio_low is 0.001"),
    ],
)
def test_saboteur_forged_data_of_a_comparison_are_found(
    cli: Cli, tmp_path: Path, pattern: str, new: str, said: str
) -> None:
    cells = [CELL.but(batch=batch) for batch in (1, 2, 4)]
    names = (RUN, "20261123-100000-bbbb")
    for seed, name in enumerate(names):
        write(tmp_path / "results", name, several(dict.fromkeys(cells, 5.0 * MS), seed=seed))
    assert cli("report", "--compare", *names)[0] == 0
    page = tmp_path / "reports" / f"{names[0]}..{names[1]}.html"
    text = page.read_text(encoding="utf-8")
    changed = re.sub(pattern, new, text, count=1)
    assert changed != text
    page.write_text(changed, encoding="utf-8")
    code, told = checked(cli, "--compare", *names)
    assert code == 1, told
    assert said in told


def test_a_page_of_another_version_is_checked_in_its_figures_and_does_not_pass(cli: Cli, page: Path) -> None:
    """A changed version word would otherwise let every visible figure through."""
    edited(page, '"twinbench":"', '"twinbench":"9.')
    edited(page, "Outputs against the reference", "What they called it then")
    code, told = checked(cli, RUN)
    assert code == 5
    assert "its text was not compared: twinbench 9." in told
    figures = pagefile.read(page).figures["cells"][CELL.id]
    edited(page, f'"items_per_s":{figures["items_per_s"]}', '"items_per_s":1.5')
    assert checked(cli, RUN)[0] == 1, "a wrong figure comes before what could not be compared"


def test_quoted_error_rates_of_another_selftest_are_no_pass(cli: Cli, page: Path) -> None:
    edited(page, ">How often the suite itself errs</h2>", ">How often the suite itself errs</h2><p>0 of 300</p>")
    code, told = checked(cli, RUN)
    assert code == 5, told
    assert "are another selftest's by now" in told


def test_a_page_that_is_not_there(cli: Cli, page: Path) -> None:
    page.unlink()
    code, told = checked(cli, RUN)
    assert code == 2
    assert "there is no page reports/" in told


def test_duets_are_recomputed_by_block(cli: Cli, tmp_path: Path) -> None:
    """Both sides in one block; B is a tenth faster, and the page of the run carries the verdict."""
    other = CELL.but(precision="bf16")
    wall = [[50 * MS + (7 * block + 3 * burst) % 11 * MS // 50 for burst in range(6)] for block in range(8)]
    records = [
        record(
            cell,
            block,
            measured=measurement(bursts=bursts([int(ns * factor) for ns in wall[block]])),
            block=f"b{block}",
        )
        for block in range(8)
        for cell, factor in ((CELL, 1.0), (other, 1 / 1.1 + block / 1000))
    ]
    write(tmp_path / "results", RUN, records)
    assert cli("report", RUN)[0] == 0
    assert cli("report", "--compare", RUN, RUN)[0] == 0
    (told,) = pagefile.read(tmp_path / "reports" / f"{RUN}.html").figures["comparisons"]
    assert (told["word"], told["blocks"]) == ("faster", 8)
    for arguments in ((RUN,), ("--compare", RUN, RUN)):
        assert checked(cli, *arguments)[0] == 0
    for page in (f"{RUN}.html", f"{RUN}..{RUN}.html"):
        edited(tmp_path / "reports" / page, '"word":"faster"', '"word":"slower"')
    for arguments in ((RUN,), ("--compare", RUN, RUN)):
        code, said = checked(cli, *arguments)
        assert code == 1
        assert "slower, but the interval is" in said
    edited(tmp_path / "reports" / f"{RUN}.html", f'"ratio":{told["ratio"]}', '"ratio":1.5')
    assert f"comparison {CELL.id} {other.id}: ratio is 1.5 on the page" in checked(cli, RUN)[1]


def test_text_in_the_data_cannot_end_it() -> None:
    block = str(shown.block({"title": EVIL}))
    assert block.count("<") == 2
    page = pagefile.parsed(f"<body><p>{'x'}</p>{block}</body>")
    assert page.figures["title"] == EVIL
    with pytest.raises(UsageError, match="2 sets of figures"):
        pagefile.parsed(block + block)


def test_a_figure_that_is_no_number_is_left_out_not_written(tmp_path: Path) -> None:
    """NaN and infinities in a record: JSON has no word for them, and a page that has one could not be read back."""
    folder = write(tmp_path, RUN, several({CELL: 5.0 * MS}))
    path = folder / "records.jsonl"
    lines = path.read_text().splitlines()
    for hostile in ("NaN", "Infinity", "1e999"):
        path.write_text("\n".join([re.sub(r'"error":[^,]+', f'"error":{hostile}', lines[0]), *lines[1:]]) + "\n")
        problems: list[str] = []
        records = list(store.read(folder, problems))
        assert all(isinstance(one.outcome, Measured) for one in records)
        assert len(problems) + len(records) == len(lines)
        (found,) = raw.cells(raw.Samples(records), "").values()
        (one,) = summarise(records)
        assert shown.cell(one, None, {}).get("error") == pytest.approx(found.get("error"))


def test_the_committed_sample_is_what_its_records_give() -> None:
    """The page that the README shows; ``nox -s screenshots`` makes it anew."""
    root = Path(__file__).parents[1]
    found = rechecking.check(root / "reports" / "reference" / "sample.html", root / "results" / "reference" / "h100")
    assert found.differences == ()
    assert found.figures > 100
