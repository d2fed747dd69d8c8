"""Where draws go in a larger kernel: side by side, stacked, repeated, turned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxinit._checks import integer, whole
from jaxinit._draw import Draw, Spec, derive
from jaxinit._initializer import Init, initializer, part, split
from jaxinit.axes import normalize, positions
from jaxinit.compose.joining import cut, divided, draws, joined, repeated, turned


def _integers(name: str, value: Sequence[int] | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{name}={value!r} is not a sequence of integers")
    return tuple(integer(f"{name}[{i}]", item) for i, item in enumerate(value))


def _sizes(name: str, value: Sequence[int]) -> tuple[int, ...]:
    return tuple(whole(f"{name}[{i}]", n) for i, n in enumerate(_integers(name, value) or ()))


@initializer
def blocks(
    spec: Spec,
    *inits: Init,
    axis: Annotated[int, integer] = -1,
    n: Annotated[int, whole] = 1,
    sizes: Annotated[Sequence[int], _sizes] = (),
) -> Draw:
    """W = [W₁, …, W_k] along an axis, each block an independent draw with fans of its own.

    A fused kernel of queries, keys and values, of an LSTM's gates or of a gated feed-forward is
    made so; one draw of the whole would take their outputs together for the fan-out of one. Equal
    blocks are drawn in one kernel; unequal ones each in its own, and then joined.

    Args:
        *inits: initializers of the blocks, in order.
        axis: along which they lie side by side.
        n: how often the row of initializers is repeated, with new draws.
        sizes: of the blocks along the axis; () makes them equal.

    Returns:
        An initializer. That of one block draws what the block's own does.

    Raises:
        TypeError: if one is no initializer.
        ValueError: when called, if there is none, the blocks do not divide the axis or sizes do
            not add up to it.

    >>> import jax, jaxinit
    >>> key = jax.random.key(0)
    >>> blocks(jaxinit.zeros, jaxinit.ones)(key, (2, 4)).tolist()
    [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    >>> qkv = blocks(jaxinit.orthogonal(), n=3, sizes=(8, 2, 2))(key, (8, 12))
    >>> bool(abs(qkv[:, :8].T @ qkv[:, :8] - jax.numpy.eye(8)).max() < 1e-5)
    True
    """
    if not inits:
        raise ValueError("blocks() has no initializer: pass one and n=, or several")
    (place,) = positions("axis", axis, spec.shape)
    count = n * len(inits)
    if not sizes:
        sizes = count * (divided(spec.shape, place, count, "pass sizes= for unequal ones"),)
    elif len(sizes) != count:
        raise ValueError(
            f"sizes={sizes} are of {len(sizes)} blocks and there are {count}: {len(inits)} "
            f"initializers n={n} times; pass one size a block"
        )
    elif sum(sizes) != spec.shape[place]:
        raise ValueError(
            f"sizes={sizes} add up to {sum(sizes)} and axis {place} of shape {spec.shape} has "
            f"{spec.shape[place]} entries"
        )
    if len(set(inits)) == len(set(sizes)) == 1:
        return derive(_alike, part(inits[0], cut(spec, place, sizes[0])), n=count, axis=place)
    parts = (part(i, cut(spec, place, size)) for i, size in zip(n * inits, sizes, strict=True))
    return derive(_side_by_side, *parts, axis=place)


def _alike(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], block: Any, *, n: int, axis: int
) -> Array:
    return block(key) if n == 1 else joined(draws(block, key, (n,)), axis)


def _side_by_side(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], *each: Any, axis: int
) -> Array:
    keys = split(key, len(each))
    return jnp.concatenate([block(k) for block, k in zip(each, keys, strict=True)], axis)


@initializer
def block_diagonal(spec: Spec, init: Init, n: Annotated[int, whole]) -> Draw:
    """W = diag(W₁, …, W_n) over the last two axes, each W_i an independent draw, zero elsewhere.

    It is n layers of n_in / n inputs and n_out / n outputs in one kernel, with their fans.

    Args:
        init: any initializer, of each block.
        n: number of blocks.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer.
        ValueError: when called, if the shape has fewer than two axes or n does not divide the last
            two.

    >>> import jaxinit
    >>> block_diagonal(jaxinit.ones, 2)(None, (2, 4)).tolist()
    [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    """
    rank = len(spec.shape)
    if rank < 2:
        raise ValueError(f"shape {spec.shape} is {rank}-D: blocks on a diagonal take two axes")
    rows, columns = (divided(spec.shape, a, n, "pad it") for a in (rank - 2, rank - 1))
    block = cut(cut(spec, rank - 2, rows), rank - 1, columns)
    return derive(_block_diagonal, part(init, block), n=n)


def _block_diagonal(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], block: Any, *, n: int
) -> Array:
    row, column = len(shape) - 2, len(shape) - 1
    tall = _alike(key, shape, dtype, block, n=n, axis=row)
    w = repeated(tall, n, column)
    at_row, at_column = (
        lax.broadcasted_iota(jnp.int32, shape, a) // max(1, shape[a] // n) for a in (row, column)
    )
    return jnp.where(at_row == at_column, w, jnp.zeros((), w.dtype))


@initializer
def stacked(spec: Spec, init: Init, axis: Annotated[int | Sequence[int], normalize] = 0) -> Draw:
    """W[i] = W_i along an axis, each slice an independent draw with the slice's shape and fans.

    W_i is what init draws from `jax.random.split(key, n)[i]`, so a scanned stack of layers, of
    experts or of heads begins as the layers would one by one. Along several axes it is
    `jax.random.split(key, (n₁, n₂))[i, j]`. (With rbg keys, whose batches JAX draws as one, slices
    are independent too, but other numbers.)

    Args:
        init: any initializer, of each slice.
        axis: of the slices, one or several.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer.
        ValueError: when called, if an axis is out of range or given twice.

    >>> import jax, jaxinit
    >>> key = jax.random.key(0)
    >>> w = stacked(jaxinit.he_normal())(key, (3, 8, 4))
    >>> bool((w[2] == jaxinit.he_normal()(jax.random.split(key, 3)[2], (8, 4))).all())
    True
    """
    over = positions("axis", axis, spec.shape)
    if len(set(over)) < len(over):
        raise ValueError(f"axis={axis} names an axis of shape {spec.shape} twice")
    kept = tuple(a for a in range(len(spec.shape)) if a not in over)
    return derive(_stacked, part(init, turned(spec, kept)), over=over)


def _stacked(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], each: Any, *, over: tuple[int, ...]
) -> Array:
    stack = draws(each, key, tuple(shape[a] for a in over))
    return jnp.moveaxis(stack, range(len(over)), over)


@initializer
def tiled(
    spec: Spec, init: Init, n: Annotated[int, whole], axis: Annotated[int, integer] = -1
) -> Draw:
    """W = [V, …, V] along an axis: the same draw n times.

    Args:
        init: any initializer, of V.
        n: number of copies.
        axis: along which they lie side by side.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer.
        ValueError: when called, if n does not divide the axis.

    >>> import jaxinit
    >>> tiled(jaxinit.identity(), 2)(None, (2, 4)).tolist()
    [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]
    """
    (place,) = positions("axis", axis, spec.shape)
    block = cut(spec, place, divided(spec.shape, place, n, "pass another n"))
    return derive(_tiled, part(init, block), n=n, axis=place)


def _tiled(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], block: Any, *, n: int, axis: int
) -> Array:
    return repeated(block(key), n, axis)


@initializer
def mirrored(spec: Spec, init: Init, axis: Annotated[int, integer] = -1) -> Draw:
    """W = [V, -V] along an axis.

    Units in pairs of opposite sign cancel until they are trained: a network begins at zero, or
    with two mirrored axes and rectifiers as a linear map.

    Args:
        init: any initializer, of V.
        axis: along which they lie side by side.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer.
        ValueError: when called, if the axis is odd.

    >>> import jaxinit
    >>> mirrored(jaxinit.ones)(None, (1, 4)).tolist()
    [[1.0, 1.0, -1.0, -1.0]]

    Reference:
        Balduzzi et al., "The Shattered Gradients Problem", 2017, arXiv:1702.08591.
    """
    (place,) = positions("axis", axis, spec.shape)
    half = cut(spec, place, divided(spec.shape, place, 2, "a mirrored axis is even"))
    return derive(_mirrored, part(init, half), axis=place)


def _mirrored(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], block: Any, *, axis: int
) -> Array:
    w = repeated(block(key), 2, axis)
    first = lax.broadcasted_iota(jnp.int32, shape, axis) < shape[axis] // 2
    return jnp.where(first, w, -w)


@initializer
def transposed(
    spec: Spec, init: Init, axes: Annotated[Sequence[int] | None, _integers] = None
) -> Draw:
    """W = transpose(V, axes), with V drawn by init in the shape that becomes the one asked for.

    Args:
        init: any initializer, of V.
        axes: of V, in the order in which W has them; None reverses them, as `jax.numpy.transpose`.

    Returns:
        An initializer, for a layer that keeps its kernel as (outputs, inputs), say.

    Raises:
        TypeError: if init is no initializer, or axes are no sequence of integers.
        ValueError: when called, if axes are no permutation of those of the shape.

    >>> import jax, jaxinit
    >>> key, init = jax.random.key(0), jaxinit.he_normal()
    >>> bool((transposed(init)(key, (4, 8)) == init(key, (8, 4)).T).all())
    True
    """
    rank = len(spec.shape)
    order = tuple(reversed(range(rank))) if axes is None else positions("axes", axes, spec.shape)
    if sorted(order) != list(range(rank)):
        raise ValueError(
            f"axes={axes} are no permutation of the {rank} axes of shape {spec.shape}: name each "
            "once"
        )
    back = tuple(order.index(a) for a in range(rank))
    return derive(_transposed, part(init, turned(spec, back)), axes=order)


def _transposed(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], v: Any, *, axes: tuple[int, ...]
) -> Array:
    return jnp.transpose(v(key), axes)


@initializer
def reshaped(spec: Spec, init: Init, to: Annotated[Sequence[int], _integers]) -> Draw:
    """W = reshape(V), with V drawn by init in the shape `to`, whatever is asked for.

    Flax flattens the kernels of DenseGeneral and attention before it calls an initializer; this
    gives it back the axes: `reshaped(he_normal(batch_axis=0), to=(8, -1, 64))` for 8 kernels. Each
    device computes its own entries, but of a law that sorts, solves or multiplies, all of V.

    Args:
        init: any initializer, of V.
        to: shape of V, in which one size may be -1: that which makes the entries as many.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer, or `to` is no sequence of integers.
        ValueError: when called, if V and W have not as many entries.

    >>> import jax, jaxinit
    >>> w = reshaped(jaxinit.stacked(jaxinit.identity()), (2, -1, 2))(jax.random.key(0), (4, 2))
    >>> w.tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """
    wanted, known = math.prod(spec.shape), math.prod(size for size in to if size != -1)
    free = [i for i, size in enumerate(to) if size == -1]
    if free and known and wanted % known == 0:
        to = (*to[: free[0]], wanted // known, *to[free[0] + 1 :])
    if min(to, default=0) < 0 or math.prod(to) != wanted:
        raise ValueError(
            f"to={to} has not the {wanted} entries of the shape {spec.shape} that is asked for: "
            "pass its sizes, or -1 for one of them"
        )
    return derive(_reshaped, part(init, spec, tuple(to)), sharded=spec.sharding is not None)


def _reshaped(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], v: Any, *, sharded: bool
) -> Array:
    if not sharded:
        return v(key).reshape(shape)
    from jaxinit.compose.relaid import relaid  # loaded on use: it takes jax.extend

    return relaid(lambda: v(key), shape)
