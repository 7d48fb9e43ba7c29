from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from nas_budget.arch.spec import ResNetSpec
from nas_budget.train.profile import benchmark as module
from nas_budget.train.profile.benchmark import RESIDENT, Measurement, Quartiles
from tests.conftest import Run

REFERENCE = ("count", "--channels", "32,64,96,128,185")
SMALL = ("count", "--channels", "8,16")
FOUND = Measurement(
    device="a CPU (2 threads)",
    precision="fp32",
    threads=2,
    versions="nas-budget 0.1.0, torch 2.13.0",
    latency_ms=Quartiles(12.345, 12.0, 13.0, 99),
    inference=Quartiles(1_234.5, 1_200.0, 1_300.0, 7),
    inference_batch=128,
    training=Quartiles(301.0, 290.0, 310.4, 3),
    training_batch=32,
    inference_bytes=38_400_000,
    training_bytes=1_234_000_000,
    memory=RESIDENT,
)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("--channels 32,x", 2, "channels: cannot read '32,x'"),
        ("--channels 0", 2, "channels: 0 not allowed"),
        ("--channels 32,,64", 2, "channels: cannot read '32,,64'"),
        ("--channels 32 64 96", 2, "commas between the widths: --channels 32,64,96"),
        (
            "32,64,96",
            2,
            "a network is one list, with commas between the widths: --channels 32,64,96",
        ),
        ("--channels 8 --weight-format int8", 2, "--weight-format is the format of a limit; add --max-weight-bytes"),
        ("--channels 8 --activation-format int8", 2, "add --max-activation-bytes"),
        ("--channels 8 --kernels 4", 2, "kernels: 4 not allowed"),
        ("--channels 8,8,8,8,8 --pool 9", 2, "pool: 9 is larger than the last stage's 2x2 map"),
        ("--channels 8,16 --blocks 1,2,3", 2, "blocks: 3 values for 2 stages"),
        ("--channels 8 --budget 0", 2, "--budget: '0' is not allowed"),
        ("--channels 8 --budget 5Q", 2, "--budget: cannot read '5Q'"),
        ("--channels 8 --weight-format int4", 2, "weight_format: 'int4' is unknown"),
        ("--channels 8 --dropout much", 2, "dropout: cannot read 'much'"),
        ("--channels", 2, "'--channels' requires an argument"),
        ("--widths 8", 2, "No such option: --widths"),
        ("", 2, "no network given"),
        ("nowhere.json", 2, "nowhere.json: cannot be read"),
        ("nowhere", 2, "nowhere: no such folder"),
        ("--channels 8 --budget 5 M", 2, "error: M: no such folder"),
        ("--module torch.nn:Conv3000", 2, "torch.nn has no 'Conv3000'"),
        ("--module torch.nn:Identity --channels 8", 2, "--module describes the whole network"),
        ("--module torch.nn:Identity --input 3,x", 2, "--input: cannot read '3,x'"),
        ("--module torch.nn:Identity --input x=", 2, "--input: cannot read 'x='"),
        ("--module torch.nn:Identity --input 3 --input-dtype int6", 2, "input: dtype 'int6' is not allowed"),
        ("--module torch.nn:Identity --input-dtype int64 --input-dtype bool", 2, "--input-dtype: 2 for 1 inputs"),
        ("--channels 8 --input 3,32,32", 2, "--input goes with --module"),
        ("--channels 8 --input-dtype int64", 2, "--input-dtype goes with --module"),
        ("--module torch.nn:Identity --max-activation-bytes 5", 2, "--max-activation-bytes: not counted"),
        ("--module torch.nn:Conv2d", 2, "building Conv2d failed"),
        ("--channels 8 --channels 16 --measure", 2, "--measure takes one network, not 2"),
        ("--module torch.nn:Identity --measure", 2, "--module"),
        ("--channels 8 --device cpu", 2, "--device goes with --measure"),
        ("--channels 8 --precision bf16", 2, "--precision goes with --measure"),
        ("--channels 8 --measure --device tpu", 2, "device: 'tpu'"),
        ("--channels 8 --measure --device cpu --precision fp16", 2, "fp16 on a CPU"),
        ("--channels 8 --measure --precision fp8", 2, "fp8"),
    ],
)
def test_mistakes_are_one_line(run: Run, asked: list[object], arguments: str, code: int, said: str) -> None:
    assert run("count", *arguments.split()).refused(code, said)
    assert asked == []


def test_the_reference(run: Run) -> None:
    ran = run(*REFERENCE)
    assert (ran.code, ran.err) == (0, "")
    assert "stage 5   185x2x2    2,585,745    10,329,660       51.7%" in ran.out
    assert "fits: 4,907,445 of 5,000,000 parameters, 92,555 to spare" in ran.out
    assert all(len(line) <= 80 for line in ran.out.splitlines())


