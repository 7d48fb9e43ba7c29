"""A search as one call."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.study import Study
from optuna.trial import FrozenTrial

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import NothingFitsError, StudyFileError
from nas_budget.records.trials import COLUMNS
from nas_budget.report.notebook import result_html
from nas_budget.search import search
from nas_budget.search.workers.events import TrialFinished, TrialStarted


def study_of(npz: Path, **search_keys: Any) -> dict[str, dict[str, Any]]:
    return {
        "budget": {"params": "20k"},
        "space": {"stages": [2, 3], "width": [4, 16], "blocks": 1},
        "data": {"name": str(npz), "images": 100, "validation_images": 50},
        "recipe": {"batch_size": 50, "epochs": 3},
        "search": {"trials": 4, **search_keys},
    }


def test_a_search_gives_table_front_best_and_time(npz: Path, tmp_path: Path) -> None:
    events: list[Any] = []
    called: list[tuple[str, int, str]] = []

    def callback(study: Study, trial: FrozenTrial) -> None:
        called.append((study.study_name, trial.number, trial.state.name))

    study = study_of(npz, finalists=1, finalist_seeds=2)
    found = search(study, name="mine", runs_dir=tmp_path, on_event=events.append, callbacks=[callback])
    assert [row.number for row in found.trials] == [0, 1, 2, 3]
    assert sorted(called) == [("mine", row.number, row.state.upper()) for row in found.trials]
    assert sum(isinstance(e, TrialFinished) for e in events) == 4
    assert sum(isinstance(e, TrialStarted) for e in events) == 6
    assert list(found.table.columns) == list(COLUMNS)
    assert found.best is not None
    assert found.pareto_front[-1] == found.best
    assert all(a.params < b.params for a, b in pairwise(found.pareto_front))
    assert found.best_spec == ResNetSpec.from_json(found.finalists[0].spec)
    assert found.ledger.spent == pytest.approx(found.ledger.complete + found.ledger.pruned + found.ledger.finalists)
    assert found.study.study_name == "mine"
    assert (found.folder / "trials.csv").exists()
    html = result_html(found)
    assert f"mean of {found.finalists[0].n_runs} runs" in html
    assert f"{cost(found.best_spec).params:,} parameters" in html
    assert all(f">{row.params:,}</td>" in html for row in found.pareto_front)
    again = search(study, name="mine", runs_dir=tmp_path)
    assert again.trials == found.trials


def test_a_file_can_be_given(npz: Path, tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    keys = ["[budget]", 'params = "20k"', "[data]", f'name = "{npz}"', "images = 100", "validation_images = 50"]
    keys += ["[space]", "stages = [2, 3]", "width = [4, 16]", "blocks = 1", "[recipe]", "epochs = 1", "[search]"]
    file.write_text("\n".join([*keys, "trials = 1"]))
    assert len(search(file, runs_dir=tmp_path).trials) == 1
    assert len(search(str(file), runs_dir=tmp_path).trials) == 1


def test_mistakes_are_errors_of_the_package(npz: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match="search.sampler"):
        search({"search": {"sampler": "best"}}, runs_dir=tmp_path)
    with pytest.raises(NothingFitsError, match="cheapest"):
        search({**study_of(npz), "budget": {"params": 10}}, runs_dir=tmp_path)


def test_the_callers_process_stays_as_it_is(npz: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    level, threads = optuna.logging.get_verbosity(), torch.get_num_threads()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    torch.set_num_threads(2)
    try:
        search(study_of(npz, threads=1, trials=2), runs_dir=tmp_path, callbacks=[lambda *_: torch.get_num_threads()])
        assert torch.get_num_threads() == 2
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(level)
        torch.set_num_threads(threads)
    assert capfd.readouterr().err == ""  # Optuna announces studies at level INFO
