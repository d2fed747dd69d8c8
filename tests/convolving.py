"""Circular convolution, and kernels to try it with."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinit

untyped: Any = jaxinit
KEY = jax.random.key(20261124)
REAL, COMPLEX = jnp.float32, jnp.complex64


def gaussian(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def circular(x: Any, kernel: Any, groups: int = 1) -> np.ndarray[Any, Any]:
    """The convolution of a batch, channels last, with what leaves one end entering the other."""
    taps = kernel.shape[:-2]
    names = "WHD"[: len(taps)]
    wrapped = np.pad(x, [(0, 0), *((0, k - 1) for k in taps), (0, 0)], mode="wrap")
    convolved = jax.lax.conv_general_dilated(
        jnp.asarray(wrapped, kernel.dtype),
        kernel,
        (1,) * len(taps),
        "VALID",
        dimension_numbers=(f"N{names}C", f"{names}IO", f"N{names}C"),
        feature_group_count=groups,
        precision="highest",
    )
    return np.asarray(convolved)