@pytest.mark.parametrize(
    ("options", "params"),
    [
        ("--channels 32,64,96,128,185 --shortcut-kernel 1", 4_554_165),
        ("--channels 64,128,256 --blocks 4,5,3 --shortcut-kernel 1 --pool 8", 4_992_586),
        ("--channels 64,128,256 --blocks 4,5,3 --shortcut-kernel 1 --pool global", 4_992_586),
        ("--channels 48,96,192 --blocks 6 --block preact --stem-width 16 --shortcut-kernel 1 --pool global", 5_038_554),
    ],
)
def test_options_reach_the_network(run: Run, options: str, params: int) -> None:
    ran = run("count", *options.split(), "--json")
    assert (ran.json["params"], ran.code) == (params, 3 if params > 5_000_000 else 0)


def test_json_has_every_figure(run: Run) -> None:
    counted = run(*REFERENCE, "--max-macs", "300M", "--json").json
    assert {"weight_bytes", "activation_bytes", "buffers"} <= {*counted}
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
    assert run("count", path, "--json").json == run(*SMALL, "--pool", "4", "--json").json
    assert run("count", path, "--pool", "4").refused(2, "--pool")


def test_the_network_of_a_study_or_run_by_its_name(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = {"channels": [8, 16], "blocks": [1, 1]}
    bytes_of_study = {"params": "none", "weight_bytes": 8_000, "weight_format": "int8", "latency_ns": "none"}
    mine, trained = (tmp_path / "runs" / name for name in ("mine", "trained"))
    for folder, file in (mine, "best.json"), (trained, "spec.json"):
        folder.mkdir(parents=True)
        (folder / file).write_text(json.dumps(spec))
    (mine / "trials.csv").touch()
    (trained / "run.json").write_text("{}")
    one = ("count", "--channels", "8,16", "--blocks", "1", "--json")
    asked = run(*one).json
    assert run("count", "mine", "--json").json == run("count", "runs/trained", "--json").json == asked
    (mine / "settings.json").write_text(json.dumps({"budget": bytes_of_study}))
    (trained / "run.json").write_text(json.dumps({"budget.params": 20_000}))
    by_bytes, by_params = ("--budget", "none", "--max-weight-bytes", 8_000), ("--budget", 20_000)
    for source in "mine", mine / "best.json":
        assert run("count", source, "--json").json == run(*one, *by_bytes, "--weight-format", "int8").json
    assert run("count", "trained", "--json").json == run(*one, *by_params).json
    assert run("count", "mine", *by_params, "--max-weight-bytes", "none", "--json").json == run(*one, *by_params).json
    both = run("count", "mine", "trained", "--json")
    assert [*both.json[0]["margins"], *both.json[1]["margins"]] == ["weight_bytes", "params"]
    assert "fp32 B" in run("count", "mine", "trained").out
    (mine / "settings.json").write_text("{}")
    assert run("count", "mine").refused(2, "settings.json: its limits cannot be read (KeyError: 'budget')")


def test_an_explanation_says_where_it_goes_and_what_more_costs(run: Run) -> None:
    ran = run(*REFERENCE, "--explain")
    assert ran.code == 0
    assert "most parameters are in stage 5: 53% of the parameters, 5% of the MACs" in ran.out
    assert "3x3 shortcuts spend 353,280 parameters" in ran.out
    assert "stage 5 width    185 -> 186      +25,705       +102,718    yes       188" in ran.out
    assert all(len(line) <= 80 for line in ran.out.splitlines())
    assert run(*REFERENCE, "--explain", "--json").json["changes"][4]["largest"] == 188


def test_several_networks_are_compared(run: Run, tmp_path: Path) -> None:
    ran = run(*REFERENCE, "--channels", "64,128,256")
    assert ran.code == 3
    assert "1,243,914 too many" in ran.out
    paths = [tmp_path / "8.json", tmp_path / "16.json"]
    for path in paths:
        path.write_text(ResNetSpec((int(path.stem),)).to_json())
    compared = run("count", *paths, "--json")
    assert compared.code == 0
    assert [row["spec"]["channels"] for row in compared.json] == [[8], [16]]
    assert run("count", *paths, "--explain").code == 2


def test_any_module_is_counted(run: Run) -> None:
    convolution = ("count", "--module", "torch.nn:Conv2d(3, 8, 3)")
    ran = run(*convolution)
    assert ran.code == 0
    assert "fits: 224 of 5,000,000 parameters" in ran.out
    over = run(*convolution, "--budget", "223", "--json")
    assert over.code == 3
    assert over.json["margins"]["params"]["margin"] == -1


def test_inputs_of_a_module(run: Run) -> None:
    words = run("count", "--module", "torch.nn:Embedding(100, 8)", "--input", "16", "--input-dtype", "int64", "--json")
    assert words.json["parts"][0]["out_shape"] == [16, 8]
    two = ("count", "--module", "torch.nn:Transformer(32, 2, 1, 1, 64, batch_first=True)", "--json")
    by_place = run(*two, "--input", "10,32", "--input", "9,32").json
    assert [part["out_shape"] for part in by_place["parts"]] == [[10, 32], [9, 32]]
    assert run(*two, "--input", "tgt=9,32", "--input", "src=10,32").json == by_place
    batch = ("count", "--module", "tests.train.profile.other_networks:TakesDictionary", "--json")
    assert run(*batch, "--input", "batch.image=3,8,8", "--input", "batch.table=10").json["macs"] == 3 * 4 * 9 * 64 + 40


def test_what_of_a_module_was_not_counted_is_said(run: Run) -> None:
    mixer = ("count", "--module", "tests.train.profile.other_networks:Mixer", "--input", "16")
    ran = run(*mixer, "--max-macs", "64")
    assert ran.code == 0
    said = "not counted  fft_r2c: 2 calls in spectrum\n             product and sum: 1 call in (itself)\n"
    assert said + "             so the MACs are a lower bound\nfits: " in ran.out
    assert len(run(*mixer, "--json").json["uncounted"]) == 2
    assert "not counted" not in run("count", "--module", "torch.nn:Conv2d(3, 8, 3)").out


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ResNetSpec, torch.device, str]]:
    """What was to be measured; nothing is."""
    calls: list[tuple[ResNetSpec, torch.device, str]] = []
    monkeypatch.setattr(module, "measure", lambda *what: calls.append(what) or FOUND)
    return calls


