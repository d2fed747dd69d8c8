"""Kernels of which every unit sees a few inputs only."""

from __future__ import annotations

import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from jaxinit import random
from jaxinit._checks import fraction, non_negative, optional, whole
from jaxinit._draw import Draw, Spec, sample
from jaxinit._initializer import initializer
from jaxinit.axes import KernelAxes
from jaxinit.shuffle import input_axes, shuffle

NONZEROS = 15


@initializer
def sparse(
    spec: Spec,
    nonzeros: Annotated[int, whole] = NONZEROS,
    stddev: Annotated[ArrayLike, non_negative] = 1.0,
    dtype: DTypeLike | None = None,
    *,
    fraction: Annotated[float | None, optional(fraction)] = None,
    axes: KernelAxes = None,
) -> Draw:
    """Exactly k inputs into every unit have weights w ~ N(0, stddev²), the others zero.

    The k are drawn uniformly without replacement, for each unit on its own, from its inputs and
    taps. Units then differ more than when all see everything, and saturate less.

    Args:
        nonzeros: number k of inputs that a unit sees.
        stddev: standard deviation of the weights that are not zero.
        dtype: default dtype of the weights; complex ones are circular with E|w|² = stddev².
        fraction: k as a fraction of the fan-in, rounded to at least 1, in place of nonzeros.
        axes: roles of the kernel's axes, an `Axes` or an einsum; None means in -2, out -1.

    Returns:
        An initializer.

    Raises:
        ValueError: if nonzeros is less than 1, fraction is outside (0, 1) or stddev is negative;
            when called, if a unit has fewer than k inputs, both numbers are given, or the axes do
            not fit the shape.

    >>> import jax
    >>> weights = sparse(3)(jax.random.key(0), (100, 4))
    >>> (weights != 0).sum(axis=0).tolist()
    [3, 3, 3, 3]

    Peers:
        torch: sparse_

    Reference:
        Martens, "Deep learning via Hessian-free optimization", ICML 2010, section 5.
    """
    inputs = input_axes(spec.shape, axes)
    n = math.prod(spec.shape[axis] for axis in inputs)
    if fraction is not None:
        if nonzeros != NONZEROS:
            raise ValueError(
                f"nonzeros={nonzeros} and fraction={fraction} both say how many inputs a unit "
                "sees: pass one"
            )
        nonzeros = max(1, round(fraction * n))
    if 0 < n < nonzeros:
        raise ValueError(
            f"nonzeros={nonzeros} is more than the {n} inputs of a unit in shape {spec.shape}: "
            f"pass at most {n}, or fraction="
        )
    return sample(_sparse, stddev, nonzeros=nonzeros, inputs=inputs)


def _sparse(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    stddev: Array,
    *,
    nonzeros: int,
    inputs: tuple[int, ...],
) -> Array:
    if 0 in shape:
        return jnp.zeros(shape, dtype)
    key_weights, key_places = jax.random.split(key)
    weights = random.normal(key_weights, shape, dtype, stddev)
    return jnp.where(shuffle(key_places, shape, inputs) < nonzeros, weights, 0)
