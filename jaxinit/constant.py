"""Constant weights, and those that the user knows; none of them touches the key."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike

from jaxinit._checks import as_array, finite, fraction, integer, positive, require_broadcast
from jaxinit._draw import Draw, Spec, fill
from jaxinit._initializer import initializer
from jaxinit.axes import normalize, positions


def _full(shape: tuple[int, ...], dtype: np.dtype[Any], value: Array) -> Array:
    return jnp.broadcast_to(value, shape)


def spread(name: str, value: ArrayLike | Sequence[Any], shape: tuple[int, ...]) -> Draw:
    """The value everywhere, or an array of values.

    Args:
        name: of the argument.
        value: a number or an array.
        shape: of the weights.

    Returns:
        What to draw.

    Raises:
        ValueError: if the value does not broadcast to the shape.

    >>> spread("value", 1, (2, 3)).random
    False
    """
    require_broadcast(name, value, shape)
    return fill(_full, as_array(value))


def _numbers(name: str, value: Any) -> Any:
    try:
        given = as_array(value)
    except ValueError:
        raise ValueError(f"{name}={value!r} has rows of several lengths") from None
    scalar = isinstance(value, int)  # a large one becomes an object
    if not (scalar or jnp.issubdtype(given.dtype, np.number) or given.dtype == bool):
        raise TypeError(
            f"{name}={value!r} is a {type(value).__name__}, not a number or an array of numbers"
        )
    return value


Numbers: TypeAlias = Annotated[ArrayLike | Sequence[Any], _numbers]


def _require_held(name: str, given: Any, dtype: np.dtype[Any]) -> None:
    """Refuse a dtype that has no imaginary parts, or not the range, for some numbers."""
    if _drops(np.complexfloating, given, dtype):
        raise TypeError(f"{name} of {given.dtype} would lose its imaginary parts in dtype={dtype}")
    known = not isinstance(given, jax.core.Tracer) and given.size
    if known and jnp.issubdtype(dtype, np.integer):
        numbers, limits = np.asarray(given), jnp.iinfo(dtype)
        least, most = (np.asarray(end).item() for end in (numbers.min(), numbers.max()))
        if least < limits.min or most > limits.max:
            raise ValueError(
                f"{name} has numbers from {least} to {most}, and dtype={dtype} holds those from "
                f"{limits.min} to {limits.max}"
            )


def _drops(kind: Any, given: Any, dtype: np.dtype[Any]) -> bool:
    return jnp.issubdtype(given.dtype, kind) and not jnp.issubdtype(dtype, kind)


@initializer
def constant(spec: Spec, value: Numbers, dtype: DTypeLike | None = None) -> Draw:
    """The same value everywhere, or an array of values: W = value.

    Args:
        value: a number, or an array that broadcasts to the shape.
        dtype: default dtype of the weights.

    Returns:
        An initializer.

    Raises:
        TypeError: if value is no number; when called, if the dtype would drop fractions or
            imaginary parts.
        ValueError: when called, if the value does not broadcast to the shape, or is out of the
            range of a dtype of integers.

    >>> constant(-7)(None, (2,)).tolist()
    [-7.0, -7.0]

    Peers:
        torch: constant_
        keras: Constant
        haiku: Constant
    """
    _require_held("value", as_array(value), spec.dtype)
    return spread("value", value, spec.shape)


@initializer
def zeros_init(spec: Spec) -> Draw:
    """W = 0. Flax's name for the factory of `zeros`.

    Returns:
        An initializer.

    >>> zeros_init()(None, (2,)).tolist()
    [0.0, 0.0]

    Peers:
        torch: zeros_
        keras: Zeros
    """
    return fill(_full, 0)


@initializer
def ones_init(spec: Spec) -> Draw:
    """W = 1. Flax's name for the factory of `ones`.

    Returns:
        An initializer.

    >>> ones_init()(None, (2,)).tolist()
    [1.0, 1.0]

    Peers:
        torch: ones_
        keras: Ones
    """
    return fill(_full, 1)


zeros = zeros_init()
ones = ones_init()


@initializer
def linspace(
    spec: Spec,
    start: Annotated[ArrayLike, finite],
    stop: Annotated[ArrayLike, finite],
    axis: Annotated[int, normalize] = -1,
    dtype: DTypeLike | None = None,
) -> Draw:
    """A ramp of evenly spaced numbers along an axis: w_i = start + (stop - start) i / (n - 1).

    Both ends are exact, and the ramp is repeated along every other axis.

    Args:
        start: first number; the only one if n = 1.
        stop: last number.
        axis: of the n numbers.
        dtype: default dtype of the weights, not an integer one.

    Returns:
        An initializer.

    Raises:
        TypeError: when called, if the dtype is an integer one.
        ValueError: if an end is not finite; when called, if axis is out of range.

    >>> linspace(-1, 1)(None, (5,)).tolist()
    [-1.0, -0.5, 0.0, 0.5, 1.0]
    """
    (place,) = positions("axis", axis, spec.shape)
    return fill(_linspace, start, stop, axis=place, real=spec.real)


def _linspace(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    start: Array,
    stop: Array,
    *,
    axis: int,
    real: np.dtype[Any],
) -> Array:
    last = max(shape[axis] - 1, 1)
    i = lax.broadcasted_iota(jnp.int32, shape, axis)
    t = i.astype(real) / last
    return jnp.where(i == last, stop.real, (1 - t) * start.real + t * stop.real)


Entry: TypeAlias = int | slice | EllipsisType | tuple[int | None, ...]


def _index(name: str, value: Any) -> tuple[Any, ...] | None:
    """An index, hashable: a slice becomes (start, stop, step)."""
    if value is None:
        return None
    return tuple(_entry(name, e) for e in (value if isinstance(value, Sequence) else (value,)))


def _entry(name: str, entry: Any) -> Any:
    if entry is Ellipsis:
        return entry
    if isinstance(entry, Sequence) and 1 <= len(entry) <= 3:
        entry = slice(*entry)
    if not isinstance(entry, slice):
        return integer(name, entry)
    ends = (entry.start, entry.stop, entry.step)
    return tuple(None if e is None else integer(name, e) for e in ends)


@initializer
def from_array(
    spec: Spec,
    array: Numbers,
    slicing: Annotated[Entry | Sequence[Entry] | None, _index] = None,
    dtype: DTypeLike | None = None,
) -> Draw:
    """Weights from elsewhere: W = array[slicing], of the very shape asked for.

    Where `constant` broadcasts, this is strict: a pretrained matrix that is transposed, or of
    another size, is an error. Arrays are compared by identity.

    Args:
        array: the weights, or more.
        slicing: a basic index, `numpy.s_[:64, ::2]` say: integers, slices and an ellipsis; a slice
            may be written (start, stop, step). None takes the whole array.
        dtype: default dtype of the weights.

    Returns:
        An initializer.

    Raises:
        TypeError: if array is not of numbers or slicing no such index; when called, if the dtype
            would drop fractions or imaginary parts.
        ValueError: when called, if the index or the shape does not fit, or a number is out of the
            range of a dtype of integers.

    >>> import numpy as np
    >>> from_array(np.eye(4), np.s_[1:3, :2])(None, (2, 2)).tolist()
    [[0.0, 1.0], [0.0, 0.0]]

    Peers:
        mxnet: Load
    """
    whole = as_array(array)
    entries: Any = slicing or ()
    index = tuple(slice(*e) if isinstance(e, tuple) else e for e in entries)
    try:
        shape = np.broadcast_to(0, whole.shape)[index].shape
    except IndexError as error:
        raise ValueError(f"slicing={slicing} of an array of shape {whole.shape}: {error}") from None
    if shape != spec.shape:
        sliced = "" if slicing is None else f" gives {shape} after slicing={slicing}, which"
        hint = "transpose it (torch keeps outputs before inputs)" if len(shape) > 1 else "slice it"
        raise ValueError(
            f"array of shape {whole.shape}{sliced} is not of the shape {spec.shape}: {hint}, or "
            "use constant to broadcast it"
        )
    if _drops(np.inexact, whole, spec.dtype):
        raise TypeError(f"array of {whole.dtype} would lose its fractions in dtype={spec.dtype}")
    _require_held("array", whole[index], spec.dtype)
    return fill(_full, whole[index])


@initializer
def prior_bias(
    spec: Spec, prob: Annotated[ArrayLike, fraction] = 0.01, dtype: DTypeLike | None = None
) -> Draw:
    """The bias of a rare class: b = -log((1 - π) / π), so that sigmoid(b) = π.

    With a kernel near zero, a detector then starts with the probability π for everything, and not
    with a loss that the many negatives dominate.

    Args:
        prob: probability π of the class, or of each of several.
        dtype: default dtype of the weights, not an integer one.

    Returns:
        An initializer.

    Raises:
        TypeError: when called, if the dtype is an integer one.
        ValueError: if prob is not inside (0, 1); when called, if it does not broadcast to the
            shape.

    >>> import jax
    >>> print(f"{jax.nn.sigmoid(prior_bias(0.01)(None, (1,)))[0]:.3f}")
    0.010

    Peers:
        mmengine: bias_init_with_prob

    Reference:
        Lin et al., "Focal Loss for Dense Object Detection", 2017, arXiv:1708.02002, section 4.1.
    """
    numbers, p = _precise(prob)
    return spread("prob", (numbers.log(p) - numbers.log1p(-p)).astype(spec.real), spec.shape)


def _counts(name: str, value: Any) -> Any:
    value = finite(name, value)
    if np.ndim(value) != 1 or np.size(value) == 0:
        raise ValueError(
            f"{name} has shape {np.shape(value)}: pass one number for each of the classes"
        )
    try:
        return positive(name, value)
    except ValueError as error:
        raise ValueError(f"{error}: a class without examples has no logarithm; add one") from None


@initializer
def class_prior_bias(
    spec: Spec,
    counts: Annotated[ArrayLike | Sequence[float], _counts],
    dtype: DTypeLike | None = None,
) -> Draw:
    """The bias of a classifier: log class frequencies, b_k = log n_k - mean_j log n_j.

    Its softmax is the frequencies n_k / Σ n_j, so that with a kernel near zero the first loss is
    the entropy of the classes, and not log K.

    Args:
        counts: number n_k of examples of each class, or weights in proportion.
        dtype: default dtype of the weights, not an integer one.

    Returns:
        An initializer for shapes whose last axis is the classes.

    Raises:
        TypeError: when called, if the dtype is an integer one.
        ValueError: if a count is not above 0; when called, if there is not one for each class.

    >>> import jax
    >>> bias = class_prior_bias((10, 30, 60))(None, (3,))
    >>> [f"{p:.3f}" for p in jax.nn.softmax(bias)]
    ['0.100', '0.300', '0.600']

    Reference:
        Karpathy, "A Recipe for Training Neural Networks", 2019, "init well".
    """
    numbers, n = _precise(counts)
    logs = numbers.log(n)
    return spread("counts", (logs - logs.mean()).astype(spec.real), spec.shape)


def _precise(x: Any) -> tuple[Any, Any]:
    """numpy and x in double precision, unless JAX holds it."""
    return (jnp, x) if isinstance(x, Array) else (np, np.asarray(x, np.float64))
