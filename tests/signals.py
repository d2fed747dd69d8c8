"""Signals, and the convolution that they go through."""

from typing import Any

import jax
import numpy as np

EPS = float(np.finfo(np.float32).eps)


def noise(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def convolved(x: Any, kernel: Any, groups: int = 1, padding: str = "SAME", stride: int = 1) -> Any:
    spatial = "WHD"[: x.ndim - 2]
    numbers = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride,) * len(spatial),
        padding,
        dimension_numbers=numbers,
        feature_group_count=groups,
        precision="highest",
    )
