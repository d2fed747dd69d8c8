"""Roots of functions of one number."""

from collections.abc import Callable

import numpy as np

from jaxinit._quadrature import Numbers

# What of a difference of numbers, relative to them, is a rounding error.
ROUNDING = 1e-13


def roots(f: Callable[[Numbers], Numbers], low: Numbers, high: Numbers) -> Numbers:
    """Roots of a function of vectors between points where its signs differ: regula falsi, halved.

    Args:
        f: from a vector to a vector, elementwise.
        low: points on one side.
        high: points on the other.

    Returns:
        A root for each pair, to 1e-13 of itself.

    >>> roots(np.cos, np.array([0.0]), np.array([2.0])).round(6).tolist()
    [1.570796]

    Reference:
        Dowell, Jarratt, "A modified regula falsi method for computing the root of an equation",
        1971 (the Illinois algorithm).
    """
    a, b, fa, fb = low, high, f(low), f(high)
    for _ in range(100):
        with np.errstate(all="ignore"):
            c = b - fb * (b - a) / (fb - fa)
        c = np.where(np.isfinite(c), c, (a + b) / 2)
        fc = f(c)
        crossed = np.sign(fc) != np.sign(fb)
        a, fa = np.where(crossed, b, a), np.where(crossed, fb, fa / 2)
        b, fb = c, fc
        if ((fb == 0) | (abs(b - a) <= ROUNDING * abs(b))).all():
            break
    return b
