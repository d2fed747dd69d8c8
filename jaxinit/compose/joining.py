"""Arrays side by side without copies, and the specs of what is so joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import NamedSharding, PartitionSpec

from jaxinit._draw import Spec


def draws(draw: Any, key: Any, sizes: tuple[int, ...]) -> Array:
    """Independent draws along new leading axes, from the keys of `jax.random.split`.

    Args:
        draw: from a key to weights.
        key: a key, or None for weights that are not random.
        sizes: of the axes.

    Returns:
        A stack.

    >>> draws(lambda key: jax.random.bits(key, (5,)), jax.random.key(0), (2, 3)).shape
    (2, 3, 5)
    """
    if key is None:
        w = draw(None)
        return jnp.broadcast_to(w, (*sizes, *w.shape))
    for _ in sizes:
        draw = jax.vmap(draw)
    return draw(jax.random.split(key, sizes))


# The CPU's compiler merges a gather with what it reads, so that nothing else is kept and a shard is
# computed where it lies; the other compilers merge concatenations.


def joined(stack: Array, axis: int) -> Array:
    """The arrays of a stack side by side along an axis.

    Args:
        stack: of arrays, along its first axis.
        axis: of each.

    Returns:
        One array.

    >>> joined(jnp.array([[1, 2], [3, 4]]), 0).tolist()
    [1, 2, 3, 4]
    """
    n, size = len(stack), stack.shape[1 + axis]

    def gathered(stack: Array) -> Array:
        place = jnp.arange(n * size)
        return _at(jnp.moveaxis(stack, 0, axis), axis, place // size, place % size)

    def concatenated(stack: Array) -> Array:
        return jnp.concatenate(list(stack), axis)

    return lax.platform_dependent(stack, cpu=gathered, default=concatenated)


def repeated(w: Array, n: int, axis: int) -> Array:
    """An array n times side by side along an axis.

    Args:
        w: an array.
        n: how often.
        axis: of w.

    Returns:
        One array.

    >>> repeated(jnp.array([1, 2]), 2, 0).tolist()
    [1, 2, 1, 2]
    """
    size = w.shape[axis]

    def gathered(w: Array) -> Array:
        return _at(w, axis, jnp.arange(n * size) % size)

    def concatenated(w: Array) -> Array:
        return jnp.concatenate(n * [w], axis)

    return lax.platform_dependent(w, cpu=gathered, default=concatenated)


def _at(x: Array, axis: int, *places: Array) -> Array:
    return x.at[(*axis * (slice(None),), *places)].get(mode="promise_in_bounds")


def divided(shape: tuple[int, ...], axis: int, n: int, advice: str) -> int:
    """The size of each of n equal blocks along an axis.

    Args:
        shape: of the whole.
        axis: of it, not negative.
        n: number of blocks.
        advice: what to do where they do not fit.

    Returns:
        The size.

    Raises:
        ValueError: if n does not divide the axis.

    >>> divided((4, 6), 1, 3, "")
    2
    """
    if shape[axis] % n:
        raise ValueError(
            f"{n} equal blocks do not divide axis {axis} of shape {shape}, which has {shape[axis]} "
            f"entries: {advice}"
        )
    return shape[axis] // n


def cut(spec: Spec, axis: int, size: int) -> Spec:
    """The spec of a block along an axis; a device has the whole of that axis of it.

    Args:
        spec: of the whole.
        axis: of it, not negative.
        size: of the block.

    Returns:
        The whole's spec if the block is all of it.

    >>> cut(Spec((4, 6), jnp.dtype("float32")), 1, 2).shape
    (4, 2)
    """
    if size == spec.shape[axis]:
        return spec
    shape = (*spec.shape[:axis], size, *spec.shape[axis + 1 :])
    names = _names(spec)
    return _with(spec, shape, (*names[:axis], None, *names[axis + 1 :]))


def turned(spec: Spec, axes: Sequence[int]) -> Spec:
    """The spec of an array that has some of the axes, in this order, and their sharding.

    Args:
        spec: of the whole.
        axes: of it, not negative.

    Returns:
        Another spec.

    >>> turned(Spec((4, 6, 8), jnp.dtype("float32")), (2, 0)).shape
    (8, 4)
    """
    names = _names(spec)
    return _with(spec, tuple(spec.shape[a] for a in axes), tuple(names[a] for a in axes))


def _names(spec: Spec) -> tuple[Any, ...]:
    """The mesh axes that split each axis."""
    given = () if spec.sharding is None else tuple(spec.sharding.spec)
    return (*given, *(len(spec.shape) - len(given)) * (None,))


def _with(spec: Spec, shape: tuple[int, ...], names: tuple[Any, ...]) -> Spec:
    old = spec.sharding
    new = None if old is None else NamedSharding(old.mesh, PartitionSpec(*names))
    return spec._replace(shape=shape, sharding=new)
