"""Random bits and wide samples: the numbers of `jax.random`, hashed in one fused kernel."""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike

from jaxinit import _threefry
from jaxinit._checks import check_dtype
from jaxinit._erfinv import erf_inv


def key(seed: int) -> Array:
    """A key with the values of `jax.random.key(seed)`, hashed by the fused generator.

    Args:
        seed: an integer.

    Returns:
        A typed scalar key; pass it to any JAX code.

    >>> import jax
    >>> import jaxinit
    >>> fused = jax.random.normal(jaxinit.random.key(7), (3,))
    >>> bool((fused == jax.random.normal(jax.random.key(7), (3,))).all())
    True
    """
    return jax.random.key(seed, impl=_fused_implementation())


def fuse(key: ArrayLike) -> Array:
    """The same stream as a threefry key's, from a generator whose hash fuses with its consumer.

    Splitting, folding and drawing give bit for bit what the `threefry2x32` key gives (with JAX's
    default `jax_threefry_partitionable=True`); on CPU large draws are several times faster and
    need no temporary memory.

    Args:
        key: a `threefry2x32` key, typed or legacy uint32, of any batch shape.

    Returns:
        A typed key of the same batch shape.

    Raises:
        ValueError: if the key belongs to another generator.

    >>> import jax
    >>> import jaxinit
    >>> key = jax.random.key(0)
    >>> bool((jax.random.bits(jaxinit.random.fuse(key)) == jax.random.bits(key)).all())
    True
    """
    implementation = jax.random.key_impl(key)
    if implementation != "threefry2x32":
        raise ValueError(
            f"key is a {implementation} key: fuse takes a threefry2x32 key, the one generator with "
            "a fused form"
        )
    fused: Array = jax.random.wrap_key_data(jax.random.key_data(key), impl=_fused_implementation())
    return fused


@functools.cache
def _fused_implementation() -> Hashable:
    import jax.extend.random as extend  # costs as much as all of jaxinit: loaded on use

    threefry = extend.threefry_prng_impl
    return extend.define_prng_impl(
        key_shape=threefry.key_shape,
        seed=threefry.seed,
        split=lambda key, shape: jnp.stack(_threefry.words(key, shape), axis=-1),
        random_bits=_threefry.bits,
        fold_in=threefry.fold_in,
        name="jaxinit_threefry2x32",
        tag="fused_fry",
    )


def bits(key: ArrayLike, shape: Sequence[int] = (), dtype: DTypeLike = jnp.uint32) -> Array:
    """Uniform random bits, equal to `jax.random.bits`.

    A `threefry2x32` key is hashed as an element-wise expression of an iota, which the compiler
    fuses into whatever consumes it and partitions over any mesh; other generators go through
    `jax.random.bits`.

    Args:
        key: a key, typed or legacy uint32.
        shape: of the result.
        dtype: uint8, uint16, uint32, or uint64 (which needs `jax_enable_x64`).

    Returns:
        An array of the given shape and dtype.

    Raises:
        TypeError: if the dtype is another.
        ValueError: if it needs `jax_enable_x64`.

    >>> import jax
    >>> import jaxinit
    >>> jaxinit.random.bits(jax.random.key(0), (2,)).shape
    (2,)
    """
    dtype = _one_of(dtype, "uint32", "uint8", "uint16", "uint64")
    if jax.random.key_impl(key) == "threefry2x32":
        return _threefry.bits(jax.random.key_data(key), dtype.itemsize * 8, tuple(shape))
    return jax.random.bits(key, tuple(shape), dtype)


def _one_of(dtype: DTypeLike, *allowed: str) -> np.dtype[Any]:
    found = check_dtype(dtype)
    if found.name not in allowed:
        raise TypeError(f"dtype={found} is not drawn: draw {allowed[0]}, and cast it")
    return found


