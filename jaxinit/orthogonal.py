"""Haar-distributed orthogonal and unitary matrices, by blocks of Householder reflections."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike

from jaxinit import random
from jaxinit._checks import finite
from jaxinit._draw import Draw, Spec, sample
from jaxinit._initializer import initializer
from jaxinit.axes import Axes, as_axes, normalize, positions
from jaxinit.matrices import Unfolding, adjoint, matmul, unfold

BLOCK = 64
STAGES = 4
# From a block, and the row to start at, to the V and T of its product of reflections.
Reflections: TypeAlias = Callable[[Any, int], tuple[Array, Array]]


@initializer
def orthogonal(
    spec: Spec,
    scale: Annotated[ArrayLike, finite] = 1.0,
    column_axis: Annotated[int, normalize] = -1,
    dtype: DTypeLike | None = None,
    *,
    batch_axis: Annotated[int | Sequence[int], normalize] = (),
    axes: Annotated[Axes | str | None, as_axes] = None,
) -> Draw:
    """Weights W = scale Q with Q Haar-distributed: Qᵀ Q = I, or Q Qᵀ = I if Q is wide.

    Every axis but column_axis and batch_axis is flattened into the rows. Complex matrices are
    unitary. Each slice along batch_axis is a matrix of its own. A sharded matrix is computed
    where it is kept: without communication if its short axis is split, or either axis of a nearly
    square one, else with sums over blocks of 64 columns.

    Args:
        scale: factor.
        column_axis: axis of the columns.
        dtype: default dtype of the weights.
        batch_axis: axes of independent matrices.
        axes: in place of column_axis and batch_axis, an `Axes` or an einsum: inputs and taps are
            the rows, outputs the columns; each group is a matrix of its own.

    Returns:
        An initializer.

    Raises:
        ValueError: when called, if the shape has fewer than two axes or the axes do not fit it.

    >>> import jax
    >>> q = orthogonal()(jax.random.key(0), (3, 64, 128))
    >>> q = q.reshape(192, 128)
    >>> bool(abs(q.T @ q - jax.numpy.eye(128)).max() < 1e-5)
    True

    Peers:
        torch: orthogonal_
        keras: Orthogonal
        haiku: Orthogonal

    Reference:
        Stewart, "The efficient generation of random orthogonal matrices", SIAM J. Numer. Anal. 17,
        1980; Mezzadri 2007, arXiv:math-ph/0609050; Saxe, McClelland, Ganguli 2013,
        arXiv:1312.6120.
    """
    if axes is None:
        axes = _columns(column_axis, batch_axis, spec.shape)
    elif (column_axis, batch_axis) != (-1, ()):
        raise ValueError(
            f"axes={axes} and column_axis={column_axis}, batch_axis={batch_axis} both say what the "
            "columns are: pass one"
        )
    return sample(_orthogonal, scale, unfolding=unfold(spec, axes))


def _columns(column_axis: int, batch_axis: int | Sequence[int], shape: tuple[int, ...]) -> Axes:
    batch = positions("batch_axis", batch_axis, shape)
    (column,) = positions("column_axis", column_axis, shape)
    if column in batch or len(set(batch)) < len(batch):
        raise ValueError(
            f"column_axis={column_axis} and batch_axis={batch_axis} overlap in shape {shape}: each "
            "axis has one role"
        )
    if len(shape) == len(batch) + 1:
        raise ValueError(
            f"shape {shape} has no axis for the rows of an orthogonal matrix: it needs at least "
            "two axes that are not batch_axis"
        )
    return Axes((), column, batch)


def _orthogonal(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], scale: Array, *, unfolding: Unfolding
) -> Array:
    return scale * unfolding.fold(haar(key, unfolding.size, dtype, unfolding.split), shape)


def haar(
    key: Array,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    split: tuple[int, int] = (1, 1),
    special: bool = False,
) -> Array:
    """A batch of matrices from the Haar measure on those with orthonormal rows or columns.

    Q = H₁ H₂ … D: H reflects a Gaussian vector of ever fewer entries onto an axis, D is a diagonal
    of random signs (phases).

    Args:
        key: a key.
        shape: (batch, n, m).
        dtype: wide real or complex.
        split: into how many shards rows and columns will be cut, which decides on which side the
            reflections are applied, and so never the matrix, but its rounding.
        special: whether square matrices have determinant 1, by the first column's sign (phase).

    Returns:
        An array of that shape.

    >>> import jax
    >>> haar(jax.random.key(0), (1, 2, 1), jax.numpy.float32).shape
    (1, 2, 1)
    """
    b, n, m = shape
    if 0 in shape:
        return jnp.zeros(shape, dtype)
    if n < m:
        return haar(key, (b, m, n), dtype, split[::-1]).swapaxes(1, 2)
    key_v, key_d = jax.random.split(key)
    d = random.normal(key_d, (b, 1, m), dtype)
    d = d / jnp.abs(d)
    if special:
        # Each of the m reflections has determinant -1.
        determinant = (-1) ** m * jnp.prod(d, axis=-1, keepdims=True)
        first = lax.broadcasted_iota(jnp.int32, d.shape, 2) == 0
        d = jnp.where(first, d * jnp.conj(determinant), d)
    rows_split, columns_split = split[0] > 1, split[1] > 1
    reflections: Reflections = functools.partial(_reflections, key_v, (b, n, m), dtype)
    if not (rows_split or columns_split):
        reflections = _held(reflections, -(-m // BLOCK))
    # By rows a device holds n entries of each, of which it keeps m: not for tall matrices.
    if rows_split and not columns_split and 2 * n <= 3 * m:
        whole = jnp.broadcast_to(_eye(n, n, dtype), (b, n, n))
        return _by_rows(whole, reflections, m)[:, :, :m] * d
    return _by_columns(_eye(n, m, dtype) * d, reflections, rows_split, columns_split)


def _by_columns(q: Array, reflections: Reflections, rows_split: bool, columns_split: bool) -> Array:
    """H₁ (H₂ (… Q)): what a column needs of the others is nothing."""
    for start, stop in reversed(_stages(q.shape[-1])):
        # A reflection leaves what is above and left of it alone; a cut axis is best left whole.
        top = 0 if rows_split else start * BLOCK
        left = 0 if columns_split else start * BLOCK

        def apply(i: Array, tail: Array, stop: int = stop, top: int = top) -> Array:
            v, t = reflections(stop - 1 - i, top)
            return tail - matmul(v, matmul(t, matmul(adjoint(v), tail)))

        tail = lax.fori_loop(0, stop - start, apply, q[:, top:, left:])
        q = lax.dynamic_update_slice(q, tail, (0, top, left))
    return q


def _by_rows(q: Array, reflections: Reflections, m: int) -> Array:
    """((Q H₁) H₂) …: what a row needs of the others is nothing."""
    for start, stop in _stages(m):
        left = start * BLOCK

        def apply(i: Array, tail: Array, start: int = start, left: int = left) -> Array:
            v, t = reflections(start + i, left)
            return tail - matmul(matmul(matmul(tail, v), t), adjoint(v))

        tail = lax.fori_loop(0, stop - start, apply, q[:, :, left:])
        q = lax.dynamic_update_slice(q, tail, (0, 0, left))
    return q


def _stages(m: int) -> list[tuple[int, int]]:
    """The blocks of reflections in a few runs, each compiled once at its own size."""
    blocks = -(-m // BLOCK)
    stages = min(STAGES, max(1, blocks // 2))
    edges = [blocks * i // stages for i in range(stages + 1)]
    return list(itertools.pairwise(edges))


def _held(reflections: Reflections, blocks: int) -> Reflections:
    """All of them drawn by one loop: no stage compiles the draw again, and there is a V to hold.

    A device that holds a shard has no room for it, and draws a block when it needs it.
    """
    v, t = lax.map(lambda block: reflections(block, 0), jnp.arange(blocks))
    return lambda block, top: (v[block, :, top:], t[block])


def _reflections(
    key: Array, shape: tuple[int, int, int], dtype: np.dtype[Any], block: Array, top: int
) -> tuple[Array, Array]:
    """V and T of one block's product of reflections, I - V T Vᴴ, from row `top` down."""
    b, n, m = shape
    width = min(BLOCK, m)
    x = random.normal(jax.random.fold_in(key, block), (b, n, width), dtype)[:, top:]
    x = lax.optimization_barrier(x)  # drawn once, not once a use
    row = lax.broadcasted_iota(jnp.int32, (n - top, width), 0) + top
    column = lax.broadcasted_iota(jnp.int32, (n - top, width), 1) + block * BLOCK
    x = jnp.where((row >= column) & (column < m), x, 0)
    # The vector's own sign is in D, so its leading entry may be taken positive: v = x + |x| e.
    lead = row == column
    first = jnp.sum(jnp.where(lead, jnp.abs(x), 0), axis=-2, keepdims=True)
    norm = jnp.sqrt(jnp.sum(jnp.real(x * jnp.conj(x)), axis=-2, keepdims=True))
    v = jnp.where(lead, (first + norm).astype(dtype), x)
    # ‖v‖² = 2 norm (norm + first); columns past the last reflection stay zero.
    v = v * lax.rsqrt(jnp.where(norm > 0, norm * (norm + first), 1)).astype(dtype)
    return v, _inverse(adjoint(v), v, dtype)


def _inverse(vh: Array, v: Array, dtype: np.dtype[Any]) -> Array:
    """T = W⁻¹ with W the upper triangle of VᴴV, its diagonal halved: by doubling, all products.

    That half is ‖v‖² / 2 = 1; from the product it would be five times as far from it.
    """
    gram = matmul(vh, v)
    i = np.arange(gram.shape[-1])
    t = jnp.broadcast_to(jnp.eye(i.size, dtype=dtype), gram.shape)
    size = 1
    while size < i.size:
        pair, place = i // (2 * size), i // size % 2
        corner = (pair[:, None] == pair) & (place[:, None] < place)
        t = t - matmul(t, matmul(jnp.where(corner, gram, 0), t))
        size *= 2
    return t


def _eye(n: int, m: int, dtype: np.dtype[Any]) -> Array:
    row = lax.broadcasted_iota(jnp.int32, (1, n, m), 1)
    return (row == lax.broadcasted_iota(jnp.int32, (1, n, m), 2)).astype(dtype)
