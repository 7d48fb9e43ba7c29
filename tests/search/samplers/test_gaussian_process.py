from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from nas_budget.search.samplers.gaussian_process import GaussianProcess

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(40, 3))


def observed(noise: float) -> np.ndarray:
    """A function of the first two features; the third is without effect."""
    return 0.6 + 0.1 * np.sin(2 * FEATURES[:, 0]) + 0.05 * FEATURES[:, 1] + RNG.normal(0, noise, len(FEATURES))


def test_it_predicts_what_it_has_not_seen_and_knows_how_well() -> None:
    values = observed(0.01)
    model = GaussianProcess([0, 1, 2]).fit(FEATURES[:30], values[:30])
    mean, deviation = model.predict(FEATURES[30:])
    assert np.corrcoef(mean, values[30:])[0, 1] > 0.9
    assert np.abs(mean - values[30:]).mean() < 0.5 * values.std()
    assert (np.abs(mean - values[30:]) < 3 * deviation).all()


def test_what_is_without_effect_gets_the_longest_scale() -> None:
    model = GaussianProcess([0, 1, 2]).fit(FEATURES, observed(0.01))
    lengths = model.parameters[3:]
    assert lengths[0] < lengths[2]
    assert lengths[0] < lengths[1]  # a straight line needs no short scale


def test_noise_is_found_and_predictions_hold_it() -> None:
    quiet, noisy = (GaussianProcess([0, 0, 0]).fit(FEATURES, observed(noise)) for noise in (0.002, 0.05))
    assert noisy.predict(FEATURES)[1].mean() > 3 * quiet.predict(FEATURES)[1].mean()


def test_the_gradient_is_that_of_the_loss() -> None:
    model = GaussianProcess([0, 0, 1]).fit(FEATURES[:12], observed(0.02)[:12], noise=np.linspace(0, 0.1, 12))
    for parameters in RNG.normal(0, 0.5, (5, 5)):
        error = check_grad(lambda x: model._loss(x)[0], lambda x: model._loss(x)[1], parameters)
        assert error < 1e-4 * np.abs(model._loss(parameters)[1]).max()


def test_an_uncertain_observation_counts_less() -> None:
    x, y = np.array([[-1.0], [0.0], [1.0]]), np.array([0.5, 0.9, 0.5])
    sure, unsure = (
        GaussianProcess([0]).fit(x, y, noise=[0, noise, 0], tune=False).predict([[0.0]])[0][0] for noise in (0, 0.5)
    )
    assert sure > unsure + 0.1


@pytest.mark.parametrize("n", [1, 2])
def test_one_observation_or_two_are_enough(n: int) -> None:
    mean, deviation = GaussianProcess([0, 0, 0]).fit(FEATURES[:n], np.full(n, 0.4)).predict(FEATURES)
    assert mean == pytest.approx(0.4)
    assert (deviation > 0).all()


def test_without_features_it_predicts_the_mean() -> None:
    nothing = np.empty((4, 0))
    mean, _ = GaussianProcess(np.empty(0)).fit(nothing, [0.1, 0.2, 0.3, 0.4]).predict(nothing[:2])
    assert mean == pytest.approx(0.25)


def test_equal_networks_with_other_results_are_no_problem() -> None:
    mean, _ = GaussianProcess([0]).fit(np.zeros((6, 1)), [0.5, 0.6] * 3).predict([[0.0]])
    assert mean[0] == pytest.approx(0.55, abs=0.01)
