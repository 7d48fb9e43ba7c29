"""`suggest_spec`: a network that always fits, in an objective of Optuna's; `spec_of`, `params_of`: there and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optuna.trial import BaseTrial, FrozenTrial

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import UsageError
from nas_budget.optuna.sampler import BudgetSampler
from nas_budget.optuna.spaces import feasible_space
from nas_budget.search.storage.optuna_adapter import sampler_of
from nas_budget.space.dimensions import Dimension
from nas_budget.space.space import SearchSpace
from nas_budget.space.spec_factory import contains


def suggest_spec(trial: BaseTrial, space: SearchSpace, budget: Budget, *, prefix: str = "") -> ResNetSpec:
    """Suggest a network in an objective of Optuna's. It is always inside the space and the budget.

    No trial is lost to a limit, so no constraint and no pruning is needed. It works with every sampler: the
    coordinates of the space are suggested one by one, always the same ones, and `FeasibleSpace.decode` makes a network
    that fits of any values. It works in every storage, and with one objective or several.

    The trial keeps user attributes, which dashboards and data frames show: `network` (in words), `params`, `macs`,
    `margin_params` and the like for each limit that is set, `feasible`, and `spec` (all of the network, as JSON).

    Args:
        trial: Of your study. Values that `study.enqueue_trial` or a `FixedTrial` gives are taken; the sampler adds
            those that an enqueued trial lacks, and a `FixedTrial` must have all.
        space: The networks. Use one and the same for a whole study.
        budget: Limits on each of them.
        prefix: Put before the names of parameters and attributes. Two networks in one trial need one each.

    Returns:
        The spec; `nas_budget.build` makes a torch module of it.

    Raises:
        NothingFitsError: Not even the cheapest network of the space fits.
        UsageError: A value that was enqueued or fixed is not in the space, or is missing in a `FixedTrial`; another
            network is in this trial under the same prefix; or the study's `BudgetSampler` has another space or budget.

    Examples:
        >>> import optuna
        >>> from nas_budget import Budget, SearchSpace, cost
        >>> space, budget = SearchSpace(stages=(2, 3)), Budget(params=50_000)
        >>> def objective(trial):
        ...     rate = trial.suggest_float("rate", 0.01, 1, log=True)
        ...     spec = suggest_spec(trial, space, budget)
        ...     return -abs(rate - 0.1) - abs(cost(spec).depth - 8)  # in place of a training
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
        >>> study.optimize(objective, n_trials=5)
        >>> all(trial.user_attrs["params"] <= 50_000 for trial in study.trials)
        True
        >>> spec_of(study.best_trial) == suggest_spec(optuna.trial.FixedTrial(study.best_params), space, budget)
        True
    """
    feasible, sampler = feasible_space(space, budget), sampler_of(trial)
    if isinstance(sampler, BudgetSampler):
        sampler.check_suggestion(space, budget, prefix)
    spec = feasible.decode({d.name: _suggested(trial, prefix + d.name, d) for d in space.dimensions()})
    known = trial.user_attrs.get(f"{prefix}spec")
    if known is not None and known != spec.to_dict():
        raise UsageError(
            f"this trial has another network under the prefix {prefix!r} already; give each a prefix of its own"
        )
    for name, value in _figures(spec, budget):
        trial.set_user_attr(prefix + name, value)
    return spec


def spec_of(trial: BaseTrial | FrozenTrial, *, prefix: str = "") -> ResNetSpec:
    """The network of a trial, as `suggest_spec` or a search of nas-budget has stored it.

    Args:
        trial: Of any study in which the network was suggested, such as `study.best_trial`.
        prefix: That of `suggest_spec`.

    Raises:
        UsageError: The trial has no network under this prefix.

    Examples:
        >>> from optuna.trial import FixedTrial
        >>> from nas_budget import Budget, SearchSpace
        >>> space, budget = SearchSpace(stages=(2, 2), blocks=(1, 1), kernels=(3,), pool=(2,)), Budget(params=50_000)
        >>> trial = FixedTrial({"growth_2": 2.0, "shortcut_kernel": 1, "size": 1.0})
        >>> spec = suggest_spec(trial, space, budget)
        >>> spec_of(trial) == spec
        True
        >>> print(spec_of(trial))
        18-37, blocks 1, kernel 3, pool 2, shortcut 1
    """
    stored = trial.user_attrs.get(f"{prefix}spec")
    if stored is None:
        under = f" under the prefix {prefix!r}" if prefix else ""
        raise UsageError(f"trial {trial.number} has no network{under}; suggest_spec stores one where it is called")
    return ResNetSpec.from_dict(stored)


def params_of(spec: ResNetSpec, space: SearchSpace, budget: Budget, *, prefix: str = "") -> dict[str, Any]:
    """The parameters for which `suggest_spec` gives this network, for `study.enqueue_trial`.

    So a study can begin with a network that you know. Where the space's coordinates cannot say it to the channel, they
    are those of the network nearest to it.

    Args:
        spec: A network of the space that fits.
        space: As for `suggest_spec`, and so are the others.
        budget: Limits.
        prefix: Put before each name.

    Raises:
        UsageError: The network is not in the space, or over the budget.

    Examples:
        >>> import optuna
        >>> from nas_budget import Budget, SearchSpace
        >>> space, budget = SearchSpace(stages=(2, 3)), Budget(params=50_000)
        >>> known = ResNetSpec((16, 32), blocks=1, pool=2)
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study()
        >>> study.enqueue_trial(params_of(known, space, budget))
        >>> suggest_spec(study.ask(), space, budget) == known
        True
    """
    feasible = feasible_space(space, budget)
    if not contains(space, spec):
        raise UsageError(f"{spec}: not in the space; give one that the space may propose, or widen the space")
    if not feasible.fits(spec):
        raise UsageError(f"{spec}: over the budget, with {budget.check(spec).excess}; give one that fits")
    known = feasible.encode(spec)
    # Absent stages have coordinates too. They do not matter, and an enqueued trial should leave none to chance.
    return {prefix + d.name: known.get(d.name, d.choices[0] if d.choices else d.low) for d in space.dimensions()}


def _suggested(trial: BaseTrial, name: str, dimension: Dimension) -> Any:
    """A value of one coordinate, which is checked: those enqueued or fixed may be any."""
    low, high = dimension.low, dimension.high
    try:
        if dimension.choices:
            value: Any = trial.suggest_categorical(name, dimension.choices)
        elif dimension.whole:
            value = trial.suggest_int(name, int(low), int(high))
        else:
            value = trial.suggest_float(name, low, high, log=dimension.log)
    except ValueError as error:
        advice = "; where the objective suggests this name itself, give a prefix" if name in trial.params else ""
        raise UsageError(f"{name}: {' '.join(str(error).split()).rstrip('.')}{advice}") from error
    if not dimension.contains(value):
        raise UsageError(f"{name}: {value!r} is not in the space; allowed is {low:g} to {high:g}")
    return value


def _figures(spec: ResNetSpec, budget: Budget) -> Iterator[tuple[str, Any]]:
    """What a trial keeps of its network, under the names that trials of a search have."""
    used = cost(spec)
    verdict = budget.check(used)
    yield "network", str(spec)
    yield "params", used.params
    yield "macs", used.macs
    yield from ((f"margin_{margin.name}", margin.margin) for margin in verdict.margins)
    yield "feasible", verdict.fits
    yield "spec", spec.to_dict()
