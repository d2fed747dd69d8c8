"""Draws whose empirical moments or norms are exact, slice by slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from jaxinit._draw import Draw, Spec, derive
from jaxinit._initializer import Init, initializer, part
from jaxinit.axes import normalize, positions


def _along(name: str, value: int | Sequence[int] | None) -> int | tuple[int, ...] | None:
    return None if value is None else normalize(name, value)


Slices: TypeAlias = Annotated[int | Sequence[int] | None, _along]


def slices(axis: int | Sequence[int] | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes along which the slices of an array lie.

    Args:
        axis: one or several; None means all.
        shape: of the array.

    Returns:
        Axes counted from zero, in order.

    Raises:
        ValueError: if one is out of range or named twice.

    >>> slices(None, (3, 4))
    (0, 1)
    """
    if axis is None:
        return tuple(range(len(shape)))
    found = tuple(sorted(positions("axis", axis, shape)))
    if len(set(found)) < len(found):
        raise ValueError(f"axis={axis} names an axis of shape {shape} twice")
    return found


@initializer
def centered(spec: Spec, init: Init, axis: Slices = None) -> Draw:
    """W = V - mean(V), so that the entries along an axis add up to zero, to rounding.

    Args:
        init: any initializer, of V.
        axis: along which the mean is taken, one or several: that of the inputs and taps to leave a
            unit blind to a constant input. None means all.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer.
        ValueError: when called, if the axis does not fit the shape.

    >>> import jax, jaxinit
    >>> w = centered(jaxinit.he_normal(), axis=0)(jax.random.key(0), (100, 3))
    >>> bool((abs(w.mean(axis=0)) < 1e-8).all())
    True
    """
    return derive(_centered, part(init, spec), over=slices(axis, spec.shape))


def _centered(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], v: Any, *, over: tuple[int, ...]
) -> Array:
    return v(key) if 0 in shape else _without_mean(_kept(v(key)), over)[0]


def _kept(v: Array) -> Array:
    """Weights that are drawn once, not once a use."""
    return lax.optimization_barrier(v)


def _without_mean(v: Array, over: tuple[int, ...]) -> tuple[Array, Array]:
    mean = jnp.mean(v, over, keepdims=True)
    w = v - mean
    return w - jnp.mean(w, over, keepdims=True), mean  # what rounding left of it goes too


@initializer
def standardized(spec: Spec, init: Init, axis: Slices = None) -> Draw:
    """W = (V - mean(V)) / std(V), of mean 0 and variance 1 along an axis, to rounding.

    The scale of V is gone, whatever its fans: multiply by the one wanted, as in
    `standardized(normal(), axis=0) * (2 / n_in) ** 0.5`. A slice that does not vary becomes zero.
    Complex ones have mean |w|² = 1.

    Args:
        init: any initializer, of V.
        axis: along which the moments are taken, one or several; None means all.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer.
        ValueError: when called, if the axis does not fit the shape, or slices have one entry.

    >>> import jax, jaxinit
    >>> w = standardized(jaxinit.he_uniform(), axis=0)(jax.random.key(0), (100, 3))
    >>> bool((abs(w.var(axis=0) - 1) < 1e-6).all())
    True

    Reference:
        Qiao et al., "Weight Standardization", 2019, arXiv:1903.10520, eq. 7.
    """
    over = slices(axis, spec.shape)
    if math.prod(spec.shape[a] for a in over) == 1:
        raise ValueError(
            f"axis={axis} of shape {spec.shape} gives slices of one entry, which have no variance: "
            "name a longer axis"
        )
    return derive(_standardized, part(init, spec), over=over)


def _standardized(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], v: Any, *, over: tuple[int, ...]
) -> Array:
    if 0 in shape:
        return v(key)
    w, mean = _without_mean(_kept(v(key)), over)
    noise = 8 * jnp.finfo(w.dtype).eps * jnp.abs(mean)  # no variation, but rounding errors
    return _unit(w, over, noise) * math.sqrt(math.prod(shape[a] for a in over))


@initializer
def normalized(spec: Spec, init: Init, axis: Slices = None) -> Draw:
    """W = V / ‖V‖, of unit Euclidean norm along an axis, to rounding.

    With normal weights each slice is uniform on the sphere. A slice of zeros stays zero.

    Args:
        init: any initializer, of V.
        axis: along which the norm is taken, one or several; None means all.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer.
        ValueError: when called, if the axis does not fit the shape.

    >>> import jax, jaxinit
    >>> w = normalized(jaxinit.normal(), axis=-1)(jax.random.key(0), (3, 100))
    >>> bool((abs((w**2).sum(axis=-1) - 1) < 1e-6).all())
    True
    """
    return derive(_normalized, part(init, spec), over=slices(axis, spec.shape))


def _normalized(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], v: Any, *, over: tuple[int, ...]
) -> Array:
    return v(key) if 0 in shape else _unit(_kept(v(key)), over)


def _unit(w: Array, over: tuple[int, ...], noise: ArrayLike = 0) -> Array:
    """Slices of unit norm, but zero where nothing exceeds the noise; they may be tiny or huge."""
    peak = jnp.max(jnp.abs(w), over, keepdims=True)
    w = w / jnp.where(peak > noise, peak, jnp.inf)
    norm = jnp.sqrt(jnp.sum(jnp.real(w * jnp.conj(w)), over, keepdims=True))
    return w / jnp.where(norm > 0, norm, 1)
