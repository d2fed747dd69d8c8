"""Functions of a scalar in JAX on arrays of points, in double precision and without a wait.

An activation is a few operations that numpy has too, and has at once, where XLA compiles for a
tenth of a second. So what JAX traces is evaluated by numpy if it knows all of it, and compiled
otherwise, or for as many points as pay for that.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxinit._entrywise import interpret
from jaxinit._quadrature import Numbers

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr

# Of points, and of the number of a result if it is the only one to find; a list of results.
Evaluation: TypeAlias = Callable[..., list[Any]]

# Points that a compiled function takes at once: the nodes of all panels before any is halved.
_ROW = 1600
# Points at once from which on a compiled function is the sooner done.
_MANY = 1 << 18
_DTYPES = (np.float64, np.float32, np.bool_)
_WORDS = (np.uint64, np.uint32)


def _by_point(function: Callable[[float], float]) -> Callable[[Any], Any]:
    return lambda x: np.fromiter(map(function, x.flat), np.float64, x.size).reshape(x.shape)


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
    "erf": _by_point(math.erf),
    "erfc": _by_point(math.erfc),
    "lgamma": _by_point(_lgamma),
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "one_minus_square": lambda x: (1 - x) * (1 + x),
    "polynomial": lambda x, *coefficients: np.polynomial.polynomial.polyval(x, coefficients),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "select_n": lambda which, *cases: np.choose(which, cases),
    "stop_gradient": np.asarray,
}


def on_the_line(fn: Callable[[Any], Any], label: str) -> Callable[[Numbers], Numbers]:
    """A function of a scalar in JAX, as one of arrays in numpy: finite, and in double precision.

    Args:
        fn: any function that JAX can trace.
        label: for errors.

    Returns:
        A function of points of any shape, as `vectorized` makes it.

    >>> on_the_line(jax.nn.relu, "relu")(np.array([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """
    evaluate = vectorized(fn, label)

    def values(z: Numbers) -> Numbers:
        y: Numbers = evaluate(z)
        wrong = ~np.isfinite(y)
        if wrong.any():
            raise ValueError(
                f"{label} is {y[wrong][0]} at {z[wrong][0]:.6g}: its moments need it finite on the "
                "line"
            )
        return y

    return values


def vectorized(
    fn: Callable[[Any], Any],
    label: str,
    transform: Callable[[Callable[[Any], Any]], Callable[[Any], Any]] = lambda f: f,
) -> Callable[[Numbers], Any]:
    """What JAX makes of a function of a scalar, on arrays, in double precision and at once.

    Args:
        fn: any function that JAX can trace.
        label: for errors.
        transform: such as `jax.value_and_grad`.

    Returns:
        A function from points of any shape in numpy to such arrays, or, given the number of one of
        them too, to that one. It traces fn once, and runs also while something else is traced.

    >>> vectorized(jnp.sin, "sin", jax.grad)(np.zeros(2)).tolist()
    [1.0, 1.0]
    """

    def scalar(x: Any) -> Any:
        y = jnp.asarray(fn(x))
        if y.shape != () or jnp.iscomplexobj(y):
            raise TypeError(f"it returns {y.dtype}{list(y.shape)} for a number")
        return y.astype(np.float64)

    @functools.cache
    def trace() -> tuple[ClosedJaxpr, Any]:
        point = jax.ShapeDtypeStruct((), np.float64)
        traced, form = jax.make_jaxpr(transform(scalar), return_shape=True)(point)
        return traced, jax.tree.structure(form)

    @functools.cache
    def program(many: bool) -> tuple[Evaluation, Any]:
        try:
            traced, form = trace()
            return (None if many else by_numpy(traced)) or by_xla(traced, many), form
        except Exception as error:
            raise TypeError(f"{label} is no function of a real scalar in JAX: {error}") from error

    def evaluate(points: Numbers, only: int | None = None) -> Any:
        with jax.enable_x64(True), jax.default_device(_host()), np.errstate(all="ignore"):
            run, form = program(points.size >= _MANY)
            found = [np.broadcast_to(y, points.shape) for y in run(points, only)]
        return jax.tree.unflatten(form, found) if only is None else found[0]

    return evaluate


def by_numpy(traced: ClosedJaxpr) -> Evaluation | None:
    """What numpy makes of a trace of scalars, on arrays; None if it does not know an operation.

    >>> by_numpy(jax.make_jaxpr(jax.nn.relu)(0.0))(np.array([-1.0, 2.0]))[0].tolist()
    [0.0, 2.0]
    """
    made: list[_Made] = []

    def record(equation: Any, given: list[Any]) -> list[_Made]:
        pairs = zip(equation.invars, given, strict=True)
        operands = [x if isinstance(x, _Made) else np.asarray(x, v.aval.dtype) for v, x in pairs]
        found = [_Made(_operation(equation), operands, v.aval.dtype) for v in equation.outvars]
        made.extend(found)
        return found

    given = [_Made(None, [], aval.dtype) for aval in traced.in_avals]
    constants = [np.asarray(constant) for constant in traced.consts]
    results = interpret(traced.replace(consts=constants), given, record)
    if not all(step.operation for step in made):
        return None

    @functools.cache
    def plan(only: int | None) -> list[_Made]:
        """What leads to the results, or to one of them."""
        needed = set(map(id, _wanted(results, only)))
        steps = []
        for step in reversed(made):
            if id(step) in needed:
                steps.append(step)
                needed.update(map(id, step.operands))
        return steps[::-1]

    def run(points: Numbers, only: int | None = None) -> list[Any]:
        held = {x: np.asarray(points, x.dtype) for x in given}

        def read(x: Any) -> Any:
            return held[x] if isinstance(x, _Made) else x

        for step in plan(only):
            held[step] = np.asarray(step.operation(*map(read, step.operands)), step.dtype)
        return [read(x) for x in _wanted(results, only)]

    return run


@dataclass(frozen=True, eq=False)
class _Made:
    """What an operation makes of others' results and constants; of a point, if of none."""

    operation: Any
    operands: list[Any]
    dtype: Any


def _operation(equation: Any) -> Any:
    """What numpy does for an equation, None if that is not known."""
    name, params = equation.primitive.name, equation.params
    dtypes = _DTYPES + _WORDS * (name in ("bitcast_convert_type", "and"))
    if any(variable.aval.dtype not in dtypes for variable in equation.outvars):
        return None
    if name == "bitcast_convert_type":
        return lambda x: x.view(params["new_dtype"])
    if name == "integer_pow":
        return lambda x: x ** params["y"]
    if name == "round":
        return lambda x: _round(x, params["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN)
    return NUMPY.get(name)


def by_xla(traced: ClosedJaxpr, many: bool = False) -> Evaluation:
    """What XLA makes of a trace of a scalar, on arrays: one program for a row of points.

    Args:
        traced: any trace.
        many: whether its points are so many that the program is worth the time of optimizing it.

    >>> by_xla(jax.make_jaxpr(jax.nn.relu)(0.0))(np.array([-1.0, 2.0]))[0].tolist()
    [0.0, 2.0]
    """
    row = jax.ShapeDtypeStruct((_ROW,), *{x.dtype for x in traced.in_avals})
    fn = functools.partial(jax.core.eval_jaxpr, traced.jaxpr, traced.consts)
    options: Any = {} if many else {"xla_backend_optimization_level": 0}
    program = jax.jit(jax.vmap(fn)).lower(row).compile(compiler_options=options)

    def joined(points: Numbers, parts: Sequence[Any]) -> Any:
        return np.concatenate(parts)[: points.size].reshape(points.shape)

    def run(points: Numbers, only: int | None = None) -> list[Any]:
        rows = np.pad(points.ravel(), (0, -points.size % _ROW), "edge").reshape(-1, _ROW)
        results = [*zip(*(program(row) for row in rows), strict=True)]
        return [joined(points, parts) for parts in _wanted(results, only)]

    return run


def _wanted(results: list[Any], only: int | None) -> list[Any]:
    return results if only is None else [results[only]]


@contextlib.contextmanager
def on_the_host() -> Iterator[None]:
    """At once, also while something is traced, in double precision and on a CPU."""
    with jax.ensure_compile_time_eval(), jax.enable_x64(True), jax.default_device(_host()):
        yield


def _host() -> Any:
    """A CPU, so that every platform gets the same numbers, unless JAX may not use it."""
    config: Any = jax.config
    platforms = config.jax_platforms
    return "cpu" if not platforms or "cpu" in platforms.split(",") else None
