"""How throughput grows with the number of clients: Amdahl's law and the universal scalability law.

Never extrapolated beyond the largest number of clients measured, and of no use for MIG, whose slices bound it.

Sources: Amdahl, AFIPS 1967; Gunther, Guerrilla Capacity Planning, 2007 (USL); Hurvich & Tsai, Biometrika 76, 1989
(AICc, with the noise counted as a parameter).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from bench.stats.checks import Vector, positive, same_length

MIN_CLIENT_COUNTS = 6
"""Different numbers of clients that a fit needs, 1 among them."""

CLEAR = 2
"""A parameter is called above 0 from so many standard errors on."""


@dataclass(frozen=True)
class ScalingFit:
    """Parameters with standard errors; of Amdahl's law `beta` is 0 and has none."""

    gamma: float
    """Throughput of one client."""
    alpha: float
    """Contention: the share of work that cannot overlap."""
    beta: float
    """Coherency: the price of each pair of clients."""
    gamma_error: float
    alpha_error: float
    beta_error: float | None
    residual_sd: float
    aicc: float | None
    """The smaller, the better, by 2 at least; None where there are too few points for the correction."""

    @property
    def peak_clients(self) -> float | None:
        """The number of clients with the most throughput; None where beta is not clearly above 0."""
        clear = self.beta_error is not None and self.beta > CLEAR * self.beta_error
        return math.sqrt((1 - self.alpha) / self.beta) if clear else None

    @property
    def limit(self) -> float | None:
        """What throughput can never exceed if only contention counts; None where alpha is not clearly above 0."""
        return self.gamma / self.alpha if self.alpha > CLEAR * self.alpha_error else None


def usl_fit(clients: ArrayLike, throughput: ArrayLike) -> ScalingFit | None:
    """Fit the universal scalability law; None below six different numbers of clients or without 1 among them.

    None also where the search for parameters does not end.
    """
    return _fit(_usl, clients, throughput, start=(0.01, 1e-4))


def amdahl_fit(clients: ArrayLike, throughput: ArrayLike) -> ScalingFit | None:
    """Fit Amdahl's law, which is the former without coherency; compare both by `aicc`."""
    return _fit(lambda n, gamma, alpha: _usl(n, gamma, alpha, 0.0), clients, throughput, start=(0.01,))


def _usl(n: Vector, gamma: float, alpha: float, beta: float) -> Vector:
    return gamma * n / (1 + alpha * (n - 1) + beta * n * (n - 1))


def _fit(
    law: Callable[..., Vector], clients: ArrayLike, throughput: ArrayLike, start: tuple[float, ...]
) -> ScalingFit | None:
    n, x = positive("clients", clients), positive("throughput", throughput)
    points = same_length(clients=n, throughput=x)
    if len(np.unique(n)) < MIN_CLIENT_COUNTS or n.min() != 1:
        return None
    highest = [math.inf, *[1.0] * len(start)]
    try:
        found: Any = optimize.curve_fit(law, n, x, p0=(float((x / n).max()), *start), bounds=(0, highest))
    except RuntimeError:  # no parameters found that the law fits with
        return None
    parameters, covariance = found
    errors = [float(e) for e in np.sqrt(np.diag(covariance))]
    squares = float(((x - law(n, *parameters)) ** 2).sum())
    gamma, alpha, *rest = (float(value) for value in parameters)
    return ScalingFit(
        gamma=gamma,
        alpha=alpha,
        beta=rest[0] if rest else 0.0,
        gamma_error=errors[0],
        alpha_error=errors[1],
        beta_error=errors[2] if rest else None,
        residual_sd=math.sqrt(squares / (points - len(parameters))),
        aicc=_aicc(squares, points, len(parameters) + 1),
    )


def _aicc(squares: float, points: int, parameters: int) -> float | None:
    if points - parameters < 2 or squares <= 0:
        return None
    penalty = 2 * parameters * points / (points - parameters - 1)
    return points * math.log(squares / points) + penalty
