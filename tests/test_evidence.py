"""The evidence: steps that can be given by hand, are interrupted, go on, and travel."""

from __future__ import annotations

import json
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from nas_budget.errors import NasBudgetError
from tests.conftest import Ran, script
from tests.report.browsing import CHROMIUM

ROOT = Path(__file__).parents[1]
evidence = script(ROOT / "studies" / "evidence" / "run.py")
collect = script(ROOT / "studies" / "evidence" / "collect.py")
PLANS = sorted((ROOT / "studies" / "evidence").glob("*.toml"))
BRIEF = "--channels 4,8 --blocks 1 --strides 2,2 --pool global --recipe brief"


def plan_of(folder: Path, **commands: str) -> Path:
    """A plan of these commands."""
    steps = (f"[[step]]\nname = '{name}'\nshows = 'it'\ncommand = '''{text}'''\n" for name, text in commands.items())
    path = folder / "plan.toml"
    path.write_text("".join(steps))
    return path


def states(runs: Path) -> dict[str, str]:
    return {name: note["state"] for name, note in json.loads((runs / "evidence.json").read_text())["steps"].items()}


@pytest.mark.parametrize("path", PLANS, ids=lambda p: p.stem)
def test_every_step_is_a_command_that_is_there(path: Path, run: Callable[..., Ran]) -> None:
    steps = evidence.read_plan(path)
    assert len({step.name for step in steps}) == len(steps) > 3
    for step in steps:
        program, *words = step.words(Path("runs"))
        for word in words:
            assert not word.endswith((".toml", ".py")) or (ROOT / word).exists(), word
        known = run(words[0], "--help").out if program == "nas-budget" else help_of(words[0])
        assert all(word.split("=")[0] in known for word in words if word.startswith("--")), step.command


@cache
def help_of(program: str) -> str:
    command = [sys.executable, str(ROOT / program), "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


@pytest.mark.parametrize("path", PLANS, ids=lambda p: p.stem)
def test_a_step_needs_only_steps_before_it_and_has_the_name_of_what_it_leaves(path: Path) -> None:
    before: set[str] = set()
    for step in evidence.read_plan(path):
        words = shlex.split(step.command)
        assert {*step.needs} <= before
        before.add(step.name)
        if words[0] != "nas-budget":
            continue
        option = dict(pairwise(words))
        source = option.get("--study", words[2]).removeprefix("{runs}/").removesuffix(".toml").removeprefix("studies/")
        recipe = option.get("--recipe", "paper" if source == "reference" else "strong")
        best = f"{source}-best" if "--study" in words else source
        assert option.get("--name", best if words[1] == "search" else f"{best}-{recipe}") == step.name


def test_steps_are_done_once_and_one_that_fails_does_not_stop_the_others(
    tmp_path: Path, npz: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    plan = plan_of(
        tmp_path,
        broken="nas-budget train --channels 900,900 --data shapes",
        small=f"nas-budget train {BRIEF} --data {npz} --epochs 1 --name small",
        again=f"nas-budget train {BRIEF} --data {npz} --epochs 1 --name again",
    )
    arguments = ["--plan", str(plan), "--runs-dir", str(runs), "--minutes", "5", "broken", "small"]
    assert evidence.main(arguments) == 1
    assert states(runs) == {"broken": "failed", "small": "done"}
    assert (runs / "small" / "result.json").exists()
    told = capfd.readouterr()
    assert "OVER BUDGET" in told.err
    assert f"$ nas-budget train {BRIEF} --data {npz} --epochs 1 --name small --runs-dir {runs}" in told.out
    assert evidence.main([*arguments[:-2], "small"]) == 0  # done before: not begun again
    assert json.loads((runs / "evidence.json").read_text())["steps"]["small"]["calls"] == 1
    evidence.main([*arguments[:-2], "--list"])
    assert "again: it (to do)" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["other"], "no step other; there are only"),
        (["--plan", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["--plan", "studies/quickstart.toml"], "quickstart.toml: no plan: each [[step]] has name, shows and command"),
    ],
)
def test_a_plan_or_step_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as left:
        evidence.main(["--plan", str(plan_of(tmp_path, only="nas-budget data")), *arguments])
    assert left.value.code == 2
    assert words in capsys.readouterr().err


