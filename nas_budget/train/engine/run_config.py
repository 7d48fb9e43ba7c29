"""`RunConfig`: the settings of a full training, and the check that a folder holds a run with the same ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nas_budget.arch.budget import LATENCY, NO_LIMIT, Budget
from nas_budget.arch.spec import AnySpec
from nas_budget.errors import ModelError
from nas_budget.records.formatting import time_text
from nas_budget.records.paths import RUN_SETTINGS, TRIAL_FOLDERS, TRIALS_TABLE
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.optim.recipe import Recipe
from nas_budget.untrusted import read_json, read_text

FORMAT = "nas-budget run 1"
"""Written with the settings of a run; those of before version 0.1 had none and are the same otherwise."""
STUDY_FILES = (TRIAL_FOLDERS, TRIALS_TABLE)
LIMIT_KEYS = "budget."
DATA_DIGEST, DATA_PLACE = "data.digest", "data.place"
"""Keys of which images they are, and where they lay (`Dataset.place`): that is not compared, as they may have moved."""


@dataclass(frozen=True)
class RunConfig:
    """Settings of a full training: one network, trained once with each of the seeds.

    `n_validation` training images are set aside, which may be 0. With `deterministic` only deterministic algorithms are
    allowed, with `compiled` torch compiles the network, with `graphed` its steps are replayed from a CUDA graph, by
    "auto" where that is faster. `time_s` is the time that the epochs were chosen for; None where they were given.
    `budget` are the limits that the network was chosen under: they stay with the run, its weights and its export.
    """

    name: str
    spec: AnySpec
    recipe_name: str
    recipe: Recipe
    n_train: int
    n_validation: int
    seeds: tuple[int, ...] = (0,)
    precision: str = "fp32"
    deterministic: bool = False
    compiled: bool = False
    graphed: bool | Literal["auto"] = False
    time_s: float | None = None
    budget: Budget = NO_LIMIT

    def held(self, dataset: Dataset) -> dict[str, Any]:
        """The settings that a resumed run must share, by name, as plain values."""
        # A run that was given a time keeps the epochs chosen first, so the time itself has to be the same.
        chosen = {"time": time_text(self.time_s), "recipe": self.recipe_name} if self.time_s else {"time": None}
        return {
            **chosen,
            **{f"spec.{key}": value for key, value in self.spec.to_dict().items()},
            **{f"recipe.{key}": value for key, value in asdict(self.recipe).items()},
            "data": dataset.name, DATA_DIGEST: dataset.digest, "data.images": self.n_train,
            "data.validation_images": self.n_validation,
            "precision": self.precision, "deterministic": self.deterministic,
            **{f"{LIMIT_KEYS}{key}": value for key, value in (dict.fromkeys(LATENCY) | self.budget.to_dict()).items()},
        }  # fmt: skip


def read_settings(folder: Path) -> dict[str, Any] | None:
    """The settings that the run of a folder was started with; None where it holds no run.

    Raises:
        ModelError: They cannot be read.
    """
    path = folder / RUN_SETTINGS
    if not path.exists():
        return None
    try:
        before = read_json(read_text(path))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); remove the folder, or give another --name") from None
    if not isinstance(before, dict):
        raise ModelError(f"{path}: holds no settings of a run; remove the folder, or give another --name")
    if (written := before.get("format", FORMAT)) != FORMAT:
        raise ModelError(f"{path}: its format is {written!r:.60}, this version reads {FORMAT!r}; give another --name")
    return before


def recorded_data(source: Path) -> tuple[str, str]:
    """Where the images of a run lay and their digest, by its folder or a file in it; empty where that is not known."""
    try:
        settings = read_settings(source if source.is_dir() else source.parent) or {}
    except ModelError:  # weights can be used without it
        settings = {}
    return str(settings.get(DATA_PLACE, "")), str(settings.get(DATA_DIGEST, ""))


def check_same(folder: Path, held: dict[str, Any], name: str) -> None:
    """Check that a folder holds no run with other settings, as a `ModelError` says."""
    before = read_settings(folder)
    if before is None:
        if any((folder / name).exists() for name in STUDY_FILES):
            raise ModelError(f"{folder}: holds a study; give the run another --name")
        return
    # A run of before recorded no limits. It resumes, and records those of now.
    known = [key for key in held if key in before or not key.startswith(LIMIT_KEYS)]
    changed = [key for key in known if before.get(key) != held[key]]
    if changed:
        words = "; ".join(f"{key} was {before.get(key)}, not {held[key]}" for key in changed[:4])
        raise ModelError(
            f"{folder}: run {name} was started with other settings: {words}; resume with those, or give another --name"
        )
