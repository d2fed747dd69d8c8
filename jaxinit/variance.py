"""Entries of a given variance, by fan and by distribution."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from jax.typing import ArrayLike

from jaxinit import random
from jaxinit._checks import as_array
from jaxinit._draw import Draw, Spec, sample
from jaxinit.axes import Axes

Mode: TypeAlias = Literal[
    "fan_in", "fan_out", "fan_avg", "fan_geo_avg", "fan_sum", "fan_min", "fan_max"
]
Distribution: TypeAlias = Literal["truncated_normal", "normal", "uniform"]

# Standard deviation of N(0, 1) given |x| < 2, and rms of a circular normal given |z| < 2.
_TRUNCATED_STD = 0.87962566103423978
_TRUNCATED_RMS = math.sqrt(1 - 4 / math.expm1(4))


def by_fan(spec: Spec, scale: ArrayLike, mode: str, distribution: str, axes: Axes) -> Draw:
    """Entries with E[w] = 0, Var[w] = scale / n, with n given by mode; see `variance_scaling`."""
    fan_in, fan_out, _ = axes.fans(spec.shape)
    n = {
        "fan_in": fan_in,
        "fan_out": fan_out,
        "fan_avg": (fan_in + fan_out) / 2,
        "fan_geo_avg": math.sqrt(fan_in * fan_out),
        "fan_sum": fan_in + fan_out,
        "fan_min": min(fan_in, fan_out),
        "fan_max": max(fan_in, fan_out),
    }[mode]
    return with_variance(spec, scale, n, distribution)


def with_variance(spec: Spec, scale: ArrayLike, n: float, distribution: str) -> Draw:
    """Entries with E[w] = 0, Var[w] = scale / n.

    Args:
        spec: of the weights.
        scale: numerator of the variance.
        n: its denominator; 0 makes the variance 0.
        distribution: "truncated_normal", "normal" or "uniform".

    Returns:
        What to draw.
    """
    # Step by step in the wide dtype, as JAX does: the rounding is part of the numbers.
    real = spec.real
    variance = random.scalar(as_array(scale) / n if n else 0.0, real)
    stddev = random.sqrt(variance)
    is_complex = spec.dtype.kind == "c"
    if distribution == "normal":
        return sample(random.normal, stddev)
    if distribution == "uniform":
        if is_complex:
            return sample(random.disk, stddev)
        return sample(random.symmetric_uniform, random.sqrt(variance * random.scalar(3, real)))
    if is_complex:
        return sample(random.truncated_circular, stddev / random.scalar(_TRUNCATED_RMS, real))
    return sample(random.truncated_normal, stddev / random.scalar(_TRUNCATED_STD, real))
