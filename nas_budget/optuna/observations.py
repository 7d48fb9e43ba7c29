"""What the trials of any study say of their networks: `observations_of`, `objective_of`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite

import numpy as np
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas_budget.arch.cost import cost
from nas_budget.errors import UsageError
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.samplers.learning_curve import LearningCurve
from nas_budget.search.samplers.sampler import Observation

SPAN = 1.0
"""A value below the quarter of the worst by more than so many times that quarter's distance from the best says no more.

Of 20 trials with two that diverged the best was 0.674 with 1, 0.659 with 3, 0.646 without a limit (means of 6 seeds).
"""


def objective_of(study: Study, networks: Mapping[int, Candidate], asked: int | None) -> int:
    """Which objective of a study says how good a network is: the one asked for, or the first that is not its size.

    A size is the number of parameters, in any unit: all values are the same multiple of it.

    Raises:
        UsageError: There is no such objective.
    """
    n = len(study.directions)
    if asked is not None and not 0 <= asked < n:
        raise UsageError(f"objective: {asked} is not one of the study's {n}; give 0 to {n - 1}")
    if asked is not None or n == 1:
        return asked or 0
    sizes = {number: cost(candidate.spec).params for number, candidate in networks.items()}
    ended = [one for one in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if one.number in sizes]
    shares = [{f"{one.values[i] / sizes[one.number]:.9g}" for one in ended} for i in range(n)]
    return next((i for i in range(n) if len(shares[i]) > 1), 0)


def observations_of(
    trials: Sequence[FrozenTrial], networks: Mapping[int, Candidate], objective: int, direction: StudyDirection
) -> list[Observation]:
    """What ended trials teach, as accuracies from 0, the worst, to 1, the best of the study.

    Their own values may be of any kind, such as a loss or a reward. A pruned trial counts with the final value that
    `LearningCurve` predicts from its last report; without a report it teaches nothing, and neither does a failed one.

    Args:
        trials: Of one study.
        networks: That of each trial, by number; trials without one are passed over.
        objective: Which of their values counts.
        direction: Of that objective.
    """
    sign = 1.0 if direction == StudyDirection.MAXIMIZE else -1.0
    with_network = [one for one in trials if one.number in networks]
    complete = [one for one in with_network if one.state == TrialState.COMPLETE]
    pruned = [(one, found) for one in with_network if one.state == TrialState.PRUNED and (found := _reports(one, sign))]
    finals = {one.number: sign * one.values[objective] for one in complete}
    scaled = _scale([*finals.values()] or [found[max(found)] for _, found in pruned])
    curve = LearningCurve()
    for one in complete:
        curve.add(_losses(_reports(one, sign)), scaled(finals[one.number]))
    known = {number: (scaled(value), 0.0) for number, value in finals.items()}
    known |= {one.number: curve.predict(_losses(found), scaled(found[max(found)])) for one, found in pruned}
    return [
        Observation(networks[number], cost(networks[number].spec).params, *known[number]) for number in sorted(known)
    ]


def _reports(trial: FrozenTrial, sign: float) -> dict[int, float]:
    """What a trial has reported, by step; the larger the better."""
    return {step: sign * value for step, value in trial.intermediate_values.items() if isfinite(value)}


def _losses(reports: Mapping[int, float]) -> dict[int, float]:
    return {step: -value for step, value in reports.items()}


def _scale(values: Sequence[float]) -> Callable[[float], float]:
    """What maps values to 0 (the worst) to 1 (the best).

    One training that diverged can have a loss of a million. All others would be the same beside it, so a value far
    below the worst quarter counts like one less far below it.
    """
    finite = [value for value in values if isfinite(value)]
    if not finite:
        return lambda _: 0.0
    worst, quarter, best = (float(level) for level in np.quantile(finite, (0.0, 0.25, 1.0)))
    if quarter < best:
        worst = max(worst, quarter - SPAN * (best - quarter))
    spread = best - worst
    return lambda value: min(max((value - worst) / spread, 0.0), 1.0) if spread > 0 else 0.5
