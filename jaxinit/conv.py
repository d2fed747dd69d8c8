"""Convolution kernels that keep the norm of what passes through them."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike

from jaxinit._checks import finite
from jaxinit._draw import Draw, Spec, sample
from jaxinit._initializer import initializer
from jaxinit.axes import Axes, KernelAxes, as_axes, normalize, positions
from jaxinit.matrices import Unfolding, adjoint, matmul, unfold
from jaxinit.orthogonal import haar


@initializer
def delta_orthogonal(
    spec: Spec,
    scale: Annotated[ArrayLike, finite] = 1.0,
    column_axis: Annotated[int, normalize] = -1,
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Scale Q at the centre tap, Q Haar with orthonormal rows, and zero at every other tap.

    The convolution keeps the norm of every input, times scale. The last two axes are in and out.

    Args:
        scale: factor.
        column_axis: axis of Q's columns, one of the last two; the law is the same for both.
        dtype: default dtype of the weights.
        axes: in place of column_axis, the role of each axis, an `Axes` or an einsum: each group
            and each index of the batch axes has a Q of its own.

    Returns:
        An initializer for kernels with one to three spatial axes.

    Raises:
        ValueError: when called, if there are more spatial axes or none, the axes do not fit the
            shape, or n_in > n_out.

    >>> import jax
    >>> kernel = delta_orthogonal()(jax.random.key(0), (3, 3, 8, 16))
    >>> bool(abs(kernel[1, 1] @ kernel[1, 1].T - jax.numpy.eye(8)).max() < 1e-5)
    True

    Peers:
        tf1: ConvolutionDeltaOrthogonal

    Reference:
        Xiao et al., "Dynamical Isometry and a Mean Field Theory of CNNs", 2018, arXiv:1806.05393,
        algorithm 2.
    """
    if axes is not None and column_axis != -1:
        raise ValueError(
            f"axes={axes} and column_axis={column_axis} both say what the columns are: pass one"
        )
    shape = spec.shape
    unfolding, taps = _widening(spec, axes)
    (column,) = positions("column_axis", column_axis, shape)
    if column < len(shape) - 2:
        raise ValueError(
            f"column_axis={column_axis} is a spatial axis of shape {shape}: pass -1 or -2"
        )
    turned = column == len(shape) - 2
    return sample(_delta_orthogonal, scale, unfolding=unfolding, taps=taps, turned=turned)


