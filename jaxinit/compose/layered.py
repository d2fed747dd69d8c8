"""A stack of layers, each with a law of its own."""

from __future__ import annotations

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinit._checks import integer
from jaxinit._draw import Draw, Part, Spec, derive
from jaxinit._initializer import Init, initializer, part
from jaxinit.axes import positions


@initializer
def layered(spec: Spec, *inits: Init, axis: Annotated[int, integer] = 0) -> Draw:
    """W = (W₁, …, W_L) stacked along an axis, W_i drawn by the i-th initializer.

    `stacked` with a law for each slice, such as a scale that depends on depth. Laws that differ
    only in numbers are compiled once, together.

    Args:
        *inits: initializers of the slices, in order.
        axis: along which they are stacked.

    Returns:
        An initializer; slice i draws what the i-th draws from the i-th of the split keys.

    Raises:
        TypeError: if one is no initializer.
        ValueError: when called, if the axis has another length.

    >>> import jax, jaxinit
    >>> layers = layered(*(jaxinit.constant(1 / (i + 1)) for i in range(2)))
    >>> layers(jax.random.key(0), (2, 2)).tolist()
    [[1.0, 1.0], [0.5, 0.5]]
    """
    (place,) = positions("axis", axis, spec.shape)
    if spec.shape[place] != len(inits):
        raise ValueError(
            f"axis={axis} of shape {spec.shape} has {spec.shape[place]} slices and there are "
            f"{len(inits)} initializers: pass one a slice"
        )
    shape = spec.shape[:place] + spec.shape[place + 1 :]
    parts = [part(init, spec, shape) for init in inits]
    if inits and len({(p.program, _shapes(p)) for p in parts}) == 1:
        numbers = jax.tree.map(_stack, *(p.operands for p in parts))
        return derive(_together, Part(parts[0].program, numbers), axis=place)
    return derive(_apart, *parts, axis=place)


def _shapes(part: Part) -> tuple[tuple[int, ...], ...]:
    return tuple(map(np.shape, jax.tree.leaves(part.operands)))


def _stack(*operands: Any) -> Any:
    traced = any(isinstance(o, Array) for o in operands)
    return (jnp if traced else np).stack(operands)


def _together(
    key: Any, shape: tuple[int, ...], dtype: np.dtype[Any], draw: Any, *, axis: int
) -> Array:
    """One law for all slices: mapped over the keys and the numbers that the draw is bound to."""
    keys = None if key is None else jax.random.split(key, shape[axis])
    (numbers,) = draw.args
    along = (0, None if keys is None else 0)
    return jax.vmap(draw.func, along, axis, axis_size=shape[axis])(numbers, keys)


def _apart(key: Any, shape: tuple[int, ...], dtype: np.dtype[Any], *draws: Any, axis: int) -> Array:
    if not draws:
        return jnp.zeros(shape, dtype)
    keys = [None] * len(draws) if key is None else jax.random.split(key, len(draws))
    return jnp.stack([draw(its) for draw, its in zip(draws, keys, strict=True)], axis)
