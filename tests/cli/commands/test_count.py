from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nas_budget.arch.spec import ResNetSpec
from tests.conftest import Ran

REFERENCE = ("count", "--channels", "32,64,96,128,185")
Run = Callable[..., Ran]


def test_the_reference(run: Run) -> None:
    ran = run(*REFERENCE)
    assert ran.code == 0
    assert ran.err == ""
    assert "stage 5   185x2x2    2,585,745    10,329,660       51.7%" in ran.out
    assert "fits: 4,907,445 of 5,000,000 parameters, 92,555 to spare" in ran.out
    assert all(len(line) <= 80 for line in ran.out.splitlines())


@pytest.mark.parametrize(
    ("options", "params"),
    [
        ("--channels 32,64,96,128,185 --shortcut-kernel 1", 4_554_165),
        ("--channels 64,128,256 --blocks 4,5,3 --shortcut-kernel 1 --pool 8", 4_992_586),
        ("--channels 64,128,256 --blocks 4,5,3 --shortcut-kernel 1 --pool global", 4_992_586),
    ],
)
def test_options_reach_the_network(run: Run, options: str, params: int) -> None:
    assert run("count", *options.split(), "--json").json["params"] == params


def test_json_has_every_figure(run: Run) -> None:
    counted = run(*REFERENCE, "--max-macs", "300M", "--json").json
    assert {"params", "macs", "weight_bytes", "activation_bytes", "buffers", "fits", "margins", "stages"} <= set(
        counted
    )
    assert counted["macs"] == 226_502_006
    assert counted["fits"] is True
    assert counted["margins"]["macs"] == {"limit": 300_000_000, "used": 226_502_006, "margin": 73_497_994}
    assert sum(part["params"] for part in counted["stages"]) == counted["params"]
    assert ResNetSpec.from_dict(counted["spec"]) == ResNetSpec((32, 64, 96, 128, 185))


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("--budget 4907444", "OVER BUDGET: 4,907,445 of 4,907,444 parameters, 1 too many"),
        ("--max-macs 226M", "OVER BUDGET: 226,502,006 of 226,000,000 MACs, 502,006 too many"),
        ("--max-weight-bytes 4MiB --weight-format int8", "OVER BUDGET: 4,916,535 of 4,194,304 bytes of weights"),
        ("--max-activation-bytes 100kB", "OVER BUDGET: 393,216 of 100,000 bytes of activations"),
    ],
)
def test_over_budget_exits_with_3_and_says_by_how_much(run: Run, limit: str, said: str) -> None:
    ran = run(*REFERENCE, *limit.split())
    assert ran.code == 3
    assert said in ran.out
    assert run(*REFERENCE, *limit.split(), "--json").json["fits"] is False


def test_no_budget_at_all(run: Run) -> None:
    ran = run("count", "--channels", "512,512", "--budget", "none")
    assert ran.code == 0
    assert "of params" in ran.out


def test_layers_agree_with_torchinfo(run: Run) -> None:
    ran = run(*REFERENCE, "--layers")
    assert "layer5.0.downsample.0" in ran.out
    assert "Total params: 4,907,445" in ran.out


def test_a_spec_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(ResNetSpec((8, 16), pool=4).to_json())
    by_file, by_options = run("count", path, "--json"), run("count", "--channels", "8,16", "--pool", "4", "--json")
    assert by_file.json == by_options.json
    both = run("count", path, "--pool", "4")
    assert both.code == 2
    assert "--pool" in both.err


@pytest.mark.parametrize(
    "arguments",
    [
        "--channels 32,x",
        "--channels 0",
        "--channels 32,,64",
        "--channels 8 --kernels 4",
        "--channels 8,8,8,8,8 --pool 9",
        "--channels 8,16 --blocks 1,2,3",
        "--channels 8 --budget 0",
        "--channels 8 --budget 5Q",
        "--channels 8 --weight-format int4",
        "--channels 8 --dropout much",
        "--channels",
        "--widths 8",
        "",
        "nowhere.json",
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(run: Run, arguments: str) -> None:
    ran = run("count", *arguments.split())
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1


def test_an_explanation_says_where_it_goes_and_what_more_costs(run: Run) -> None:
    ran = run(*REFERENCE, "--explain")
    assert ran.code == 0
    assert "most parameters are in stage 5: 53% of the parameters, 5% of the MACs" in ran.out
    assert "3x3 shortcuts spend 353,280 parameters" in ran.out
    assert "stage 5 width    185 -> 186      +25,705       +102,718    yes       188" in ran.out
    assert all(len(line) <= 80 for line in ran.out.splitlines())
    changes = run(*REFERENCE, "--explain", "--json").json["changes"]
    assert changes[4]["largest"] == 188


def test_several_networks_are_compared(run: Run, tmp_path: Path) -> None:
    ran = run("count", "--channels", "32,64,96,128,185", "--channels", "64,128,256")
    assert ran.code == 3
    assert "1,243,914 too many" in ran.out
    paths = [tmp_path / f"{width}.json" for width in (8, 16)]
    for path, width in zip(paths, (8, 16), strict=True):
        path.write_text(ResNetSpec((width,)).to_json())
    compared = run("count", *paths, "--json")
    assert compared.code == 0
    assert [row["spec"]["channels"] for row in compared.json] == [[8], [16]]
    assert run("count", *paths, "--explain").code == 2


def test_blocks_of_other_kinds(run: Run) -> None:
    wide = "--channels 48,96,192 --blocks 6 --block preact --stem-width 16 --shortcut-kernel 1 --pool global"
    ran = run("count", *wide.split(), "--json")
    assert ran.code == 3
    assert ran.json["params"] == 5_038_554


def test_any_module_is_counted(run: Run) -> None:
    ran = run("count", "--module", "torch.nn:Conv2d(3, 8, 3)")
    assert ran.code == 0
    assert "fits: 224 of 5,000,000 parameters" in ran.out
    over = run("count", "--module", "torch.nn:Conv2d(3, 8, 3)", "--budget", "223", "--json")
    assert over.code == 3
    assert over.json["margins"]["params"]["margin"] == -1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--module torch.nn:Conv3000", 2),
        ("--module nowhere.at.all:make", 2),
        ("--module torch.nn:Identity --channels 8", 2),
        ("--module torch.nn:Identity --input 3,x", 2),
        ("--module torch.nn:Identity --max-activation-bytes 5", 2),
        ("--module torch.nn:Conv2d", 1),
    ],
)
def test_modules_that_cannot_be_counted_are_one_line(run: Run, arguments: str, code: int) -> None:
    ran = run("count", *arguments.split())
    assert ran.code == code
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
