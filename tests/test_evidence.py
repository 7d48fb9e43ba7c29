"""The runner of plans: real steps are interrupted, resumed, carried to another folder and collected."""

from __future__ import annotations

import ast
import csv
import json
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import packages_distributions
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from nas_budget import ResNetSpec, cost
from tests import postgres
from tests.conftest import Ran, script
from tests.report.browsing import CHROMIUM

ROOT = Path(__file__).parents[1]
evidence = script(ROOT / "studies" / "evidence" / "run.py")
collect = script(ROOT / "studies" / "evidence" / "collect.py")
gather = script(ROOT / "studies" / "evidence" / "gather.py")
PLANS = sorted((ROOT / "studies" / "evidence").glob("*.toml"))
NETWORK = "--channels 4,8 --blocks 1 --strides 2,2 --pool global --recipe brief"


@pytest.fixture
def evidence_of(tmp_path: Path) -> Callable[..., int]:
    """Runs a plan of these commands in a folder of runs; gives the exit code."""

    def run(runs: str, *arguments: str, **commands: str) -> int:
        code: int = evidence.main([*map(str, given(tmp_path, runs, **commands)), *arguments])
        return code

    return run


def given(folder: Path, runs: str, **commands: str) -> list[str | Path]:
    """The arguments for a plan of these commands."""
    steps = (f"[[step]]\nname = '{name}'\nshows = 'it'\ncommand = '''{text}'''\n" for name, text in commands.items())
    plan = folder / "plan.toml"
    plan.write_text("".join(steps))
    return ["--plan", plan, "--runs-dir", folder / runs]


def states(runs: Path) -> dict[str, str]:
    """The state of each step that has run."""
    return {name: state for name, state in json.loads((runs / "evidence.json").read_text()).items() if name != "calls"}


