"""Checks of what a user passes: each error names the argument, the value and the way out."""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable, Sequence
from operator import index
from typing import Annotated, Any, Literal, get_args, get_origin

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

_CONFIG: Any = jax.config  # its options are declared at run time


def check_argument(name: str, value: Any, annotation: Any) -> Any:
    """A factory's argument, checked by its annotation and made hashable.

    Args:
        name: of the parameter.
        value: as the caller gave it.
        annotation: `Literal`, `Annotated[T, check]`, bool, or what checks nothing.

    Returns:
        The value to keep.

    Raises:
        TypeError: if it cannot be hashed, or is no bool where the annotation is.
        ValueError: if it is none of a Literal's values.
    """
    if get_origin(annotation) is Literal:
        return one_of(name, value, get_args(annotation))
    if get_origin(annotation) is Annotated:
        for check in get_args(annotation)[1:]:
            value = check(name, value)
    if annotation is bool and not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}={value!r} is neither True nor False")
    value = _frozen(value)
    if not isinstance(value, Array | np.ndarray):
        try:
            hash(value)
        except TypeError:
            raise TypeError(
                f"{name}={value!r} is a {type(value).__name__}, which cannot be hashed: an "
                "initializer is a value, so pass a tuple, a number, an array or a function"
            ) from None
    return value


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    """One of the allowed values; the error suggests the nearest."""
    if value in allowed:
        return value
    near = difflib.get_close_matches(str(value), [str(a) for a in allowed], 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name}={value!r} is none of {', '.join(map(repr, allowed))}{hint}")


def finite(name: str, value: ArrayLike) -> ArrayLike:
    """A real number, or array of them, that is finite; a traced value is taken on trust."""
    if isinstance(value, jax.core.Tracer):
        return value
    if isinstance(value, int | float) and math.isfinite(value):
        return value
    array = np.asarray(value)
    number = jnp.issubdtype(array.dtype, np.number)  # bfloat16 too, unlike numpy's
    if not number or array.dtype.kind == "c":
        raise TypeError(f"{name}={value!r} is not a real number")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}={value!r} is not finite")
    return value


def non_negative(name: str, value: ArrayLike) -> ArrayLike:
    """A finite number, or array of them, of at least zero."""
    value = finite(name, value)
    if not isinstance(value, jax.core.Tracer) and np.min(np.asarray(value), initial=0) < 0:
        raise ValueError(
            f"{name}={value!r} is negative: pass a number of at least 0 (the laws are symmetric, "
            "so a sign has no effect but this error)"
        )
    return value


def positive(name: str, value: Any) -> Any:
    """A finite number, or array of them, above zero."""
    value = finite(name, value)
    if not isinstance(value, jax.core.Tracer) and np.min(np.asarray(value), initial=1) <= 0:
        raise ValueError(f"{name}={value!r} is not above 0")
    return value


def integer(name: str, value: Any) -> int:
    """A whole number of any sign."""
    try:
        return index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r} is not a whole number") from None


def natural(name: str, value: Any) -> int:
    """A whole number of at least zero."""
    number = integer(name, value)
    if number < 0:
        raise ValueError(f"{name}={number} is negative: pass a whole number of at least 0")
    return number


def whole(name: str, value: Any) -> int:
    """A whole number above zero."""
    number = integer(name, value)
    if number < 1:
        raise ValueError(f"{name}={number} is less than 1")
    return number


def fraction(name: str, value: Any) -> Any:
    """A number, or array of them, in (0, 1), both ends excluded."""
    value = finite(name, value)
    inside = isinstance(value, jax.core.Tracer) or (np.asarray(value) > 0) & (np.asarray(value) < 1)
    if not np.all(inside):
        raise ValueError(f"{name}={value!r} is outside (0, 1)")
    return value


