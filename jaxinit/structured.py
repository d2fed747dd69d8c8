"""Orthogonal and permutation matrices, and those of given singular values or rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike

from jaxinit import random
from jaxinit._checks import as_array, finite, non_negative, whole
from jaxinit._draw import Draw, Spec, sample
from jaxinit._initializer import initializer
from jaxinit.axes import Axes, KernelAxes, as_axes
from jaxinit.matrices import Unfolding, adjoint, matmul, unfold, unfold_square
from jaxinit.orthogonal import haar


@initializer
def special_orthogonal(
    spec: Spec, dtype: DTypeLike | None = None, *, axes: KernelAxes = None
) -> Draw:
    """A rotation Q, Haar-distributed on SO(n): Qᵀ Q = I and det Q = 1.

    Complex matrices are Haar-distributed on SU(n).

    Args:
        dtype: default dtype of the weights.
        axes: role of each axis, an `Axes` or an einsum; inputs and taps are the rows, outputs the
            columns. Each group and each index of the batch axes has a Q of its own.

    Returns:
        An initializer of square matrices.

    Raises:
        ValueError: when called, if the matrices are not square or the axes do not fit the shape.

    >>> import jax
    >>> q = special_orthogonal()(jax.random.key(0), (7, 7))
    >>> print(f"{jax.numpy.linalg.det(q):.4f}")
    1.0000

    Reference:
        Mezzadri, "How to generate random matrices from the classical compact groups", 2007,
        arXiv:math-ph/0609050.
    """
    unfolding = unfold_square(spec, axes, "special_orthogonal")
    return sample(_special_orthogonal, unfolding=unfolding)


def _special_orthogonal(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], *, unfolding: Unfolding
) -> Array:
    q = haar(key, unfolding.size, dtype, unfolding.split, special=True)
    return unfolding.fold(q, shape)


@initializer
def scaled_orthogonal(
    spec: Spec,
    scale: Annotated[ArrayLike, finite] = 1.0,
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """W = scale max(1, √(n_out / n_in)) Q with Q Haar, at the centre tap if there are several.

    A layer that widens keeps the mean square of every input's components, times scale²; one that
    narrows keeps it on average over Q. It is SUO, the "scaled uniform orthogonal" law.

    Args:
        scale: factor.
        dtype: default dtype of the weights.
        axes: role of each axis, an `Axes` or an einsum. Each group and each index of the batch
            axes has a Q of its own.

    Returns:
        An initializer.

    Raises:
        ValueError: if scale is not finite; when called, if the axes do not fit the shape.

    >>> import jax
    >>> w = scaled_orthogonal()(jax.random.key(0), (3, 3, 8, 32))[1, 1]
    >>> bool(abs(w @ w.T - 4 * jax.numpy.eye(8)).max() < 1e-5)
    True

    Peers:
        dks: scaled_uniform_orthogonal

    Reference:
        Martens et al., "Rapid training of deep neural networks without skip connections or
        normalization layers using Deep Kernel Shaping", 2021, arXiv:2110.01765, "Parameter
        distributions".
    """
    axes = as_axes("axes", axes) or Axes()
    *_, taps = axes.resolve(spec.shape)
    one_tap = tuple(1 if axis in taps else size for axis, size in enumerate(spec.shape))
    unfolding = unfold(spec._replace(shape=one_tap), axes)
    _, n_in, n_out = unfolding.size
    stretch = math.sqrt(max(1.0, n_out / n_in)) if n_in else 1.0
    return sample(_scaled_orthogonal, scale, stretch, unfolding=unfolding, one_tap=one_tap)


def _scaled_orthogonal(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    scale: Array,
    stretch: Array,
    *,
    unfolding: Unfolding,
    one_tap: tuple[int, ...],
) -> Array:
    q = unfolding.fold(haar(key, unfolding.size, dtype, unfolding.split), one_tap)
    spare = [size - there for size, there in zip(shape, one_tap, strict=True)]
    margins = [(k // 2, k - k // 2, 0) for k in spare]
    return scale * stretch * lax.pad(q, jnp.zeros((), dtype), margins)


@initializer
def spectrum(
    spec: Spec,
    singular_values: Annotated[ArrayLike | Sequence[float], non_negative],
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """W = U diag(s) Vᵀ with the singular values s given, U and V Haar and independent.

    It is the law of such matrices that no rotation of inputs or outputs changes. Complex U and V
    are unitary, and W = U diag(s) Vᴴ.

    Args:
        singular_values: min(inputs, outputs) numbers of at least 0, taps counted as inputs, or
            one number for all.
        dtype: default dtype of the weights.
        axes: role of each axis, an `Axes` or an einsum; inputs and taps are the rows, outputs the
            columns. Each group and each index of the batch axes has a W of its own, all with the
            same singular values.

    Returns:
        An initializer.

    Raises:
        ValueError: if a singular value is negative or not finite; when called, if there is another
            number of them or the axes do not fit the shape.

    >>> import jax
    >>> w = spectrum((3.0, 2.0, 1.0))(jax.random.key(0), (5, 3))
    >>> [round(float(s), 4) for s in jax.numpy.linalg.svd(w, compute_uv=False)]
    [3.0, 2.0, 1.0]

    Reference:
        Pennington, Schoenholz, Ganguli, "Resurrecting the sigmoid in deep learning through
        dynamical isometry: theory and practice", 2017, arXiv:1711.04735.
    """
    unfolding = unfold(spec, axes)
    _, n, m = unfolding.size
    if np.shape(singular_values) not in ((), (min(n, m),)):
        raise ValueError(
            f"singular_values of shape {np.shape(singular_values)}: matrices of {n} inputs (taps "
            f"included) by {m} outputs have {min(n, m)}; pass so many, or one number for all"
        )
    return sample(_spectrum, as_array(singular_values), unfolding=unfolding)


def _spectrum(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    singular_values: Array,
    *,
    unfolding: Unfolding,
) -> Array:
    (b, n, m), (rows, columns) = unfolding.size, unfolding.split
    if n == m:  # both in one call, which compiles once
        both = haar(key, (2 * b, n, n), dtype, (max(rows, columns), 1))
        u, v = both[:b], both[b:]
    else:
        key_u, key_v = jax.random.split(key)
        u = haar(key_u, (b, n, min(n, m)), dtype, (rows, 1))
        v = haar(key_v, (b, m, min(n, m)), dtype, (columns, 1))
    return unfolding.fold(matmul(u * singular_values, adjoint(v)), shape)


@initializer
def low_rank(
    spec: Spec,
    rank: Annotated[int, whole],
    stddev: Annotated[ArrayLike, non_negative] = 1e-2,
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """W = stddev / √rank A B with A and B of normal entries N(0, 1), so that Var[w] = stddev².

    An entry's law is a mixture of normals with heavier tails, E[w⁴] = 3 (1 + 2 / rank) stddev⁴.

    Args:
        rank: columns of A and rows of B.
        stddev: standard deviation of an entry.
        dtype: default dtype of the weights; complex A and B are circular.
        axes: role of each axis, an `Axes` or an einsum; inputs and taps are the rows, outputs the
            columns. Each group and each index of the batch axes has a W of its own.

    Returns:
        An initializer.

    Raises:
        TypeError: if rank is not a whole number.
        ValueError: if rank is less than 1, or stddev negative or not finite; when called, if no
            matrix of the shape has that rank, or the axes do not fit it.

    >>> import jax
    >>> w = low_rank(2, stddev=0.1)(jax.random.key(0), (300, 400))
    >>> print(jax.numpy.linalg.matrix_rank(w), f"{w.std():.1f}")
    2 0.1

    Reference:
        Mastrogiuseppe, Ostojic, "Linking connectivity, dynamics and computations in low-rank
        recurrent neural networks", 2018, arXiv:1711.09672.
    """
    unfolding = unfold(spec, axes)
    _, n, m = unfolding.size
    if rank > min(n, m) > 0:
        raise ValueError(
            f"rank={rank} is more than a matrix of {n} inputs (taps included) by {m} outputs has: "
            f"pass at most {min(n, m)}, or use normal"
        )
    return sample(_low_rank, stddev, rank=rank, unfolding=unfolding)


def _low_rank(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    stddev: Array,
    *,
    rank: int,
    unfolding: Unfolding,
) -> Array:
    key_a, key_b = jax.random.split(key)
    b, n, m = unfolding.size
    left = random.normal(key_a, (b, n, rank), dtype)
    right = random.normal(key_b, (b, rank, m), dtype)
    return stddev / math.sqrt(rank) * unfolding.fold(matmul(left, right), shape)


@initializer
def permutation(spec: Spec, dtype: DTypeLike | None = None, *, axes: KernelAxes = None) -> Draw:
    """W = [j = π(i)] with π uniform over the permutations: one 1 in every row and column.

    Args:
        dtype: default dtype of the weights.
        axes: role of each axis, an `Axes` or an einsum; inputs and taps are the rows, outputs the
            columns. Each group and each index of the batch axes has a π of its own.

    Returns:
        An initializer of square matrices.

    Raises:
        ValueError: when called, if the matrices are not square or the axes do not fit the shape.

    >>> import jax
    >>> w = permutation()(jax.random.key(0), (4, 4))
    >>> w.sum(0).tolist(), w.sum(1).tolist()
    ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0])

    Reference:
        Hajnal, Lőrincz, "Critical Echo State Networks", ICANN 2006.
    """
    return sample(_permutation, unfolding=unfold_square(spec, axes, "permutation"))


def _permutation(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], *, unfolding: Unfolding
) -> Array:
    b, n, _ = unfolding.size
    # Sorted by 64 bits, of which two are equal with probability n² 2⁻⁶⁵.
    high, low = random.bits(key, (2, b, n))
    place = lax.broadcasted_iota(jnp.int32, (b, n), 1)
    *_, image = lax.sort((high, low, place), num_keys=2)
    column = lax.broadcasted_iota(jnp.int32, (b, n, n), 2)
    return unfolding.fold((image[..., None] == column).astype(dtype), shape)
