"""The evidence: steps that can be given by hand, are interrupted, go on, and travel."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Ran, script
from tests.report.browsing import CHROMIUM

ROOT = Path(__file__).parents[1]
evidence = script(ROOT / "studies" / "evidence.py")
collect = script(ROOT / "studies" / "collect.py")
PLANS = sorted((ROOT / "studies").glob("evidence*.toml"))
BRIEF = "--channels 4,8 --blocks 1 --strides 2,2 --pool global --recipe brief"


def plan_of(folder: Path, **commands: str) -> Path:
    """A plan of these commands."""
    steps = (f"[[step]]\nname = '{name}'\nshows = 'it'\ncommand = '''{text}'''\n" for name, text in commands.items())
    path = folder / "plan.toml"
    path.write_text("".join(steps))
    return path


def states(runs: Path) -> dict[str, str]:
    return {name: note["state"] for name, note in json.loads((runs / "evidence.json").read_text()).items()}


@pytest.mark.parametrize("path", PLANS, ids=lambda p: p.stem)
def test_every_step_is_a_command_that_is_there(path: Path, run: Callable[..., Ran]) -> None:
    steps = evidence.read_plan(path)
    assert len({step.name for step in steps}) == len(steps) > 3
    for step in steps:
        program, *words = step.words(Path("runs"))
        for word in words:
            assert not word.endswith((".toml", ".py")) or (ROOT / word).exists(), word
        if program == "nas-budget":
            known = run(words[0], "--help").out
            assert all(word.split("=")[0] in known for word in words if word.startswith("--")), step.command


@pytest.mark.parametrize("path", PLANS, ids=lambda p: p.stem)
def test_a_step_needs_only_steps_before_it_and_has_the_name_of_what_it_leaves(path: Path) -> None:
    before: set[str] = set()
    for step in evidence.read_plan(path):
        words = shlex.split(step.command)
        assert {word.removeprefix("{runs}/") for word in words if "--study" in words and "{runs}" in word} <= before
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
    assert json.loads((runs / "evidence.json").read_text())["small"]["calls"] == 1
    evidence.main([*arguments[:-2], "--list"])
    assert "again: it (to do)" in capfd.readouterr().out


def test_a_plan_or_step_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(tmp_path, only="nas-budget data")
    for arguments, words in (["other"], "no step other; there are only"), (["--plan", "nowhere"], "nowhere"):
        with pytest.raises(SystemExit) as left:
            evidence.main(["--plan", str(plan), *arguments])
        assert left.value.code == 2
        assert words in capsys.readouterr().err


def test_what_is_packed_comes_back_elsewhere_without_weights(tmp_path: Path) -> None:
    here, there, state = tmp_path / "here", tmp_path / "there", tmp_path / "out" / "state.tar.gz"
    for name in "evidence.json", "a/result.json", "a/model.safetensors", "a/trials/3/epochs.jsonl":
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    evidence.unpack(state, there)
    assert not there.exists()  # nothing was packed yet
    evidence.pack(here, state)
    evidence.unpack(state, there)
    found = {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()}
    assert found == {"evidence.json", "a/result.json", "a/trials/3/epochs.jsonl"}
    (there / "a" / "result.json").write_text("newer")
    evidence.unpack(state, there)
    assert (there / "a" / "result.json").read_text() == "newer"


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
    assert found == {f"small/{name}" for name in record} | {"speed/gpu.json", "speed/time.json"}
    assert (results / "small" / "study.toml").read_text() == recipe.read_text()
    with Image.open(results / "small" / "page.png") as picture:
        assert picture.width == 1280
        assert np.unique(picture.convert("L")).size > 10  # something is drawn


@pytest.mark.slow
def test_a_step_is_interrupted_when_its_time_is_up_and_goes_on_on_another_machine(tmp_path: Path, npz: Path) -> None:
    plan = plan_of(
        tmp_path,
        search=f"nas-budget search --name search --data {npz} --images 200 --epochs 4 --budget 20k --trials 400 "
        "--set space.stages=[2,3] --set space.width=[4,16] --set space.blocks=1 --set data.held_out=100",
    )
    state, places = tmp_path / "state.tar.gz", [tmp_path / "first", tmp_path / "second"]
    trials = []
    for runs in places:
        code = evidence.main(["--plan", str(plan), "--runs-dir", str(runs), "--minutes", "0.25", "--state", str(state)])
        assert (code, states(runs)) == (130, {"search": "under way"})
        trials.append((runs / "search" / "trials.csv").read_text().count("\n") - 1)
    assert 0 < trials[0] < trials[1] < 400
    assert json.loads((places[1] / "evidence.json").read_text())["search"]["calls"] == 2


@pytest.mark.slow
def test_ctrl_c_puts_the_step_down(tmp_path: Path, npz: Path) -> None:
    runs = tmp_path / "runs"
    plan = plan_of(tmp_path, long=f"nas-budget train {BRIEF} --data {npz} --epochs 5000 --name long")
    command = [sys.executable, str(ROOT / "studies" / "evidence.py"), "--plan", str(plan), "--runs-dir", str(runs)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list(runs.glob("long/checkpoint*")) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; goes on after epoch" in told
    assert states(runs) == {"long": "under way"}
