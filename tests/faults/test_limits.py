"""Real limits: a disk that is full, one that cannot be written, a folder that is removed."""

from __future__ import annotations

import json
import shutil
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
