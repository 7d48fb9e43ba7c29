"""Real limits: a disk that is full, one that cannot be written, a folder that is removed, memory that ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas_budget.records.trials import read_trials
from tests.cli.processes import start, wait_until
from tests.conftest import Run, sets
from tests.faults.disks import Disk, mounted

pytestmark = pytest.mark.slow

N_TRIALS = 4
MANY = 400
"""More trials than are ever trained, so that a search is under way when something happens."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system of 1 MB. The page of a study is larger."""
    with mounted(tmp_path / "disk") as found:
        yield found


def search(quick: list[object], disk: Disk, n: int = N_TRIALS) -> list[object]:
    """A search that writes to the disk."""
    options = [disk.place if option == quick[4] else option for option in quick]
    assert disk.place in options
    return [*options, "--trials", n, "--name", "a", "--pruner", "none", "--quiet"]


def is_error(err: str, said: str, file: str) -> bool:
    """Whether all that was said is one line, of a file."""
    line = err.removesuffix("\n")
    return "\n" not in line and line.startswith("error: ") and said in line and file in line


def check_whole(disk: Disk, n: int) -> None:
    """Every trial is there once, complete, with all its epochs."""
    rows = read_trials(disk.seen / "a")
    assert [row.number for row in rows] == [*range(n)]
    assert {(row.state, row.epochs, len(row.curve.split())) for row in rows} == {("complete", 4, 4)}


def test_a_disk_that_is_full_from_the_beginning_costs_nothing(disk: Disk, quick: list[object]) -> None:
    disk.fill()
    code, err = disk.run(*search(quick, disk))
    assert code == 1
    assert is_error(err, "No space left on device", "a/"), err
    disk.empty()
    code, err = disk.run(*search(quick, disk))
    assert code == 0, err
    # The one thing that does not fit.
    assert err.startswith("the page was not written"), err
    assert "report.html: cannot be written (No space left on device)" in err
    assert not (disk.seen / "a" / "report.html").exists()
    check_whole(disk, N_TRIALS)
    disk.fill()
    assert disk.run("show", disk.place / "a")[0] == 0
    code, err = disk.run("report", disk.place / "a")
    assert (code, is_error(err, "No space left", "report.html")) == (1, True), err
    assert disk.run("doctor", disk.place / "a", "--fix")[0] == 0
    check_whole(disk, N_TRIALS)


@pytest.mark.parametrize("left", [0, 6_000, 40_000])
def test_a_disk_that_fills_up_during_a_search_loses_no_trial(disk: Disk, quick: list[object], left: int) -> None:
    """With nothing left the next record fails, with a few pages a checkpoint or a table, later the journal."""
    with disk.start(*search(quick, disk, MANY)) as process:
        wait_until((disk.seen / "a" / "trials" / "1").exists)
        disk.fill(but=left)
        _out, err = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: "), err
    assert "No space left on device" in err.splitlines()[-1]
    disk.empty()
    n = max((int(path.name) for path in (disk.seen / "a" / "trials").iterdir()), default=0) + 2
    code, err = disk.run(*search(quick, disk, n))
    assert code == 0, err
    check_whole(disk, n)


def test_a_disk_that_is_read_only_is_shown_and_not_written(disk: Disk, quick: list[object]) -> None:
    """While a search runs no disk becomes read-only at once: its system refuses that while a file is open."""
    assert disk.run(*search(quick, disk, 2))[0] == 0
    assert disk.remount("ro")
    for command, file in (search(quick, disk, 3), "a/"), (["report", disk.place / "a"], "report.html"):
        code, err = disk.run(*command)
        assert (code, is_error(err, "Read-only file system", file)) == (1, True), err
    for command in ["show", disk.place / "a"], ["doctor", disk.place / "a", "--fix"]:
        assert disk.run(*command)[0] == 0
    assert disk.remount("rw")
    code, err = disk.run(*search(quick, disk, 3))
    assert code == 0, err
    check_whole(disk, 3)


