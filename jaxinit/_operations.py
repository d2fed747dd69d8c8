"""What numpy does for the primitives of JAX, on arrays whose last axis counts points."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jax import lax

_DTYPES = (np.float64, np.float32, np.bool_, np.int64, np.int32, np.uint64, np.uint32)
# Numbers that a value may hold for each point.
_MOST = 64


def operations(equation: Any) -> list[Any]:
    """What numpy does for each result of an equation.

    Args:
        equation: of a trace.

    Returns:
        Functions of its operands, each of which has an axis for points behind its own; None where
        numpy does not do it.
    """
    name, params = equation.primitive.name, equation.params
    given = [variable.aval for variable in equation.invars]
    avals = [variable.aval for variable in equation.outvars]
    kinds = {aval.dtype.kind for aval in avals}
    if _strange(name, params, given, avals):
        found: Any = None
    elif name == "div" and kinds == {"u"}:
        found = np.floor_divide
    elif name == "call_hi_primitive":
        found = _search(params.get("_prim"))
    elif name in SHAPED:
        return [functools.partial(SHAPED[name], params, i) for i in range(len(avals))]
    else:
        found = NUMPY.get(name)
    return [found] * len(avals)


def _strange(name: str, params: Any, given: list[Any], avals: list[Any]) -> bool:
    """Whether an equation is large, or of a form of its primitive that numpy does not do alike."""
    if any(aval.size > _MOST for aval in (*given, *avals)):
        return True
    if any(aval.dtype not in _DTYPES for aval in avals):
        return True
    whole = any(aval.dtype.kind in "iu" for aval in avals)
    match name:
        case "convert_element_type":
            return whole and given[0].dtype.kind == "f"
        case "div":
            return avals[0].dtype.kind == "i"
        case "rem" | "pow" | "integer_pow":
            return whole
        case "bitcast_convert_type":
            return bool(given[0].dtype.itemsize != avals[0].dtype.itemsize)
        case "dynamic_slice":
            return len(params["slice_sizes"]) != 1
        case "reshape":
            return params["dimensions"] is not None
        case "call_hi_primitive":
            return avals[0].shape != ()
    return False


def _by_point(function: Callable[[float], float]) -> Callable[[Any], Any]:
    return lambda x: np.fromiter(map(function, x.flat), np.float64, x.size).reshape(x.shape)


_erf, _erfc = _by_point(math.erf), _by_point(math.erfc)


def _lgamma(x: float) -> float:
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):  # a pole, or past the largest float
        return math.inf


def _digamma(x: Any) -> Any:
    """ψ(x), from ψ(x) = ψ(1 - x) - π/tan(πx), ψ(x + 1) = ψ(x) + 1/x and the series at infinity."""
    y = np.where(x < 0.5, 1 - x, x)
    z = y + 10
    # Bernoulli numbers B_2k / 2k of z^-2k.
    terms = (0, 1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760)
    found = np.log(z) - 0.5 / z - np.polynomial.polynomial.polyval(z**-2.0, terms)
    found -= sum(1 / (y + i) for i in range(10))
    # Whole periods are left out before the product, which would round them.
    found = np.where(x < 0.5, found - np.pi / np.tan(np.pi * (x - np.round(x))), found)
    return np.where((x <= 0) & (x == np.round(x)), np.where(x < 0, np.nan, -np.inf), found)


def _round(x: Any, even: bool) -> Any:
    """To the nearest whole number, of two equally near to the even one or away from zero."""
    return np.round(x) if even else np.trunc(x + np.copysign(np.nextafter(0.5, 0), x))


def _erf_inv(y: Any) -> Any:
    """By Winitzki's approximation and steps of Halley's, from the nearer of 0 and 1."""
    size, rest = abs(y), 1 - abs(y)
    log = np.log(rest * (1 + size))
    middle = 2 / (np.pi * 0.147) + log / 2
    x = np.sqrt(np.sqrt(middle**2 - log / 0.147) - middle)
    for _ in range(3):
        excess = np.where(size < 0.5, _erf(x) - size, rest - _erfc(x))
        step = excess * np.exp(x**2) * math.sqrt(math.pi) / 2
        x = x - step / (1 + x * step)
    return np.copysign(np.where(size == 1, np.inf, x), y)


def _bessel(order: int, x: Any) -> Any:
    """I_0(x) or I_1(x) e^-|x|: its integral over half a turn, or its series at infinity."""
    size = abs(x)
    angle = (np.arange(32).reshape(32, *[1] * size.ndim) + 0.5) * np.pi / 32
    near = np.exp(np.minimum(size, 30) * (np.cos(angle) - 1))
    if order == 1:
        near = near * size * np.sin(angle) ** 2
    far, term = np.ones_like(size), np.ones_like(size)
    for k in range(1, 17):
        term = term * ((2 * k - 1) ** 2 - 4 * order**2) / (8 * k * np.maximum(size, 30))
        far = far + term
    far = far / np.sqrt(2 * np.pi * np.maximum(size, 30))
    return np.where(size < 30, near.mean(axis=0), far) * np.sign(x) ** order


def _chosen(which: Any, *cases: Any) -> Any:
    if len(cases) == 2:
        return np.where(which, *cases[::-1])  # five times as fast
    return np.choose(which, cases, mode="clip")


# The primitives of JAX of which numpy gives the same results, but for rounding.
NUMPY: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in ("abs", "cbrt", "ceil", "cos", "cosh", "exp", "exp2")},
    **{name: getattr(np, name) for name in ("expm1", "floor", "log", "log1p", "sign", "sin")},
    **{name: getattr(np, name) for name in ("sinh", "sqrt", "square", "tan", "tanh")},
    **{"acos": np.arccos, "acosh": np.arccosh, "asin": np.arcsin, "asinh": np.arcsinh},
    **{"atan": np.arctan, "atan2": np.arctan2, "atanh": np.arctanh, "pow": np.power},
    **{"add": np.add, "add_any": np.add, "sub": np.subtract, "neg": np.negative},
    **{"mul": np.multiply, "div": np.divide, "rem": np.fmod, "max": np.maximum, "min": np.minimum},
    **{"eq": np.equal, "ne": np.not_equal, "gt": np.greater, "ge": np.greater_equal},
    **{"lt": np.less, "le": np.less_equal, "is_finite": np.isfinite},
    **{"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert},
    "clamp": lambda low, x, high: np.clip(x, low, high),
    "convert_element_type": np.asarray,
    "copy": np.asarray,
    "digamma": _digamma,
    "erf": _erf,
    "erfc": _erfc,
    "erf_inv": _erf_inv,
    "lgamma": _by_point(_lgamma),
    "bessel_i0e": functools.partial(_bessel, 0),
    "bessel_i1e": functools.partial(_bessel, 1),
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "le_to": lambda x, y: (x <= y) | np.isnan(y),  # NaN is the largest
    "lt_to": lambda x, y: (x < y) | (np.isnan(y) & ~np.isnan(x)),
    "one_minus_square": lambda x: (1 - x) * (1 + x),
    "polynomial": lambda x, *c: functools.reduce(lambda y, a: y * x + a, c[-2::-1], c[-1]),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "select_n": _chosen,
    "stop_gradient": np.asarray,
}


def _spread(params: Any, _: int, x: Any) -> Any:
    shape = [1] * len(params["shape"])
    for axis, size in zip(params["broadcast_dimensions"], x.shape[:-1], strict=True):
        shape[axis] = size
    return np.broadcast_to(x.reshape(*shape, x.shape[-1]), (*params["shape"], x.shape[-1]))


def _count(params: Any, _: int) -> Any:
    numbers = np.arange(params["shape"][params["dimension"]])
    shape = [1] * (len(params["shape"]) + 1)
    shape[params["dimension"]] = numbers.size
    return np.broadcast_to(numbers.reshape(shape), (*params["shape"], 1))


def _part(params: Any, i: int, x: Any) -> Any:
    ends = np.cumsum((0, *params["sizes"]))
    return np.take(x, range(ends[i], ends[i + 1]), params["axis"])


def _sliced(params: Any, _: int, x: Any) -> Any:
    starts, limits = params["start_indices"], params["limit_indices"]
    return x[tuple(map(slice, starts, limits, params["strides"] or (1,) * len(starts)))]


def _padded(params: Any, _: int, x: Any, filling: Any) -> Any:
    x, filling = _alike(x, filling)
    for axis, (before, after, between) in enumerate(params["padding_config"]):
        n = x.shape[axis]
        places = before + (between + 1) * np.arange(n)
        size = before + after + max(n + (n - 1) * between, 0)
        padded = np.empty((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
        padded[:] = filling
        kept = (places >= 0) & (places < size)  # where padding is negative, entries are cut off
        np.moveaxis(padded, axis, 0)[places[kept]] = np.moveaxis(x, axis, 0)[kept]
        x = padded
    return x


def _contracted(params: Any, _: int, x: Any, y: Any) -> Any:
    (contracted_x, contracted_y), (batch_x, batch_y) = params["dimension_numbers"]
    letters = iter("abcdefghijklmnopqrstuvwxy")
    left, right = ([next(letters) for _ in z.shape[:-1]] for z in (x, y))
    for i, j in zip((*contracted_x, *batch_x), (*contracted_y, *batch_y), strict=True):
        right[j] = left[i]
    batch = [left[i] for i in batch_x]
    summed = {left[i] for i in contracted_x}
    free = [c for c in left + right if c not in summed and c not in batch]
    terms = f"{''.join(left)}z,{''.join(right)}z->{''.join(batch + free)}z"
    return np.einsum(terms, *_alike(x, y))


def _alike(*values: Any) -> list[Any]:
    """The same, all of them for as many points."""
    points = max(value.shape[-1] for value in values)
    return [np.broadcast_to(value, (*value.shape[:-1], points)) for value in values]


def _picked(params: Any, _: int, x: Any, start: Any) -> Any:
    x, start = _alike(x, start)
    (size,) = params["slice_sizes"]
    first = np.clip(start.astype(int), 0, len(x) - size)
    return np.take_along_axis(x, first + np.arange(size)[:, None], axis=0)


def _search(primitive: Any) -> Any:
    """Of `jnp.searchsorted` in JAX 0.12; None for any other."""
    if type(primitive).__name__ != "SearchSorted" or primitive.batch_dims or primitive.dimension:
        return None
    below = np.less_equal if primitive.side == "right" else np.less

    def count(table: Any, x: Any) -> Any:
        return np.where(np.isnan(x), len(table), below(table, x).sum(axis=0))

    return count


def _running(params: Any, _: int, x: Any) -> Any:
    flip = functools.partial(np.flip, axis=params["axis"]) if params["reverse"] else np.asarray
    return flip(np.cumsum(flip(x), axis=params["axis"]))


# Those whose axes are named in parameters: of these, the number of a result, and operands.
SHAPED: dict[str, Callable[..., Any]] = {
    "argmax": lambda p, _, x: np.argmax(x, axis=p["axes"][0]),
    "argmin": lambda p, _, x: np.argmin(x, axis=p["axes"][0]),
    "bitcast_convert_type": lambda p, _, x: x.view(p["new_dtype"]),
    "broadcast_in_dim": _spread,
    "concatenate": lambda p, _, *values: np.concatenate(_alike(*values), p["dimension"]),
    "cumsum": _running,
    "dot_general": _contracted,
    "dynamic_slice": _picked,
    "empty2": lambda p, _: np.zeros(1),
    "integer_pow": lambda p, _, x: x ** p["y"],
    "iota": _count,
    "pad": _padded,
    "reduce_max": lambda p, _, x: x.max(axis=p["axes"]),
    "reduce_min": lambda p, _, x: x.min(axis=p["axes"]),
    "reduce_prod": lambda p, _, x: x.prod(axis=p["axes"]),
    "reduce_sum": lambda p, _, x: x.sum(axis=p["axes"]),
    "reshape": lambda p, _, x: x.reshape(*p["new_sizes"], x.shape[-1]),
    "round": lambda p, _, x: _round(x, p["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN),
    "slice": _sliced,
    "split": _part,
    "squeeze": lambda p, _, x: x.squeeze(tuple(p["dimensions"])),
    "stack": lambda p, _, *values: np.stack(_alike(*values), p["axis"]),
    "transpose": lambda p, _, x: x.transpose(*p["permutation"], x.ndim - 1),
    "unstack": lambda p, i, x: x.take(i, p["axis"]),
}
