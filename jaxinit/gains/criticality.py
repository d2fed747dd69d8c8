"""Fixed points of the length map, how fast depth approaches them, and the edge of chaos."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinit._checks import check_argument
from jaxinit._quadrature import Numbers
from jaxinit.gains.averages import evaluate, product, second, single, slope, slope_product
from jaxinit.gains.maps import check_continuous, check_scales
from jaxinit.gains.names import Activation, activation

# A signal under the one is taken to die out, over the other to explode.
_LEAST, _MOST = 1e-12, 1e6
# What of V(q) - q is a rounding error.
_ROUNDING = 1e-13


class DepthScales(NamedTuple):
    """ξ_q and ξ_c: layers over which a length, and a correlation, come e times as near."""

    xi_q: float
    xi_c: float


class Criticality(NamedTuple):
    """A point (σ_w², σ_b²) on the edge of chaos, q there, and χ₁ as a check: it is 1."""

    sigma_w2: float
    sigma_b2: float
    q: float
    chi: float


def fixed_point(
    fn: Activation, sigma_w2: float, sigma_b2: float = 0.0, *, start: float = 1.0, **params: Any
) -> float:
    """The q* = V(q*) to which the length map takes a signal: σ_w² E[φ(√q* z)²] + σ_b² = q*.

    The first fixed point that lies upward of start if V(start) is above it, else downward, found by
    doubling and bisection to 1e-12; start itself where V(start) = start.

    Args:
        fn: activation φ, as in `length_map`.
        sigma_w2: σ_w², weight variance times fan-in; an array gives an array.
        sigma_b2: σ_b², bias variance, likewise.
        start: second moment from which the iteration starts.
        **params: of the activation.

    Returns:
        q*; 0 for a signal that dies out, below 1e-12.

    Raises:
        TypeError: if fn is no function of a scalar, or a number is traced.
        ValueError: if a number is out of range, or the signal explodes, past 1e6.

    >>> round(fixed_point("tanh", 1.5, 0.1), 4)
    0.5226
    >>> fixed_point("tanh", 0.9)
    0.0

    Reference:
        Poole et al. 2016, arXiv:1606.05340, eq. 4 and section 2.
    """
    found = fixed_points(activation("fn", fn), sigma_w2, sigma_b2, start, params)
    if np.isinf(found).any():
        raise ValueError(
            f"fn={fn!r} has no fixed point for sigma_w2={sigma_w2!r}, sigma_b2={sigma_b2!r}: "
            f"from {start!r} the signal grows past {_MOST:.0e}; take a smaller sigma_w2"
        )
    return found if found.shape else float(found)
