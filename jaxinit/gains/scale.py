"""Gaussian moments of an activation, and the gain that makes up for them."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from jaxinit._checks import one_of
from jaxinit._pointwise import on_the_line, vectorized
from jaxinit._quadrature import Numbers, expectation
from jaxinit.gains.names import LINEAR, Activation, Parameters, activation, fixed, scalar

Moment: TypeAlias = Literal["second", "variance", "torch"]


class Moments(NamedTuple):
    """E[φ(z)], E[φ(z)²] and Var[φ(z)] for z ~ N(0, 1)."""

    mean: float
    second: float
    variance: float


class Tangent(NamedTuple):
    """φ(0) and φ'(0)."""

    value: float
    slope: float


def gain(fn: Activation, moment: Moment = "second", **params: Any) -> float:
    """The factor g that keeps a signal's scale through φ and weights of variance g²/n_in.

    g = 1/√E[φ(z)²] for "second" and 1/√Var[φ(z)] for "variance", with z ~ N(0, 1): integrated to a
    relative error of 1e-9 where φ is smooth in pieces, and of 1e-6 at worst. "torch" is the table
    of `torch.nn.init.calculate_gain`, whose tanh (5/3), selu (3/4) and sigmoid (1) are other.

    Args:
        fn: activation φ, a function of a scalar in JAX, or the name of one in `jax.nn` or
            `jax.numpy`; "linear" is the identity.
        moment: "second", "variance" or "torch".
        **params: of the activation, such as negative_slope=0.2; numbers, not traced ones.

    Returns:
        The gain.

    Raises:
        TypeError: if fn is no function of a scalar, or a parameter is no number.
        ValueError: for an unknown name, or one that torch's table lacks; if fn is not finite on the
            line, or its moment is infinite or zero.

    >>> import jax
    >>> round(gain(jax.nn.relu), 6)
    1.414214
    >>> round(gain("tanh"), 6), round(gain("tanh", "torch"), 6)
    (1.592537, 1.666667)
    >>> round(gain("leaky_relu", "variance", negative_slope=0.5), 6)
    1.307205

    Peers:
        torch: calculate_gain

    Reference:
        He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015, arXiv:1502.01852, eq. 10;
        Poole et al. 2016, arXiv:1606.05340, eq. 3.
    """
    one_of("moment", moment, get_args(Moment))
    fn = activation("fn", fn)
    if moment == "torch":
        return _torch_gain(fn, **params)
    found = moments(fn, **params)
    value = found.variance if moment == "variance" else found.second
    if value == 0:
        raise ValueError(
            f"fn={fn!r} is {'constant' if found.second else 'zero'} almost everywhere: no weights "
            f"keep its {'variance' if moment == 'variance' else 'scale'}"
        )
    return 1 / math.sqrt(value)


def moments(fn: Activation, **params: Any) -> Moments:
    """Mean, second moment and variance of φ(z), z ~ N(0, 1), as exact as `gain`.

    Args:
        fn: activation φ, as in `gain`.
        **params: of the activation.

    Returns:
        The moments.

    Raises:
        TypeError: if fn is no function of a scalar, or a parameter is no number.
        ValueError: for an unknown name; if fn is not finite on the line, or a moment is infinite.

    >>> [round(m, 6) for m in moments("relu")]
    [0.398942, 0.5, 0.340845]
    """
    return _moments(activation("fn", fn), fixed(params))


def tangent(fn: Activation, **params: Any) -> Tangent:
    """φ(0) and φ'(0): the line that an activation is near zero.

    Args:
        fn: activation φ, as in `gain`.
        **params: of the activation.

    Returns:
        The value and the slope.

    Raises:
        TypeError: if fn is no function of a scalar, or a parameter is no number.
        ValueError: for an unknown name; if fn has no derivative at 0.

    >>> tangent("sigmoid")
    Tangent(value=0.5, slope=0.25)
    """
    return _tangent(activation("fn", fn), fixed(params))


def _torch_gain(fn: Activation, **params: Any) -> float:
    slope = params.pop("negative_slope", 0.01) if fn == "leaky_relu" else 0.0
    table = {
        **dict.fromkeys((*LINEAR, "identity", "sigmoid"), 1.0),
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + slope**2)),
        "selu": 0.75,
    }
    if fn not in table:
        raise ValueError(
            f"fn={fn!r} is not in torch's table of {', '.join(table)}: moment='second' takes any "
            "function"
        )
    if params:
        raise TypeError(f"{fn} has no parameter {min(params)!r} in torch's table")
    return table[fn]


@functools.lru_cache(maxsize=256)
def _moments(fn: Activation, params: Parameters) -> Moments:
    phi = on_the_line(scalar(fn, params), f"fn={fn!r}")

    def powers(z: Numbers) -> Numbers:
        y = phi(z)
        return np.stack([y, y**2])

    mean, second = expectation(f"E[φ(z)²] of fn={fn!r}", powers)
    # The variance of a constant is not 0 but 1e-31 of its square: rounding.
    (variance,) = expectation(
        f"Var[φ(z)] of fn={fn!r}", lambda z: (phi(z)[None] - mean) ** 2, 1e-24 * second
    )
    varies = variance > 1e-20 * second
    return Moments(float(mean), float(second), float(variance) if varies else 0.0)


@functools.lru_cache(maxsize=256)
def _tangent(fn: Activation, params: Parameters) -> Tangent:
    line = vectorized(scalar(fn, params), f"fn={fn!r}", slope=True)
    value, slope = line(np.array([-1e-9, 0, 1e-9]))
    jump = np.ptp(value) + np.ptp(slope)
    if not jump < 1e-6 * max(1, abs(slope[1])):
        raise ValueError(
            f"fn={fn!r} has no derivative at 0: just below, at and just above it the values are "
            f"{_listed(value)} and the slopes {_listed(slope)}"
        )
    return Tangent(float(value[1]), float(slope[1]))


def _listed(numbers: Numbers) -> str:
    return ", ".join(f"{x:.3g}" for x in numbers)
