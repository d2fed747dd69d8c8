"""Vectors of unit norm."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from jaxinit._draw import Draw, Spec, derive
from jaxinit._initializer import Init, Initializer, initializer, part
from jaxinit.axes import Axes, Axis, KernelAxes, as_axes
from jaxinit.compose.statistics import slices
from jaxinit.iid import normal


@initializer
def unit_norm(spec: Spec, axis: Axis = -1, dtype: DTypeLike | None = None) -> Draw:
    """Independent vectors along axis, uniform on the sphere ‖w‖ = 1.

    Args:
        axis: the axis, or axes, of one vector; the last is that of an embedding's features.
        dtype: default dtype of the weights.

    Returns:
        An initializer.

    Raises:
        ValueError: when called, if an axis is out of range or named twice.

    >>> import jax
    >>> w = unit_norm()(jax.random.key(0), (50, 16))
    >>> bool(abs(jax.numpy.linalg.norm(w, axis=-1) - 1).max() < 1e-6)
    True

    Reference:
        Muller, "A note on a method for generating points uniformly on n-dimensional spheres", 1959;
        Loshchilov et al., "nGPT: Normalized Transformer with Representation Learning on the
        Hypersphere", 2024, arXiv:2410.01131.
    """
    return _directed(spec, normal(1.0), slices(axis, spec.shape))


@initializer
def unit_rows(spec: Spec, init: Init, *, axes: KernelAxes = None) -> Draw:
    """W = V, the weights into each unit divided by their norm: the rows of W in y = W x.

    The weights into a unit are those of its inputs and taps. If all are 0 they stay 0.

    Args:
        init: draws V; from normal() the law is that of unit_norm.
        axes: role of each axis, an `Axes` or an einsum; None means inputs second to last, outputs
            last, and taps elsewhere.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer; when called, for a dtype of integers.
        ValueError: when called, if the axes do not fit the shape.

    >>> import jax, jaxinit
    >>> w = unit_rows(jaxinit.he_uniform())(jax.random.key(0), (3, 3, 4, 8))
    >>> bool(abs((w**2).sum((0, 1, 2)) - 1).max() < 1e-6)
    True

    Reference:
        Salimans, Kingma, "Weight Normalization: A Simple Reparameterization to Accelerate Training
        of Deep Neural Networks", 2016, arXiv:1602.07868.
    """
    inputs, _, _, taps = (as_axes("axes", axes) or Axes()).resolve(spec.shape)
    return _directed(spec, init, (*inputs, *taps))


def _directed(spec: Spec, init: Initializer, axes: tuple[int, ...]) -> Draw:
    return derive(_directions, part(init, spec), jnp.finfo(spec.real).tiny, axes=axes)


def _directions(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    weights: Any,
    tiny: Array,
    *,
    axes: tuple[int, ...],
) -> Array:
    """Vectors over their norms, without overflow; one below the smallest normal number is kept."""
    w = weights(key)
    w = _over(w, jnp.max(jnp.abs(w), axis=axes, keepdims=True, initial=0), tiny)
    return _over(w, jnp.sqrt(jnp.sum(jnp.real(w * jnp.conj(w)), axis=axes, keepdims=True)), tiny)


def _over(w: Array, size: Array, tiny: Array) -> Array:
    return w / jnp.where(size >= tiny, size, 1)
