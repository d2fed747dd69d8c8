"""Fixed points of the length map, how fast depth approaches them, and the edge of chaos."""

import math
from typing import Any, NamedTuple

import numpy as np

from jaxinit._checks import positive
from jaxinit._quadrature import Numbers
from jaxinit.gains.averages import (
    evaluate,
    length_slope,
    product,
    second,
    slope,
    slope_product,
    squares,
)
from jaxinit.gains.maps import check_continuous, check_scales
from jaxinit.gains.names import Activation, activation, parameter
from jaxinit.gains.roots import ROUNDING, roots

# Second moments among which roots are looked for: below, a signal has died out, above, exploded.
_LADDER: Numbers = np.exp2(np.arange(-40, 21, dtype=np.float64))


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
    """The q* = V(q*) to which the length map V takes a signal: q* = σ_w² E[φ(√q* z)²] + σ_b².

    The next one above start if V(start) is above it, else the next below, by bisection of factors
    of two and to 1e-12; start itself if V leaves it alone, as relu's does at σ_w² = 2, σ_b² = 0.

    Args:
        fn: activation φ, as in `length_map`.
        sigma_w2: σ_w², weight variance times fan-in.
        sigma_b2: σ_b², bias variance.
        start: second moment from which the iteration starts.
        **params: of the activation.

    Returns:
        q*; 0 for a signal that dies out.

    Raises:
        TypeError: if fn is no function of a scalar, or a number is traced.
        ValueError: if a number is out of range, or the signal explodes.

    >>> print(f"{fixed_point('tanh', 1.5, 0.1):.4f}")
    0.5202
    >>> fixed_point("tanh", 0.9)
    0.0

    Reference:
        Poole et al. 2016, arXiv:1606.05340, eq. 3 and section 2.
    """
    fn = activation("fn", fn)
    sigma_w2, sigma_b2, start = _numbers(sigma_w2=sigma_w2, sigma_b2=sigma_b2, start=start)
    positive("start", start)
    (found,) = fixed_points(fn, np.array([sigma_w2]), np.array([sigma_b2]), start, **params)
    if math.isinf(found):
        raise ValueError(
            f"fn={fn!r} has no fixed point above {start!r} for sigma_w2={sigma_w2!r}, "
            f"sigma_b2={sigma_b2!r}: the signal explodes; take a smaller sigma_w2"
        )
    return float(found)


def fixed_points(
    fn: Activation, sigma_w2: Numbers, sigma_b2: Numbers, start: float = 1.0, **params: Any
) -> Numbers:
    """`fixed_point` of vectors of variances: infinite where the signal explodes."""
    ladder = start * _LADDER
    seconds = evaluate(second, fn, params, ladder, strict=False)

    def excess(q: Numbers, second_moment: Numbers, w: Numbers, b: Numbers) -> Numbers:
        found = w * second_moment + b - q
        return np.where(abs(found) <= ROUNDING * q, 0, np.where(np.isnan(found), np.inf, found))

    signs = np.sign(excess(ladder, seconds, sigma_w2[:, None], sigma_b2[:, None]))
    origin = int(np.flatnonzero(_LADDER == 1)[0])
    up = signs[:, origin] > 0
    over, under = signs[:, origin:] <= 0, signs[:, origin::-1] >= 0
    crossed = np.where(up, over.any(axis=1), under.any(axis=1))
    steps = np.where(up, over.argmax(axis=1), under.argmax(axis=1))
    low = origin + np.where(up, np.maximum(steps - 1, 0), -steps)
    found = np.where(crossed, start, np.where(up, np.inf, 0.0))
    moved = crossed & (steps > 0)
    if moved.any():
        w, b, low = sigma_w2[moved], sigma_b2[moved], low[moved]

        def f(q: Numbers) -> Numbers:
            return excess(q, evaluate(second, fn, params, q, strict=False), w, b)

        found[moved] = roots(f, ladder[low], ladder[low + 1])
    return found


