"""Multiples and sums of initializers."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxinit._checks import finite
from jaxinit._draw import Draw, Spec, derive
from jaxinit._initializer import Init, Initializer, initializer, part, split


@initializer
def scaled(spec: Spec, init: Init, factor: Annotated[ArrayLike, finite]) -> Draw:
    """W = factor V, with V drawn by init; `init * factor` in short.

    Args:
        init: any initializer.
        factor: a number, or an array that broadcasts to the shape.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer.
        ValueError: if factor is not finite.

    >>> import jax, jaxinit
    >>> init = jaxinit.he_normal() * 0.5
    >>> init
    scaled(init=he_normal(), factor=0.5)
    >>> bool((init(jax.random.key(0), (2, 3)) == scaled(jaxinit.he_normal(), 0.5)(
    ...     jax.random.key(0), (2, 3))).all())
    True
    """
    return multiple(spec, init, factor)


def multiple(spec: Spec, init: Initializer, factor: ArrayLike) -> Draw:
    """What `scaled` draws; laws that are made of it differ in an operand, and compile once.

    Args:
        spec: of the weights.
        init: any initializer.
        factor: a number, or an array that broadcasts to the shape.

    Returns:
        What to draw.
    """
    return derive(_scaled, part(init, spec), factor)


def _scaled(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], weights: Any, factor: Array
) -> Array:
    return factor * weights(key)


@initializer
def added(spec: Spec, a: Init, b: Init) -> Draw:
    """W = A + B, drawn independently by two initializers; `a + b` in short.

    Args:
        a: any initializer.
        b: any initializer.

    Returns:
        An initializer.

    Raises:
        TypeError: if one is no initializer.

    >>> import jax, jaxinit
    >>> added(jaxinit.ones, jaxinit.identity())(jax.random.key(0), (2, 2)).tolist()
    [[2.0, 1.0], [1.0, 2.0]]
    """
    return derive(_added, part(a, spec), part(b, spec))


def _added(key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], a: Any, b: Any) -> Array:
    first, second = split(key, 2)
    return a(first) + b(second)
