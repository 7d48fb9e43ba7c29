"""The paper's own run is drawn beside its own training alone."""

from __future__ import annotations

from typing import Any

import pytest

from nas_budget.arch.spec import ResNetSpec
from nas_budget.report.figures.training_run import loss_figure
from nas_budget.report.tables.paper import differences, differences_in_words, is_papers_network, paper_curves
from tests.report.runs import PAPER, PAPER_RECIPE, as_paper, epochs


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"spec": {**PAPER.to_dict(), "dropout": 0.0}}, True),
        ({"spec": {**PAPER.to_dict(), "shortcut_kernel": 1}}, False),
        ({"data": "cifar100"}, False),
    ],
)
def test_network_and_data_are_the_papers(changes: dict[str, Any], same: bool) -> None:
    run = as_paper(**changes)
    assert is_papers_network(run, ResNetSpec.from_dict(run.spec)) == same


def test_every_value_of_the_recipe_counts_and_its_name_does_not() -> None:
    assert differences(as_paper()) == []
    assert differences(as_paper(recipe={**PAPER_RECIPE, "name": "own"})) == []
    recipe = {name: value for name, value in PAPER_RECIPE.items() if name != "clip_value"}
    recipe |= {"epochs": 30, "trivial_augment": True}
    unlike = {"epochs 30, not 150", "trivial augment yes, not no", "clip value unknown, not 0.1"}
    assert {*differences(as_paper(recipe=recipe, images=5_000))} == unlike | {"5,000 images, not 45,000"}


def test_many_differences_are_counted() -> None:
    assert differences_in_words(["a", "b", "c"]) == "a; b; c"
    assert differences_in_words(["a", "b", "c", "d", "e"]) == "a; b; c; and 2 more"
    assert differences_in_words([]) == ""


def test_the_papers_curves_are_its_own() -> None:
    rows = paper_curves()
    assert [row.epoch for row in rows] == [*range(1, 151)]
    assert (rows[0].train_loss, rows[0].accuracy) == (1.7466, pytest.approx(0.4318))
    assert (rows[-1].train_loss, rows[-1].accuracy) == (0.0168, pytest.approx(0.9136))
    assert rows[-1].learning_rate == pytest.approx(7.76e-7, rel=1e-3)
    paper, ours = loss_figure(epochs(), rows).data
    assert (paper.name, len(paper.x), len(ours.x)) == ("the paper", 150, 3)
