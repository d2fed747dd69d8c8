"""What becomes of single entries: masked, dropped, clipped, mixed, given a sign."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from jaxinit import random
from jaxinit._checks import as_array, finite, integer, ordered, require_broadcast, share
from jaxinit._draw import Draw, Spec, derive, sample
from jaxinit._initializer import Init, Initializer, initializer, initializer_argument, part
from jaxinit.axes import positions
from jaxinit.compose.statistics import Slices, slices
from jaxinit.shuffle import shuffle


def _zeros_and_ones(name: str, value: ArrayLike) -> ArrayLike:
    if isinstance(value, jax.core.Tracer) or (given := np.asarray(value)).dtype == np.bool_:
        return value
    finite(name, value)
    if not ((given == 0) | (given == 1)).all():
        raise ValueError(
            f"{name}={value!r} has entries other than 0 and 1: pass booleans, true where the "
            "weight stays"
        )
    return value


@initializer
def masked(
    spec: Spec,
    init: Init,
    mask: Annotated[ArrayLike | Sequence[Any], _zeros_and_ones],
    fill: Annotated[ArrayLike | Sequence[Any], finite] = 0.0,
) -> Draw:
    """W = V where the mask is true, fill elsewhere; V is drawn by init in the whole shape.

    Args:
        init: any initializer, of V; its fans count the masked inputs too.
        mask: booleans, or zeros and ones, that broadcast to the shape.
        fill: a number, or an array that broadcasts to the shape.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer.
        ValueError: if the mask has entries other than 0 and 1, or fill is not finite; when called,
            if one does not broadcast to the shape.

    >>> import jaxinit
    >>> masked(jaxinit.ones, [[True, False]], -1)(None, (2, 2)).tolist()
    [[1.0, -1.0], [1.0, -1.0]]

    Reference:
        Germain, Gregor, Murray, Larochelle, "MADE", 2015, arXiv:1502.03509.
    """
    for name, given in (("mask", mask), ("fill", fill)):
        require_broadcast(name, given, spec.shape)
    return derive(_masked, part(init, spec), as_array(mask), as_array(fill))


def _masked(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], v: Any, mask: Array, fill: Array
) -> Array:
    return jnp.where(mask != 0, v(key), fill)


@initializer
def sparsified(
    spec: Spec,
    init: Init,
    fraction: Annotated[float, share],
    axis: Slices = None,
) -> Draw:
    """W = V with round(fraction n) of every n entries along an axis set to zero, exactly.

    Which ones is uniform without replacement, and drawn for each slice on its own.

    Args:
        init: any initializer, of V; its fans count the dropped inputs too.
        fraction: of zeros, in [0, 1].
        axis: along which the zeros are counted, one or several: that of the inputs to drop as many
            inputs of every unit. None means the whole array.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer.
        ValueError: if fraction is outside [0, 1]; when called, if the axis does not fit the shape.

    >>> import jax, jaxinit
    >>> w = sparsified(jaxinit.normal(), 0.75, axis=0)(jax.random.key(0), (8, 3))
    >>> (w == 0).sum(axis=0).tolist()
    [6, 6, 6]
    """
    over = slices(axis, spec.shape)
    zeros = round(fraction * math.prod(spec.shape[a] for a in over))
    return sample(_sparsified, part(init, spec), zeros=zeros, over=over)


def _sparsified(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    v: Any,
    *,
    zeros: int,
    over: tuple[int, ...],
) -> Array:
    key_v, key_places = jax.random.split(key)
    w = v(key_v)
    if 0 in shape or not zeros:
        return w
    return jnp.where(shuffle(key_places, shape, over) < zeros, jnp.zeros((), w.dtype), w)


@initializer
def clipped(
    spec: Spec,
    init: Init,
    low: Annotated[ArrayLike, finite],
    high: Annotated[ArrayLike, finite],
) -> Draw:
    """W = min(max(V, low), high): what lies outside moves to the nearest end.

    A truncated law draws again instead; clipping puts mass on both ends.

    Args:
        init: any initializer of real weights, of V.
        low: least value.
        high: greatest value.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer; when called, if the dtype is complex.
        ValueError: if an end is not finite; when called, if low is not below high.

    >>> import jax, jaxinit
    >>> w = clipped(jaxinit.normal(1.0), -0.5, 1)(jax.random.key(0), (100,))
    >>> float(w.min()), float(w.max())
    (-0.5, 1.0)
    """
    spec.require_real("clipped", "complex numbers have no order")
    ordered("low", low, "high", high)
    return derive(_clipped, part(init, spec), low, high)


def _clipped(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], v: Any, low: Array, high: Array
) -> Array:
    return jnp.clip(v(key), low, high)


def each_initializer(name: str, value: Sequence[Any]) -> tuple[Any, ...]:
    """A sequence of initializers, and no factory among them."""
    if not isinstance(value, Sequence) or not value:
        raise TypeError(f"{name}={value!r} is not a sequence of initializers")
    return tuple(initializer_argument(f"{name}[{i}]", init) for i, init in enumerate(value))


def _probabilities(name: str, value: Sequence[float]) -> tuple[float, ...]:
    if not isinstance(value, Sequence | np.ndarray | Array):
        raise TypeError(f"{name}={value!r} is not a sequence of numbers")
    shares = tuple(share(f"{name}[{i}]", p) for i, p in enumerate(value))
    if abs(math.fsum(shares) - 1) > 1e-6:
        raise ValueError(f"{name}={value!r} add up to {math.fsum(shares)}, not 1")
    return shares


@initializer
def mixture(
    spec: Spec,
    inits: Annotated[Sequence[Initializer | Callable[..., Array]], each_initializer],
    probs: Annotated[Sequence[float], _probabilities],
) -> Draw:
    """Each entry is that of init i with probability p_i, on its own.

    Args:
        inits: any initializers, each of the whole shape.
        probs: probabilities p_i, one for each, which add up to 1.

    Returns:
        An initializer.

    Raises:
        TypeError: if one is no initializer.
        ValueError: if a probability is outside [0, 1] or they do not add up to 1; when called, if
            there are not as many as initializers.

    >>> import jax, jaxinit
    >>> init = mixture((jaxinit.normal(1.0), jaxinit.zeros), (0.25, 0.75))
    >>> print(f"{(init(jax.random.key(0), (100, 100)) == 0).mean():.2f}")
    0.75
    """
    if len(inits) != len(probs):
        raise ValueError(
            f"probs={probs} are {len(probs)} and inits are {len(inits)}: pass one a initializer"
        )
    edges = itertools.accumulate(probs[:-1])
    return sample(_mixture, *edges, *(part(init, spec) for init in inits))


def _mixture(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], *edges_and_parts: Any
) -> Array:
    cut = len(edges_and_parts) // 2
    edges, (*parts, last) = edges_and_parts[:cut], edges_and_parts[cut:]
    key_choice, key_last, *keys = jax.random.split(key, len(parts) + 2)
    w = last(key_last)
    if parts:
        u = random.uniform(key_choice, shape, edges[0].dtype)
    for edge, v, k in zip(edges[::-1], parts[::-1], keys, strict=True):
        w = jnp.where(u < edge, v(k), w)
    return w


@initializer
def dale(
    spec: Spec,
    init: Init,
    excitatory: Annotated[float, share] = 0.8,
    axis: Annotated[int, integer] = -2,
) -> Draw:
    """W_ij = s_i |V_ij|: what a unit i sends is all excitatory or all inhibitory (Dale's law).

    s_i is 1 for the first round(excitatory n) of the n sending units and -1 for the rest.

    Args:
        init: any initializer of real weights, of V.
        excitatory: share of the units with nonnegative weights, in [0, 1].
        axis: of the sending units.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer; when called, if the dtype is complex.
        ValueError: if excitatory is outside [0, 1]; when called, if the axis does not fit the
            shape.

    >>> import jax, jaxinit
    >>> w = dale(jaxinit.he_normal())(jax.random.key(0), (10, 20))
    >>> bool((w[:8] >= 0).all() and (w[8:] <= 0).all())
    True

    Reference:
        Song, Yang, Wang, "Training Excitatory-Inhibitory Recurrent Neural Networks for Cognitive
        Tasks", PLOS Computational Biology 12, 2016, eq. 7.
    """
    spec.require_real("dale", "complex numbers have no sign")
    (place,) = positions("axis", axis, spec.shape)
    positive = round(excitatory * spec.shape[place])
    return derive(_dale, part(init, spec), positive=positive, axis=place)


def _dale(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    v: Any,
    *,
    positive: int,
    axis: int,
) -> Array:
    modulus = jnp.abs(v(key))
    unit = lax.broadcasted_iota(jnp.int32, shape, axis)
    return jnp.where(unit < positive, modulus, -modulus)
