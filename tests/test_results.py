"""The tables of the page of results, from folders of results as runs leave them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nas_budget.records.statistics import interval
from tests.conftest import script

ROOT = Path(__file__).parents[1]
results = script(ROOT / "docs" / "results.py")
pictures = script(ROOT / "docs" / "result_pictures.py")
RUN = ROOT / "studies" / "results" / "cifar10-150k-best-fast"
STUDY = ROOT / "studies" / "results" / "cifar10-150k"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of results in the place of the true one."""
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    return tmp_path


def add_run(folder: Path, name: str, recipe: str, accuracy: float) -> None:
    """The result of a training of that name with two seeds."""
    values = json.loads((RUN / "result.json").read_text())
    values["name"], values["recipe"]["name"] = name, recipe
    for seed, change in zip(values["seeds"], (-0.01, 0.01), strict=True):
        seed["accuracy"], seed["seconds"], seed["repeated_seconds"] = accuracy + change, 60.0, 0.0
    (folder / name).mkdir()
    (folder / name / "result.json").write_text(json.dumps(values))


def test_nothing_is_said_of_what_is_not_there(folder: Path) -> None:
    for part in results.recipes, results.shapes, results.searches, results.comparison, results.speed:
        assert part() == "Nothing yet."
    n = results.PLAN.read_text().count("[[step]]")
    assert f"Of the {n} steps at full size {n} wait for a CUDA GPU" in results.waiting()


def test_a_training_stands_among_the_known_networks_by_its_accuracy(folder: Path) -> None:
    add_run(folder, "mine", "strong", 0.94)
    lines = results.networks().splitlines()
    at = next(i for i, line in enumerate(lines) if "**`mine`**" in line)
    assert "94.00 ± 0.47 %" in lines[at]
    assert "94.67" in lines[at - 1]
    assert "93.57" in lines[at + 1]


def test_recipe_and_architecture_are_compared_once_all_four_are_there(folder: Path) -> None:
    for name, accuracy in (("reference-paper", 0.93), ("reference-strong", 0.96), ("best-5m-paper", 0.94)):
        add_run(folder, name, name.rpartition("-")[2], accuracy)
    assert results.recipes() == "Nothing yet."
    add_run(folder, "best-5m-strong", "strong", 0.97)
    *_, reference, best = results.recipes().splitlines()
    assert reference.startswith("| the paper's network | 97,044 | 93.00 ±")
    assert best.startswith("| the best found | 97,044 | 94.00 ±")
    assert "| 97.00 ±" in best


def test_a_search_has_the_mean_of_its_best_finalist_and_its_time(folder: Path) -> None:
    shutil.copytree(STUDY, folder / "cifar10-150k")
    assert "| `cifar10-150k` | 150k parameters | 60 | 24 | 60.6 ± 2.1 % | 97,044 | 27 min |" in results.searches()
    assert "| 11-28-43 | 1-1-1 | 5-5-5 | 125,623 |" in results.fronts()


def test_the_bars_of_the_picture_are_the_intervals_of_the_table() -> None:
    for place, trace in enumerate(pictures.recipes("150k").data):
        for at, row in enumerate(results.grid("150k").values()):
            low, high = interval(row[place].mean(), row[place].test_images)
            bars = trace.x[at] - trace.error_x.arrayminus[at], trace.x[at] + trace.error_x.array[at]
            assert bars == pytest.approx((100 * low, 100 * high))


def test_networks_of_one_budget_stand_beside_the_first(folder: Path) -> None:
    shutil.copytree(STUDY, folder / "shapes-150k")
    trials = results.studies()["shapes-150k"]
    channels = {trial.number: trial.channels.replace("-", ", ") for trial in trials}
    queue = "".join(f"  {{ channels = [{channels[n]}], blocks = 1 }}, # the {n}th\n" for n in (0, 47, 29, 11))
    (folder / "shapes-150k" / "study.toml").write_text(f"queue = [\n{queue}]\n")
    assert trials[11].state == "pruned"
    rows = [row.split(" | ") for row in results.shapes().splitlines()[4:]]
    assert [row[0] for row in rows] == ["| the 47th", "| the 29th", "| the 0th"]
    assert rows[0][4:6] == ["63.1 %", "+10.6"]
    assert rows[2][4:6] == ["52.5 %", "+0.0"]


def test_speed_is_that_of_the_fastest_way(folder: Path) -> None:
    steps = {"eager": {"median": 40_000.0}, "graph": {"median": 75_000.0}, "compile": {"failed": "no compiler"}}
    found = {
        "about": {"device": "a GPU", "torch": "2.11"},
        "steps": {"reference, batch 512": steps, "100 k, batch 512": {"eager": {"median": 1e6}}},
        "trials": {"1 process": {"eager": {"trials_per_hour": 300.0}}, "2 processes, MPS": {"graph": {"failed": "-9"}}},
    }
    (folder / "gpu").mkdir()
    (folder / "gpu" / "gpu.json").write_text(json.dumps(found))
    text = results.speed()
    assert text.startswith("a GPU, torch 2.11:")
    assert "| images a second | graph, batch 512 | 75,000 | 60,000 |" in text
    assert "| seconds of 150 epochs, by the speed of steps | graph, batch 512 | 90 | 120 |" in text
    assert "| eight-epoch trials an hour | eager, 1 process | 300 | 400 |" in text


def test_what_is_done_is_waited_for_no_more(folder: Path) -> None:
    (folder / "done.json").write_text('["gpu-steps"]')
    assert "`gpu-steps`" not in results.waiting()
    assert "`gpu-profile`" in results.waiting()


def test_device_time_is_summed_by_device(folder: Path) -> None:
    add_run(folder, "mine", "strong", 0.9)
    add_run(folder, "other", "fast", 0.8)
    assert results.total().endswith("| AMD EPYC (1 thread) | 4 min |")
    (folder / "gpu").mkdir()
    (folder / "gpu" / "gpu.json").write_text(
        json.dumps({"about": {"device": "a GPU", "torch": "2.11"}, "seconds": 600})
    )
    assert results.total().endswith("| a GPU | 10 min |")


def test_a_page_without_a_place_for_a_part_is_told() -> None:
    with pytest.raises(SystemExit, match="is there 0 times"):
        results.filled("# Results\n")
