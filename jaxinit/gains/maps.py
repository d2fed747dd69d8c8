"""What a wide layer does to the length of a signal and to the angle between two."""

from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from jaxinit._checks import finite, non_negative, positive
from jaxinit.gains.averages import Result, evaluate, product, resolved, second, slope
from jaxinit.gains.names import Activation, activation, fixed


def length_map(
    fn: Activation, q: ArrayLike, sigma_w2: ArrayLike, sigma_b2: ArrayLike = 0.0, **params: Any
) -> Result:
    """V(q) = σ_w² E[φ(√q z)²] + σ_b², z ~ N(0, 1): the second moment of the next pre-activation.

    It is so for weights of variance σ_w²/n_in and biases of variance σ_b², as the width grows. The
    panels on which φ is a polynomial to 1e-12 are found first, and the integral is summed over them
    in double precision, also inside of a program in single: to 1e-9 of itself, kinks or not.

    Args:
        fn: activation φ, a function of a scalar in JAX, or the name of one in `jax.nn` or
            `jax.numpy`.
        q: second moment of the pre-activation; a number or an array, traced or not.
        sigma_w2: σ_w², weight variance times fan-in, likewise.
        sigma_b2: σ_b², bias variance, likewise.
        **params: of the activation. Where one is traced, the panels are fixed ones with an end at
            0: a kink elsewhere then costs digits, as do details of φ much finer than 1.

    Returns:
        A float, or an array in numpy; where an argument is traced an array in JAX, NaN where the
        average is infinite or φ could not be resolved so far out.

    Raises:
        TypeError: if fn is no function of a scalar.
        ValueError: if a number is out of range, φ is not finite, or the average is not.

    >>> round(length_map("relu", 3.0, 2.0, 0.1), 6)
    3.1
    >>> slope = jax.jit(jax.grad(lambda q: length_map("relu", q, 1.5)))
    >>> print(f"{slope(0.5):.4f}")
    0.7500

    Reference:
        Poole, Lahiri, Raghu, Sohl-Dickstein, Ganguli, "Exponential expressivity in deep neural
        networks through transient chaos", 2016, arXiv:1606.05340, eq. 3.
    """
    fn = activation("fn", fn)
    check_scales(q=q, sigma_w2=sigma_w2, sigma_b2=sigma_b2)
    return _plain(sigma_w2) * evaluate(second, fn, params, _plain(q)) + _plain(sigma_b2)


def correlation_map(
    fn: Activation,
    c: ArrayLike,
    q: ArrayLike,
    sigma_w2: ArrayLike,
    sigma_b2: ArrayLike = 0.0,
    **params: Any,
) -> Result:
    """C(c) = (σ_w² E[φ(√q u) φ(√q v)] + σ_b²) / V(q): the correlation of the next pre-activations.

    u and v are standard normal with correlation c, and V is `length_map`; q is its fixed point in
    the theory, and C(1) = 1 at any. The inner integral's panels follow the kinks of both factors,
    and those of the outer one where they cross, so that kinks and c near ±1 cost no digits; details
    away from 0 that are much finer than 1, and no kinks, are an error. The derivative by c is
    Price's, q σ_w² E[φ'(√q u) φ'(√q v)] / V(q), if φ does not jump.

    Args:
        fn: activation φ, as in `length_map`.
        c: correlation of two pre-activations; a number or an array, traced or not.
        q: second moment of both, above 0, likewise.
        sigma_w2: σ_w², weight variance times fan-in, likewise.
        sigma_b2: σ_b², bias variance, likewise.
        **params: of the activation, as in `length_map`.

    Returns:
        As `length_map`.

    Raises:
        TypeError: if fn is no function of a scalar.
        ValueError: as `length_map`, or if c is outside [-1, 1].

    >>> round(correlation_map("relu", 0.0, 1.0, 2.0), 6)  # 1 / π
    0.31831

    Reference:
        Poole et al. 2016, arXiv:1606.05340, eq. 5; Price, "A useful theorem for nonlinear devices
        having Gaussian inputs", 1958.
    """
    fn = activation("fn", fn)
    positive("q", q)
    check_scales(sigma_w2=sigma_w2, sigma_b2=sigma_b2)
    if not isinstance(finite("c", c), jax.core.Tracer) and (abs(np.asarray(c)) > 1).any():
        raise ValueError(f"c={c!r} is outside [-1, 1]: it is a correlation")
    covariance = _plain(sigma_w2) * evaluate(product, fn, params, _plain(q), _plain(c))
    found = (covariance + _plain(sigma_b2)) / length_map(fn, q, sigma_w2, sigma_b2, **params)
    # Rounding may have taken it beyond ±1. To clip a traced one would change its slope there.
    if isinstance(found, jax.Array):
        return found if isinstance(found, jax.core.Tracer) else found.clip(-1, 1)
    return np.clip(found, -1, 1) if np.ndim(found) else max(-1.0, min(found, 1.0))


def susceptibility(fn: Activation, q: ArrayLike, sigma_w2: ArrayLike, **params: Any) -> Result:
    """χ₁ = σ_w² E[φ'(√q z)²], z ~ N(0, 1): by how much a layer multiplies a squared gradient.

    At a fixed point q of the length map it is the slope of the correlation map at c = 1: below 1
    two signals converge and gradients vanish, above 1 signals part and gradients explode.

    It has the digits of `length_map` where φ' is bounded. Where φ' is infinite at a point, double
    precision may not come near enough to it: for |x - 0.3|^0.8 there are nine digits, and for
    |x - 0.3|^0.7, as wherever it is not known to 1e-6, an error.

    Args:
        fn: activation φ, as in `length_map`.
        q: second moment of the pre-activation; a number or an array, traced or not.
        sigma_w2: σ_w², weight variance times fan-in, likewise.
        **params: of the activation, as in `length_map`.

    Returns:
        As `length_map`.

    Raises:
        TypeError: if fn is no function of a scalar.
        ValueError: as `length_map`, or if φ jumps, where χ₁ is infinite.

    >>> round(susceptibility("relu", 3.0, 2.0), 6)
    1.0

    Reference:
        Poole et al. 2016, arXiv:1606.05340, eq. 6; Schoenholz, Gilmer, Ganguli, Sohl-Dickstein,
        "Deep Information Propagation", 2017, arXiv:1611.01232, eq. 5.
    """
    fn = activation("fn", fn)
    check_scales(q=q, sigma_w2=sigma_w2)
    check_continuous(fn, params)
    return _plain(sigma_w2) * evaluate(slope, fn, params, _plain(q))


def check_scales(**scales: ArrayLike) -> None:
    """Refuse second moments and variances below 0, by their names."""
    for name, value in scales.items():
        non_negative(name, value)


def check_continuous(fn: Activation, params: dict[str, Any]) -> None:
    """Refuse an activation that jumps, unless a parameter is traced."""
    if any(isinstance(value, jax.core.Tracer) for value in params.values()):
        return
    jumps = resolved(fn, fixed(params)).jumps
    if jumps:
        raise ValueError(
            f"fn={fn!r} jumps at {', '.join(f'{x:.3g}' for x in jumps[:3])}: E[φ'²] is infinite, "
            "so its gradients have no scale; only length_map and correlation_map are finite"
        )


def _plain(value: Any) -> Any:
    """A number or array in double precision, unless it is traced."""
    if isinstance(value, jax.core.Tracer):
        return value
    array = np.asarray(value, np.float64)
    return array if array.shape else float(array)
