"""Functions of a scalar in JAX on arrays of points, in double precision and without a wait.

An activation is a few operations that numpy has too, and has at once, where XLA compiles for a
tenth of a second. So what JAX traces is evaluated by numpy if it knows all of it, and compiled
otherwise.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxinit._numpy import by_numpy, wanted
from jaxinit._quadrature import Numbers

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr

# Of points, and of the number of a result if it is the only one to find; a list of results.
Evaluation: TypeAlias = Callable[..., list[Any]]

# Points that a compiled function takes at once: the nodes of all panels before any is halved.
_ROW = 1600


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


def vectorized(fn: Callable[[Any], Any], label: str, slope: bool = False) -> Callable[..., Any]:
    """What JAX makes of a function of a scalar, on arrays, in double precision and at once.

    Args:
        fn: any function that JAX can trace.
        label: for errors.
        slope: whether to find its derivative too.

    Returns:
        A function from points of any shape in numpy to such an array; with slope to two, or, given
        the number of one of them too, to that one. It traces fn once, and runs also while something
        else is traced.

    >>> vectorized(jnp.sin, "sin", slope=True)(np.zeros(2))[1].tolist()
    [1.0, 1.0]
    """

    def scalar(x: Any) -> Any:
        y = jnp.asarray(fn(x))
        if y.shape != () or jnp.iscomplexobj(y):
            raise TypeError(f"it returns {y.dtype}{list(y.shape)} for a number")
        return y.astype(np.float64)

    def forward(x: Any) -> Any:
        return jax.jvp(scalar, (x,), (jnp.ones_like(x),))

    # Forward is traced in two thirds of the time; a rule of fn's own may run backward only.
    kinds = (forward, jax.value_and_grad(scalar)) if slope else (scalar,)

    @functools.cache
    def program() -> tuple[Evaluation, Any]:
        point = jax.ShapeDtypeStruct((), np.float64)
        for kind in kinds:
            try:
                traced, form = jax.make_jaxpr(kind, return_shape=True)(point)
                return by_numpy(traced) or by_xla(traced), jax.tree.structure(form)
            except Exception as error:
                reason = error
        raise TypeError(f"{label} is no function of a real scalar in JAX: {reason}") from reason

    def evaluate(points: Numbers, only: int | None = None) -> Any:
        with jax.enable_x64(True), jax.default_device(_host()), np.errstate(all="ignore"):
            run, form = program()
            found = [np.broadcast_to(y, points.shape) for y in run(points, only)]
        return jax.tree.unflatten(form, found) if only is None else found[0]

    return evaluate


def by_xla(traced: ClosedJaxpr) -> Evaluation:
    """What XLA makes of a trace of a scalar, on arrays: one program for a row of points.

    Args:
        traced: any trace.

    >>> by_xla(jax.make_jaxpr(jax.nn.relu)(0.0))(np.array([-1.0, 2.0]))[0].tolist()
    [0.0, 2.0]
    """
    row = jax.ShapeDtypeStruct((_ROW,), *{x.dtype for x in traced.in_avals})
    fn = functools.partial(jax.core.eval_jaxpr, traced.jaxpr, traced.consts)
    options: Any = {"xla_backend_optimization_level": 0}
    program = jax.jit(jax.vmap(fn)).lower(row).compile(compiler_options=options)

    def joined(points: Numbers, parts: Sequence[Any]) -> Any:
        return np.concatenate(parts)[: points.size].reshape(points.shape)

    def run(points: Numbers, only: int | None = None) -> list[Any]:
        rows = np.pad(points.ravel(), (0, -points.size % _ROW), "edge").reshape(-1, _ROW)
        results = [*zip(*(program(row) for row in rows), strict=True)]
        return [joined(points, parts) for parts in wanted(results, only)]

    return run


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