def depth_scales(
    fn: Activation, sigma_w2: float, sigma_b2: float = 0.0, *, start: float = 1.0, **params: Any
) -> DepthScales:
    """ξ_q = -1 / log |V'(q*)| and ξ_c = -1 / log χ: how deep a signal can still be told apart.

    V' is the slope of the length map at its fixed point, and χ = σ_w² E[φ'(√q* u) φ'(√q* v)] that
    of the correlation map at its own: at c* = 1, where it is χ₁, in the ordered phase, and at the
    c* < 1 that two signals end at in the chaotic one. Networks train up to a depth of some 6 ξ_c.

    Args:
        fn: activation φ, as in `length_map`.
        sigma_w2: σ_w², weight variance times fan-in.
        sigma_b2: σ_b², bias variance.
        start: as in `fixed_point`.
        **params: of the activation.

    Returns:
        The scales in layers, infinite where a slope is 1.

    Raises:
        TypeError: if fn is no function of a scalar, or a number is traced.
        ValueError: if a number is out of range, φ jumps, or the signal explodes.

    >>> print(f"{depth_scales('tanh', 1.3, 0.05).xi_c:.2f}")
    7.83

    Reference:
        Schoenholz et al. 2017, arXiv:1611.01232, eqs. 7 and 9.
    """
    fn = activation("fn", fn)
    check_continuous(fn, params)
    q = fixed_point(fn, sigma_w2, sigma_b2, start=start, **params)
    chi = sigma_w2 * evaluate(slope, fn, params, q)
    turn = sigma_w2 * evaluate(length_slope, fn, params, q) if q else chi
    if chi > 1 + 1e-9 and q:
        # C is convex on [0, 1]: a power series in c with no negative term. Newton's steps from 0
        # are upward and stop at the first root, without passing it.
        c, step = 0.0, 1.0
        while abs(step) > 1e-12 and c < 1:
            above = (sigma_w2 * evaluate(product, fn, params, q, c) + sigma_b2) / q - c
            chi = sigma_w2 * evaluate(slope_product, fn, params, q, c) / q
            step = above / (1 - chi)
            c += step
    return DepthScales(_scale(turn), _scale(chi))


def _scale(slope: float) -> float:
    logarithm = math.log(abs(slope)) if slope else -math.inf
    return math.inf if abs(logarithm) < 1e-12 else 1 / abs(logarithm)


