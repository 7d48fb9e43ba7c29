from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from tests.conftest import Ran

Run = Callable[..., Ran]
SPACE = ["--set", "space.stages=3", "--set", "space.width=[4,32]", "--set", "space.width_step=4"]
SPACE += ["--set", "space.blocks=[1,2]", "--set", "space.first_stride=1", "--set", "budget.macs=none"]


def test_fit_prints_a_network_that_fits(run: Run) -> None:
    ran = run("fit", "--shape", "1:2:4", "--blocks", "4,5,3", "--pool", "global", "--shortcut-kernel", "1")
    assert ran.code == 0
    assert "channels 62,127,258: the shape times 64.00 (64,128,256), the remainder spent" in ran.out
    assert all(len(line) <= 80 for line in ran.out.splitlines())


def test_fit_takes_several_limits_and_a_step(run: Run) -> None:
    limits = ("--budget", "250k", "--max-macs", "10M", "--max-weight-bytes", "240kB", "--weight-format", "int8")
    fitted = run("fit", "--channels", "32,64,128", *limits, "--step", "4", "--blocks", "1", "--no-spend", "--json").json
    spec = ResNetSpec.from_dict(fitted["spec"])
    assert fitted["fits"] is True
    assert list(spec.channels) == fitted["scaled"]
    assert all(width % 4 == 0 for width in spec.channels)
    assert Budget(250_000, 10_000_000, 240_000, None, "int8").check(spec).fits


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("--shape 1:2 --budget 100", 3, "narrowest network"),
        ("--shape 1:2 --budget none", 2, "no limit"),
        ("--shape 1:x", 2, "1:2:4"),
        ("--shape 1:0", 2, "above 0"),
        ("--shape 1:2 --channels 8", 2, "either"),
        ("", 2, "--shape 1:2:4"),
        ("--channels a", 2, "32,64,128"),
        ("--shape 1:2 --step 0", 2, "step"),
        ("--shape 1:2 --blocks 1,2,3", 2, "blocks"),
    ],
)
def test_fit_refuses_in_one_line(run: Run, arguments: str, code: int, said: str) -> None:
    ran = run("fit", *arguments.split())
    assert ran.code == code
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_explore_counts_and_writes_a_page(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "space.html"
    ran = run("explore", "--budget", "50k", *SPACE, "-o", page)
    assert ran.code == 0
    assert "space     " in ran.out
    assert "exactly" in ran.out
    assert "stage 3" in ran.out
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    found = run("explore", "--budget", "50k", *SPACE, "-o", page, "--json").json
    assert found["exact"] is True
    assert 0 < found["n_fitting"] < found["n_networks"]


def test_explore_prints_samples_that_fit(run: Run) -> None:
    specs = run("explore", "--budget", "50k", *SPACE, "--sample", "20", "--json").json
    assert len(specs) == 20
    assert all(cost(ResNetSpec.from_dict(spec)).params <= 50_000 for spec in specs)
    assert run("explore", "--budget", "50k", *SPACE, "--sample", "3").out.count("blocks") == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("--budget 100", 3, "cheapest network"),
        ("--set space.width=[9,8]", 2, "width"),
        ("nowhere.toml", 2, "nowhere.toml"),
        ("--data nowhere", 2, "nowhere"),
        ("--set space.block=convnext", 2, "bottleneck"),
        ("--set space.width=[1,9999] --set space.first_stride=1 --budget none --max-macs none", 2, "width_step"),
    ],
)
def test_explore_refuses_in_one_line(run: Run, arguments: str, code: int, said: str) -> None:
    ran = run("explore", *arguments.split())
    assert ran.code == code
    assert said in next(line for line in ran.err.splitlines() if line.startswith("error"))


def test_explore_knows_the_images_of_named_sets(run: Run) -> None:
    specs = run("explore", "--data", "fashion-mnist", *SPACE, "--sample", "1", "--json").json
    assert (specs[0]["image_size"], specs[0]["in_channels"]) == (28, 1)
