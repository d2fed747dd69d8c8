"""Independent, identically distributed entries."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike

from jaxinit import random
from jaxinit._checks import as_array, finite, fraction, non_negative, ordered, require_broadcast
from jaxinit._draw import Draw, Spec, sample
from jaxinit._initializer import initializer


@initializer
def uniform(
    spec: Spec, scale: Annotated[ArrayLike, finite] = 1e-2, dtype: DTypeLike | None = None
) -> Draw:
    """Weights w ~ U[0, scale).

    Args:
        scale: upper end; a negative one is a lower end.
        dtype: default dtype of the weights, a real one.

    Returns:
        An initializer, the same numbers as `jax.nn.initializers.uniform`.

    Raises:
        TypeError: when called, if the dtype is complex.
        ValueError: if scale is not finite.

    >>> import jax
    >>> bool(uniform(10.0)(jax.random.key(0), (100,)).max() < 10)
    True
    """
    spec.require_real("uniform", "variance_scaling(..., distribution='uniform') draws from a disk")
    return sample(random.uniform, 0, scale)


@initializer
def uniform_between(
    spec: Spec,
    low: Annotated[ArrayLike, finite],
    high: Annotated[ArrayLike, finite],
    dtype: DTypeLike | None = None,
) -> Draw:
    """Weights w ~ U[low, high); rounding, of narrow dtypes above all, may reach high itself.

    Args:
        low: lower end.
        high: upper end.
        dtype: default dtype of the weights, a real one.

    Returns:
        An initializer.

    Raises:
        TypeError: when called, if the dtype is complex.
        ValueError: if an end is not finite; when called, if low is not below high.

    >>> import jax
    >>> weights = uniform_between(-1.0, 3.0)(jax.random.key(0), (1000,))
    >>> print(f"{weights.min():.1f} to {weights.max():.1f}")
    -1.0 to 3.0

    Peers:
        torch: uniform_
        keras: RandomUniform
        haiku: RandomUniform
    """
    spec.require_real(
        "uniform_between", "variance_scaling(..., distribution='uniform') draws from a disk"
    )
    ordered("low", low, "high", high)
    return sample(random.uniform, low, high)


@initializer
def normal(
    spec: Spec,
    stddev: Annotated[ArrayLike, non_negative] = 1e-2,
    dtype: DTypeLike | None = None,
    *,
    mean: Annotated[ArrayLike, finite] = 0.0,
) -> Draw:
    """Weights w ~ N(mean, stddev²); complex ones are circular about it, E|w - mean|² = stddev².

    Args:
        stddev: standard deviation, a number or an array that broadcasts to the shape.
        dtype: default dtype of the weights.
        mean: a real number, or an array of them that broadcasts to the shape.

    Returns:
        An initializer, the same numbers as `jax.nn.initializers.normal`.

    Raises:
        ValueError: if stddev is negative, or a number is not finite.

    >>> import jax
    >>> print(f"{normal(0.02)(jax.random.key(0), (1000, 10)).std():.3f}")
    0.020

    Peers:
        torch: normal_
        keras: RandomNormal
        haiku: RandomNormal
    """
    if isinstance(mean, Array | np.ndarray) or mean:
        return sample(_normal, stddev, mean)
    return sample(random.normal, stddev)


def _normal(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], stddev: Array, mean: Array
) -> Array:
    w = random.normal(key, shape, dtype, stddev)
    # A complex sum may be compiled to other roundings of its real part.
    return lax.complex(mean + w.real, w.imag) if dtype.kind == "c" else mean + w


@initializer
def truncated_normal(
    spec: Spec,
    stddev: Annotated[ArrayLike, non_negative] = 1e-2,
    dtype: DTypeLike | None = None,
    lower: Annotated[ArrayLike, finite] = -2.0,
    upper: Annotated[ArrayLike, finite] = 2.0,
    *,
    corrected: bool = False,
    bounds: Literal["relative", "absolute"] = "relative",
) -> Draw:
    """Weights w = stddev z, with z ~ N(0, 1) conditioned on lower < z < upper.

    The standard deviation of w is smaller than stddev, 0.88 stddev for the default bounds, unless
    it is corrected: w = stddev z / std(z). Bounds are absolute in PyTorch's and timm's
    `trunc_normal_`, where they hold w itself; everywhere else, `trunc_normal_tf_` of timm
    included, they are relative.

    Args:
        stddev: standard deviation before truncation, or after it if corrected.
        dtype: default dtype of the weights, a real one.
        lower: lower end of z, or of w if bounds are absolute.
        upper: upper end of z, or of w if bounds are absolute.
        corrected: whether stddev is that of w, for bounds within 5 standard deviations: one in
            2^24 numbers, as in JAX, is at a lower bound that is farther out.
        bounds: "relative" to the standard deviation, or "absolute".

    Returns:
        An initializer, the same numbers as `jax.nn.initializers.truncated_normal`, compiled.

    Raises:
        TypeError: when called, if the dtype is complex.
        ValueError: if stddev is negative, or a number is not finite; when called, if lower is not
            below upper, if next to no z lies between them, or if absolute bounds are corrected or
            stddev is 0.

    >>> import jax
    >>> bool(abs(truncated_normal(0.5)(jax.random.key(0), (1000,))).max() < 1)
    True
    >>> weights = truncated_normal(0.5, corrected=True)(jax.random.key(0), (1000, 1000))
    >>> print(f"{weights.std():.2f}")
    0.50

    Peers:
        torch: trunc_normal_
        timm: trunc_normal_tf_
        keras: TruncatedNormal
        haiku: TruncatedNormal
    """
    spec.require_real("truncated_normal", "variance_scaling truncates the modulus")
    ordered("lower", lower, "upper", upper)
    if bounds == "absolute":
        if corrected:
            raise ValueError(
                "corrected=True widens the law and so moves bounds='absolute': pass relative "
                "bounds, in standard deviations before truncation"
            )
        if not isinstance(stddev, jax.core.Tracer) and not np.all(np.asarray(stddev) > 0):
            raise ValueError(f"stddev={stddev!r} is not above 0, as bounds='absolute' need it")
        for name, bound in (("lower", lower), ("upper", upper)):
            require_broadcast(name, bound, spec.shape)
        require_broadcast("stddev", stddev, spec.shape)
        lower, upper = as_array(lower) / as_array(stddev), as_array(upper) / as_array(stddev)
    limits = random.truncation(lower, upper, spec.real)
    if not isinstance(limits[0], Array) and not np.all(limits[0] < limits[1]):
        raise ValueError(
            f"lower={lower} and upper={upper} standard deviations have next to no probability "
            f"between them in {spec.real}: move them towards 0"
        )
    if corrected:
        stddev = stddev / _truncated_std(lower, upper)
    known = isinstance(lower, int | float) and isinstance(upper, int | float)
    usual = known and (lower, upper) == (-2, 2)
    return sample(random.truncated_normal, stddev, *(() if usual else limits))


def _truncated_std(lower: ArrayLike, upper: ArrayLike) -> Any:
    """Standard deviation of z ~ N(0, 1) conditioned on lower < z < upper, by Gauss's quadrature."""
    x: Any = jnp if isinstance(lower, Array) or isinstance(upper, Array) else np
    lower, upper = x.expand_dims(lower, -1), x.expand_dims(upper, -1)
    peak = x.clip(0.0, lower, upper)
    low, high = x.maximum(lower, peak - 9), x.minimum(upper, peak + 9)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    z = low + (high - low) * (nodes + 1) / 2
    p = weights * x.exp((peak - z) * (peak + z) / 2)
    p = p / p.sum(-1, keepdims=True)
    mean = (p * z).sum(-1, keepdims=True)
    return x.sqrt((p * (z - mean) ** 2).sum(-1))