def uniform(
    key: ArrayLike,
    shape: Sequence[int] = (),
    dtype: DTypeLike = jnp.float32,
    minval: ArrayLike = 0.0,
    maxval: ArrayLike = 1.0,
) -> Array:
    """Uniform samples, minval + (maxval - minval) n 2^-m with m the mantissa's bits.

    Args:
        key: a key.
        shape: of the result.
        dtype: float32 or float64.
        minval: lower end, included.
        maxval: upper end.

    Returns:
        An array equal to that of `jax.random.uniform`.

    Raises:
        TypeError: if the dtype is another.
        ValueError: if it needs `jax_enable_x64`.

    >>> import jax, jaxinit
    >>> print(f"{jaxinit.random.uniform(jax.random.key(0), (1000,)).mean():.1f}")
    0.5
    """
    info = jnp.finfo(_one_of(dtype, "float32", "float64"))
    unsigned, signed = (jnp.uint32, jnp.int32) if info.bits == 32 else (jnp.uint64, jnp.int64)
    words = bits(key, shape, unsigned) >> np.asarray(info.bits - info.nmant, unsigned)
    low, high = scalar(minval, dtype), scalar(maxval, dtype)
    # An integer of at most nmant bits converts exactly, and a power of two scales exactly.
    step = (high - low) * np.asarray(2.0**-info.nmant, dtype)
    return lax.convert_element_type(words.astype(signed), dtype) * step + low


def normal(
    key: ArrayLike,
    shape: Sequence[int] = (),
    dtype: DTypeLike = jnp.float32,
    stddev: ArrayLike = 1.0,
) -> Array:
    """Normal samples, √2 stddev erf⁻¹(u); complex ones are circular with E|z|² = stddev².

    Args:
        key: a key.
        shape: of the result.
        dtype: float32, float64, complex64 or complex128.
        stddev: standard deviation.

    Returns:
        An array equal to that of `jax.random.normal`, scaled before the erf⁻¹ is.

    >>> import jax
    >>> import jaxinit
    >>> print(f"{jaxinit.random.normal(jax.random.key(0), (10_000,)).std():.1f}")
    1.0
    """
    if jnp.issubdtype(dtype, jnp.complexfloating):
        # A component has half the variance: its factor, √2 stddev/√2, is stddev itself.
        real = _real(dtype)
        re, im = (_erf_inv_uniform(k, shape, real) for k in jax.random.split(key))
        return lax.complex(scalar(stddev, real) * re, scalar(stddev, real) * im)
    scale = np.asarray(np.sqrt(2), dtype) * scalar(stddev, dtype)
    return scale * _erf_inv_uniform(key, shape, dtype)


def _erf_inv_uniform(key: ArrayLike, shape: Sequence[int], dtype: DTypeLike) -> Array:
    lowest = np.nextafter(np.asarray(-1, dtype), np.asarray(0, dtype), dtype=dtype)
    return erf_inv(uniform(key, shape, dtype, lowest, 1))


def symmetric_uniform(
    key: ArrayLike,
    shape: Sequence[int] = (),
    dtype: DTypeLike = jnp.float32,
    bound: ArrayLike = 1.0,
) -> Array:
    """Uniform samples bound u, with u ~ U[-1, 1).

    Args:
        key: a key.
        shape: of the result.
        dtype: float32 or float64.
        bound: largest modulus.

    Returns:
        An array.

    >>> import jax
    >>> import jaxinit
    >>> bool(jaxinit.random.symmetric_uniform(jax.random.key(0), (100,), bound=3).min() < -2)
    True
    """
    return uniform(key, shape, dtype, -1, 1) * scalar(bound, dtype)


def truncated_normal(
    key: ArrayLike,
    shape: Sequence[int] = (),
    dtype: DTypeLike = jnp.float32,
    stddev: ArrayLike = 1.0,
    *bounds: ArrayLike,
) -> Array:
    """Samples stddev z, with z normal between two bounds that `truncation` prepares.

    Args:
        key: a key.
        shape: of the result.
        dtype: float32 or float64.
        stddev: standard deviation before truncation.
        *bounds: the four numbers of `truncation`; those of (-2, 2) unless given.

    Returns:
        An array, equal to that of `jax.random.truncated_normal`, compiled, times stddev.

    >>> import jax
    >>> import jaxinit
    >>> bounds = jaxinit.random.truncation(0, 1, "float32")
    >>> x = jaxinit.random.truncated_normal(jax.random.key(0), (1000,), "float32", 1, *bounds)
    >>> bool((x > 0).all() & (x < 1).all())
    True
    """
    erf_low, erf_high, lowest, highest = bounds or truncation(-2, 2, dtype)
    u = uniform(key, shape, dtype, erf_low, erf_high)
    if not bounds:
        z = np.asarray(np.sqrt(2), dtype) * erf_inv(u, middle=True)
        return jnp.clip(z, lowest, highest) * scalar(stddev, dtype)
    # Rounding may have made ±1 of a bound's erf.
    inside = abs(u) < 1
    z = np.asarray(np.sqrt(2), dtype) * erf_inv(jnp.where(inside, u, 0))
    beyond = jnp.sign(u) * np.asarray(np.inf, dtype)
    return jnp.clip(jnp.where(inside, z, beyond), lowest, highest) * scalar(stddev, dtype)


