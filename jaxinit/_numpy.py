"""What JAX traces of a scalar, evaluated by numpy on arrays of points, at once.

A value of shape s is held for all points as an array of shape (*s, points), or (*s, 1) if it is the
same for all: numpy's own broadcasting then does what is done entry by entry, and axes are counted
as JAX counts them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jax import lax

from jaxinit._entrywise import interpret
from jaxinit._quadrature import Numbers

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr

_REALS = (np.float64, np.float32)
_WHOLE = (np.bool_, np.int64, np.int32)
_WORDS = (np.uint64, np.uint32)
# Numbers that a value may hold for each point; points at once, which stay in the cache.
_MOST, _LOT = 64, 2**13


def by_numpy(traced: ClosedJaxpr) -> Callable[..., list[Any]] | None:
    """What numpy makes of a trace of scalars, on arrays; None if it does not know an operation.

    Args:
        traced: of scalars that are given, and of scalars as results.

    Returns:
        A function of points, and of the number of a result if it is the only one to find.

    >>> import jax
    >>> by_numpy(jax.make_jaxpr(jax.nn.relu)(0.0))(np.array([-1.0, 2.0]))[0].tolist()
    [0.0, 2.0]
    """
    record = _Record()
    points = [_Made(None, (), aval) for aval in traced.in_avals]
    results = record.called(traced, points)
    if not all(step.operation for step in record.made):
        return None

    @functools.cache
    def plan(only: int | None) -> list[_Made]:
        """What leads to the results, or to one of them."""
        needed = set(map(id, wanted(results, only)))
        steps = []
        for step in reversed(record.made):
            if id(step) in needed:
                steps.append(step)
                needed.update(map(id, step.operands))
        return steps[::-1]

    def few(at: Numbers, only: int | None) -> list[Any]:
        values = {x: np.asarray(at, x.aval.dtype) for x in points}
        for step in plan(only):
            values[step] = step.evaluate([values[x] for x in step.operands])
        return [np.broadcast_to(values[x], at.shape) for x in wanted(results, only)]

    def run(at: Numbers, only: int | None = None) -> list[Any]:
        lots = (few(lot, only) for lot in np.split(at.ravel(), range(_LOT, at.size, _LOT)))
        return [np.concatenate(parts).reshape(at.shape) for parts in zip(*lots, strict=True)]

    return run


def wanted(results: list[Any], only: int | None) -> list[Any]:
    """All of them, or one."""
    return results if only is None else [results[only]]


@dataclass(frozen=True, eq=False)
class _Made:
    """What an operation makes of others' results; of a point, if there is none."""

    operation: Any
    operands: Sequence[_Made]
    aval: Any

    def evaluate(self, operands: Sequence[Any]) -> Any:
        """The value for all points."""
        found = np.asarray(self.operation(*operands), self.aval.dtype)
        shape = (*self.aval.shape, found.shape[-1])
        return found if found.shape == shape else np.broadcast_to(found, shape)


