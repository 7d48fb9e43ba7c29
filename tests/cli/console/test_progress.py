from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from nas_budget.cli.console import progress as module
from nas_budget.cli.console.progress import busy, each, progress, progress_if_any
from tests.conftest import Run, sets
from tests.train.data.making import image_folder


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_line_comes_every_thirty_seconds(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress("telling images") as tell:
        for share in (0.1, 0.2, 0.3, 0.4):
            clock[0] += 20
            tell(share)
    assert capsys.readouterr().err == (
        "telling images: 20% done, about 3 min left\ntelling images: 40% done, about 2 min left\n"
    )


def test_what_has_nothing_to_do_shows_nothing_and_counts_from_its_first_share(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_if_any("converting") as convert:
        clock[0] += 100
        assert capsys.readouterr().err == ""
        for share in (0.1, 0.5):
            convert(share)
            clock[0] += 40
    assert capsys.readouterr().err == "converting: 50% done, about 40 s left\n"


def test_nothing_is_said_of_what_takes_a_moment_or_is_to_be_quiet(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("telling images") as tell:
        tell(1.0)
    with progress("telling images", quiet=True) as tell, busy("exporting", quiet=True):
        clock[0] += 100
        tell(0.5)
    assert capsys.readouterr().err == ""


def test_what_has_no_share_says_how_long_it_has_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "PLAIN_EVERY_S", 0.02)
    with busy("exporting"):
        time.sleep(0.2)
    assert capsys.readouterr().err.startswith("exporting: 0 s so far\n")


def test_shares_run_from_first_to_last() -> None:
    reported: list[float] = []
    assert list(each("abcd", reported.append, 0.5, 1.0)) == list("abcd")
    assert reported == [0.625, 0.75, 0.875, 1.0]


def test_a_download_says_how_far_it_is_in_lines() -> None:
    code = "import sys; from nas_budget.cli.console.progress import set_up_downloads\n"
    code += "set_up_downloads(sys.argv[1] == 'quiet')\n"
    code += "from torch.hub import tqdm\nwith tqdm(total=170_000_000, unit='B', unit_scale=True) as bar:\n"
    code += "    bar.update(85_000_000); bar.refresh(); bar.update(85_000_000)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TQDM")}
    said = {}
    for how in "quiet", "loud":
        command = [sys.executable, "-c", code, how]
        said[how] = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stderr
    assert said["quiet"] == ""
    assert re.search(r"download: 50% of 170MB, \d\d:\d\d left\n", said["loud"])


def test_the_images_that_are_converted_and_predicted_say_how_far_they_are(
    run: Run, npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PLAIN_EVERY_S", 0.0)
    photos = image_folder(tmp_path / "photos", each=100)
    store = ("--data-dir", tmp_path / "store")
    assert re.search(
        r"^converting the images: \d+% done, about .* left$", run("data", photos, *store).err, re.MULTILINE
    )
    assert "converting" not in run("data", photos, *store).err  # it is done once
    small = ("--channels", 4, "--strides", 2, "--pool", "global", "--recipe", "brief", "--epochs", 1)
    assert run("train", *small, "--data", npz, "--runs-dir", tmp_path, "--name", "b").code == 0
    for test_set, options in (
        (npz, ["--csv", tmp_path / "a.csv"]),
        (photos, ["--csv", tmp_path / "b.csv"]),
        (photos, []),
    ):
        said = run("predict", tmp_path / "b", test_set, *options).err
        assert re.search(r"^predicting .*: \d+% done, about .* left$", said, re.MULTILINE), test_set
        assert "100% done" in said


def test_quiet_leaves_only_the_result(run: Run, quick: list[object], npz: Path, tmp_path: Path) -> None:
    study = ["--study", tmp_path / "a", "--data", npz, "--runs-dir", tmp_path, "--name", "b", "--recipe", "brief"]
    Image.new("RGB", (50, 40)).save(tmp_path / "image.png")
    model, page = tmp_path / "b", tmp_path / "x.html"
    for arguments in (
        [*quick, "--trials", 1, "--name", "a", "--pruner", "none"],
        ["train", *study, "--epochs", 1, "--images", 200, "--device", "cpu"],
        ["evaluate", model, "--device", "cpu"],
        ["predict", model, tmp_path / "image.png"],
        ["export", model, "--format", "python"],
        ["data", npz],
        ["explore", "--budget", "50k", *sets("space.stages=3 space.width=[4,8]"), "-o", page],
    ):
        ran = run(*arguments, "--quiet")
        assert (ran.code, ran.err) == (0, ""), arguments
        assert ran.out
    assert "resized" in run("predict", model, tmp_path / "image.png").err