def truncation(lower: ArrayLike, upper: ArrayLike, dtype: DTypeLike) -> tuple[Any, Any, Any, Any]:
    """erf at the bounds, and the numbers next inside them: what `truncated_normal` draws between.

    Args:
        lower: lower end, in standard deviations.
        upper: upper end, in standard deviations.
        dtype: float32 or float64.

    Returns:
        Four numbers or arrays, in numpy unless JAX holds the bounds.

    >>> [round(float(x), 3) for x in truncation(-2, 2, "float32")]
    [-0.954, 0.954, -2.0, 2.0]
    """
    low, high = scalar(lower, dtype), scalar(upper, dtype)
    infinity = np.asarray(np.inf, dtype)
    return _erf(low), _erf(high), _next(low, infinity), _next(high, -infinity)


def truncated_circular(
    key: ArrayLike,
    shape: Sequence[int] = (),
    dtype: DTypeLike = jnp.complex64,
    scale: ArrayLike = 1.0,
    radius: ArrayLike = 2.0,
) -> Array:
    """Samples scale z, with z circular normal, E|z|² = 1 before it is truncated to |z| < radius.

    |z|² is a unit exponential truncated at radius², drawn by its inverse distribution function.

    Args:
        key: a key.
        shape: of the result.
        dtype: complex64 or complex128.
        scale: factor.
        radius: largest modulus of z.

    Returns:
        A complex array.

    >>> import jax
    >>> import jaxinit
    >>> z = jaxinit.random.truncated_circular(jax.random.key(0), (1000,))
    >>> bool(abs(z).max() <= 2)
    True
    """
    real = _real(dtype)
    key_r, key_theta = jax.random.split(key)
    mass = -jnp.expm1(-(scalar(radius, real) ** 2))
    modulus = jnp.sqrt(-jnp.log1p(-mass * uniform(key_r, shape, real)))
    return _polar(scalar(scale, real) * modulus, key_theta)


def disk(
    key: ArrayLike,
    shape: Sequence[int] = (),
    dtype: DTypeLike = jnp.complex64,
    rms: ArrayLike = 1.0,
) -> Array:
    """Uniform samples from the complex disk of radius √2 rms, so that E|z|² = rms².

    Args:
        key: a key.
        shape: of the result.
        dtype: complex64 or complex128.
        rms: root of the mean square modulus.

    Returns:
        A complex array.

    >>> import jax
    >>> import jaxinit
    >>> bool(abs(jaxinit.random.disk(jax.random.key(0), (1000,))).max() <= 2**0.5)
    True
    """
    real = _real(dtype)
    key_r, key_theta = jax.random.split(key)
    modulus = jnp.sqrt(uniform(key_r, shape, real, 0, 2))
    return _polar(scalar(rms, real) * modulus, key_theta)


def _polar(modulus: Array, key: Array) -> Array:
    angle = uniform(key, modulus.shape, modulus.dtype, 0, 2 * math.pi)
    return lax.complex(modulus * jnp.cos(angle), modulus * jnp.sin(angle))


def _real(dtype: DTypeLike) -> np.dtype[Any]:
    return np.empty(0, dtype).real.dtype


def scalar(x: ArrayLike, dtype: DTypeLike) -> Any:
    """x in a dtype: in numpy, where nothing is dispatched, unless JAX holds it."""
    return x.astype(dtype) if isinstance(x, Array) else np.asarray(x, dtype)


def sqrt(x: Any) -> Any:
    """√x where `scalar` put x."""
    return jnp.sqrt(x) if isinstance(x, Array) else np.sqrt(x)


def _erf(bound: Any) -> Any:
    """erf(bound/√2): in double precision, rounded once, unless JAX holds the bound."""
    z = bound / np.asarray(np.sqrt(2), bound.dtype)
    return lax.erf(z) if isinstance(z, Array) else np.vectorize(math.erf, [bound.dtype])(z)


def _next(bound: Any, towards: Any) -> Any:
    if isinstance(bound, Array):
        return lax.nextafter(lax.stop_gradient(bound), jnp.asarray(towards))
    return np.nextafter(bound, towards)