def test_measured_figures_come_with_spread_batch_and_device_also_over_budget(run: Run, asked: list[object]) -> None:
    ran = run(*SMALL, "--measure", "--device", "cpu", "--budget", "10", "--explain")
    assert ran.code == 3
    assert "measured     a CPU (2 threads), fp32; nas-budget 0.1.0, torch 2.13.0" in ran.out
    assert "latency      12.35 ms for one image (12.00 to 13.00, n = 99)" in ran.out
    assert "inference    1,234 images/s in batches of 128 (1,200 to 1,300, n = 7)" in ran.out
    assert "training     301 images/s in batches of 32 (290 to 310, n = 3)" in ran.out
    assert f"memory       38 MB for one image, 1,234 MB to train in batches of 32\n             ({RESIDENT})" in ran.out
    assert "OVER BUDGET: " in ran.out
    assert asked == [(ResNetSpec((8, 16)), torch.device("cpu"), "fp32")]
    assert all(len(line) <= 80 for line in ran.out.splitlines())


def test_json_has_what_was_measured_under_a_key_of_its_own(run: Run, asked: list[object]) -> None:
    ran = run(*SMALL, "--measure", "--precision", "bf16", "--json")
    assert ran.err == ""
    assert ran.json["measured"] == asdict(FOUND)
    assert ran.json["params"] > 0
    assert asked == [(ResNetSpec((8, 16)), torch.device("cpu"), "bf16")] or torch.cuda.is_available()
    assert "measured" not in run(*SMALL, "--json").json


def test_memory_not_measured_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = replace(FOUND, inference_bytes=None, training_bytes=None)
    monkeypatch.setattr(module, "measure", lambda *_: unknown)
    ran = run(*SMALL, "--measure")
    assert "memory       not measured" in ran.out
    assert "fits: " in ran.out


def test_an_interruption_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "repeat", interrupted)
    ran = run("count", "--channels", "8", "--blocks", "1", "--measure", "--device", "cpu")
    assert ran.code == 130
    assert ran.err.splitlines()[-1] == "interrupted"


@pytest.mark.parametrize(
    ("command", "limit", "said"),
    [
        ("count --channels 8,16", "--budget 250kB", "error: --budget: '250kB' is in bytes and this counts parameters"),
        ("count --channels 8,16", "--max-macs 30MB", "error: --max-macs: '30MB' is in bytes and this counts MACs"),
        ("export README.md", "--budget 250kB", "--max-weight-bytes 250kB"),
        ("search", "--budget 250kB", "error: --budget: '250kB' is in bytes and this counts parameters; write 250k, or"),
        ("search", "--set budget.macs=30MB", "budget.macs: '30MB' is in bytes and this counts MACs; write 30M, or"),
        ("train --channels 8,16", "--max-macs 30MB", "--max-weight-bytes 30MB (budget.weight_bytes in a study file)"),
        ("search", "--images 5kB", "data.images: '5kB' is in bytes and this counts no bytes; write 5k"),
    ],
)
def test_a_limit_in_bytes_is_no_limit_of_parameters_or_macs(run: Run, command: str, limit: str, said: str) -> None:
    assert run(*command.split(), *limit.split()).refused(2, said)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("Int8Linear", ["integers     1,920 B of whole numbers, as they are stored"]),
        ("frozen", ["frozen       224 parameters", "all          5,370 parameters: 5,146 trainable, 224 frozen"]),
    ],
)
def test_whole_numbers_and_frozen_parameters_are_said(run: Run, module: str, said: list[str]) -> None:
    ran = run("count", "--module", f"tests.train.profile.other_networks:{module}", "--input", "3,8,8")
    assert ran.code == 0, ran.err
    assert all(line in ran.out for line in said)