@initializer
def laplace(
    spec: Spec, scale: Annotated[ArrayLike, non_negative] = 1e-2, dtype: DTypeLike | None = None
) -> Draw:
    """Weights of density exp(-|w| / scale) / (2 scale), so that Var[w] = 2 scale².

    Args:
        scale: mean modulus.
        dtype: default dtype of the weights, a real one.

    Returns:
        An initializer.

    Raises:
        TypeError: when called, if the dtype is complex.
        ValueError: if scale is negative or not finite.

    >>> import jax
    >>> print(f"{abs(laplace(0.5)(jax.random.key(0), (100, 100))).mean():.1f}")
    0.5
    """
    spec.require_real("laplace", "student_t has heavy tails in the plane too")
    return sample(_laplace, scale)


def _laplace(key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], scale: Array) -> Array:
    lowest = np.nextafter(np.asarray(-1, dtype), np.asarray(0, dtype))
    u = random.uniform(key, shape, dtype, lowest, 1)
    return scale * jnp.sign(u) * jnp.log1p(-jnp.abs(u))


def _above_two(name: str, value: ArrayLike) -> ArrayLike:
    value = finite(name, value)
    if not isinstance(value, jax.core.Tracer) and np.min(np.asarray(value), initial=3) <= 2:
        raise ValueError(
            f"{name}={value!r} is not above 2: with fewer degrees of freedom the variance is "
            "infinite, and stddev means nothing"
        )
    return value


