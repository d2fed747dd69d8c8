"""Cosines of turns that are counted in integers, so that no angle is too large to be exact."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

POINTS = 2**15  # products of two numbers below twice as much fit into 32 bits


class Turns(NamedTuple):
    """Angles in quarter turns: whole ones, of which the last two bits count, and a fraction."""

    quarter: Array
    fraction: Array

    def cos(self, ahead: ArrayLike = 0) -> Array:
        """The cosine: exact where the fraction is 0, as precise as the dtype elsewhere.

        Args:
            ahead: quarter turns more; with 3 it is the sine, with 1 the sine with a minus.

        Returns:
            Numbers of the fraction's dtype.
        """
        # Near the next quarter, from there: both arguments are at most an eighth of a turn.
        far = self.fraction > 0.5
        near = jnp.where(far, 1 - self.fraction, self.fraction) * (math.pi / 2)
        quarter = self.quarter + jnp.asarray(ahead, jnp.uint32)
        value = jnp.where((quarter % 2 == 1) == far, jnp.cos(near), jnp.sin(near))
        return jnp.where(((quarter + 1) % 4 >= 2) & (value != 0), -value, value)


def quarters(numerator: Array, denominator: int, real: np.dtype[Any]) -> Turns:
    """Angles of numerator / denominator quarter turns.

    Args:
        numerator: unsigned 32-bit integers.
        denominator: above 0.
        real: dtype of the fraction.

    Returns:
        The angles.

    >>> quarters(jnp.arange(5, dtype=jnp.uint32), 1, np.dtype("float32")).cos(ahead=3).tolist()
    [0.0, 1.0, 0.0, -1.0, 0.0]
    """
    rest = (numerator % denominator).astype(real)
    return Turns(numerator // denominator, rest / denominator)


def multiples(count: Array, step: np.ndarray[Any, Any], real: np.dtype[Any]) -> Turns:
    """Angles of count · step turns.

    Args:
        count: unsigned 32-bit integers.
        step: turns, in double precision.
        real: dtype of the fraction.

    Returns:
        The angles, as precise as the step at any count.

    >>> third = multiples(jnp.uint32(3_000_001), np.float64(1 / 3), np.dtype("float32"))
    >>> print(f"{third.cos():.6f}")
    -0.500000
    """
    step = step - np.floor(step)
    high = np.floor(step * 2.0**32)  # turns wrap around as 32-bit integers do
    low = step - high * 2.0**-32
    phase = count * high.astype(np.uint32)
    fraction = (phase % 2**30).astype(real) / 2**30 + count.astype(real) * (4 * low).astype(real)
    return Turns(phase // 2**30, fraction)
