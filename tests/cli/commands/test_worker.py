"""`nas-budget worker`: trains for a search that another command began in a database."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.study import Study
from optuna.trial import TrialState

from nas_budget.cli.jobs.worker import run_worker
from nas_budget.errors import StoppedError
from tests.cli.commands.test_search import rows
from tests.cli.processes import start, wait_until
from tests.conftest import Run, save_npz

pytestmark = pytest.mark.slow


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("NAS_BUDGET_STORAGE", raising=False)
    return f"sqlite:///{tmp_path}/s.db"


@pytest.fixture
def asked(run: Run, quick: list[object], tmp_path: Path, address: str) -> list[object]:
    """The command of a search of five trials in a database, that has begun and trained one of them."""
    images = tmp_path / "own.npz"
    save_npz(images)
    command = [*quick, "--data", images, "--name", "a", "--storage", address, "--pruner", "none", "--workers", 1]
    assert run(*command, "--trials", 1).code == 0
    study = opened(address)
    recorded = study.user_attrs["settings"]
    study.set_user_attr("settings", {**recorded, "search": {**recorded["search"], "trials": 3}})
    return [*command, "--trials", 3]


def opened(address: str) -> Study:
    return optuna.load_study(study_name="a", storage=address)


def test_a_worker_trains_what_is_left_and_the_search_reports_it(
    run: Run, asked: list[object], tmp_path: Path, address: str
) -> None:
    before = opened(address).user_attrs
    ran = run("worker", "a", "--storage", address, "--runs-dir", tmp_path / "there")
    assert (ran.code, ran.out) == (0, "a: 2 trials trained here; no more begin\n"), ran.err
    assert "trial 2 started" in ran.err
    assert opened(address).user_attrs == before  # what the search records is its own
    assert [trial.state for trial in opened(address).trials] == [TrialState.COMPLETE] * 3
    assert sorted(path.name for path in (tmp_path / "there" / "a" / "trials").iterdir()) == ["1", "2"]
    assert not [*(tmp_path / "there").rglob("*.csv")]
    assert run(*asked).code == 0
    assert [row["number"] for row in rows(tmp_path / "a")] == ["0", "1", "2"]


def test_its_address_may_be_in_the_environment_or_in_a_file(
    run: Run, asked: list[object], tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "address").write_text(address + "\n")
    assert run("worker", "a", "--storage-file", tmp_path / "address", "--quiet").code == 0
    monkeypatch.setenv("NAS_BUDGET_STORAGE", address)
    assert run("worker", "a").out == "a: 0 trials trained here; no more begin\n"


def test_who_stops_a_worker_gives_its_trial_back(asked: list[object], tmp_path: Path, address: str) -> None:
    left = [20]

    def should_stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    with pytest.raises(StoppedError, match="stopped after 1 trials; what was under way is for other workers"):
        run_worker("a", address, should_stop, True, runs_dir=tmp_path)
    states = {trial.number: (trial.state, trial.user_attrs["worker"] == "") for trial in opened(address).trials}
    assert states[2] == (TrialState.RUNNING, True)


def test_sigterm_to_a_workers_process_gives_its_trial_back_at_once(
    asked: list[object], tmp_path: Path, address: str
) -> None:
    """As a cluster's launcher sends it: whoever asks next need not wait for the lease to run out."""
    study = opened(address)
    recorded = study.user_attrs["settings"]
    long = {"recipe": {**recorded["recipe"], "epochs": 100_000}, "rungs": []}
    study.set_user_attr("settings", {**recorded, **{name: each for name, each in long.items() if name in recorded}})
    with start("worker", "a", "--storage", address, "--runs-dir", tmp_path / "there") as process:
        wait_until(lambda: bool(opened(address).get_trials(states=(TrialState.RUNNING,))))
        wait_until(lambda: bool(opened(address).get_trials(states=(TrialState.RUNNING,))[0].intermediate_values))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "Traceback" not in err
    (left,) = opened(address).get_trials(states=(TrialState.RUNNING,))
    assert (left.number, left.user_attrs["worker"]) == (1, "")


def change(address: str, **attributes: Any) -> None:
    for name, value in attributes.items():
        opened(address).set_user_attr(name, value)


def others_versions(address: str, folder: Path) -> None:
    change(address, versions="nas-budget 0.0.1, torch 2.0.0, optuna 5.0.0")


def other_data(address: str, folder: Path) -> None:
    import numpy as np

    save_npz(folder / "own.npz", train_images=np.zeros((500, 32, 32, 3), np.uint8))


def other_format(address: str, folder: Path) -> None:
    change(address, settings={**opened(address).user_attrs["settings"], "format": "older"})


def other_budget(address: str, folder: Path) -> None:
    (folder / "a.toml").write_text('[budget]\nparams = "30k"\n')


def nothing(address: str, folder: Path) -> None:
    """The study is as it was."""


def journal(address: str, folder: Path) -> None:
    """The folder here is that of a search without a database."""
    (folder / "runs" / "a").mkdir(parents=True)
    (folder / "runs" / "a" / "study.journal").touch()


@pytest.mark.parametrize(
    ("prepare", "study", "given", "said"),
    [
        (nothing, "b", ["--storage", "{address}"], "s.db holds no study b (only a); begin it with nas-budget search"),
        (nothing, "a", ["--storage", "sqlite:///none.db"], "none.db holds no study a (it is empty)"),
        (nothing, "a", [], "give its address by --storage, by NAS_BUDGET_STORAGE, or by --storage-file"),
        (nothing, "a", ["--storage", "journal"], "a worker joins a study of a database"),
        (nothing, "a", ["--storage-file", "none"], "--storage-file none: No such file"),
        (nothing, "a", ["--storage", "{address}", "--device", "cuda:9"], "device: 'cuda:9'"),
        (journal, "a", ["--storage", "{address}"], "runs/a: holds a study that is kept in its journal"),
        (others_versions, "a", ["--storage", "{address}"], "was begun with nas-budget 0.0.1"),
        (other_data, "a", ["--storage", "{address}"], "own.npz: the images here are not those of study a"),
        (other_format, "a", ["--storage", "{address}"], "study a: written by another version"),
        (other_budget, "{folder}/a.toml", ["--storage", "{address}"], "budget.params is 20000, not 30000"),
    ],
)
def test_what_is_not_the_study_is_refused_in_a_line(
    run: Run, asked: list[object], tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[str, Path], None], study: str, given: list[str], said: str,
) -> None:  # fmt: skip
    prepare(address, tmp_path)
    monkeypatch.chdir(tmp_path)
    ran = run("worker", study.format(folder=tmp_path), *(part.format(address=address) for part in given))
    assert (ran.code, ran.out) == (2, "")
    assert [line for line in ran.err.splitlines() if line.startswith("error: ")] == ran.err.splitlines()[-1:]
    assert said in ran.err
    assert len(opened(address).trials) == 1


def test_other_versions_may_be_allowed(run: Run, asked: list[object], address: str) -> None:
    others_versions(address, Path())
    assert run("worker", "a", "--storage", address, "--any-version").code == 0
    assert opened(address).user_attrs["versions"].startswith("nas-budget 0.0.1")
