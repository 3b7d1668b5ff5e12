"""What every statistic asks of its input, said once."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


def finite(name: str, values: ArrayLike) -> Vector:
    """Return `values` as a vector; raise ValueError where one is missing, not a number or infinite."""
    vector = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if vector.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, not of shape {vector.shape}")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name} must be finite; leave out what is missing before")
    return vector


def positive(name: str, values: ArrayLike) -> Vector:
    """Return `values` as a finite vector; raise ValueError where one is not above zero."""
    vector = finite(name, values)
    if (vector <= 0).any():
        raise ValueError(f"{name} must be above zero, not {vector.min()}")
    return vector


def not_negative(name: str, values: ArrayLike) -> Vector:
    """Return `values` as a finite vector; raise ValueError where one is below zero."""
    vector = finite(name, values)
    if (vector < 0).any():
        raise ValueError(f"{name} must not be below zero, not {vector.min()}")
    return vector


def fraction(name: str, value: float) -> float:
    """Return `value`; raise ValueError unless it lies strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, not be {value}")
    return value


def same_length(**vectors: Vector) -> int:
    """Return the common length; raise ValueError naming the lengths where they differ."""
    lengths = {name: len(vector) for name, vector in vectors.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError("lengths differ: " + ", ".join(f"{name} {n}" for name, n in lengths.items()))
    return next(iter(lengths.values()))
