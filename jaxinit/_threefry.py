"""The threefry hash as an element-wise expression, which fuses with whatever consumes it."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
_WORD = 1 << 32


def bits(key: Array, width: int, shape: tuple[int, ...]) -> Array:
    """Random bits, equal to those of JAX.

    Args:
        key: two uint32 words.
        width: of an entry in bits: 8, 16, 32 or 64.
        shape: of the result.

    Returns:
        An array of unsigned integers.

    >>> import jax
    >>> key = jax.random.key(0)
    >>> bool(bits(jax.random.key_data(key), 32, ()) == jax.random.bits(key))
    True
    """
    high, low = words(key, shape)
    if width == 64:
        return (high.astype(jnp.uint64) << np.uint64(32)) | low.astype(jnp.uint64)
    return lax.convert_element_type(lax.bitwise_xor(high, low), f"uint{width}")


def words(key: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Threefry-2x32 of every position's row-major index, twenty rounds.

    Args:
        key: two uint32 words.
        shape: of the result.

    Returns:
        Both words of each position.

    Reference:
        Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
    """
    high, low = _counter(shape)
    k0, k1 = (lax.index_in_dim(key, i, keepdims=False) for i in range(2))
    # By lax: operators of jnp are slow to trace.
    return _hashed(k0, k1, high, low, lax.add, lax.bitwise_xor, _rotate_left)


def words_at_once(key: Any, positions: Any) -> tuple[Any, Any]:
    """The same of given positions, in numpy.

    Args:
        key: two uint32 words.
        positions: uint32 words.

    Returns:
        Both words of each position.

    >>> key = np.array([1, 2], np.uint32)
    >>> found = words_at_once(key, np.arange(3, dtype=np.uint32))
    >>> [bool((a == b).all()) for a, b in zip(found, words(key, (3,)))]
    [True, True]
    """
    high = np.zeros_like(positions)
    with np.errstate(over="ignore"):
        return _hashed(key[0], key[1], high, positions, np.add, np.bitwise_xor, _rotate_in_numpy)


def _hashed(k0: Any, k1: Any, x0: Any, x1: Any, add: Any, xor: Any, rotate: Any) -> tuple[Any, Any]:
    ks = (k0, k1, xor(xor(k0, k1), _PARITY))
    x0, x1 = add(x0, ks[0]), add(x1, ks[1])
    for i in range(5):
        for r in _ROTATIONS[i % 2]:
            x0 = add(x0, x1)
            x1 = xor(x0, rotate(x1, r))
        x0 = add(x0, ks[(i + 1) % 3])
        x1 = add(x1, add(ks[(i + 2) % 3], np.uint32(i + 1)))
    return x0, x1


def _rotate_in_numpy(x: Any, r: int) -> Any:
    return x << np.uint32(r) | x >> np.uint32(32 - r)


def _rotate_left(x: Array, r: int) -> Array:
    left = lax.shift_left(x, np.uint32(r))
    return lax.bitwise_or(left, lax.shift_right_logical(x, np.uint32(32 - r)))


def _counter(shape: tuple[int, ...]) -> tuple[Array | np.uint32, Array]:
    """Row-major indices as two 32-bit words; one iota an axis, so that any axis may be sharded."""
    high: Array | np.uint32 = np.uint32(0)
    low = lax.full(shape, 0, jnp.uint32)
    wide = math.prod(shape) > _WORD
    stride = 1
    for axis in reversed(range(len(shape))):
        i = lax.broadcasted_iota(jnp.uint32, shape, axis)
        product = lax.mul(i, np.uint32(stride % _WORD))
        low = lax.add(low, product)
        if wide:
            carry = (low < product).astype(jnp.uint32)
            high = high + carry + _multiply_high(i, stride % _WORD) + i * np.uint32(stride // _WORD)
        stride *= shape[axis]
    return high, low


def _multiply_high(a: Array, b: int) -> Array:
    """The upper word of the 64-bit product of two 32-bit words."""
    half, mask = np.uint32(16), np.uint32(0xFFFF)
    a1, a0 = a >> half, a & mask
    b1, b0 = np.uint32(b >> 16), np.uint32(b & 0xFFFF)
    middle = a1 * b0 + ((a0 * b0) >> half)
    return a1 * b1 + (middle >> half) + ((a0 * b1 + (middle & mask)) >> half)