@cache
def help_of(program: str) -> str:
    command = [sys.executable, str(ROOT / program), "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


@pytest.mark.slow
@pytest.mark.parametrize("path", PLANS, ids=lambda p: p.stem)
def test_every_step_is_a_command_that_is_there(path: Path, run: Callable[..., Ran]) -> None:
    steps = evidence.read_plan(path)
    assert len({step.name for step in steps}) == len(steps) > 3
    done: dict[str, str] = {}
    for step in steps:
        assert not step.waits(done)  # it needs only steps before it
        done[step.name] = "done"
        program, *words = step.words(Path("runs"))
        for word in words:
            assert not word.endswith((".toml", ".py")) or (ROOT / word).exists(), word
        if words[:2] == ["-m", "pytest"]:
            continue
        known = run(words[0], "--help").out if program == "nas-budget" else help_of(words[0])
        assert all(word.split("=")[0] in known for word in words if word.startswith("--")), step.command


def test_the_tests_of_the_plan_for_a_gpu_need_only_what_is_carried_there() -> None:
    (step,) = (step for step in evidence.read_plan(evidence.PLAN) if "pytest" in step.command)
    files = {ROOT / word for word in shlex.split(step.command) if word.startswith("tests/")}
    marked = {path for path in ROOT.glob("tests/**/test_*.py") if f"mark.{'gpu'}" in path.read_text()}
    assert files == marked
    carried = {*gather.needed("3.12", ["torchvision"]), *gather.THERE[:1]}
    owners = packages_distributions()
    for path in [*files, ROOT / "tests" / "conftest.py", ROOT / "tests" / "report" / "browsing.py"]:
        for node in ast.parse(path.read_text()).body:
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for top in {name.split(".")[0] for name in named} - sys.stdlib_module_names - {"nas_budget", "tests"}:
                assert {*map(str.lower, owners[top])} & carried, (path, top)


@pytest.mark.parametrize("path", PLANS, ids=lambda p: p.stem)
def test_a_step_has_the_name_of_the_folder_that_it_leaves(path: Path) -> None:
    for step in evidence.read_plan(path):
        words = shlex.split(step.command)
        if words[0] != "nas-budget":
            continue
        option = dict(pairwise(words))
        source = option.get("--study", words[2]).removeprefix("{runs}/").removesuffix(".toml").removeprefix("studies/")
        recipe = option.get("--recipe", "paper" if source == "reference" else "strong")
        recipe = option.get("--time", recipe)  # it chooses the recipe
        best = f"{source}-best" if "--study" in words else source
        assert option.get("--name", best if words[1] == "search" else f"{best}-{recipe}") == step.name


@pytest.mark.slow
def test_steps_are_done_once_and_one_that_fails_does_not_stop_the_others(
    tmp_path: Path, npz: Path, evidence_of: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    small = f"nas-budget train {NETWORK} --data {npz} --epochs 1 --name small"
    plan = {
        "broken": "nas-budget train --channels 900,900 --data shapes", "small": small, "other": "nas-budget data",
    }  # fmt: skip
    assert evidence_of("runs", "broken", "small", **plan) == 1
    assert states(tmp_path / "runs") == {"broken": "failed", "small": "done"}
    assert (tmp_path / "runs" / "small" / "result.json").exists()
    written = capfd.readouterr()
    assert "OVER BUDGET" in written.err
    assert f"$ {small} --runs-dir {tmp_path / 'runs'}" in written.out
    assert evidence_of("runs", "small", **plan) == 0
    assert "$" not in capfd.readouterr().out
    assert evidence_of("runs", "--list", **plan) == 0
    assert "other: it (to do)" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["other"], "no step other; there are only"),
        (["--plan", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["--plan", "studies/quickstart.toml"], "quickstart.toml: no plan: each [[step]] has name, shows and command"),
    ],
)
def test_a_plan_or_step_that_is_not_there_is_reported(
    evidence_of: Callable[..., int], capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as left:
        evidence_of("runs", *arguments, only="nas-budget data")
    assert left.value.code == 2
    assert words in capsys.readouterr().err


def test_a_step_waits_for_the_study_that_it_needs(
    tmp_path: Path, evidence_of: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = {
        "first": "python -c 'import pathlib, sys; sys.exit(not pathlib.Path(sys.argv[1]).exists())' {runs}/allowed",
        "second": "python -c 'pass' --study {runs}/first",
        "third": "python -c 'pass'",
    }
    assert evidence_of("runs", **plan) == 1
    assert "second: waits for first" in capsys.readouterr().out
    assert states(tmp_path / "runs") == {"first": "failed", "third": "done"}
    (tmp_path / "runs" / "allowed").touch()
    evidence_of("runs", **plan)
    assert evidence_of("runs", **plan) == 0
    assert set(states(tmp_path / "runs").values()) == {"done"}


@pytest.mark.slow
def test_a_step_that_takes_too_long_is_interrupted_with_all_that_it_started(
    tmp_path: Path, evidence_of: Callable[..., int]
) -> None:
    code = (
        "import subprocess, sys, time, pathlib; "
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"pathlib.Path('{tmp_path}/pid').write_text(str(p.pid)); time.sleep(600)"
    )
    assert evidence_of("runs", "--minutes", "0.2", long=f'python -c "{code}"', next="nas-budget data") == 130
    assert states(tmp_path / "runs") == {"long": "interrupted"}
    wait_for(lambda: is_gone(int((tmp_path / "pid").read_text())))


def is_gone(number: int) -> bool:
    """Whether a process has ended, though its exit code may not have been read."""
    try:
        return bool(psutil.Process(number).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def notes(folder: Path, calls: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "evidence.json").write_text(json.dumps({"calls": calls}))


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_packed_folder_comes_back_elsewhere_without_weights_and_replaces_an_older_one(tmp_path: Path) -> None:
    here, there, state = tmp_path / "here", tmp_path / "there", tmp_path / "out" / "state.tar.gz"
    kept = {"a/result.json", "a/checkpoint-seed1.safetensors", "a/trials/3/epochs.jsonl"}
    for name in kept | {"a/model.safetensors", "a/ema-seed1.safetensors", "a/report.html", "a/.lock"}:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    (here / "a" / "checkpoint-seed2.safetensors").write_bytes(bytes(3 << 20))
    (here / "a" / "large.jsonl").write_bytes(bytes(3 << 20))
    notes(here, 2)
    evidence.pack(here, state, 2)
    notes(there, 1)
    (there / "model.safetensors").touch()
    (there / "checkpoint-seed0.safetensors").touch()  # of a training that has ended in the packed folder
    evidence.unpack(state, there)
    assert files_of(there) == kept | {"evidence.json", "a/large.jsonl", "model.safetensors"}
    notes(there, 3)
    (there / "a" / "result.json").write_text("newer")
    evidence.unpack(state, there)
    assert (there / "a" / "result.json").read_text() == "newer"


def test_a_state_that_cannot_be_written_stops_no_training(
    tmp_path: Path, evidence_of: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert evidence_of("runs", "--state", str(tmp_path / "plan.toml" / "state.tar.gz"), quick="python -c 'pass'") == 0
    assert "state.tar.gz: cannot be written" in capfd.readouterr().err


def test_a_damaged_state_is_reported_and_kept(
    tmp_path: Path, evidence_of: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    here, state = tmp_path / "here", tmp_path / "state.tar.gz"
    notes(here, 1)
    (here / "large").write_bytes(random.Random(0).randbytes(100_000))
    evidence.pack(here, state, 10)
    damaged = state.read_bytes()[:-2_000]
    state.write_bytes(damaged)
    assert evidence_of("runs", "--state", str(state), a="nas-budget data") == 1
    assert f"{state}: cannot be unpacked" in capsys.readouterr().err
    assert state.read_bytes() == damaged
    assert files_of(tmp_path / "runs") <= {".lock"}


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_what_steps_gave_is_collected_without_weights(
    tmp_path: Path, npz: Path, evidence_of: Callable[..., int]
) -> None:
    recipe, results = tmp_path / "mine.toml", tmp_path / "results"
    recipe.write_text(f'[data]\nname = "{npz}"\n[recipe]\nepochs = 1\n')
    write = "import pathlib, sys; p = pathlib.Path(sys.argv[2]); p.mkdir(exist_ok=True); (p / sys.argv[3]).touch()"
    plan = {
        "small": f"nas-budget train {recipe} {NETWORK} --name small",
        "speed": f"python -c '{write}' --output {{runs}}/speed gpu.json",
        "weights": f"python -c '{write}' --output {{runs}}/speed x.safetensors",
        "broken": "nas-budget train --channels 900,900 --data shapes",
    }
    assert evidence_of("runs", **plan) == 1
    collect.main([*map(str, given(tmp_path, "runs", **plan)), "--results", str(results)])
    record = {"result.json", "run.json", "spec.json", "metrics.jsonl", "confusion.csv", "study.toml", "page.png"}
    assert files_of(results) == {f"small/{name}" for name in record} | {"speed/gpu.json", "done.json"}
    assert json.loads((results / "done.json").read_text()) == ["small", "speed", "weights"]
    assert (results / "small" / "study.toml").read_text() == recipe.read_text()
    with Image.open(results / "small" / "page.png") as image:
        assert image.width == 1280
        assert np.unique(image.convert("L")).size > 10  # something is drawn


def wait_for(there: Callable[[], object]) -> None:
    until = time.monotonic() + 120
    while not there() and time.monotonic() < until:
        time.sleep(0.1)
    assert there()


def trials(runs: Path) -> list[str]:
    """The rows of the search's table, by trial, without a line that is being written."""
    table = runs / "long" / "trials.csv"
    return [row["spec"] for row in csv.DictReader(table.read_text().splitlines())] if table.exists() else []


def epochs(runs: Path) -> list[str]:
    """The epochs of the training that are recorded."""
    file = runs / "long" / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [line for line in lines if line.endswith("\n")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "progress", "number"),
    [
        (
            "nas-budget search --name long --data {npz} --images 200 --epochs 4 --budget 20k --trials 900 --set "
            "space.stages=[2,3] --set space.width=[4,16] --set space.blocks=1 --set data.validation_images=100",
            trials,
            signal.SIGTERM,
        ),
        (f"nas-budget train {NETWORK} --data {{npz}} --epochs 5000 --name long", epochs, signal.SIGINT),
    ],
)
def test_a_step_that_is_stopped_resumes_on_another_machine(
    tmp_path: Path, npz: Path, command: str, progress: Callable[[Path], list[str]], number: int
) -> None:
    program, before = ROOT / "studies" / "evidence" / "run.py", list[str]()
    for name in "first", "second":
        runs = tmp_path / name
        arguments = given(tmp_path, name, long=command.format(npz=npz))
        command_line = [sys.executable, program, *arguments, "--state", tmp_path / "state.tar.gz"]
        with subprocess.Popen(command_line, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            target = len(before) + 3
            wait_for(lambda runs=runs, n=target, p=process: len(progress(runs)) > n or p.poll() is not None)  # type: ignore[misc]
            assert evidence.main([*map(str, arguments)]) == 1  # another process runs these steps
            process.send_signal(number)
            process.wait(60)
        assert process.returncode == 130
        assert states(runs) == {"long": "interrupted"}
        assert {*before} <= {*progress(runs)}  # side by side, a later trial may end first
        before = progress(runs)


@pytest.mark.slow
def test_every_benchmark_finds_what_it_imports() -> None:
    names = ", ".join(sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
    subprocess.run([sys.executable, "-c", f"import {names}"], cwd=ROOT / "benchmarks", check=True)


def measured(program: str, *given: str) -> list[list[str]]:
    """The rows of the table that a benchmark prints."""
    command = [sys.executable, ROOT / "benchmarks" / program, *given]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [line for line in ran.stdout.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.slow
def test_a_study_of_twenty_thousand_trials_would_be_joined_in_seconds() -> None:
    """Once it took 20 ms of the processor a trial."""
    rows = {row[0]: row for row in measured("scale.py", "join", "1000")}
    assert {*rows} == {"journal", "sqlite"}
    assert all(float(row[5]) < 2 for row in rows.values()), rows


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sixteen_workers_on_two_cores_train_and_train_nothing_twice() -> None:
    """A size that fits in the tests; `docs/benchmarks.md` has more workers. Both servers are started for it."""
    pytest.importorskip("ray", reason="Ray is not installed")
    if not postgres.programs():
        pytest.skip("there is no PostgreSQL")
    rows = measured("utilisation.py", "postgres", "ray", "--workers", "16", "--trial", "4", "--window", "12")
    assert [row[0] for row in rows] == ["postgres", "ray"]
    for _, n_workers, _, _, _, n_trials, twice in rows:  # the time in training depends on what else the cores do
        assert (int(n_trials) >= int(n_workers), int(twice)) == (True, 0), rows


def test_benchmarks_wait_for_their_own_gpu_and_give_a_slow_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    training, trials = (script(ROOT / "benchmarks" / f"{name}.py") for name in ("training", "gpu_trials"))
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    training.images_per_second(lambda: 1, torch.device("cuda:1"))
    assert waited == [torch.device("cuda:1")] * 2
    t4, epochs = 4e12, 8  # operations a second in fp32, which is what it falls back to
    operations = 6 * cost(ResNetSpec((32, 64, 96, 128, 185))).macs  # of an image: forward and twice that backward
    assert 3 * epochs * 45_000 * operations / t4 < trials.TRIAL_LIMIT_S


def test_a_gpu_machine_is_carried_what_the_project_needs_but_for_torch() -> None:
    found = gather.needed("3.12", [*gather.THERE, "scipy"])
    assert {"optuna", "torchinfo", "numpy", "pandas", "safetensors", "pydantic-core", "pytest", "pillow"} <= {*found}
    assert not {"torch", "torchvision", "scipy", "triton", "sympy", "nas-budget"} & {*found}
    assert not [name for name in found if name.startswith(("nvidia", "cuda"))]
    pinned = (ROOT / "constraints.txt").read_text().split()
    assert {f"{name}=={version}" for name, version in found.items() if version} <= {
        line.lower().replace("_", "-") for line in pinned
    }


def test_images_are_carried_in_two_loads_and_come_out_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "SIDE", 4)
    rng = np.random.default_rng(0)
    before = {"classes": np.array(["a", "b"])}
    for part, n in ("train", 50), ("test", 21):
        before[f"{part}_images"] = rng.integers(0, 256, (n, 8, 8, 3), np.uint8)
        before[f"{part}_labels"] = rng.integers(0, 2, n)
    data, loads, parts = tmp_path / "data.npz", [tmp_path / "load-1", tmp_path / "load-2"], tmp_path / "home" / "parts"
    np.savez(data, **before)
    for load in loads:
        load.mkdir()
    gather.gather_images(data, loads)
    assert [len([*load.glob("*.webp")]) for load in loads] == [3, 2]
    assert gather.main(["unpack", str(loads[1]), "--into", str(tmp_path / "home")]) == 0
    assert "2 of 5 parts; unpack the next load" in capsys.readouterr().out
    for file in loads[0].iterdir():
        (parts / file.name).write_bytes(file.read_bytes())
    target = tmp_path / "home" / "cifar10.npz"
    assert gather.main(["join", str(parts), str(target)]) == 0
    with np.load(target) as after:
        assert {*after.files} == {*before}
        assert all(np.array_equal(after[name], value) for name, value in before.items())
    (parts / "images-000.webp").write_bytes((parts / "images-001.webp").read_bytes())
    assert gather.main(["join", str(parts), str(target)]) == 1
    assert "not those that were packed" in capsys.readouterr().err


def test_what_cannot_be_packed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old").touch()
    assert gather.main(["pack", str(tmp_path), "--data", "cifar10.npz"]) == 1
    assert "is not empty; give another folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        gather.main(["pack", str(tmp_path), "--data", "cifar10.npz", "--python", "two"])
