"""Independent, identically distributed entries."""

from typing import Annotated

import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from jaxinit import random
from jaxinit._checks import finite, non_negative, ordered
from jaxinit._initializer import Draw, Spec, initializer, sample


def uniform_law(key: Array, shape: tuple[int, ...], dtype: np.dtype, scale: Array) -> Array:
    return random.uniform(key, shape, dtype) * scale


@initializer
def uniform(
    spec: Spec, scale: Annotated[ArrayLike, finite] = 1e-2, dtype: DTypeLike | None = None
) -> Draw:
    """w ~ U[0, scale).

    Args:
        scale: upper end; a negative one is a lower end.
        dtype: default dtype of the weights, a real one.

    Returns:
        An initializer, the same numbers as `jax.nn.initializers.uniform`.

    >>> import jax
    >>> bool(uniform(10.0)(jax.random.key(0), (100,)).max() < 10)
    True
    """
    spec.require_real("uniform", "variance_scaling(..., distribution='uniform') draws from a disk")
    return sample(uniform_law, scale)


def normal_law(key: Array, shape: tuple[int, ...], dtype: np.dtype, stddev: Array) -> Array:
    return random.normal(key, shape, dtype, stddev)


@initializer
def normal(
    spec: Spec, stddev: Annotated[ArrayLike, non_negative] = 1e-2, dtype: DTypeLike | None = None
) -> Draw:
    """w ~ N(0, stddev²); complex weights are circular with E|w|² = stddev².

    Args:
        stddev: standard deviation, a number or an array that broadcasts to the shape.
        dtype: default dtype of the weights.

    Returns:
        An initializer, the same numbers as `jax.nn.initializers.normal`.

    >>> import jax
    >>> normal(0.02)(jax.random.key(0), (1000, 10)).std().round(3)
    Array(0.02, dtype=float32)
    """
    return sample(normal_law, stddev)


def truncated_normal_law(
    key: Array, shape: tuple[int, ...], dtype: np.dtype, stddev: Array, *truncation: Array
) -> Array:
    return random.truncated(key, shape, dtype, *truncation) * stddev


@initializer
def truncated_normal(
    spec: Spec,
    stddev: Annotated[ArrayLike, non_negative] = 1e-2,
    dtype: DTypeLike | None = None,
    lower: Annotated[ArrayLike, finite] = -2.0,
    upper: Annotated[ArrayLike, finite] = 2.0,
) -> Draw:
    """w = stddev z, with z ~ N(0, 1) conditioned on lower < z < upper.

    The standard deviation of w is smaller than stddev: 0.88 stddev for the default bounds.

    Args:
        stddev: standard deviation before truncation.
        dtype: default dtype of the weights, a real one.
        lower: lower end of z.
        upper: upper end of z.

    Returns:
        An initializer, the same numbers as `jax.nn.initializers.truncated_normal`.

    Raises:
        ValueError: when called, if lower is not below upper.

    >>> import jax
    >>> bool(abs(truncated_normal(0.5)(jax.random.key(0), (1000,))).max() < 1)
    True
    """
    spec.require_real("truncated_normal", "variance_scaling truncates the modulus")
    ordered("lower", lower, "upper", upper)
    return sample(truncated_normal_law, stddev, *random.truncation(lower, upper, spec.dtype))
