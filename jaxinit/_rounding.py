"""The one cast of the wide weights, which is to fuse with all before it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

# All bits of a float32 but its sign.
_SIZE = np.uint32(0x7FFFFFFF)


def cast(x: Array, dtype: DTypeLike | None) -> Array:
    """x in a dtype, rounded to nearest, ties to even; a quiet NaN stays one."""
    if x.dtype == np.float32 and dtype == jnp.bfloat16:
        return _bfloat16(x)
    return x.astype(dtype)


# XLA rounds to bfloat16 on CPU by a call that halves the width of the vectors around it.
@jax.custom_jvp
def _bfloat16(x: Array) -> Array:
    word = lax.bitcast_convert_type(x, jnp.uint32)
    odd = (word >> np.uint32(16)) & np.uint32(1)
    size = (word & _SIZE) + (odd + np.uint32(0x7FFF))
    # A NaN of all ones, which GPUs make, would carry into the sign and come out as zero.
    rounded = lax.min(size, _SIZE) | (word & ~_SIZE)
    return lax.bitcast_convert_type((rounded >> np.uint32(16)).astype(jnp.uint16), jnp.bfloat16)


@_bfloat16.defjvp
def _bfloat16_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return _bfloat16(x), dx.astype(jnp.bfloat16)
