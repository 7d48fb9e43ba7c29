"""Run folders by path and by name, and the command that is right where the kind is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_budget.cli.options.declare import study_file
from nas_budget.cli.options.runs import find_run, find_spec, find_trained
from nas_budget.errors import UsageError
from tests.conftest import Run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, file in (("mine", "trials.csv"), ("trained", "result.json"), ("other", "study.journal")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / file).touch()
    return Path("runs")


def test_a_run_is_found_by_path_by_name_and_by_its_table(runs: Path) -> None:
    for given in (runs / "mine", Path("mine"), runs / "mine" / "trials.csv"):
        assert find_run(given, "study") == runs / "mine"
    assert find_run(Path("trained")) == find_trained(Path("trained")) == runs / "trained"


def test_a_network_is_found_in_its_file_its_run_or_its_study(runs: Path, tmp_path: Path) -> None:
    assert find_spec(Path("mine")) == runs / "mine/best.json"
    assert find_spec(runs / "trained") == runs / "trained/spec.json"
    assert find_spec(Path("none.json")) == Path("none.json")  # whoever reads it says that it is missing
    with pytest.raises(UsageError, match="none: no such folder; there are runs/mine, runs/other, runs/trained"):
        find_spec(Path("none"))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("mine", "runs/mine: is no study file but a study or run; see it with nas-budget show mine"),
        ("runs/trained", "runs/trained: is no study file but a study or run; see it with nas-budget show runs/trained"),
        ("quickstart", "quickstart: no such file; the study file that comes with nas-budget is --preset quickstart"),
    ],
)
def test_what_is_no_study_file_says_what_it_is(runs: Path, file: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        study_file(Path(file), None)
    assert study_file(Path("none.toml"), None) == Path("none.toml")


@pytest.mark.parametrize(
    "command",
    [
        "show mine", "show trained", "report mine", "report trained", "doctor mine", "doctor trained", "count mine",
        "count trained", "dashboard mine", "train --study mine", "evaluate trained", "export trained",
        "predict trained a.png",
    ],
)  # fmt: skip
def test_every_command_knows_a_study_or_a_run_by_its_name(runs: Path, run: Run, command: str) -> None:
    ran = run(*command.split())  # the folders hold nothing, so each names the file that it cannot read
    name = next(word for word in command.split() if word in ("mine", "trained"))
    assert (ran.out + ran.err).removeprefix("error: ").startswith(str(runs / name))


@pytest.mark.parametrize(
    ("command", "right"),
    [
        ("evaluate mine", "nas-budget train --study runs/mine"),
        ("export mine", "nas-budget train --study runs/mine"),
        ("predict mine a.png", "nas-budget train --study runs/mine"),
        ("train --study trained", "nas-budget show runs/trained"),
        ("dashboard trained", "nas-budget show runs/trained"),
        ("search mine", "nas-budget show mine"),
        ("explore trained", "nas-budget show trained"),
        ("train mine", "a study goes with --study mine"),
        ("train trained", "the network of that run is runs/trained/spec.json"),
    ],
)
def test_a_folder_of_the_wrong_kind_says_which_command_is_right(runs: Path, run: Run, command: str, right: str) -> None:
    assert run(*command.split()).refused(2, right)


def test_weights_are_taken_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    assert find_trained(tmp_path / "model.safetensors") == tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    ("folder", "kind", "words"),
    [
        ("trained", "study", "runs/trained is a run of train, not a study; .* nas-budget show runs/trained"),
        ("mine", "run", "runs/mine is a study, not a trained network; .* nas-budget train --study runs/mine"),
        ("none", "study", "none: no such folder; there are runs/mine, runs/other$"),
        ("none", "run", "none: no such folder; there are runs/trained$"),
        ("runs", "", "runs: holds no study or run; there are runs/mine, runs/other, runs/trained"),
    ],
)
def test_what_is_not_there_or_of_another_kind_says_what_to_do(runs: Path, folder: str, kind: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        find_run(Path(folder), kind)


@pytest.mark.parametrize(("kind", "command"), [("", "search"), ("study", "search"), ("run", "train")])
def test_where_there_is_none_it_says_what_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, command: str
) -> None:
    monkeypatch.chdir(tmp_path)  # runs of whoever tests are none of this test's
    with pytest.raises(UsageError, match=f"no such folder; make one with nas-budget {command}"):
        find_run(tmp_path / "none", kind)
