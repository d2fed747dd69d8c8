"""The inverse error function, written so that it fuses with the hash that feeds it."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

# Giles (2010), table 5: central (w < 5) and tail polynomials, highest power first.
_CENTRAL = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
_TAIL = (
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
)
# Moshier, Cephes (1989), log1p: x - x²/2 + x³ P(x)/Q(x) for |x| < √2 - 1.
_LOG1P_P = (
    4.5270000862445199635215e-5,
    4.9854102823193375972212e-1,
    6.5787325942061044846969e0,
    2.9911919328553073277375e1,
    6.0949667980987787057556e1,
    5.7112963590585538103336e1,
    2.0039553499201281259648e1,
)
_LOG1P_Q = (
    1.0,
    1.5062909083469192043167e1,
    8.3047565967967209469434e1,
    2.2176239823732856465394e2,
    3.0909872225312059774938e2,
    2.1642788614495947685003e2,
    6.0118660497603843919306e1,
)
# Cephes logf on [√½, √2), in three groups of three, and log 2 in two parts.
_LOG = (
    (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1),
    (-1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1),
    (2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)
_LOG2_LOW, _LOG2_HIGH = -2.12194440e-4, 0.693359375
# Where |u| is less, w < 5.
MIDDLE = 0.9966
_SQRT_HALF_BITS = np.int32(0x3F3504F3)
_MANTISSA = np.int32(0x7FFFFF)


def _f32(x: float) -> np.float32:
    return np.float32(x)


# lax, not operators of jnp, which take four times as long to trace.
def _polynomial(x: Array, coefficients: tuple[float, ...]) -> Array:
    p = lax.mul(x, _f32(coefficients[0]))
    for c in coefficients[1:-1]:
        p = lax.mul(lax.add(p, _f32(c)), x)
    return lax.add(p, _f32(coefficients[-1]))


def _log(y: Array) -> Array:
    """log y of a normal positive float32."""
    offset = lax.sub(lax.bitcast_convert_type(y, jnp.int32), _SQRT_HALF_BITS)
    exponent = lax.convert_element_type(
        lax.shift_right_arithmetic(offset, np.int32(23)), jnp.float32
    )
    mantissa = lax.add(lax.bitwise_and(offset, _MANTISSA), _SQRT_HALF_BITS)
    x = lax.sub(lax.bitcast_convert_type(mantissa, jnp.float32), _f32(1))
    x2 = lax.mul(x, x)
    x3 = lax.mul(x2, x)
    p = _polynomial(x, _LOG[0])
    p = lax.add(lax.mul(p, x3), _polynomial(x, _LOG[1]))
    p = lax.add(lax.mul(p, x3), _polynomial(x, _LOG[2]))
    p = lax.add(lax.mul(p, x3), lax.mul(exponent, _f32(_LOG2_LOW)))
    near = lax.add(lax.sub(x, lax.mul(_f32(0.5), x2)), p)
    return lax.add(near, lax.mul(exponent, _f32(_LOG2_HIGH)))


def _log1p_near_zero(x: Array) -> Array:
    """log(1 + x) of a float32 in (1 - √2, 0]."""
    x2 = lax.mul(x, x)
    ratio = lax.div(_polynomial(x, _LOG1P_P), _polynomial(x, _LOG1P_Q))
    # The cubic is never positive. Saying so keeps the compiler from contracting its
    # last product into the subtraction, which would change the rounding.
    cubic = lax.min(lax.mul(lax.mul(x, x2), ratio), _f32(0))
    return lax.add(x, lax.sub(cubic, lax.mul(_f32(0.5), x2)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def erf_inv(u: Array, middle: bool = False) -> Array:
    """The x with erf(x) = u, for u strictly inside (-1, 1), or in ±`MIDDLE` if so said.

    In float32 the operations and their order are those of XLA on CPU, and so are the bits, for
    every u that a 23-bit uniform can take; what a general argument needs (NaN, ±1, subnormals) is
    left out, which makes the fused sampler a quarter faster. float64 uses `jax.lax.erf_inv`.

    Reference:
        Giles, "Approximating the erfinv function", GPU Computing Gems 2, 2010.
    """
    if u.dtype != jnp.float32:
        return lax.erf_inv(u)
    # The square is below 1. Saying so keeps it from being contracted into 1 + x, like the cubic.
    x = lax.neg(lax.min(lax.mul(u, u), _f32(1)))
    far = lax.neg(_log(lax.add(x, _f32(1))))
    near = lax.neg(_log1p_near_zero(x))
    w = lax.select(lax.gt(x, _f32(1 - np.sqrt(2))), near, far)
    central = _polynomial(lax.sub(w, _f32(2.5)), _CENTRAL)
    if middle:
        return lax.mul(central, u)
    # Not of w, for which it need not wait.
    tail = _polynomial(lax.sub(lax.sqrt(far), _f32(3)), _TAIL)
    return lax.mul(lax.select(lax.lt(w, _f32(5)), central, tail), u)


@erf_inv.defjvp
def _erf_inv_jvp(
    middle: bool, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    (u,), (du,) = primals, tangents
    x = erf_inv(u, middle)
    return x, jnp.asarray(np.sqrt(np.pi) / 2, u.dtype) * jnp.exp(x * x) * du
