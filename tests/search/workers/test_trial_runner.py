"""A trial that was killed goes on after its last epoch, and leaves what one that was not killed would leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState

from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.workers import trial_runner
from nas_budget.search.workers.events import TrialEpoch, TrialFinished, TrialNote, TrialStarted
from nas_budget.search.workers.scheduler import SearchScheduler, epochs_in
from nas_budget.search.workers.search_runner import Search
from nas_budget.search.workers.trial_runner import TrialRunner
from nas_budget.train.data.dataset import Dataset, open_npz
from nas_budget.train.engine import checkpoint
from tests.search.studies import make

EPOCHS, STEPS = 3, 2
"""Of a trial and of an epoch in `tests.search.studies`."""
NETWORKS = [{"channels": [6, width], "blocks": 1} for width in (6, 9, 12, 8, 7, 10)]
"""A sampler would propose others after a restart."""
THREE: dict[str, Any] = {"search__pruner": "none", "search__trials": 3, "search__queue": NETWORKS}


class Killed(BaseException):
    """The process ends here."""


class KillAt:
    """Kills in the step of this number, from 0."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self) -> bool:
        self.left -= 1
        if self.left < 0:
            raise Killed
        return False


@pytest.fixture(autouse=True)
def _a_checkpoint_after_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet_optuna()
    monkeypatch.setattr(checkpoint, "SHARE", 0)


def numbers(search: Search, folder: str = "trials") -> list[Any]:
    """All that training gave, by trial, but for times."""
    found: list[Any] = [(r.number, r.state, r.spec, r.curve, r.train_losses, r.reason) for r in search.tables.rows()]
    folders = sorted((search.folder / folder).iterdir())
    return found + [[asdict(epoch) | {"seconds": 0} for epoch in epochs_in(path)] for path in folders]


def repeated(search: Search) -> float:
    return search.tables.ledger().repeated


def epochs_of(events: list[Any], number: int) -> list[int]:
    return [e.result.epoch for e in events if isinstance(e, TrialEpoch) and e.number == number]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "left"), [(0, [1, 2, 3]), (1, [1, 2, 3]), (2, [2, 3]), (3, [2, 3]), (5, [3])])
