"""Panels of the line on which a function is a polynomial, and the Gaussian rule on them in JAX."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinit._quadrature import Numbers

# Of points, values and slopes, or, given 0 or 1 too, one of them.
Line: TypeAlias = Callable[..., Any]

# The line of a Gaussian of deviation 1 ends at ±12, where its density is 2e-32.
REACH = 12.0
# Radii between which panels are halved; how often, and from when on there must be
# a kink; and how many there may be, up to 16 and beyond.
_RADII = (0, 1, 2, 4, 8, 12, 16, 32, 64, 256, 2**12, 2**20)
_HALVINGS, _DEEP, _MOST_NEAR, _MOST_FAR = 44, 20, 2048, 128
# A panel's polynomial, and what it may leave of a function that is in double or single precision.
_DEGREE, _AIMS = 16, (1e-12, 1e-6)
# Nodes keep this much of a panel from its ends, so that none falls on the wrong side of a jump.
_INSIDE = 1e-11
_TINY = 1e-300


class Panels(NamedTuple):
    """Where a function is resolved.

    Attributes:
        ends: of the panels, ascending.
        jumps: the ends at which the function jumps.
        slants: the ends at which its slope jumps, and it does not.
    """

    ends: tuple[float, ...]
    jumps: tuple[float, ...]
    slants: tuple[float, ...]


_GENERIC_RADII = (0.125, 0.25, 0.5, *range(1, 17), *_RADII[7:])
# Of a function that nobody can look at before it is traced: all its kinks at 0.
GENERIC = Panels((*(-r for r in _GENERIC_RADII[::-1]), 0.0, *_GENERIC_RADII), (), (0.0,))


def panels(line: Line, label: str) -> Panels:
    """Panels on which a function is a polynomial of degree 16, to 1e-12 of its size.

    They are halved until it is, and where it never is there is a kink, at which the second pass
    parts them from the start. A function in single precision is resolved to 1e-6.

    Args:
        line: from points of any shape to values and slopes, or, given 0 or 1 too, to one of them.
        label: for errors.

    Returns:
        The panels, as far out as they were found, to ±2^20 at most.

    Raises:
        ValueError: if that is not the whole line of a Gaussian of deviation 1.

    >>> import jax
    >>> from jaxinit._pointwise import vectorized
    >>> panels(vectorized(jax.nn.relu6, "relu6", slope=True), "relu6").slants
    (0.0, 6.0)
    """

    def evaluate(x: Numbers) -> Numbers:
        values: Numbers = line(x, 0)
        return values

    for aim in _AIMS:
        ends, kinks, mass = _halved(evaluate, aim, np.zeros(0))
        if kinks.size:
            ends, _, mass = _halved(evaluate, aim, kinks)
        reach = ends[-1]
        if reach >= REACH and mass < 1e-6:
            jumps, slants = _jumps(line, ends[1:-1])
            found = ends, ends[1:-1][jumps], ends[1:-1][slants & ~jumps]
            return Panels(*(tuple(part.tolist()) for part in found))
    raise ValueError(
        f"{label} is not finite, or too singular, or oscillates too fast, for some |x| > {reach}"
        if reach < REACH
        else f"{label} has a singularity whose square is not integrable to 1e-6"
    )


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is not resolved
def _halved(
    evaluate: Callable[[Numbers], Numbers], aim: float, kinks: Numbers
) -> tuple[Numbers, Numbers, float]:
    """Ends of panels, ring by ring; what they crowd round; and the share of φ² left there."""
    nodes, tail = _chebyshev()
    ends, deep, size, mass = [0.0], [np.zeros(0)], 0.0, 0.0
    for inner, outer in itertools.pairwise(_RADII):
        inside = kinks[(abs(kinks) > inner) & (abs(kinks) < outer)]
        cuts = np.unique([-outer, -inner, inner, outer, *inside])
        middles = (cuts[:-1] + cuts[1:]) / 2
        left, right = (cut[abs(middles) > inner] for cut in (cuts[:-1], cuts[1:]))
        ring = [cuts]
        for level in range(_HALVINGS + 1):
            y = evaluate(left[:, None] + (right - left)[:, None] * nodes)
            if not level:
                size = max(size, abs(y).max())
            # A kink leaves less on a narrower panel: it is pursued to where it is a rounding error.
            least = max(aim * 0.5 ** max(0, level - _DEEP), 2e-15) * size
            rough = ~(abs(y @ tail).max(axis=1) <= least)
            left, right, y = left[rough], right[rough], y[rough]
            if not 0 < left.size <= (_MOST_NEAR if outer <= 16 else _MOST_FAR):
                break
            middles = (left + right) / 2
            if level >= _DEEP:
                deep.append(middles)
            if level < _HALVINGS:
                ring.append(middles)
                left, right = np.concatenate([left, middles]), np.concatenate([middles, right])
        if not np.isfinite(size) or left.size > 64:
            break
        ends.extend(np.concatenate(ring))
        mass += float((right - left) @ np.median(y**2, axis=1))
    return np.unique(ends), _centres(deep), mass


def _centres(levels: list[Numbers]) -> Numbers:
    """Of each crowd of points, the last."""
    points = np.concatenate(levels)
    order = points.argsort()
    crowds = np.split(order, np.flatnonzero(np.diff(points[order]) > 1e-4) + 1)
    last = np.array([points[crowd.max()] for crowd in crowds if crowd.size])
    return np.where(abs(last) < 1e-11, 0.0, last)


@functools.cache
def _chebyshev() -> tuple[Numbers, Numbers]:
    """Chebyshev's nodes in [0, 1], ends included, and what takes values to the last three terms."""
    angles = np.pi * np.arange(_DEGREE + 1) / _DEGREE
    series = np.linalg.inv(np.cos(np.outer(angles, np.arange(_DEGREE + 1)))).T
    return _INSIDE + (1 - 2 * _INSIDE) * (1 - np.cos(angles)) / 2, series[:, -3:]