def optional(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """The check that lets None pass."""
    return lambda name, value: None if value is None else check(name, value)


def single(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """The check that lets one number pass, and no array of them."""

    def checked(name: str, value: Any) -> Any:
        if np.ndim(check(name, value)):
            raise TypeError(f"{name}={value!r} is not one number")
        return value

    return checked


def share(name: str, value: Any) -> float:
    """A number in [0, 1], both ends included, that is known when the factory is called."""
    number = finite(name, value)
    if isinstance(number, jax.core.Tracer) or np.ndim(number):
        raise TypeError(f"{name}={value!r} is not a number: it decides how many, so pass a float")
    if not 0 <= float(np.asarray(number)) <= 1:
        raise ValueError(f"{name}={value!r} is outside [0, 1]")
    return float(np.asarray(number))


def ordered(low_name: str, low: ArrayLike, high_name: str, high: ArrayLike) -> None:
    """Refuse an empty interval; traced ends are taken on trust."""
    if isinstance(low, jax.core.Tracer) or isinstance(high, jax.core.Tracer):
        return
    try:
        below = np.all(np.asarray(low) < np.asarray(high))
    except ValueError:
        raise ValueError(
            f"{low_name} of shape {np.shape(low)} and {high_name} of shape {np.shape(high)} do not "
            "broadcast to one shape"
        ) from None
    if not below:
        raise ValueError(f"{low_name}={low!r} is not below {high_name}={high!r}")


def as_array(value: Any) -> Any:
    """An array, for arithmetic, of a number or a sequence of them; one of JAX stays there."""
    return value if isinstance(value, Array) else np.asarray(value)


def broadcasts(given: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether an array of the given shape broadcasts to the other."""
    try:
        return np.broadcast_shapes(given, shape) == shape
    except ValueError:
        return False


def require_broadcast(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """Refuse numbers that do not broadcast to a shape."""
    given = np.shape(value)
    if not broadcasts(given, shape):
        raise ValueError(f"{name} of shape {given} does not broadcast to the shape {shape}")


def check_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape as a tuple of Python ints.

    Args:
        shape: any sequence of integers.

    Returns:
        The tuple.

    Raises:
        TypeError: if it is no sequence of integers.
        ValueError: if one is negative.
    """
    try:
        sizes = tuple(map(index, shape))
    except TypeError:
        hint = f"; for a vector pass ({shape},)" if isinstance(shape, int) else ""
        raise TypeError(f"shape={shape!r} is not a sequence of integers{hint}") from None
    if any(size < 0 for size in sizes):
        raise ValueError(f"shape={sizes} has a negative entry")
    return sizes


def check_dtype(dtype: DTypeLike | None) -> np.dtype[Any]:
    """A dtype as numpy's; None, float, int and complex mean JAX's defaults.

    Args:
        dtype: as the caller gave it.

    Returns:
        A dtype in which JAX can hold weights now.

    Raises:
        TypeError: if it is no dtype, or none that can hold weights.
        ValueError: if it needs `jax_enable_x64`.
    """
    asked: Any = dtype
    return _checked_dtype(asked, _CONFIG.jax_enable_x64)


@functools.lru_cache(maxsize=256)
def _checked_dtype(dtype: Any, x64: bool) -> np.dtype[Any]:
    if dtype is None or dtype in (float, int, complex):
        return np.dtype(jnp.result_type(float if dtype is None else dtype))
    try:
        found = np.dtype(dtype)
        supported = jnp.issubdtype(found, np.number) or found == np.bool_
    except TypeError:
        raise TypeError(f"dtype={dtype!r} is not a dtype") from None
    if not supported:
        raise TypeError(f"dtype={dtype!r} is no numeric dtype")
    if found == jnp.float8_e8m0fnu:
        raise TypeError(
            "dtype=float8_e8m0fnu has no sign and no zero, so it holds scales, not weights: pass "
            "float8_e4m3fn or another signed dtype"
        )
    bits = found.itemsize * (4 if found.kind == "c" else 8)
    if bits > 32 and not x64:
        raise ValueError(
            f"dtype={found} needs 64-bit arithmetic: set JAX_ENABLE_X64=1 or "
            'jax.config.update("jax_enable_x64", True) before the first computation'
        )
    return found


def wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which a law computes before its one cast: at least float32 or complex64."""
    if jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4:
        return np.dtype(np.float32)
    return dtype


def function_of(arguments: str, name: str, value: Any) -> None:
    """Refuse what is no function of some arguments, as they are written."""
    if not callable(value):
        raise TypeError(
            f"{name}={value!r} is a {type(value).__name__}: pass a function of {arguments}"
        )


def check_key(key: Any) -> Any:
    """One JAX key, typed or legacy.

    Args:
        key: as the caller gave it.

    Returns:
        The key.

    Raises:
        TypeError: if it is none.
        ValueError: if there are several.
    """
    if not isinstance(key, Array | np.ndarray):
        hint = ": call the stream to get one" if callable(key) else ""
        raise TypeError(f"key={key!r} is a {type(key).__name__}, not a JAX key{hint}")
    if _is_key_type(key.dtype):
        words: tuple[int, ...] = ()
    elif key.dtype == np.uint32:
        words = _legacy_shape(_CONFIG.jax_default_prng_impl)
    else:
        raise TypeError(
            f"key has dtype {key.dtype}, not a key's: make one with jax.random.key(seed)"
        )
    if key.shape == words:
        return key
    if words and key.shape[-1:] != words:
        raise TypeError(
            f"key has shape {key.shape}; a legacy key has shape {words}: make one with "
            "jax.random.key(seed)"
        )
    raise ValueError(
        f"key is a batch of keys, shape {key.shape[: key.ndim - len(words)]}: an initializer takes "
        "one; use jax.vmap over the keys, or jax.random.split(key)[i]"
    )


@functools.lru_cache(maxsize=64)
def _is_key_type(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jax.dtypes.prng_key)


@functools.cache
def _legacy_shape(implementation: str) -> tuple[int, ...]:
    key = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0, impl=implementation)))
    return tuple(key.shape)
