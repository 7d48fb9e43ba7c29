"""`GaussianProcess`: predicts accuracy, with a standard deviation, from features of networks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

Floats = NDArray[np.float64]

AMPLITUDE, TREND, NOISE, LENGTH = 0.7, 0.6, 0.3, 2.5
"""Medians of the log-normal priors, for features and values of standard deviation 1."""
SPREAD = 0.8
"""Standard deviation of the logarithm of each."""
JITTER = 1e-9
"""Added to each variance: without noise, equal networks would make a matrix that has no Cholesky factor."""
LEAST_SCALE = 1e-3
"""Least standard deviation that values are divided by."""


class GaussianProcess:
    """Regression with uncertainty: a linear trend, a smooth function of the features, and noise.

    The smooth part has a Matérn 5/2 kernel with one length scale for each group of features: a few numbers, so that
    they can be fitted to a few observations. They, the size of the trend, of the smooth part and of the noise maximize
    the posterior density under log-normal priors (L-BFGS with exact gradients). Fitting n observations takes time n³.

    Source: Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, algorithm 2.1 and section 5.4.

    Args:
        groups: Group of each feature, whole numbers from 0.

    Examples:
        >>> import numpy as np
        >>> x = np.linspace(-2, 2, 9)[:, None]
        >>> model = GaussianProcess(groups=[0]).fit(x, np.sin(x[:, 0]))
        >>> mean, deviation = model.predict([[0.3], [9.0]])
        >>> bool(abs(mean[0] - np.sin(0.3)) < 0.05), bool(deviation[1] > 5 * deviation[0])
        (True, True)
    """

    def __init__(self, groups: ArrayLike) -> None:
        self.groups = np.asarray(groups, int)
        n_groups = int(self.groups.max(initial=-1)) + 1
        self.prior = np.log([AMPLITUDE, TREND, NOISE] + [LENGTH] * n_groups)
        self.parameters = self.prior.copy()

    def fit(self, features: ArrayLike, values: ArrayLike, noise: ArrayLike = 0.0, tune: bool = True) -> GaussianProcess:
        """Learn from observations; the process itself.

        Args:
            features: Shape (n, columns), n at least 1.
            values: Shape (n,).
            noise: Standard deviation of what is known less well than the others, beside the noise common to all.
            tune: Whether to fit length scales, amplitude, trend and noise anew; else they stay as they are.
        """
        self.features, observed = np.asarray(features, float), np.asarray(values, float)
        self.mean, self.scale = float(observed.mean()), max(float(observed.std()), LEAST_SCALE)
        self.targets = (observed - self.mean) / self.scale
        self.extra = np.broadcast_to(np.asarray(noise, float) / self.scale, observed.shape) ** 2
        if tune and len(observed) > 2 and self.groups.size:
            self.distances = np.array([_squares(part, part) for part in self._parts()])
            self.products = self._products(self.features, self.features)
            bounds = [(value - 3 * SPREAD, value + 3 * SPREAD) for value in self.prior]
            options = {"maxiter": 50}
            found = minimize(self._loss, self.parameters, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
            self.parameters = found.x
        variances: Floats = np.exp(2 * self.parameters[2]) + self.extra + JITTER
        self.factor = np.linalg.cholesky(self._covariance(self.features) + np.diag(variances))
        self.weights = cho_solve((self.factor, True), self.targets)
        return self

    def predict(self, features: ArrayLike) -> tuple[Floats, Floats]:
        """Mean and standard deviation of a new observation with these features, its noise included, shape (m,) each."""
        features = np.asarray(features, float)
        known = self._covariance(features)
        mean = self.mean + self.scale * (known @ self.weights)
        explained = (solve_triangular(self.factor, known.T, lower=True, check_finite=False) ** 2).sum(axis=0)
        amplitude, slope, noise = np.exp(2 * self.parameters[:3])
        prior = amplitude + slope * (features**2).sum(axis=1) / max(features.shape[1], 1)
        return mean, self.scale * np.sqrt(np.maximum(prior - explained, 0.0) + noise)

    def _covariance(self, features: Floats) -> Floats:
        """Covariance with the observations without noise, shape (m, n)."""
        scales = np.exp(-self.parameters[3:])[self.groups]
        smooth, *_ = _matern(_squares(features * scales, self.features * scales), self.parameters[0])
        trend: Floats = np.exp(2 * self.parameters[1]) * self._products(features, self.features)
        return smooth + trend

    def _parts(self) -> Iterator[Floats]:
        """The features of the observations, group by group."""
        return (self.features[:, self.groups == group] for group in range(len(self.parameters) - 3))

    @staticmethod
    def _products(one: Floats, other: Floats) -> Floats:
        """Mean product of two networks' features, shape (n, m): the kernel of a linear trend."""
        products: Floats = one @ other.T / max(one.shape[1], 1)
        return products

    def _loss(self, parameters: Floats) -> tuple[float, Floats]:
        """The negative logarithm of the posterior density, but for a constant, and its gradient."""
        squares = np.tensordot(np.exp(-2 * parameters[3:]), self.distances, axes=1)
        smooth, root, decay = _matern(squares, parameters[0])
        trend, noise = np.exp(2 * parameters[1]) * self.products, np.exp(2 * parameters[2])
        factor = np.linalg.cholesky(smooth + trend + np.diag(noise + self.extra + JITTER))
        weights = cho_solve((factor, True), self.targets)
        away = (parameters - self.prior) / SPREAD
        loss = 0.5 * self.targets @ weights + np.log(np.diag(factor)).sum() + 0.5 * away @ away
        # The derivative of the loss by an entry of the covariance, halved; each parameter's gradient sums over entries.
        entry = 0.5 * (cho_solve((factor, True), np.eye(len(weights))) - np.outer(weights, weights))
        by_length = entry * decay * (1 + root) * (5 / 3)  # by the squared distances, up to the length scales
        gradient = np.concatenate(
            [
                [2 * (entry * smooth).sum(), 2 * (entry * trend).sum(), 2 * noise * np.trace(entry)],
                np.exp(-2 * parameters[3:]) * np.tensordot(self.distances, by_length, axes=2),
            ]
        )
        return float(loss), gradient + away / SPREAD


def _matern(squares: Floats, log_amplitude: float) -> tuple[Floats, Floats, Floats]:
    """The Matérn 5/2 kernel of squared distances, and two factors of it that its gradient needs."""
    root = np.sqrt(5 * squares + 1e-12)
    decay = np.exp(2 * log_amplitude - root)
    return decay * (1 + root + root**2 / 3), root, decay


def _squares(one: Floats, other: Floats) -> Floats:
    """Squared distances, shape (n, m)."""
    squares: Floats = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    return np.maximum(squares, 0.0, out=squares)