def test_a_step_waits_for_the_study_that_it_needs(
    tmp_path: Path, npz: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, runs = plan_of(
        tmp_path,
        first="python -c 'import pathlib, sys; sys.exit(not pathlib.Path(sys.argv[1]).exists())' {runs}/allowed",
        second="python -c 'pass' --study {runs}/first",
    ), tmp_path / "runs"  # fmt: skip
    assert evidence.main(["--plan", str(plan), "--runs-dir", str(runs)]) == 1
    assert "second: waits for first" in capsys.readouterr().out
    assert states(runs) == {"first": "failed", "second": "to do"}
    (runs / "allowed").touch()
    assert evidence.main(["--plan", str(plan), "--runs-dir", str(runs)]) == 0  # both, in one call
    assert states(runs) == {"first": "done", "second": "done"}


def test_a_step_that_is_not_done_in_time_is_interrupted_with_all_that_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time, pathlib; "
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"pathlib.Path('{tmp_path}/pid').write_text(str(p.pid)); time.sleep(600)"
    )
    plan, runs = plan_of(tmp_path, long=f'python -c "{code}"', next="nas-budget data"), tmp_path / "runs"
    assert evidence.main(["--plan", str(plan), "--runs-dir", str(runs), "--minutes", "0.2"]) == 130
    assert states(runs) == {"long": "under way", "next": "to do"}
    wait_for(lambda: is_gone(int((tmp_path / "pid").read_text())))