def _jumps(line: Line, places: Numbers) -> tuple[Any, Any]:
    """At which of some places the function jumps, and its slope."""
    step = 1e-9 * np.maximum(1, abs(places))
    (low, slope), (high, next_slope) = line(places - step), line(places + step)
    size = np.maximum(abs(low), abs(high))
    steepness = np.maximum(abs(slope), abs(next_slope))
    least = (1e-6 * part[abs(places) <= 16].max() for part in (size, steepness))
    return (
        abs(high - low) > 1e-6 * size + 1e3 * step * steepness + next(least),
        abs(next_slope - slope) > 1e-3 * steepness + next(least),
    )


def points(ends: Any) -> tuple[Any, Any]:
    """Nodes of the panels that any points of the line part, and their Gaussian weights.

    Args:
        ends: of panels where what is integrated is not smooth, along the last axis, in any order,
            in JAX or in numpy; the panels on which the density is smooth are parted too.

    Returns:
        Nodes z and weights w with E[f(z)] = Σ w f(z), z ~ N(0, 1), where the ends are.

    >>> z, weights = points(np.array([0.3]))
    >>> print(f"{weights @ np.maximum(z - 0.3, 0):.10f}")
    0.2667612421
    """
    xp = home(ends)
    grid, nodes, rule = _density()
    within = xp.clip(ends, -REACH, REACH)
    parted = [within, xp.broadcast_to(grid, (*within.shape[:-1], grid.size))]
    cuts = xp.sort(xp.concatenate(parted, axis=-1))
    width = xp.diff(cuts)[..., None]
    z = cuts[..., :-1, None] + width * nodes
    weights = width * rule * xp.exp(-(z**2) / 2) / (2 * np.pi) ** 0.5
    flat = (*within.shape[:-1], -1)
    return z.reshape(flat), weights.reshape(flat)


def roughness(terms: Any) -> Any:
    """How much of an integrand is not smooth on the panels of `points`: its last Legendre terms.

    Args:
        terms: of the sum over nodes, along the last axis, in JAX or in numpy.

    Returns:
        The norm of the terms of degree 13 to 15, summed over the panels.

    >>> z, weights = points(np.zeros(1))
    >>> [float(roughness(weights * f(z)).round(9)) for f in (np.abs, np.sign)]
    [0.0, 0.0]
    >>> float(roughness(weights * abs(z - 0.3)).round(4))
    0.0034
    """
    last = _last_terms()
    tails = terms.reshape(*terms.shape[:-1], -1, len(last)) @ last
    return home(terms).sqrt((tails**2).sum(axis=-1)).sum(axis=-1)


def home(x: Any) -> Any:
    """The module that computes with x: of numpy, unless JAX holds it."""
    return jnp if isinstance(x, Array) else np


@functools.cache
def _density() -> tuple[Numbers, Numbers, Numbers]:
    """Ends of panels that resolve the density, and Gauss and Legendre's rule on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    return np.linspace(-REACH, REACH, 17), (nodes + 1) / 2, weights / 2


@functools.cache
def _last_terms() -> Numbers:
    """From the nodes to the last coefficients of orthonormal polynomials."""
    _, nodes, _ = _density()
    degrees = np.arange(nodes.size)
    series = np.polynomial.legendre.legvander(2 * nodes - 1, degrees[-1])
    return np.asarray((series * np.sqrt(2 * degrees + 1))[:, -3:], np.float64)