def critical(
    fn: Activation, *, sigma_b2: float | None = None, q: float | None = None, **params: Any
) -> Criticality:
    """The edge of chaos: σ_w² = 1 / E[φ'(√q z)²] and σ_b² = q - E[φ(√q z)²] / E[φ'(√q z)²].

    There the length map has a fixed point q with χ₁ = 1, and gradients neither vanish nor explode.
    One of σ_b² and q picks the point. For σ_b² it is the q with that σ_b², a stable one of several
    (V'(q) ≤ 1), else the smallest; for gelu and silu with small σ_b² it is not quite stable. Where
    every q will do, as for relu at σ_b² = 0, it is 1; where σ_b² vanishes with q, as for tanh,
    σ_b² = 0 gives q = 0 and σ_w² = 1 / φ'(0)².

    Args:
        fn: activation φ, as in `length_map`.
        sigma_b2: σ_b², bias variance; 0 if q is None too.
        q: second moment of the pre-activations, above 0, in place of sigma_b2.
        **params: of the activation.

    Returns:
        The point, q and χ₁.

    Raises:
        TypeError: if fn is no function of a scalar, or a number is traced.
        ValueError: if a number is out of range, both are given, φ jumps, or there is no such point.

    >>> critical("relu")
    Criticality(sigma_w2=2.0, sigma_b2=0.0, q=1.0, chi=1.0)
    >>> point = critical("tanh", sigma_b2=0.05)
    >>> print(f"{point.sigma_w2:.4f} {point.q:.4f}")
    1.7610 0.5700

    Reference:
        Hayou, Doucet, Rousseau, "On the Impact of the Activation Function on Deep Neural Networks
        Training", 2019, arXiv:1902.06853, definition 2 and algorithm 1; Poole et al. 2016,
        arXiv:1606.05340.
    """
    fn = activation("fn", fn)
    check_continuous(fn, params)
    if q is not None:
        if sigma_b2 is not None:
            raise ValueError(f"sigma_b2={sigma_b2!r} and q={q!r} both pick the point: pass one")
        (q,) = _numbers(q=q)
        positive("q", q)
        return _at(fn, q, params)
    (sigma_b2,) = _numbers(sigma_b2=0.0 if sigma_b2 is None else sigma_b2)
    biases = _biases(fn, params, _LADDER)
    if np.isnan(biases).all():
        _at(fn, 1.0, params)  # raises, and says which average is not known
    if sigma_b2 == 0 and (abs(biases) <= 1e-12 * _LADDER).all():
        return _at(fn, 1.0, params)
    excess = np.where(abs(biases - sigma_b2) <= ROUNDING * _LADDER, np.nan, biases - sigma_b2)
    known = np.flatnonzero(np.isfinite(excess))
    turns = known[:-1][np.diff(np.sign(excess[known])) != 0]
    after = known[1:][np.diff(np.sign(excess[known])) != 0]
    found = [0.0] if sigma_b2 == 0 and abs(biases[0]) <= 1e-9 * _LADDER[0] else []
    if turns.size:

        def off(q: Numbers) -> Numbers:
            return _biases(fn, params, q) - sigma_b2

        found += roots(off, _LADDER[turns], _LADDER[after]).tolist()
    if not found:
        low, high = np.nanmin(biases), np.nanmax(biases)
        there = (
            "only at sigma_b2=0, for every q"
            if (abs(biases) <= 1e-12 * _LADDER).all()
            else f"for sigma_b2 from {max(low, 0):.6g} to {high:.6g}"
            if high > 0
            else "nowhere: q - E[φ²]/E[φ'²] is negative for every q"
        )
        raise ValueError(
            f"fn={fn!r} has no edge of chaos at sigma_b2={sigma_b2!r}: it exists {there}"
        )
    points = [_at(fn, root, params) for root in found]
    stable = [p for p in points if _turn(fn, p, params) <= 1 + 1e-9]
    return min(stable or points, key=lambda point: point.q)


def _at(fn: Activation, q: float, params: dict[str, Any]) -> Criticality:
    length, gradient = map(float, evaluate(squares, fn, params, q))
    if not gradient:
        raise ValueError(f"fn={fn!r} is flat almost everywhere: no weights keep its gradients")
    sigma_w2 = 1 / gradient
    sigma_b2 = q - sigma_w2 * length
    if abs(sigma_b2) <= 1e-12 * q or not q:
        sigma_b2 = 0.0
    if sigma_b2 < 0:
        raise ValueError(
            f"fn={fn!r} has no edge of chaos at q={q!r}: it would need sigma_b2={sigma_b2:.6g}, "
            "and a variance is not negative"
        )
    return Criticality(sigma_w2, sigma_b2, q, sigma_w2 * gradient)


def _biases(fn: Activation, params: dict[str, Any], q: Numbers) -> Numbers:
    seconds, slopes = evaluate(squares, fn, params, q, strict=False)
    with np.errstate(all="ignore"):
        return q - seconds / slopes


def _turn(fn: Activation, point: Criticality, params: dict[str, Any]) -> float:
    if not point.q:
        return point.chi
    return point.sigma_w2 * evaluate(length_slope, fn, params, point.q)


def _numbers(**values: Any) -> list[float]:
    """Second moments and variances that are known, as floats."""
    check_scales(**values)
    return [float(parameter(name, value)) for name, value in values.items()]  # type: ignore[arg-type]