def is_gone(number: int) -> bool:
    """Whether a process has ended, though nobody may have asked how."""
    try:
        return bool(psutil.Process(number).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def notes(folder: Path, *history: str) -> None:
    folder.mkdir(exist_ok=True)
    told = {"steps": {"a": {"state": "under way", "calls": len(history), "seconds": 1.0}}, "history": history}
    (folder / "evidence.json").write_text(json.dumps(told))


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_is_packed_comes_back_elsewhere_without_weights(tmp_path: Path) -> None:
    here, there, state = tmp_path / "here", tmp_path / "there", tmp_path / "out" / "state.tar.gz"
    kept = {"a/result.json", "a/checkpoint-seed1.safetensors", "a/trials/3/epochs.jsonl"}
    for name in kept | {"a/model.safetensors", "a/averaged-seed1.safetensors", "a/report.html", "a/.lock"}:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    (here / "a" / "checkpoint-seed2.safetensors").write_bytes(bytes(3 << 20))
    (here / "a" / "large.jsonl").write_bytes(bytes(3 << 20))
    notes(here, "one")
    evidence.unpack(state, there)
    assert not there.exists()  # nothing was packed yet
    assert evidence.pack(here, state, 2) == ["a/checkpoint-seed2.safetensors"]
    evidence.unpack(state, there)
    assert files_of(there) == kept | {"evidence.json", "a/large.jsonl"}


def test_the_further_of_two_states_is_gone_on_with_alone(tmp_path: Path) -> None:
    here, there, state = tmp_path / "here", tmp_path / "there", tmp_path / "state.tar.gz"
    for folder, text in ((here, "new"), (there, "old")):
        folder.mkdir()
        (folder / "file").write_text(text)
    (there / "checkpoint-seed0.safetensors").touch()
    (there / "model.safetensors").touch()
    notes(here, "one", "two")
    evidence.pack(here, state, 10)
    notes(there, "one")
    evidence.unpack(state, there)
    assert (there / "file").read_text() == "new"
    assert files_of(there) == {"file", "evidence.json", "model.safetensors"}  # a checkpoint of another past is none
    notes(there, "one", "two", "three")
    (there / "file").write_text("newer")
    evidence.unpack(state, there)
    assert (there / "file").read_text() == "newer"
    notes(there, "one", "else")  # as many calls, but others
    with pytest.raises(NasBudgetError, match="have both gone on since they were one"):
        evidence.unpack(state, there)


def test_a_state_that_cannot_be_written_stops_no_training(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(tmp_path, quick="python -c 'pass'")
    arguments = ["--plan", str(plan), "--runs-dir", str(tmp_path / "runs"), "--state", str(plan / "state.tar.gz")]
    assert evidence.main(arguments) == 0
    assert "state.tar.gz: cannot be written" in capfd.readouterr().err


def test_a_damaged_state_is_told_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here, there, state = tmp_path / "here", tmp_path / "there", tmp_path / "state.tar.gz"
    here.mkdir()
    (here / "large").write_bytes(random.Random(0).randbytes(100_000))
    notes(here, "one")
    evidence.pack(here, state, 10)
    damaged = state.read_bytes()[:-2_000]
    state.write_bytes(damaged)
    arguments = ["--plan", str(plan_of(tmp_path, a="nas-budget data")), "--runs-dir", str(there), "--state", str(state)]
    assert evidence.main(arguments) == 1
    assert f"{state}: cannot be unpacked" in capsys.readouterr().err
    assert state.read_bytes() == damaged
    assert files_of(there) <= {".lock"}


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process that the one that started it is gone")
def test_a_step_ends_with_the_program_and_two_do_not_run_at_once(tmp_path: Path) -> None:
    code = f"import os, time, pathlib; pathlib.Path('{tmp_path}/pid').write_text(str(os.getpid())); time.sleep(600)"
    plan, runs = plan_of(tmp_path, long=f'python -c "{code}"'), tmp_path / "runs"
    with started(plan, runs, tmp_path / "state.tar.gz") as process:
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        assert evidence.main(["--plan", str(plan), "--runs-dir", str(runs)]) == 1  # another process is at these steps
        process.kill()
        wait_for(lambda: is_gone(int((tmp_path / "pid").read_text())))


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_what_steps_gave_is_collected_without_weights(tmp_path: Path, npz: Path) -> None:
    runs, results = tmp_path / "runs", tmp_path / "results"
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f'[data]\nname = "{npz}"\n[recipe]\nepochs = 1\n')
    write = "import pathlib, sys; p = pathlib.Path(sys.argv[2]); p.mkdir(exist_ok=True); (p / sys.argv[3]).touch()"
    plan = plan_of(
        tmp_path,
        small=f"nas-budget train {recipe} {BRIEF} --name small",
        first=f"python -c '{write}' --output {{runs}}/speed gpu.json",
        second=f"python -c '{write}' --output {{runs}}/speed x.safetensors",
        broken="nas-budget train --channels 900,900 --data shapes",
    )
    assert evidence.main(["--plan", str(plan), "--runs-dir", str(runs)]) == 1
    collect.main(["--plan", str(plan), "--runs-dir", str(runs), "--results", str(results)])
    found = {path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file()}
    record = {"result.json", "run.json", "spec.json", "metrics.jsonl", "confusion.csv", "study.toml", "page.png"}
    assert found == {f"small/{name}" for name in record} | {"speed/gpu.json", "speed/time.json", "done.json"}
    assert json.loads((results / "done.json").read_text()) == ["first", "second", "small"]
    assert (results / "small" / "study.toml").read_text() == recipe.read_text()
    with Image.open(results / "small" / "page.png") as picture:
        assert picture.width == 1280
        assert np.unique(picture.convert("L")).size > 10  # something is drawn


@contextmanager
def started(plan: Path, runs: Path, state: Path) -> Iterator[subprocess.Popen[str]]:
    """The program, under way; whatever comes, it is gone in the end."""
    program = ROOT / "studies" / "evidence" / "run.py"
    command = [sys.executable, program, "--plan", plan, "--runs-dir", runs, "--state", state]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def wait_for(there: Callable[[], object]) -> None:
    until = time.monotonic() + 120
    while not there() and time.monotonic() < until:
        time.sleep(0.1)
    assert there()


def finished(runs: Path) -> int:
    """How many trials of the search have ended."""
    table = runs / "search" / "trials.csv"
    return max(0, table.read_text().count("\n") - 1) if table.exists() else 0


@pytest.mark.slow
def test_a_search_that_is_stopped_goes_on_on_another_machine(tmp_path: Path, npz: Path) -> None:
    plan = plan_of(
        tmp_path,
        search=f"nas-budget search --name search --data {npz} --images 200 --epochs 4 --budget 20k --trials 900 "
        "--set space.stages=[2,3] --set space.width=[4,16] --set space.blocks=1 --set data.validation_images=100",
    )
    state, before = tmp_path / "state.tar.gz", 0
    for runs in tmp_path / "first", tmp_path / "second":
        with started(plan, runs, state) as process:
            wait_for(lambda runs=runs, before=before: finished(runs) > before)  # type: ignore[misc]
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        assert process.returncode == 130
        assert states(runs) == {"search": "under way"}
        assert finished(runs) > before
        before = finished(runs)


@pytest.mark.slow
def test_a_training_that_is_stopped_goes_on_on_another_machine(tmp_path: Path, npz: Path) -> None:
    plan = plan_of(tmp_path, long=f"nas-budget train {BRIEF} --data {npz} --epochs 5000 --name long")
    state, before = tmp_path / "state.tar.gz", 0
    for runs in tmp_path / "first", tmp_path / "second":
        with started(plan, runs, state) as process:
            wait_for(lambda runs=runs, before=before: max(epochs(runs), default=0) > before + 3)  # type: ignore[misc]
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
        assert process.returncode == 130
        kept = int(re.findall(r"stopped; goes on after epoch (\d+)", told)[-1])
        assert epochs(runs)[:kept] == [*range(1, kept + 1)]
        assert kept > before
        before = kept


def epochs(runs: Path) -> list[int]:
    """The epochs of the training that are noted."""
    file = runs / "long" / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line)["epoch"] for line in lines if line.endswith("\n")]