@pytest.mark.parametrize(
    "changes",
    [{}, {"search__trial_seeds": 2}, {"search__proxy": "2/3", "search__ladder": [1], "space__width": [6, 16]}],
    ids=["one seed", "two seeds", "proxies"],
)
def test_a_trial_that_was_killed_goes_on_after_its_last_epoch(
    changes: dict[str, Any], step: int, left: list[int], dataset: Dataset, tmp_path: Path
) -> None:
    whole = make(dataset, tmp_path / "whole", **THREE, **changes)
    list(whole.events())
    seeds = changes.get("search__trial_seeds", 1)
    # The seeds of an epoch are trained one after the other.
    at = seeds * (STEPS * EPOCHS + step)
    with pytest.raises(Killed):
        list(make(dataset, tmp_path / "cut", KillAt(at), **THREE, **changes).events())
    assert (tmp_path / "cut" / "trials" / "1" / "checkpoint.safetensors").exists() == (len(left) < EPOCHS)
    search = make(dataset, tmp_path / "cut", **THREE, **changes)
    events = list(search.events())
    assert epochs_of(events, 1) == left
    assert numbers(search) == numbers(whole)
    assert repeated(search) == 0  # what was killed in the middle of an epoch has no time of its own
    assert search.tables.rows()[1].seconds >= sum(e.seconds for e in epochs_in(tmp_path / "cut" / "trials" / "1"))
    assert [*(tmp_path / "cut").rglob("*checkpoint*")] == []


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["front", "median"])
def test_a_pruner_decides_as_it_would_have_and_is_not_asked_again(
    pruner: str, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    real = SearchScheduler.on_rung

    def see(self: Any, trial: Any, epoch: int) -> Any:
        asked.append((trial.number, epoch))
        return real(self, trial, epoch)

    monkeypatch.setattr(SearchScheduler, "on_rung", see)
    changes: dict[str, Any] = THREE | {"search__pruner": pruner, "search__trials": 6, "recipe__epochs": 4}
    whole = make(dataset, tmp_path / "whole", **changes)
    list(whole.events())
    uninterrupted, asked[:] = [*asked], []
    for kill_at in 5, 7, 9, 3, 11:
        with pytest.raises(Killed):
            list(make(dataset, tmp_path / "cut", KillAt(kill_at), **changes).events())
    search = make(dataset, tmp_path / "cut", **changes)
    list(search.events())
    assert numbers(search) == numbers(whole)
    assert asked == uninterrupted


def test_an_epoch_that_was_stored_and_not_kept_is_trained_again_once(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(dataset, tmp_path / "whole", **THREE)
    list(whole.events())
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TrialRunner, "_take_in", self_kill_after(2))
        list(make(dataset, tmp_path / "cut", **THREE).events())
    folder = tmp_path / "cut" / "trials" / "0"
    lines = (folder / "epochs.jsonl").read_text().splitlines()
    assert len(lines) == 2
    lost = json.loads(lines[1]) | {"seconds": 50.0, "accuracy": 0.125}
    (folder / "epochs.jsonl").write_text(f"{lines[0]}\n{json.dumps(lost)}\n" + '{"epoch": 3, "tra')
    (folder / ".checkpoint.safetensors-x1").write_text("half of one")
    search = make(dataset, tmp_path / "cut", **THREE)
    # As if the device gave other numbers the second time.
    study_trial = search.study.trials[0]
    search.study._storage.set_trial_intermediate_value(study_trial._trial_id, 2, 0.125)
    assert epochs_of(list(search.events()), 0) == [2, 3]
    assert numbers(search) == numbers(whole)
    assert [row.repeated_seconds for row in search.tables.rows()] == [50.0, 0.0, 0.0]
    assert repeated(search) == 50.0
    assert [*(tmp_path / "cut").rglob("*checkpoint*")] == []


def self_kill_after(epoch: int) -> Any:
    """`TrialRunner._take_in` of a process that ends once the epoch is stored."""
    real = TrialRunner._take_in

    def stored(self: Any, result: Any) -> None:
        real(self, result)
        if result.epoch == epoch:
            raise Killed

    return stored


def test_a_damaged_checkpoint_costs_the_epochs_and_is_told(dataset: Dataset, tmp_path: Path) -> None:
    whole = make(dataset, tmp_path / "whole", **THREE)
    list(whole.events())
    with pytest.raises(Killed):
        list(make(dataset, tmp_path / "cut", KillAt(5), **THREE).events())
    file = tmp_path / "cut" / "trials" / "0" / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    trained = sum(epoch.seconds for epoch in epochs_in(file.parent))
    search = make(dataset, tmp_path / "cut", **THREE)
    events = list(search.events())
    (note,) = [event for event in events if isinstance(event, TrialNote)]
    assert note.number == 0
    assert "it starts from its beginning, as its checkpoint cannot be used: " in note.text
    assert epochs_of(events, 0) == [1, 2, 3]
    assert numbers(search) == numbers(whole)
    assert repeated(search) == pytest.approx(trained, abs=1e-3)


def test_a_finalist_goes_on_too(dataset: Dataset, tmp_path: Path) -> None:
    changes = THREE | {"search__finalists": 1, "search__finalist_seeds": 2}
    whole = make(dataset, tmp_path / "whole", **changes)
    list(whole.events())
    with pytest.raises(Killed):
        list(make(dataset, tmp_path / "cut", KillAt(4 * EPOCHS * STEPS + 5), **changes).events())
    search = make(dataset, tmp_path / "cut", **changes)
    events = list(search.events())
    assert isinstance(events[0], TrialStarted)
    assert events[0].finalist
    assert events[0].resumed
    assert epochs_of(events, 1) == [3]
    assert numbers(search, "finalists") == numbers(whole, "finalists")
    assert [*(tmp_path / "cut").rglob("*checkpoint*")] == []


def test_a_trial_that_fails_keeps_no_checkpoint(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(self: Any, trial: Any, result: Any) -> Any:
        if result.epoch == 2:
            raise RuntimeError("no luck")
        return trial_runner.GO_ON

    monkeypatch.setattr(SearchScheduler, "on_epoch", breaks)
    events = make(dataset, tmp_path, **THREE).events()
    finished = next(event for event in events if isinstance(event, TrialFinished))
    assert (finished.record.state, finished.record.reason) == ("failed", "RuntimeError: no luck")
    assert [*tmp_path.rglob("*checkpoint*")] == []


def test_what_a_kill_left_beside_trials_that_have_ended_goes_when_a_search_starts(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(trial_runner, "drop_checkpoint", lambda _: KillAt(0)())
        list(make(dataset, tmp_path, **THREE).events())
    assert [*tmp_path.rglob("*checkpoint*")]
    search = make(dataset, tmp_path, **THREE)
    assert search.study.trials[0].state == TrialState.COMPLETE
    list(search.events())
    assert [*tmp_path.rglob("*checkpoint*")] == []


PROGRAM = """
import sys
from pathlib import Path
from tests.search.workers.test_trial_runner import kill_in_the_middle
kill_in_the_middle(*map(Path, sys.argv[1:]))
"""


def kill_in_the_middle(npz: Path, folder: Path) -> None:
    """Search, and end this process by SIGKILL in the last step of the second trial."""
    torch.set_num_threads(1)
    quiet_optuna()
    checkpoint.SHARE = 0
    left = 2 * EPOCHS * STEPS

    def should_stop() -> bool:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    for _ in make(open_npz(npz, "small"), folder, should_stop, **THREE).events():
        pass


@pytest.mark.slow
def test_a_real_kill_in_the_middle_of_a_trial_costs_at_most_an_epoch(
    dataset: Dataset, npz: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    root = Path(__file__).parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, npz, cut], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
    )
    assert ran.returncode == -signal.SIGKILL
    assert len(epochs_in(cut / "trials" / "1")) == EPOCHS - 1
    search = make(dataset, cut, **THREE)
    assert epochs_of(list(search.events()), 1) == [EPOCHS]  # the one in which it was killed, and no other
    whole = make(dataset, tmp_path / "whole", **THREE)
    list(whole.events())
    assert numbers(search) == numbers(whole)