def test_a_full_training_on_a_full_disk_says_the_file_and_resumes(disk: Disk, npz: Path) -> None:
    options = ["--images", 200, "--quiet", *sets("recipe.epochs=12 recipe.batch_size=50")]
    network = ["--channels", "8,16", "--blocks", 1, "--pool", "global"]
    command = ["train", *network, "--data", npz, "--runs-dir", disk.place, "--name", "t", *options]
    with disk.start(*command) as process:
        wait_until((disk.seen / "t" / "metrics.jsonl").exists)
        disk.fill()
        _out, err = process.communicate(timeout=600)
    assert (process.returncode, is_error(err, "No space left on device", "t/")) == (1, True), err
    disk.empty()
    code, err = disk.run(*command)
    assert (code, "Traceback" in err) == (0, False), err
    epochs = [json.loads(line)["epoch"] for line in (disk.seen / "t" / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [*range(1, 13)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_that_is_removed_during_a_search_ends_it_in_a_line(
    run: Run, quick: list[object], tmp_path: Path, workers: int
) -> None:
    command = [*quick, "--name", "a", "--pruner", "none", "--workers", workers, "--quiet"]
    with start(*command, "--trials", MANY) as process:
        wait_until((tmp_path / "a" / "trials" / "1").exists)
        while (tmp_path / "a").exists():
            shutil.rmtree(tmp_path / "a", ignore_errors=True)
        _out, err = process.communicate(timeout=600)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: "), err
    assert str(tmp_path / "a") in err.splitlines()[-1]


GROUPS = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
"""Where Linux limits the memory of groups of processes, in version 1 and 2."""


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A group of processes that may take 1.4 GB together: a search, and one of its two workers."""
    root = next((path for path in GROUPS if (path / "cgroup.procs").exists()), None)
    if root is None:
        pytest.skip("there are no groups of processes here")
    group = root / f"nas-budget-{os.getpid()}"
    try:
        group.mkdir()
        limit = "memory.limit_in_bytes" if root.name == "memory" else "memory.max"
        (group / limit).write_text(str(1_400_000_000))
    except OSError as error:
        pytest.skip(f"no group of processes may be made here ({error})")
    yield group
    wait_until(lambda: _removed(group))


def _removed(group: Path) -> bool:
    """Remove the group, once the last process of it has gone."""
    try:
        group.rmdir()
    except OSError:
        return False
    return True


def test_where_memory_is_for_one_worker_the_other_is_lost_and_no_trial(
    memory_group: Path, npz: Path, tmp_path: Path
) -> None:
    script = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'
    options: list[object] = ["--data", npz, "--images", 300, "--epochs", 1, "--budget", "400k", "--trials", 4]
    options += sets("space.stages=2 space.width=[32,64] space.blocks=[1,2] data.validation_images=50")
    options += sets("recipe.batch_size=150 search.proxy=none search.threads=1")
    options += ["--workers", 2, "--pruner", "none", "--name", "a", "--runs-dir", tmp_path]
    command = ["sh", "-c", script, "sh", memory_group, sys.executable, "-m", "nas_budget", "search", *options]
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=280, check=False)
    assert ran.returncode in (0, 4), ran.stderr
    assert "killed by signal 9 (out of memory?)" in ran.stderr
    assert "Traceback" not in ran.stderr
    rows = read_trials(tmp_path / "a")
    assert [row.number for row in rows] == [*range(len(rows))]
    assert {row.state for row in rows} <= {"complete", "failed"}
    assert sum(row.state == "complete" for row in rows) >= 3


LIMITED = """
import resource
import psutil
import torch
from nas_budget import ResNetSpec, build
from nas_budget.train.data.split import split_images
from nas_budget.train.data.synthetic import synthetic
from nas_budget.train.engine.process import own_process
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.optim.recipe import Recipe
from nas_budget.train.profile.step_memory import step_bytes

own_process()
torch.set_num_threads(1)
spec, recipe = ResNetSpec((32, 64), 1), Recipe(batch_size=256, epochs=3)
images = split_images(synthetic(n_train=276), torch.device("cpu"), n_train=256, n_validation=20)
small = Trainer(build(spec), images, Recipe(batch_size=8, epochs=1))
small.step(next(small.begin(1)))  # what libraries take once
limit = psutil.Process().memory_info().vms + int(0.6 * step_bytes(spec, recipe))
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
trainer = Trainer(build(spec), images, recipe)
losses = [trainer.step(indices) for epoch in (1, 2, 3) for indices in trainer.begin(epoch)]
print(torch.stack(losses).isfinite().all().item(), trainer.micro_batches)
"""


def test_a_batch_that_the_limit_of_a_shell_has_no_room_for_is_computed_in_parts() -> None:
    ran = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    are_finite, parts = ran.stdout.split()
    assert are_finite == "True"
    assert int(parts) > 1
