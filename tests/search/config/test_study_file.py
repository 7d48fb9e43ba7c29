import math
from pathlib import Path
from typing import Any

import pytest

from nas_budget.errors import StudyFileError
from nas_budget.search.config.study_file import read_study_file

STUDIES = sorted((Path(__file__).parents[3] / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.name)
def test_every_study_of_the_repository_is_valid(path: Path) -> None:
    assert set(read_study_file(path)) == {"budget", "space", "data", "recipe", "search"}


def test_defaults_are_the_competition(tmp_path: Path) -> None:
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    sections = read_study_file(empty)
    assert sections == read_study_file(None)
    assert sections["budget"]["params"] == 5_000_000
    assert sections["budget"]["macs"] == "none"  # a limit that the user did not give is never added
    assert sections["search"]["aim"] == "best"


def test_quantities_ranges_and_single_values(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        '[budget]\nparams = "250k"\nmacs = "none"\nactivation_bytes = "64KiB"\n'
        "[space]\nstages = 3\nkernels = 5\nblocks = 2\n"
    )
    sections = read_study_file(path)
    assert sections["budget"]["params"] == 250_000
    assert sections["budget"]["activation_bytes"] == 65_536
    assert sections["budget"]["macs"] == "none"
    assert [sections["space"][k] for k in ("stages", "kernels", "blocks")] == [[3, 3], [5], [2, 2]]


def test_every_mistake_is_reported_with_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        'speed = 3\n[budget]\nparams = "5Q"\nparam = 3\n[space]\nkernels = [4]\nstages = [4, 3]\n'
        '[data]\nimages = 0\n[recipe]\nname = "magic"\n[search]\ntrials = "many"\nseed = -1\n[extra]\n'
    )
    with pytest.raises(StudyFileError) as caught:
        read_study_file(path)
    keys = [problem.removeprefix(f"{path}:").split(":")[0] for problem in caught.value.problems]
    assert sorted(keys) == sorted(
        [
            "speed",
            "extra",
            "budget.params",
            "budget.param",
            "space.stages",
            "space.kernels",
            "data.images",
            "recipe.name",
            "search.trials",
            "search.seed",
        ]
    )
    assert all("\n" not in problem for problem in caught.value.problems)


def test_one_wrong_value_does_not_hide_another() -> None:
    with pytest.raises(StudyFileError) as caught:
        read_study_file(
            None, {"recipe.name": "magic", "recipe.epochs": 0, "space.foo": 1, "space.growth": [1, math.inf]}
        )
    keys = {problem.split(": ")[0].removeprefix("command line:") for problem in caught.value.problems}
    assert keys == {"recipe.name", "recipe.epochs", "space.foo", "space.growth"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("space.width", [8, 100_000]),
        ("space.stages", [3, 5000]),
        ("space.kernels", [3, 99]),
        ("space.first_stride", [9]),
        ("space.first_stride", ["global"]),
        ("space.dropout", 1.5),
        ("recipe.weight_decay", math.nan),
        ("recipe.learning_rate", math.inf),
        ("recipe.batch_size", 1),
        ("recipe.epochs", 10**9),
        ("budget.params", "1e999999"),
    ],
)
def test_values_that_would_fail_later_are_refused_at_once(key: str, value: Any) -> None:
    with pytest.raises(StudyFileError, match=f"command line:{key}: "):
        read_study_file(None, {key: value})


def test_values_out_of_range_in_a_recipe_are_found_too(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[recipe]\nlearning_rate = -1.0\nepochs = 0\nwarmup = 2.0\n")
    with pytest.raises(StudyFileError) as caught:
        read_study_file(path)
    assert [p.split(": ")[0] for p in caught.value.problems] == [
        f"{path}:recipe.learning_rate",
        f"{path}:recipe.epochs",
        f"{path}:recipe.warmup",
    ]


@pytest.mark.parametrize("text", ["a = ", "[budget\n", "= 3", "\x00"])
def test_what_is_not_toml_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(StudyFileError, match="not TOML"):
        read_study_file(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match=r"none\.toml: cannot be read"):
        read_study_file(tmp_path / "none.toml")


def test_overrides_go_before_the_file_and_are_blamed_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[search]\ntrials = 7\nseed = 3\n")
    sections = read_study_file(path, {"search.trials": 9})
    assert (sections["search"]["trials"], sections["search"]["seed"]) == (9, 3)
    with pytest.raises(StudyFileError, match="^command line:search.trials"):
        read_study_file(path, {"search.trials": 0})


@pytest.mark.parametrize("key", ["trials", "search", "search.", ".trials", "find.trials", "search.trial"])
def test_an_override_of_an_unknown_key_is_refused(key: str) -> None:
    wrong: dict[str, Any] = {key: 3}
    with pytest.raises(StudyFileError, match="command line"):
        read_study_file(None, wrong)
