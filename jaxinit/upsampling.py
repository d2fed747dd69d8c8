"""Kernels of transposed convolutions that enlarge an image."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from jaxinit._draw import Draw, Spec, fill
from jaxinit._initializer import initializer
from jaxinit.axes import Axes, KernelAxes, as_axes
from jaxinit.identity import Places, sizes


@initializer
def bilinear(spec: Spec, dtype: DTypeLike | None = None, *, axes: KernelAxes = None) -> Draw:
    """Linear interpolation between pixels, along every spatial axis: w(t) = 1 - |t - (k-1)/2| / f.

    A transposed convolution of stride f = ⌈k/2⌉ with it enlarges an image f times. A kernel is the
    product of the ramps of its axes on the diagonal of in by out, and zero off it: each channel is
    enlarged by itself.

    Args:
        dtype: default dtype of the weights, not an integer one.
        axes: roles of the kernel's axes, an `Axes` or an einsum; None means in and out are last.
            For a depthwise kernel pass `Axes.conv(groups=channels)`.

    Returns:
        An initializer.

    Raises:
        TypeError: when called, if the dtype is an integer one.
        ValueError: when called, if a group has not as many inputs as outputs, or the axes do not
            fit the shape.

    >>> bilinear()(None, (4, 1, 1)).ravel().tolist()
    [0.25, 0.75, 0.75, 0.25]

    Peers:
        mxnet: Bilinear
        paddle: Bilinear
        chainer: UpsamplingDeconvFilter

    Reference:
        Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", 2014,
        arXiv:1411.4038, section 3.3.
    """
    axes = as_axes("axes", axes) or Axes()
    rows, columns = sizes(spec.shape, axes)
    if rows != columns:
        raise ValueError(
            f"shape {spec.shape} has {rows} inputs and {columns} outputs a group: each channel is "
            "enlarged by itself, so they must be as many; for a depthwise kernel pass "
            "axes=Axes.conv(groups=channels)"
        )
    return fill(_bilinear, axes=axes, real=spec.real)


def _bilinear(
    shape: tuple[int, ...], dtype: np.dtype[Any], *, axes: Axes, real: np.dtype[Any]
) -> Array:
    at = Places.of(shape, axes)
    *_, taps = axes.resolve(shape)
    index = jnp.indices(shape, real, sparse=True)
    ramps = (
        1 - abs(index[axis] - (shape[axis] - 1) / 2) / math.ceil(shape[axis] / 2)
        for axis in taps
        if shape[axis]
    )
    weight = math.prod(ramps, start=jnp.ones((), real))
    return jnp.broadcast_to(jnp.where(at.row == at.column, weight, 0), shape)
