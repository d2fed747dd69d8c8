"""A random order of every unit's inputs, of which each entry computes its own place."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxinit import random
from jaxinit.axes import Axes, as_axes

ROUNDS = 24

_WORD = 1 << 32


def input_axes(shape: tuple[int, ...], axes: Axes | str | None) -> tuple[int, ...]:
    """The axes along which a unit's inputs lie, taps included, from first to last.

    Args:
        shape: of the kernel.
        axes: roles of its axes, an `Axes` or an einsum; None means JAX's.

    Returns:
        Axes counted from zero.

    Raises:
        ValueError: if the axes do not fit the shape.

    >>> input_axes((3, 3, 16, 32), None)
    (0, 1, 2)
    """
    inputs, _, _, taps = (as_axes("axes", axes) or Axes()).resolve(shape)
    return tuple(sorted((*inputs, *taps)))


def shuffle(key: Array, shape: tuple[int, ...], inputs: tuple[int, ...]) -> Array:
    """The place of every entry in a random order of its unit's inputs.

    Each unit's places are a permutation of 0 … n-1. A place is a function of its own indices, so
    the law that uses it stays one kernel and shards along any axis. It is a swap-or-not shuffle: a
    round pairs the places x and k - x mod n, k random, and swaps them if a hash of the pair is odd;
    a rotation at the end makes every single place uniform. Two entries stay together with
    probability 2^-24.

    Args:
        key: a key.
        shape: of the kernel, without empty axes.
        inputs: axes along which a unit's inputs lie; the others tell units apart.

    Returns:
        Places as uint32.

    Raises:
        ValueError: if a unit has 2^32 inputs or more.

    >>> import jax
    >>> jax.numpy.sort(shuffle(jax.random.key(0), (5, 2), (0,)), axis=0)[:, 1].tolist()
    [0, 1, 2, 3, 4]

    Reference:
        Hoang, Morris, Rogaway, "An Enciphering Scheme Based on a Card Shuffle", CRYPTO 2012,
        arXiv:1208.1176.
    """
    size = math.prod(shape[axis] for axis in inputs)
    if size >= _WORD:
        raise ValueError(
            f"axes {inputs} of shape {shape} hold {size} entries: a random order has fewer than "
            "2^32; order along fewer axes"
        )
    n = np.uint32(size)

    def plus(x: Array, y: Array) -> Array:
        """Modulo n, of a first number below n and a second that may be n."""
        if size <= _WORD // 2:
            return jnp.minimum(x + y, x + y - n)  # a negative difference is a huge word
        return jnp.where(x >= n - y, x - (n - y), x + y)

    key_rounds, key_units = jax.random.split(key)
    rounds = random.bits(key_rounds, (2, ROUNDS))
    # Computed once, not once an entry.
    shifts, factors = lax.optimization_barrier((rounds[0] % n, rounds[1] | np.uint32(1)))
    seed, turn = unit_words(key_units, shape, inputs)
    x = flat_index(shape, inputs)
    for shift, factor in zip(shifts, factors, strict=True):
        partner = plus(shift, n - x)
        h = (jnp.maximum(x, partner) + seed) * np.uint32(0x7FEB352D)
        h = (h ^ (h >> np.uint32(15))) * factor
        x = jnp.where(h >> np.uint32(31) == 1, partner, x)
    return plus(x, turn % n)


def unit_words(key: Array, shape: tuple[int, ...], inputs: tuple[int, ...]) -> tuple[Array, Array]:
    """Two random words of every unit, at each of its entries; no two units share one.

    Args:
        key: a key.
        shape: of the kernel.
        inputs: axes along which a unit's inputs lie.

    Returns:
        Two arrays of uniform uint32, each a bijection of the unit's index.

    >>> import jax
    >>> first, second = unit_words(jax.random.key(0), (2, 3), (0,))
    >>> bool((first[0] == first[1]).all()), len(set(first[0].tolist()))
    (True, 3)
    """
    unit = flat_index(shape, tuple(axis for axis in range(len(shape)) if axis not in inputs))
    a, b, c, d = lax.optimization_barrier(random.bits(key, (4,)))
    return mix(mix(unit + a) ^ b), mix(mix(unit + c) ^ d)


def flat_index(shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """Row-major index along some axes, at every entry; one iota an axis, so that any may be split.

    Args:
        shape: of the array.
        axes: to count along.

    Returns:
        An array of uint32, modulo 2^32.

    >>> flat_index((2, 2, 2), (0, 2))[:, 1].tolist()
    [[0, 1], [2, 3]]
    """
    index = jnp.zeros(shape, jnp.uint32)
    stride = 1
    for axis in reversed(axes):
        i = lax.broadcasted_iota(jnp.uint32, shape, axis)
        index = index + i * np.uint32(stride % _WORD)
        stride *= shape[axis]
    return index


def mix(x: Array) -> Array:
    """A bijection of 32-bit words after which every bit depends on all of them.

    Args:
        x: words.

    Returns:
        As many words.

    >>> len(set(mix(jax.numpy.arange(1000, dtype="uint32")).tolist()))
    1000

    Reference:
        Wellons, "Prospecting for Hash Functions", 2018, lowbias32.
    """
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))
