"""From Optuna's trials to the rows of the trials table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from importlib.metadata import version
from typing import Any

import optuna
import torch
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_budget.arch.cost import Cost, cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.search.settings import Settings
from nas_budget.trial_table import TrialRecord

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def versions() -> str:
    """The versions a result depends on."""
    return f"nas-budget {version('nas-budget')}, torch {torch.__version__}, optuna {optuna.__version__}"


def spec_of(trial: FrozenTrial) -> ResNetSpec | None:
    """The network of a trial; None when it stopped before it had one."""
    values = trial.user_attrs.get("spec")
    return ResNetSpec.from_dict(values) if values else None


def records(study: Study, settings: Settings) -> Iterator[TrialRecord]:
    """A row for each finished trial, by number."""
    for trial in study.get_trials(deepcopy=False):
        spec = spec_of(trial)
        if spec and trial.state in STATES:
            yield record(trial, spec, settings)


def record(trial: FrozenTrial, spec: ResNetSpec, settings: Settings) -> TrialRecord:
    """The row of a finished trial."""
    used: Cost = cost(spec)
    curve = [value for _, value in sorted(trial.intermediate_values.items())]
    limits = settings.budget
    known: dict[str, Any] = trial.user_attrs
    return TrialRecord(
        study=settings.name,
        number=trial.number,
        state=STATES[trial.state],
        accuracy=curve[-1] if curve else None,
        epochs=len(curve),
        max_epochs=settings.recipe.epochs,
        params=used.params,
        macs=used.macs,
        weight_bytes=used.weight_bytes["fp32"],
        activation_bytes=used.activation_bytes,
        depth=used.depth,
        seconds=round(known.get("seconds", 0.0), 3),
        channels=_joined(spec.channels),
        blocks=_joined(spec.blocks),
        kernels=_joined(spec.kernels),
        strides=_joined(spec.strides),
        pool=spec.pool_size,
        stem_kernel=spec.stem_kernel,
        shortcut_kernel=spec.shortcut_kernel,
        block=spec.block,
        squeeze=spec.squeeze,
        stem_width=spec.stem_channels,
        curve=" ".join(f"{value:.5f}" for value in curve),
        data=settings.sections["data"]["name"],
        images=settings.n_train,
        held_out=settings.n_held_out,
        budget_params=limits.params,
        budget_macs=limits.macs,
        budget_weight_bytes=limits.weight_bytes,
        budget_activation_bytes=limits.activation_bytes,
        weight_format=limits.weight_format,
        seed=settings.seed,
        device=known.get("device", ""),
        precision=settings.precision,
        versions=known.get("versions", ""),
        finished=trial.datetime_complete.astimezone(UTC).isoformat(timespec="seconds")
        if trial.datetime_complete
        else "",
        reason=known.get("reason", ""),
        spec=spec.to_json(),
    )


def _joined(values: tuple[int, ...]) -> str:
    return "-".join(map(str, values))
