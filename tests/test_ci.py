"""What users run without a person: workflows, the launchd job, and the lock that keeps two of them apart."""

from __future__ import annotations

import fcntl
import os
import plistlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer

from bench import alone

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = ROOT / ".github" / "workflows"
PLIST = ROOT / "docs" / "launchd" / "org.twinbench.nightly.plist"
#: Tools are installed beside this interpreter, as nox does.
BESIDE = Path(sys.executable).parent


def linted(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A linter as the lint session runs it, on ``folder``."""
    path = f"{BESIDE}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(BESIDE / command[0]), *command[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of .github in a repository of its own."""
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def spoil(repository: Path, name: str, old: str, new: str) -> None:
    """Change one place of a workflow."""
    path = repository / ".github" / "workflows" / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


ACTIONLINT = ("actionlint",)
ZIZMOR = ("zizmor", "--offline", "--persona=pedantic", "--no-progress", "--quiet", ".github")


def test_the_linters_are_those_of_the_lint_session() -> None:
    source = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    for command in (ACTIONLINT, ZIZMOR):
        words = ", ".join(f'"{word}"' for word in command)
        assert f"session.run({words})" in source


@pytest.mark.parametrize("command", [ACTIONLINT, ZIZMOR], ids=["actionlint", "zizmor"])
def test_workflows_are_clean(repository: Path, command: tuple[str, ...]) -> None:
    done = linted(repository, *command)
    assert done.returncode == 0, done.stdout + done.stderr


SABOTAGE = [
    (ACTIONLINT, "nightly.yml", "steps.page.outputs.page ==", "steps.pages.outputs.page ==", "pages"),
    (ACTIONLINT, "nightly.yml", "ARM64, twinbench]", "ARM64, twinbank]", "twinbank"),
    (ACTIONLINT, "nightly.yml", '"17 1 * * *"', '"17 25 * * *"', "cron"),
    (ACTIONLINT, "nightly.yml", '>> "$GITHUB_OUTPUT"', ">> $GITHUB_OUTPUT", "SC2086"),
    (ZIZMOR, "ci.yml", "@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0", "@v5", "unpinned-uses"),
    (ZIZMOR, "ci.yml", "        with:\n          persist-credentials: false\n", "", "artipacked"),
    (ZIZMOR, "metal.yml", "contents: read", "contents: write", "excessive-permissions"),
    (ZIZMOR, "metal.yml", "-s smoke", "-s smoke -- ${{ github.head_ref }}", "template-injection"),
    (ZIZMOR, "metal.yml", "  pull_request:", "  pull_request_target:", "dangerous-triggers"),
]


@pytest.mark.parametrize(("command", "name", "old", "new", "finding"), SABOTAGE, ids=[one[-1] for one in SABOTAGE])
def test_the_linters_see_what_is_wrong(
    repository: Path, command: tuple[str, ...], name: str, old: str, new: str, finding: str
) -> None:
    spoil(repository, name, old, new)
    done = linted(repository, *command)
    assert done.returncode != 0
    assert finding in done.stdout + done.stderr


#: Minutes of a night beside the waiting and the measuring: installations of each framework, the page, one hung block.
REST_MINUTES = 120


def ends_in_order(nightly: str) -> bool:
    """Whether waiting for the machine, ``--hours`` and the rest fit below the job's limit."""
    found = [re.search(rf"{word}:? (\d+)", nightly) for word in ("timeout-minutes", "--wait-minutes", "--hours")]
    limit, wait, hours = (int(one[1]) if one else None for one in found)
    return limit is not None and wait is not None and hours is not None and wait + 60 * hours + REST_MINUTES <= limit


def promises(workflows: Path) -> list[str]:
    """What is promised of the workflows and not kept."""
    nightly, metal = ((workflows / f"{name}.yml").read_text(encoding="utf-8") for name in ("nightly", "metal"))
    kept = {
        "one job has the GPU": "group: twinbench-gpu\n  cancel-in-progress: false" in nightly,
        "and the machine": "python3 -m bench.alone --wait-minutes" in nightly,
        "it ends in order before it is cancelled": ends_in_order(nightly),
        "mains power and a cool machine": "-s nightly -- --strict" in nightly,
        "no foreign code at home": "pull_request" not in nightly and "push:" not in nightly,
        "the history lives on": re.search(r"with:\n(.*\n)*?\s+clean: false", nightly) is not None,
        "a hosted Mac blocks nobody": "continue-on-error: true" in metal,
        "a hosted Mac times nothing": re.findall(r"noxfile\.py -s (\w+)", metal) == ["smoke"],
        "only the page may be deployed": nightly.count(": write") == 2,
    }
    return [promise for promise, is_kept in kept.items() if not is_kept]


BROKEN = [
    ("nightly.yml", "cancel-in-progress: false", "cancel-in-progress: true", "one job has the GPU"),
    ("nightly.yml", "-m bench.alone", "-m bench.along", "and the machine"),
    ("nightly.yml", "timeout-minutes: 600", "timeout-minutes: 480", "it ends in order before it is cancelled"),
    ("nightly.yml", " --hours 6", "", "it ends in order before it is cancelled"),
    ("nightly.yml", "-- --strict", "--", "mains power and a cool machine"),
    ("nightly.yml", "on:\n", "on:\n  pull_request:\n", "no foreign code at home"),
    ("nightly.yml", "clean: false", "clean: true", "the history lives on"),
    ("nightly.yml", "contents: read", "contents: write", "only the page may be deployed"),
    ("metal.yml", "    continue-on-error: true\n", "", "a hosted Mac blocks nobody"),
    ("metal.yml", "-s smoke", "-s bench", "a hosted Mac times nothing"),
]


def test_workflows_keep_their_promises() -> None:
    assert promises(WORKFLOWS) == []


@pytest.mark.parametrize(("name", "old", "new", "promise"), BROKEN, ids=[one[-1] + one[2][:8] for one in BROKEN])
def test_a_broken_promise_is_seen(repository: Path, name: str, old: str, new: str, promise: str) -> None:
    spoil(repository, name, old, new)
    assert promises(repository / ".github" / "workflows") == [promise]


def faults(data: bytes) -> list[str]:
    """What is wrong with a launchd job; an empty list where launchd would take it. plutil exists on a Mac only."""
    job = plistlib.loads(data)
    expected = {
        "Label": job.get("Label") == PLIST.stem,
        "ProcessType": job.get("ProcessType") == "Interactive",
        "Nice": job.get("Nice") == 0,
        "LowPriorityIO": job.get("LowPriorityIO") is False,
        "ProgramArguments": all(isinstance(word, str) for word in job["ProgramArguments"]),
        "bench.alone": job["ProgramArguments"][1:3] == ["-m", "bench.alone"],
        "--strict": job["ProgramArguments"][-4:-1] == ["--", "--strict", "--hours"],
        "ends before the next": float(job["ProgramArguments"][-1]) <= 12,
        "WorkingDirectory": job["WorkingDirectory"] == "/Users/me/twinbench",
        "StartCalendarInterval": set(job["StartCalendarInterval"]) == {"Hour", "Minute"},
        "placeholders": b"@" not in re.sub(rb"<!--.*?-->", b"", data, flags=re.DOTALL),
    }
    return [name for name, right in expected.items() if not right]


def filled_in() -> bytes:
    """The file after the command of docs/ci.md."""
    text = PLIST.read_text(encoding="utf-8")
    return (
        text.replace("@CHECKOUT@", "/Users/me/twinbench").replace("@PYTHON@", "/opt/homebrew/bin/python3.12").encode()
    )


def test_the_launchd_job_is_one() -> None:
    assert faults(filled_in()) == []


def test_a_spoilt_launchd_job_is_seen() -> None:
    assert faults(PLIST.read_bytes()) == ["WorkingDirectory", "placeholders"]
    assert faults(filled_in().replace(b"Interactive</string>", b"Background</string>")) == ["ProcessType"]
    assert faults(filled_in().replace(b"<false/>", b"<true/>")) == ["LowPriorityIO"]
    assert faults(filled_in().replace(b"--strict", b"--quick")) == ["--strict"]
    assert faults(filled_in().replace(b"<string>6<", b"<string>24<")) == ["ends before the next"]
    with pytest.raises(Exception, match="unexpected key"):
        faults(filled_in().replace(b"</array>", b""))


# --- bench.alone ------------------------------------------------------------------------------------------------------


def started(lock: Path, *arguments: str, script: str = "") -> subprocess.Popen[str]:
    """``python -m bench.alone`` as a process of its own; ``script`` is Python."""
    command = [sys.executable, "-m", "bench.alone", "--lock", str(lock), *arguments, "--", sys.executable, "-c", script]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def holding(up: Path, go: Path) -> str:
    """A script that makes ``up`` and then runs until somebody makes ``go``, for a minute at most."""
    return (
        "import pathlib, time\n"
        f"pathlib.Path({str(up)!r}).touch()\n"
        "for _ in range(6000):\n"
        f"    if pathlib.Path({str(go)!r}).exists(): break\n"
        "    time.sleep(0.01)\n"
    )


def said(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and all that it said."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out + err


def wait_for(path: Path) -> None:
    """Until a process of the test has come so far."""
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.01)


@pytest.mark.parametrize("code", [0, 1, 4])
def test_the_commands_exit_code_is_kept(tmp_path: Path, code: int) -> None:
    assert said(started(tmp_path / "lock", script=f"raise SystemExit({code})"))[0] == code


def test_the_second_does_not_start_and_says_who_has_the_machine(tmp_path: Path) -> None:
    lock, go, up = tmp_path / "lock", tmp_path / "go", tmp_path / "up"
    first = started(lock, script=holding(up, go))
    wait_for(up)
    code, text = said(started(lock, script="print('measured beside another')"))
    assert code == alone.BUSY
    assert "measured beside" not in text
    assert f"not started, another job has this machine: process {first.pid}:" in text
    waiting = started(lock, "--wait-minutes", "1", script="print('measured alone')")
    time.sleep(0.3)
    assert waiting.poll() is None, "it waits"
    go.touch()
    assert said(first)[0] == 0
    code, text = said(waiting)
    assert code == 0
    assert "measured alone" in text


def test_the_lock_lives_as_long_as_the_command(tmp_path: Path) -> None:
    """Somebody kills the guard: what it started still measures, so the machine is not free."""
    lock, up, go = tmp_path / "lock", tmp_path / "up", tmp_path / "go"
    guard = started(lock, script=holding(up, go))
    wait_for(up)
    guard.kill()
    guard.wait()
    with lock.open("a+") as file:
        assert not alone.acquire(file, 0)
        go.touch()
        assert alone.acquire(file, 60), "and free when that ends"
    guard.communicate()


def test_a_job_that_is_stopped_passes_it_on(tmp_path: Path) -> None:
    up = tmp_path / "up"
    process = started(
        tmp_path / "lock", script=f"import pathlib, time; pathlib.Path({str(up)!r}).touch(); time.sleep(60)"
    )
    wait_for(up)
    process.send_signal(signal.SIGTERM)
    assert said(process)[0] == 128 + signal.SIGTERM


class NoProcess:
    """In place of subprocess.Popen: notes the commands."""

    pid = 4711

    def __init__(self, command: Sequence[str], **options: object) -> None:
        COMMANDS.append(list(command))

    def wait(self) -> int:
        """At once."""
        return 0


COMMANDS: list[list[str]] = []


@pytest.mark.parametrize("system", ["darwin", "linux"])
def test_a_mac_is_kept_awake_for_as_long_as_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(subprocess, "Popen", NoProcess)
    monkeypatch.setattr(signal, "signal", lambda number, action: None)
    COMMANDS.clear()
    assert alone.main(["--lock", str(tmp_path / "lock"), "--", "nox", "-s", "nightly"]) == 0
    awake = [["/usr/bin/caffeinate", "-ims", "-w", "4711"]] if system == "darwin" else []
    assert [["nox", "-s", "nightly"], *awake] == COMMANDS


def test_what_cannot_be_started_or_waited_for_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert alone.main(["--lock", str(tmp_path / "lock"), "--", str(tmp_path / "nothing")]) == alone.NO_SUCH_COMMAND
    assert f"cannot start {tmp_path / 'nothing'}: No such file" in capsys.readouterr().err
    for word in ("-1", "nan"):
        with pytest.raises(SystemExit):
            alone.main([f"--wait-minutes={word}", "--lock", str(tmp_path / "lock"), "--", "true"])
        assert "--wait-minutes must be a number from 0" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        alone.main(["--lock", str(tmp_path / "file" / "lock"), "--", "true"])
    assert "cannot open the lock" in capsys.readouterr().err


def test_a_lock_is_a_lock(tmp_path: Path) -> None:
    """Saboteur for the tests above: without flock two get in."""
    with (tmp_path / "lock").open("a+") as one, (tmp_path / "lock").open("a+") as other:
        assert alone.acquire(one, 0)
        assert not alone.acquire(other, 0)
        fcntl.flock(one, fcntl.LOCK_UN)
        assert alone.acquire(other, 0)


def test_the_nightly_job_gives_options_that_there_are() -> None:
    """A job that dies of a word nobody knows is noticed the next morning only."""
    from bench.cli import app

    (command,) = (one for one in typer.main.get_command(app).commands.values() if one.name == "nightly")  # type: ignore[attr-defined]
    known = {name for option in command.params for name in option.opts}
    texts = [
        (WORKFLOWS / "nightly.yml").read_text(encoding="utf-8"),
        " ".join(plistlib.loads(filled_in())["ProgramArguments"]),
    ]
    for text in texts:
        given = re.findall(r"--[a-z]+", text.partition("-s nightly -- ")[2].splitlines()[0])
        assert {"--strict", "--hours"} <= set(given)
        assert set(given) <= known
