from __future__ import annotations

from pathlib import Path

import pytest

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from tests.conftest import Run, sets

SPACE = sets("space.stages=3 space.width=[4,32] space.width_step=4 space.blocks=[1,2] space.first_stride=1")
EXPLORE = ["explore", "--budget", "50k", "--max-macs", "none", *SPACE]


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
        ("fit --shape 1:2 --budget 100", 3, "narrowest network"),
        ("fit --shape 1:2 --budget none", 2, "no limit"),
        ("fit --shape 1:x", 2, "1:2:4"),
        ("fit --shape 1:0", 2, "above 0"),
        ("fit --shape 1:2 --channels 8", 2, "either"),
        ("fit", 2, "--shape 1:2:4"),
        ("fit --channels a", 2, "32,64,128"),
        ("fit --shape 1:2 --step 0", 2, "step"),
        ("fit --shape 1:2 --blocks 1,2,3", 2, "blocks"),
        ("explore -q --budget 100", 3, "cheapest network"),
        ("explore nowhere.toml", 2, "nowhere.toml"),
        ("explore --data nowhere", 2, "nowhere"),
        ("explore --set space.block=convnext", 2, "bottleneck"),
        ("explore -q --set space.width=[1,9999] --budget none --max-macs none", 2, "width_step"),
    ],
)
def test_mistakes_are_one_line(run: Run, arguments: str, code: int, said: str) -> None:
    assert run(*arguments.split()).refused(code, said)


def test_of_several_mistakes_each_gets_a_line(run: Run) -> None:
    ran = run("explore", *sets("space.width=[9,8]"))
    assert ran.code == 2
    empty, step = ran.err.splitlines()
    assert empty.startswith("error: command line:space.width: [9, 8] is empty")
    assert step.startswith("error: command line:space.width_step: no multiple of 1")


def test_explore_counts_and_writes_a_page(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "space.html"
    ran = run(*EXPLORE, "-o", page)
    assert ran.code == 0
    assert all(said in ran.out for said in ("space     ", "exactly", "stage 3"))
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    found = run(*EXPLORE, "-o", page, "--json").json
    assert found["exact"] is True
    assert 0 < found["n_fitting"] < found["n_networks"]


def test_explore_prints_samples_that_fit(run: Run) -> None:
    specs = run(*EXPLORE, "--sample", "20", "--json").json
    assert len(specs) == 20
    assert all(cost(ResNetSpec.from_dict(spec)).params <= 50_000 for spec in specs)
    assert run(*EXPLORE, "--sample", "3").out.count("blocks") == 3


def test_explore_knows_the_images_of_named_sets(run: Run) -> None:
    specs = run("explore", "--data", "fashion-mnist", *SPACE, "--sample", "1", "--json").json
    assert (specs[0]["image_size"], specs[0]["in_channels"]) == (28, 1)


TIMED_SPACE = [*SPACE, *sets("space.kernels=3 space.shortcut_kernel=[1,3]")]


def timed_table(run: Run, path: Path, *arguments: object) -> Path:
    """A table of the layers that `explore` lists, with a time for each."""
    head, *lines = run("explore", "--layers-to-time", *arguments).out.splitlines()
    assert head.endswith(",milliseconds") and all(line.endswith(",") for line in lines)
    path.write_text("\n".join([head, *(f"{line}{0.01 + 0.001 * i:.3f}" for i, line in enumerate(lines))]))
    return path


def test_a_table_of_latencies_is_a_limit_of_fit_and_explore(run: Run, tmp_path: Path) -> None:
    table = timed_table(run, tmp_path / "device.csv", *TIMED_SPACE)
    limit = ("--max-latency", "500us", "--latency-table", table)
    explored = run(*EXPLORE, *TIMED_SPACE, *limit, "--json", "--output", tmp_path / "space.html")
    assert explored.code == 0, explored.err
    assert explored.json["budget"]["latency_ns"] == 500_000
    drawn = run(*EXPLORE, *TIMED_SPACE, *limit, "--sample", 2)
    assert drawn.out.splitlines()[0].split() == ["params", "MACs", "ms", "network"]
    fitted = run("fit", "--shape", "1:2", "--blocks", "1", *limit, "--json").json
    assert 0 < fitted["latency_ns"] <= 500_000 and fitted["latency_source"] == "device.csv"
    counted = run("count", "--channels", "8,16", "--blocks", "1", *limit, "--explain")
    assert counted.code == 0, counted.err
    assert "of 0.5 ms of predicted latency" in counted.out and "    ms   " in counted.out
    two = run("count", "--channels", "8,16", "--channels", "8", "--blocks", "1", *limit)
    assert two.out.splitlines()[0].split()[-2:] == ["ms", "budget"]


def test_a_limit_on_latency_is_not_for_modules(run: Run) -> None:
    refused = run("count", "--module", "torch.nn:Identity", "--max-latency", "5ms")
    assert refused.refused(2, "--max-latency: not predicted for --module; leave it out")


def test_a_table_lacks_layers_of_the_space(run: Run, tmp_path: Path) -> None:
    table = timed_table(run, tmp_path / "device.csv", *TIMED_SPACE)
    limit = ("--max-latency", "500us", "--latency-table", table)
    missing = run(*EXPLORE, *TIMED_SPACE, *limit, "--block", "separable")
    assert missing.refused(2, "device.csv: has no depthwise of kernel 3, nor any other, and a network needs one")
    assert run("fit", "--shape", "1:2", "--max-latency", "5").refused(2, "--max-latency: '5' has no unit; write a time")