@initializer
def student_t(
    spec: Spec,
    df: Annotated[ArrayLike, _above_two],
    stddev: Annotated[ArrayLike, non_negative] = 1e-2,
    dtype: DTypeLike | None = None,
) -> Draw:
    """Weights w = stddev √((df - 2) / df) t, with t of Student's law with df degrees of freedom.

    Drawn in polar form: t = √(df (u^(-2/df) - 1)) cos θ. Complex weights are circular, t e^(iθ) in
    place of t cos θ, with E|w|² = stddev².

    Args:
        df: degrees of freedom, above 2; few make heavy tails, many a normal.
        stddev: standard deviation of the weights.
        dtype: default dtype of the weights.

    Returns:
        An initializer.

    Raises:
        ValueError: if df is not above 2, stddev is negative, or a number is not finite.

    >>> import jax
    >>> print(f"{student_t(5.0, 0.02)(jax.random.key(0), (1000, 100)).std():.3f}")
    0.020

    Reference:
        Bailey, "Polar Generation of Random Variates with the t-Distribution", Math. Comp. 62,
        1994.
    """
    return sample(_student_t, df, stddev)


def _student_t(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], df: Array, stddev: Array
) -> Array:
    real = df.dtype
    key_r, key_theta = jax.random.split(key)
    # A whole word, at the middle of its cell: the tail needs every bit, and no log of zero.
    bits = 8 * real.itemsize
    u = (random.bits(key_r, shape, f"uint{bits}").astype(real) + 0.5) * 2.0**-bits
    modulus = stddev * jnp.sqrt((df - 2) * jnp.expm1(-2 / df * jnp.log(u)))
    angle = random.uniform(key_theta, shape, real, 0, 2 * math.pi)
    if dtype.kind != "c":
        return modulus * jnp.cos(angle)
    modulus = modulus * math.sqrt(0.5)
    return lax.complex(modulus * jnp.cos(angle), modulus * jnp.sin(angle))


@initializer
def rademacher(
    spec: Spec, scale: Annotated[ArrayLike, non_negative] = 1e-2, dtype: DTypeLike | None = None
) -> Draw:
    """Weights w = ±scale, either with probability 1/2.

    Complex weights have independent components ±scale / √2, so that |w| = scale.

    Args:
        scale: modulus of every weight.
        dtype: default dtype of the weights.

    Returns:
        An initializer.

    Raises:
        ValueError: if scale is negative or not finite.

    >>> import jax
    >>> sorted(set(rademacher(0.5)(jax.random.key(0), (100,)).tolist()))
    [-0.5, 0.5]
    """
    return sample(_rademacher, scale)


def _rademacher(key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], scale: Array) -> Array:
    if dtype.kind != "c":
        return jnp.where(random.uniform(key, shape, dtype) < 0.5, scale, -scale)
    scale = scale * math.sqrt(0.5)
    return lax.complex(*(_rademacher(k, shape, scale.dtype, scale) for k in jax.random.split(key)))


@initializer
def ternary(
    spec: Spec,
    prob: Annotated[ArrayLike, fraction] = 1 / 3,
    scale: Annotated[ArrayLike, non_negative] = 1e-2,
    dtype: DTypeLike | None = None,
) -> Draw:
    """Weights w = ±scale, each with probability prob / 2, and else 0: Var[w] = prob scale².

    Args:
        prob: probability that a weight is not zero, between 0 and 1.
        scale: modulus of a weight that is not zero.
        dtype: default dtype of the weights, a real one.

    Returns:
        An initializer.

    Raises:
        TypeError: when called, if the dtype is complex.
        ValueError: if prob is outside (0, 1), or scale is negative or not finite.

    >>> import jax
    >>> sorted(set(ternary(0.1, 0.5)(jax.random.key(0), (100,)).tolist()))
    [-0.5, 0.0, 0.5]

    Reference:
        Achlioptas, "Database-friendly random projections", J. Comput. Syst. Sci. 66, 2003.
    """
    spec.require_real("ternary", "rademacher and sparse have complex weights")
    return sample(_ternary, prob, scale)


def _ternary(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], prob: Array, scale: Array
) -> Array:
    u = random.uniform(key, shape, dtype)
    return jnp.where(u < prob, jnp.where(u < prob / 2, scale, -scale), 0)