class _Record:
    """What is made, in order, in the course of a trace."""

    def __init__(self) -> None:
        self.made: list[_Made] = []

    def called(self, traced: Any, operands: Sequence[_Made]) -> list[_Made]:
        """The results of a trace."""

        def constant(variable: Any, x: Any) -> _Made:
            return self._held(x, variable.aval)

        found = interpret(traced, operands, self._step, constant)
        return [self._held(x, aval) for x, aval in zip(found, traced.out_avals, strict=True)]

    def _make(self, operation: Any, operands: Sequence[_Made], aval: Any) -> _Made:
        self.made.append(_Made(operation, operands, aval))
        return self.made[-1]

    def _held(self, x: Any, aval: Any) -> _Made:
        if isinstance(x, _Made):
            return x
        array = np.asarray(x, aval.dtype)[..., None]
        return self._make(lambda: array, (), aval)

    def _step(self, equation: Any, given: list[Any]) -> list[_Made]:
        operands = [self._held(x, v.aval) for x, v in zip(given, equation.invars, strict=True)]
        avals = [variable.aval for variable in equation.outvars]
        name, params = equation.primitive.name, equation.params
        if name == "cond":
            which, *operands = operands
            branches = (self.called(branch, operands) for branch in params["branches"])
            cases = zip(*branches, strict=True)
            chosen = zip(cases, avals, strict=True)
            return [self._make(_chosen, [which, *each], aval) for each, aval in chosen]
        if name == "scan" and params["length"] <= _MOST:
            return self._loop(params, operands, avals)
        operations = zip(_operations(equation), avals, strict=True)
        return [self._make(operation, operands, aval) for operation, aval in operations]

    def _loop(self, params: Any, operands: list[_Made], avals: list[Any]) -> list[_Made]:
        """A scan step by step: of constants, what is carried on, and rows."""
        body = params["jaxpr"]
        rows = sum(x.aval.ndim > a.ndim for x, a in zip(operands, body.in_avals, strict=True))
        carried = sum(a.ndim == b.ndim for a, b in zip(avals, body.out_avals, strict=True))
        first_row = len(operands) - rows
        constants = operands[: first_row - carried]
        carry = operands[len(constants) : first_row]
        ys: dict[int, list[_Made]] = {}
        for i in range(params["length"])[:: -1 if params["reverse"] else 1]:
            take = functools.partial(np.take, indices=i, axis=0)
            xs = zip(operands[first_row:], body.in_avals[first_row:], strict=True)
            row = [self._make(take, [x], aval) for x, aval in xs]
            found = self.called(body, [*constants, *carry, *row])
            carry, ys[i] = found[:carried], found[carried:]
        stack = functools.partial(SHAPED["stack"], {"axis": 0}, 0)
        columns = zip(*(ys[i] for i in sorted(ys)), strict=True)
        stacks = zip(columns, avals[carried:], strict=True)
        return [*carry, *(self._make(stack, column, aval) for column, aval in stacks)]


def _operations(equation: Any) -> list[Any]:
    """What numpy does for each result of an equation; None if that is not known."""
    name, params = equation.primitive.name, equation.params
    avals = [variable.aval for variable in equation.outvars]
    dtypes = _REALS + _WHOLE + _WORDS * (name in ("bitcast_convert_type", "and"))
    known = all(aval.size <= _MOST and aval.dtype in dtypes for aval in avals)
    # Numbers become whole ones, and are divided as such, in other ways.
    if any(aval.dtype.kind == "i" for aval in avals):
        of_reals = any(variable.aval.dtype.kind == "f" for variable in equation.invars)
        known &= name not in _FRACTIONAL and not (name == "convert_element_type" and of_reals)
    if not known:
        return [None] * len(avals)
    if name in SHAPED:
        return [functools.partial(SHAPED[name], params, i) for i in range(len(avals))]
    return [NUMPY.get(name)] * len(avals)


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
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "one_minus_square": lambda x: (1 - x) * (1 + x),
    "polynomial": lambda x, *c: functools.reduce(lambda y, a: y * x + a, c[-2::-1], c[-1]),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "select_n": _chosen,
    "stop_gradient": np.asarray,
}
_FRACTIONAL = ("div", "rem", "pow", "integer_pow")


def _spread(params: Any, _: int, x: Any) -> Any:
    shape = [1] * len(params["shape"])
    for axis, size in zip(params["broadcast_dimensions"], x.shape[:-1], strict=True):
        shape[axis] = size
    return np.broadcast_to(x.reshape(*shape, -1), (*params["shape"], x.shape[-1]))


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
    "empty2": lambda p, _: np.zeros(1),
    "integer_pow": lambda p, _, x: x ** p["y"],
    "iota": _count,
    "pad": _padded,
    "reduce_max": lambda p, _, x: x.max(axis=p["axes"]),
    "reduce_min": lambda p, _, x: x.min(axis=p["axes"]),
    "reduce_prod": lambda p, _, x: x.prod(axis=p["axes"]),
    "reduce_sum": lambda p, _, x: x.sum(axis=p["axes"]),
    "reshape": lambda p, _, x: x.reshape(*p["new_sizes"], -1),
    "round": lambda p, _, x: _round(x, p["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN),
    "slice": _sliced,
    "split": _part,
    "squeeze": lambda p, _, x: x.squeeze(tuple(p["dimensions"])),
    "stack": lambda p, _, *values: np.stack(_alike(*values), p["axis"]),
    "transpose": lambda p, _, x: x.transpose(*p["permutation"], x.ndim - 1),
    "unstack": lambda p, i, x: x.take(i, p["axis"]),
}
