"""`BudgetSampler`: the model of a search as the sampler of any study of Optuna's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Literal

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_budget.arch.budget import Budget
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import UsageError
from nas_budget.optuna.observations import objective_of, observations_of
from nas_budget.optuna.spaces import feasible_space
from nas_budget.search.samplers.bayes import BayesSampler
from nas_budget.search.samplers.candidate import Candidate, CandidateSpace, RecipeSpace
from nas_budget.search.samplers.sampler import Proposal
from nas_budget.space.space import SearchSpace
from nas_budget.space.spec_factory import contains
from nas_budget.train.optim.recipe import Recipe

RECIPE = Recipe()
"""Stands for how they train: their parameters beside the network are not known to the model."""
N_TRIES = 10
"""Proposals that are asked for when coordinates, rounded, make a network that a trial had before."""


class BudgetSampler(BaseSampler):
    """The model of nas-budget's searches, for a study and an objective of your own.

    It proposes the network that `suggest_spec` then builds. A Gaussian process predicts the objective from features of
    the network (parameters, MACs, widths, depth, kernels, resolution), not from its coordinates, and the network with
    the largest expected gain is next. The first trials spread over the sizes, from one of the largest networks on. No
    network is proposed twice, unless all that fit were tried.

    All trials of the study count, in any storage and whoever made them: other processes, an earlier run, a sampler of
    Optuna's. Any objective will do, minimized or maximized: the model sees its values on a scale from the worst to the
    best. A pruned trial counts with the final value that its last report lets expect, a running one with its
    prediction. A failed trial, and a pruned one without a report, teach nothing. Networks outside the space or the
    budget are passed over. Values of `study.enqueue_trial` are taken as they are.

    With two objectives, one how good the network is and one its number of parameters, the Pareto front of both is
    looked for. Other objectives, such as a latency, are not predicted.

    Every other parameter of the objective, such as a learning rate, comes from another sampler. The model does not know
    them: what they change is noise to it. So keep them few, or fixed.

    Args:
        space: The networks, as `suggest_spec` gets them.
        budget: Limits, as `suggest_spec` gets them.
        seed: The same seed and the same trials, made one after the other, give the same proposals. None for another one
            each time. An `independent_sampler` has a seed of its own.
        aim: "best" for the network with the best value, "front" for the best one of every size; None for "front" with
            two objectives, else "best".
        prefix: That of `suggest_spec`. Two networks in a trial can have one such sampler: the other one is the
            `independent_sampler` of the first.
        objective: Index of the objective that says how good a network is; None for the first that is not the number
            of parameters.
        n_startup_trials: Trials, whoever made them, before the model is asked.
        independent_sampler: For all other parameters; None for `RandomSampler(seed)`.

    Raises:
        NothingFitsError: Not even the cheapest network of the space fits.
        UsageError: Another aim, or a space that holds lists. Later, in the study: no such objective, or `suggest_spec`
            gets another space or budget.

    Examples:
        >>> import optuna
        >>> from nas_budget import Budget, SearchSpace, cost
        >>> from nas_budget.optuna import suggest_spec
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> space, budget = SearchSpace(stages=(2, 3)), Budget(params=50_000)
        >>> study = optuna.create_study(sampler=BudgetSampler(space, budget, seed=0))
        >>> def objective(trial):
        ...     rate = trial.suggest_float("rate", 0.01, 1, log=True)
        ...     return abs(cost(suggest_spec(trial, space, budget)).depth - 8)  # in place of a training
        >>> study.optimize(objective, n_trials=8)
        >>> all(trial.user_attrs["params"] <= 50_000 for trial in study.trials)
        True
    """

    def __init__(
        self, space: SearchSpace, budget: Budget, *, seed: int | None = None,
        aim: Literal["best", "front"] | None = None, prefix: str = "", objective: int | None = None,
        n_startup_trials: int = 4, independent_sampler: BaseSampler | None = None,
    ) -> None:  # fmt: skip
        if aim not in ("best", "front", None):
            raise UsageError(f'aim: {aim!r} is unknown; give "best" or "front", or leave it out')
        self.space, self.budget, self.prefix = space, budget, prefix
        self.aim, self.objective = aim, objective
        self.independent_sampler = independent_sampler or RandomSampler(seed)
        start = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        candidates = CandidateSpace(feasible_space(space, budget), RecipeSpace(RECIPE))
        self.model = BayesSampler(candidates, start, n_startup_trials)
        self._proposed: dict[int, Candidate] = {}
        self._lock = Lock()  # the threads of study.optimize(n_jobs=2) share one sampler

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state, _lock=Lock())

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The coordinates of the network, and what the independent sampler samples together."""
        others = self.independent_sampler.infer_relative_search_space(study, trial)
        return others | {self.prefix + name: found for name, found in self.model.distributions.items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The coordinates of the proposed network, and values of the independent sampler."""
        ours = {self.prefix + name: name for name in self.model.distributions}
        others = {name: found for name, found in search_space.items() if name not in ours}
        values = self.independent_sampler.sample_relative(study, trial, others)
        if len(others) < len(search_space):
            point = self._propose(study, trial).point
            values = values | {name: point[ours[name]] for name in search_space if name in ours}
        return values

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """What the independent sampler gives for any other parameter."""
        return self.independent_sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Let the independent sampler know."""
        self.independent_sampler.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:  # fmt: skip
        """Let the independent sampler know, and the user where a trial made no use of the proposal."""
        self.independent_sampler.after_trial(study, trial, state, values)
        if state == TrialState.COMPLETE and f"{self.prefix}spec" not in trial.user_attrs:
            warnings.warn(
                f"BudgetSampler: trial {trial.number} has no network under the prefix {self.prefix!r}, so nothing is "
                "learned from it; call suggest_spec in the objective, with the prefix of the sampler",
                stacklevel=2,
            )

    def reseed_rng(self) -> None:
        """Let the independent sampler know; proposals of networks differ by the trial's number already."""
        self.independent_sampler.reseed_rng()

    def check_suggestion(self, space: SearchSpace, budget: Budget, prefix: str) -> None:
        """Check that `suggest_spec` builds what is proposed here; a network of another prefix is not ours.

        Raises:
            UsageError: It gets another space or budget.
        """
        if prefix == self.prefix and (space, budget) != (self.space, self.budget):
            what = "space" if space != self.space else "budget"
            raise UsageError(
                f"{what}: suggest_spec got another one than the study's BudgetSampler; give both the same, "
                "or a second network a prefix of its own"
            )
        if isinstance(self.independent_sampler, BudgetSampler):
            self.independent_sampler.check_suggestion(space, budget, prefix)

    def _propose(self, study: Study, trial: FrozenTrial) -> Proposal:
        """The network for a trial."""
        with self._lock:
            others = [one for one in study.get_trials(deepcopy=False) if one.number != trial.number]
            networks = {one.number: found for one in others if (found := self._network_of(one))}
            running = {one.number for one in others if one.state == TrialState.RUNNING}
            # Another thread may have been given a network just now, and not have stored it yet.
            self._proposed = {number: one for number, one in self._proposed.items() if number in running}
            pending = self._proposed | {number: networks[number] for number in running & networks.keys()}

            objective = objective_of(study, networks, self.objective)
            model = self.model
            model.aim = self.aim or ("front" if len(study.directions) > 1 else "best")
            model.replace_observations(observations_of(others, networks, objective, study.directions[objective]))
            model.pending = pending
            model.n_begun = len(networks.keys() | pending.keys())
            model.reseed(str(trial.number))
            proposal = self._unseen({*networks.values(), *pending.values()})
            self._proposed[trial.number] = model.space.decode(proposal.point)
        return proposal

    def _network_of(self, trial: FrozenTrial) -> Candidate | None:
        """What a trial trains; None where that is unknown, or is nothing that could be proposed."""
        stored = trial.user_attrs.get(f"{self.prefix}spec")
        spec = ResNetSpec.from_dict(stored) if stored else None
        known = spec and contains(self.space, spec) and self.budget.check(spec).fits
        return Candidate(spec, RECIPE) if spec and known else None

    def _unseen(self, seen: set[Candidate]) -> Proposal:
        """A proposal whose coordinates make a network that no trial had; a random one where all were tried."""
        for _ in range(N_TRIES):
            if (proposal := self.model.propose(seen)) is None:
                break
            if self.model.space.decode(proposal.point) not in seen:
                return proposal
            seen = seen | {proposal.candidate}
        return self.model.propose_point(self.model.random_point())