def _delta_orthogonal(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    scale: Array,
    *,
    unfolding: Unfolding,
    taps: tuple[int, ...],
    turned: bool,
) -> Array:
    if 0 in shape:
        return jnp.zeros(shape, dtype)
    total, n_in, n_out = unfolding.size
    each = total // math.prod(taps)
    if turned:
        q = haar(key, (each, n_out, n_in), dtype, unfolding.split[::-1]).swapaxes(1, 2)
    else:
        q = haar(key, (each, n_in, n_out), dtype, unfolding.split)
    centre = [(k - 1) // 2 for k in taps]
    return unfolding.fold(_at_tap(scale * q, taps, centre), shape)


@initializer
def conv_orthogonal(
    spec: Spec,
    gain: Annotated[ArrayLike, finite] = 1.0,
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Gain Q ∏ (P + (I - P) z), z a shift by one tap: ‖K * x‖ = gain ‖x‖ under circular padding.

    An axis of k taps has k - 1 factors. Q is Haar with orthonormal rows, each P an independent
    projection onto half of the outputs' space, so that a tap holds a binomial share of the squared
    norm: 1/4, 1/2, 1/4 for three. Other paddings lose only what the border cuts off. Complex
    kernels are unitary.

    Args:
        gain: factor.
        dtype: default dtype of the weights.
        axes: role of each axis, an `Axes` or an einsum; None means spatial axes, in, out. Each
            group and each index of the batch axes has a kernel of its own.

    Returns:
        An initializer for kernels with one to three spatial axes, of any sizes.

    Raises:
        ValueError: if gain is not finite; when called, if there are more spatial axes or none, the
            axes do not fit the shape, or n_in > n_out.

    >>> import jax
    >>> kernel = conv_orthogonal()(jax.random.key(0), (3, 3, 8, 16))
    >>> spectrum = jax.numpy.fft.fft2(kernel, (32, 32), (0, 1))
    >>> singular = jax.numpy.linalg.svd(spectrum, compute_uv=False)
    >>> print(f"{singular.min():.4f} {singular.max():.4f}")
    1.0000 1.0000

    Peers:
        tf1: ConvolutionOrthogonal1D
        tf1: ConvolutionOrthogonal2D
        tf1: ConvolutionOrthogonal3D

    Reference:
        Xiao et al., "Dynamical Isometry and a Mean Field Theory of CNNs", 2018, arXiv:1806.05393,
        algorithm 1; Kautsky, Turcajová, "A matrix approach to discrete wavelets", 1994.
    """
    unfolding, taps = _widening(spec, axes)
    return sample(_conv_orthogonal, gain, unfolding=unfolding, taps=taps)


def _conv_orthogonal(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    gain: Array,
    *,
    unfolding: Unfolding,
    taps: tuple[int, ...],
) -> Array:
    if 0 in shape:
        return jnp.zeros(shape, dtype)
    total, n_in, n = unfolding.size
    each = total // math.prod(taps)
    factors = [(i, a) for i in range(max(taps) - 1) for a, k in enumerate(taps) if i < k - 1]
    q = haar(key, ((len(factors) + 1) * each, n, n), dtype).reshape(-1, each, n, n)
    # An odd n has halves of two sizes, in turn, so that the weights stay about the middle.
    ranks = jnp.array([(n + 1 - i % 2) // 2 for i, _ in factors], jnp.int32)
    along = jnp.array([a for _, a in factors], jnp.int32)
    shifts = [functools.partial(jnp.roll, shift=1, axis=a) for a in range(len(taps))]

    def multiply(kernel: Array, factor: tuple[Array, Array, Array]) -> tuple[Array, None]:
        u, rank, axis = factor
        u = jnp.where(jnp.arange(u.shape[-1]) < rank, u, 0)
        stays = matmul(matmul(kernel, u), adjoint(u))
        return stays + lax.switch(axis, shifts, kernel - stays), None

    kernel = _at_tap(q[-1, :, :n_in], taps, [0] * len(taps))
    kernel, _ = lax.scan(multiply, kernel, (q[:-1, ..., : (n + 1) // 2], ranks, along))
    return gain * unfolding.fold(kernel, shape)


def _at_tap(matrices: Array, taps: tuple[int, ...], tap: Sequence[int]) -> Array:
    """A stack of matrices at one tap, zero at the others; the taps' axes are in front."""
    kernel = matrices.reshape((1,) * len(taps) + matrices.shape)
    margins = [(t, k - 1 - t) for k, t in zip(taps, tap, strict=True)]
    return jnp.pad(kernel, [*margins, (0, 0), (0, 0), (0, 0)])


def _widening(spec: Spec, axes: Axes | str | None) -> tuple[Unfolding, tuple[int, ...]]:
    """A kernel as matrices, one a tap, group and index of the batch axes, and how many taps.

    A stack of the matrices has the taps' axes in front.
    """
    chosen = as_axes("axes", axes) or Axes()
    shape = spec.shape
    inputs, outputs, batch, spatial = chosen.resolve(shape)
    if not 1 <= len(spatial) <= 3:
        raise ValueError(
            f"shape {shape} has {len(shape)} axes, {len(spatial)} of them spatial; a convolution "
            "kernel has 3 to 5: one to three spatial axes, then in and out; for a matrix use "
            "orthogonal"
        )
    unfolding = unfold(spec, Axes(inputs, outputs, (*spatial, *batch), chosen.groups))
    _, n_in, n_out = unfolding.size
    if n_in > n_out:
        raise ValueError(
            f"shape {shape} has n_in={n_in} > n_out={n_out}"
            + f" in each of {chosen.groups} groups" * (chosen.groups > 1)
            + ": no kernel keeps the norm of every input when channels are lost; widen the layer, "
            "or use orthogonal"
        )
    return unfolding, tuple(shape[a] for a in spatial)
