"""What Optuna's dashboard says of a study: its objective's name, and a note of what its names mean."""

from __future__ import annotations

from collections.abc import Iterator

from optuna.study import Study

from nas_budget.search.config.settings import StudyConfig

METRIC_NAMES = "study:metric_names"
NOTE_VERSION, NOTE_TEXT = "dashboard:note_ver", "dashboard:note_str:0"
"""Keys under which Optuna keeps the names of objectives, and optuna-dashboard a note (of at most 2,045 characters)."""

COORDINATES = {
    "stages": "count of stages",
    "blocks_N": "blocks of stage N",
    "kernel_N": "kernel size of stage N",
    "growth_N": "width of stage N over that of the one before",
    "stride_N": "stride of stage N",
    "size": "how much of the budget is used, from 0 (the smallest network of that shape) to 1 (the largest that fits)",
}
ATTRIBUTES = {
    "network": "widths, blocks, kernels and what differs from the defaults",
    "margin_...": "limit minus use; no trial is ever over a limit",
    "feasible": "whether every limit is kept",
    "reason": "why a trial was stopped early, or failed",
}


def describe(study: Study, settings: StudyConfig) -> None:
    """Name the objective and leave a note; a note that is there already, which a person may have changed, stays."""
    storage, place = study._storage, study._study_id
    if NOTE_VERSION in storage.get_study_system_attrs(place):
        return
    storage.set_study_system_attr(place, METRIC_NAMES, ["accuracy"])
    storage.set_study_system_attr(place, NOTE_TEXT, "\n".join(_note(settings)))
    storage.set_study_system_attr(place, NOTE_VERSION, 1)


def _note(settings: StudyConfig) -> Iterator[str]:
    data = settings.sections["data"]["name"]
    yield f"Objective: share of {settings.n_validation:,} validation images of {data} classified correctly."
    yield f"\nBudget: {settings.budget}; every trial keeps it.\n"
    yield "Parameters of a trial:\n"
    yield from (f"- `{name}`: {words}" for name, words in COORDINATES.items())
    yield "\nUser attributes:\n"
    yield from (f"- `{name}`: {words}" for name, words in ATTRIBUTES.items())
