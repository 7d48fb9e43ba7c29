"""The listing of runs, and a study, a trial or a run in the terminal."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.console.listing import middle
from nas_budget.records import run_folder as run_folders
from nas_budget.records import trials
from nas_budget.records.finalists import FinalistRun, write_finalists
from nas_budget.records.paths import BEST_SPEC, FINALISTS_TABLE, JOURNAL, PAGE, TRIALS_TABLE
from nas_budget.records.trials import read_trials, write_table
from nas_budget.report.pages.next_steps import network_options
from tests.cli.runs import SPEC, plain, terminal, write_run, write_unfinished
from tests.conftest import Run

STUDY = Path(__file__).parent / "early_study"
"""Of thirty trials, by a version whose table had fewer columns."""
SHOWN = {
    "cifar10-150k": [
        "30 trials (25 complete, 5 pruned) on cifar10",
        "50.0% ± 2.2% (95 %) of 2,000 validation images",
        "fits: 112,062 of 150,000 parameters, 37,938 to spare",
        "45.1%    11,925",
        "●",
        "100k",
        "10 min of training: 9 min on complete trials",
        "nas-budget train --study runs/cifar10-150k",
        "nas-budget report runs/cifar10-150k",
    ],
    "cifar10-150k 3": [
        "trial 3: 41.9% ± 2.2% (95 %) of 2,000 validation images",
        "stage 2   12x8x8    13,416     850,944        8.9%",
        "120,807 to spare",
        "▁▄▅▆▇█  17.9% to 41.9%",
        "17.9%  27.5%  32.9%  36.4%  39.1%  41.9%",
        "sgd, learning rate 0.1, weight decay 0.0005, batch 64",
        "15.5 s",
        "AMD EPYC",
    ],
    "long": [
        "90.50% ± 0.57% (95 %) of 10,000 test images, mean of 2 seeds",
        "strong: muon",
        "7,000 parameters",
        "90.50% ± 0.57%       0.71%   90.00% 91.00%",
        "3 min",
        "nas-budget export runs/long",
    ],
    "begun": ["not finished: epoch 7 of 20", "10.0% to 70.0%"],
}
"""Of each folder or trial, some of what is shown."""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs with a study, a finished run and one that is under way; it is the working folder's."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs"
    shutil.copytree(STUDY, folder / "cifar10-150k")
    write_run(folder / "long")
    write_unfinished(folder / "begun")
    (folder / "nothing").mkdir()
    for age, name in enumerate(("begun", "long", "cifar10-150k"), start=1):
        for path in (folder / name).iterdir():
            os.utime(path, (time.time() - 3 * 3600 * age, time.time() - 3 * 3600 * age))
    return Path("runs")


def test_studies_and_runs_are_listed_the_last_changed_first(run: Run, runs: Path) -> None:
    ran = run("ls")
    assert ran.code == 0
    first, second, third = ran.out.splitlines()[2:]
    assert first.startswith("begun ") and "epoch 7/20" in first
    assert second.startswith("long ") and "2 seeds" in second
    assert third.startswith("cifar10-150k ") and "25 complete, 5 pruned" in third
    assert "50.0%   112,062   150k, 6M MACs   cifar10   9 h ago" in third
    begun, long, study = run("ls", "--json").json
    assert (begun["epoch"], begun["epochs"], begun["accuracy"]) == (7, 20, None)
    assert (long["kind"], long["seeds"], long["accuracy"]) == ("run", 2, pytest.approx(0.905))
    assert study["trials"] == {"complete": 25, "pruned": 5, "failed": 0}
    formats = {"weight_format": "fp32", "activation_format": "fp32"}
    assert study["budget"] == {"params": 150_000, "macs": 6_000_000, **formats}
    assert abs(datetime.fromisoformat(study["changed"]).timestamp() - time.time() + 9 * 3600) < 60


def test_where_nothing_lies_one_line_says_what_to_run(run: Run, tmp_path: Path) -> None:
    for folder in tmp_path / "nowhere", tmp_path:
        ran = run("ls", folder)
        assert (ran.code, ran.out, ran.err.count("\n")) == (0, "", 1)
        assert "nas-budget search" in ran.err
        assert run("ls", folder, "--json").json == []


@pytest.mark.parametrize("damage", ["", "a,b\n1,2\n", "cut", "\x00"])
def test_a_damaged_folder_gets_a_row_and_a_reason(run: Run, runs: Path, damage: str) -> None:
    text = (runs / "cifar10-150k" / TRIALS_TABLE).read_text()
    (runs / "damaged").mkdir()
    (runs / "damaged" / TRIALS_TABLE).write_text(text[:3000] if damage == "cut" else damage)
    (runs / "torn").mkdir()
    (runs / "torn" / "result.json").write_text("{")
    ran = run("ls")
    assert ran.code == 0
    assert len([line for line in ran.out.splitlines() if "damaged" in line.split()]) >= 2
    assert "cifar10-150k" in ran.out
    assert all(line.startswith(("runs/damaged", "runs/torn")) for line in ran.err.splitlines())
    listed = {entry["name"]: entry["problem"] for entry in run("ls", "--json").json}
    assert [bool(listed[name]) for name in ("damaged", "torn", "long")] == [True, True, False]


@pytest.mark.parametrize("width", [140, 100, 80, 60, 40])
def test_the_listing_is_no_wider_than_the_terminal(
    run: Run, runs: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    shutil.copytree(STUDY, runs / "a-study-with-a-very-long-name-that-nobody-would-ever-type-twice")
    terminal(monkeypatch, width)
    out = plain(run("ls").out)
    assert max(map(len, out.splitlines())) <= width
    assert "50.0%" in out
    assert ("…" in out) == (width < 140)
    assert "…" not in out or ("a-study" in out and "twice" in out)


def test_names_are_cut_in_their_middle() -> None:
    assert middle("short", 5) == "short"
    assert middle("abcdefghij", 5) == "ab…ij"


def test_of_two_hundred_studies_each_table_is_read_once(run: Run, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(200):
        (runs / f"study{i}").mkdir()
        shutil.copy(STUDY / TRIALS_TABLE, runs / f"study{i}" / TRIALS_TABLE)
    read: list[Path] = []
    real = trials.read_columns
    monkeypatch.setattr(run_folders, "read_columns", lambda file, names: read.append(file) or real(file, names))
    assert len(run("ls", "--json").json) == 203
    assert len(read) == 201  # each table once, and no journal


@pytest.mark.parametrize("arguments", SHOWN)
def test_what_is_shown_fits_a_terminal_of_eighty_columns(
    run: Run, runs: Path, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    terminal(monkeypatch, 80)
    out = plain(run("show", *arguments.split()).out)
    assert max(map(len, out.splitlines())) <= 80
    assert [line for line in SHOWN[arguments] if line not in out] == []


def test_json_has_what_is_shown(run: Run, runs: Path) -> None:
    study = run("show", runs / "cifar10-150k" / TRIALS_TABLE, "--json").json
    assert study["best"]["number"] == 21
    assert study["margins"]["params"]["margin"] == 37_938
    assert [row["params"] for row in study["front"]] == sorted(row["params"] for row in study["front"])
    assert study["seconds"]["spent"] > 500
    trial = run("show", "cifar10-150k", "3", "--json").json
    assert trial["curve"][-1] == trial["accuracy"] == 0.419
    assert sum(part["params"] for part in trial["stages"]) == trial["params"]
    finished = run("show", "long", "--json").json
    assert finished["accuracy"]["mean"] == pytest.approx(0.905)
    assert {*finished["files"]} == {"metrics.jsonl", "model.safetensors", "result.json"}
    assert run("show", "begun", "--json").json["finished"] is False


def test_finalists_lead_where_there_are_some(run: Run, runs: Path) -> None:
    folder = runs / "cifar10-150k"
    trial = {r.number: r for r in read_trials(folder)}
    again = [
        FinalistRun(r.number, seed, accuracy + seed / 100, 6, r.params, 10.0, 0.0, "0.1", "a device", r.spec)
        for r, accuracy in ((trial[9], 0.5), (trial[21], 0.4))
        for seed in (1, 2)
    ]
    write_finalists(folder / FINALISTS_TABLE, again)
    out = run("show", folder).out
    assert "best   51.5% ± 2.2% (95 %) of 2,000 validation images, mean of 2 more trainings" in out
    assert "trial 9: 12-9-8" in out
    assert "behind by 10.0%" in out
    assert run("show", folder, "--json").json["best"]["number"] == 9
    assert "51.5%   11,925" in run("ls").out
    run("report", folder)
    assert '<b>51.5%</b> <span class="margin">± 2.2%' in (folder / PAGE).read_text(encoding="utf-8")
    assert "± 2.2%</td>" in (folder / PAGE).read_text(encoding="utf-8")  # the finalist's row says the same


def test_terminal_and_page_give_one_result_in_the_same_words(run: Run, runs: Path) -> None:
    shown = "90.50% ± 0.57%"
    assert shown in run("show", "long").out
    assert shown in run("report", "long").out
    assert f"<b>{shown}</b>" in (runs / "long" / PAGE).read_text(encoding="utf-8")


def test_the_export_of_a_study_is_that_of_the_run_of_its_best_network(run: Run, runs: Path) -> None:
    shutil.rmtree(runs / "long")
    (runs / "cifar10-150k" / BEST_SPEC).write_text(SPEC.to_json())
    assert "export" not in run("show", "cifar10-150k").out
    write_run(runs / "long")
    assert "nas-budget export runs/long" in run("show", "cifar10-150k").out


def test_a_table_no_search_writes_is_damaged(run: Run, runs: Path) -> None:
    path = runs / "cifar10-150k" / TRIALS_TABLE
    write_table(path, [replace(row, accuracy=97.5) for row in read_trials(path)])
    for more in [], ["3"], ["--json"]:
        assert run("show", "cifar10-150k", *more).refused(2, "error: runs/cifar10-150k/trials.csv: ")
    assert run("ls", "--json").code == 0  # and is JSON


def test_a_name_cannot_talk_to_the_terminal(run: Run, runs: Path) -> None:
    shutil.copytree(runs / "long", runs / "red\x1b[31m\nname")
    out = run("ls").out
    assert "\x1b" not in plain(out)
    assert "red?[31m?name" in plain(out)


def test_a_study_without_a_finished_trial_says_so(run: Run, runs: Path) -> None:
    (runs / "young").mkdir()
    (runs / "young" / JOURNAL).write_text("")
    assert run("show", "young").out == "young: no trial has ended yet\n"
    assert run("show", "young", "--json").json["trials"] == {"complete": 0, "pruned": 0, "failed": 0}
    assert "no trials yet" in run("ls").out
    only = replace(read_trials(STUDY)[0], state="failed", accuracy=None, curve="", epochs=0, reason="out of memory")
    write_table(runs / "young" / TRIALS_TABLE, [only])
    assert "1 failed" in run("show", "young").out
    assert "failed after 0 of 6 epochs: out of memory" in run("show", "young", "0").out


def test_the_commands_of_a_trial_are_ready_to_run(run: Run, quick: list[object], tmp_path: Path) -> None:
    run(*quick, "--trials", 2, "--name", "a", "--pruner", "none", "--workers", 1, "--proxy", "none")
    out = run("show", tmp_path / "a", "1").out.replace("\\\n", " ")
    lines = [line.split("nas-budget ")[1].split() for line in out.splitlines() if "nas-budget " in line]
    assert (tmp_path / "a" / "trials" / "1" / "trial.json").exists()  # without it no training can be offered
    (trained,), (counted,) = ([line for line in lines if line[0] == name] for name in ("train", "count"))
    shown = run("show", tmp_path / "a", "1", "--json").json
    assert run(*counted, "--json").json["spec"] == shown["spec"]
    assert trained == ["train", "--study", str(tmp_path / "a"), "--trial", "1"]
    assert shown["recipe"]["optimizer"] == "muon"


def test_options_describe_the_network(run: Run) -> None:
    spec = ResNetSpec(
        (8, 9), (1, 2), (3, 5), pool="global", strides=2, stem_kernel=5, shortcut_kernel=1, block="bottleneck",
        se_reduction=4, stem_width=16, dropout=0.2, image_size=28, in_channels=1, classes=3,
    )  # fmt: skip
    counted = run("count", *network_options(spec, image=True), "--json").json
    assert ResNetSpec.from_dict(counted["spec"]) == spec


def test_a_run_of_one_seed_gives_what_chance_in_the_images_allows(run: Run, runs: Path) -> None:
    write_run(runs / "one", n_seeds=1)
    assert "90.00% ± 0.59% (95 %) of 10,000 test images" in run("show", "one").out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("nope", 2, "nope: no such folder; there are runs/begun, runs/cifar10-150k, runs/long"),
        ("runs/nothing", 2, "runs/nothing: holds no study or run; there are runs/begun"),
        ("cifar10-150k 99", 2, "no trial 99; there are 0 to 29"),
        ("cifar10-150k 40", 2, "trial 40 has not ended yet"),
        ("long 3", 2, "has no trials"),
        ("torn", 2, "runs/torn"),
        ("torn-run", 2, "runs/torn-run"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(run: Run, runs: Path, arguments: str, code: int, said: str) -> None:
    (runs / "cifar10-150k" / "trials" / "40").mkdir(parents=True)
    for name, file in ("torn", TRIALS_TABLE), ("torn-run", "run.json"):
        if arguments == name:
            (runs / name).mkdir()
            (runs / name / file).write_text("{")
    assert run("show", *arguments.split()).refused(code, said)


def test_no_colour_where_none_is_wanted(run: Run, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = ("\x1b[32m", "\x1b[1;32m", "\x1b[31m")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert any(code in run("show", "cifar10-150k").out for code in coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    for arguments in ["show", "cifar10-150k"], ["ls"], ["count", "--channels", "8"]:
        assert not any(code in run(*arguments).out for code in coloured)
    for name in "FORCE_COLOR", "NO_COLOR":
        monkeypatch.delenv(name)
    assert "\x1b" not in run("show", "cifar10-150k").out
