"""Expectations over z ~ N(0, 1) of functions that are smooth in pieces, in double precision."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

# The line ends at ±16, where the density is 1e-56; panels are halved down to 1e-13.
_REACH, _WIDTH, _HALVINGS, _MOST_PANELS = 16, 0.5, 43, 8192
# Points that a compiled function takes at once: the nodes of all panels before any is halved.
_ROW = 1600
# Errors relative to E|f|: of a panel, and of the whole where that cannot be had.
_AIM, _LIMIT = 1e-13, 1e-6


@np.errstate(over="ignore", invalid="ignore")  # the integral is then infinite, and says so
def expectation(
    what: str, f: Callable[[Numbers], Numbers], floor: float | Numbers = 0.0
) -> Numbers:
    """E[f(z)], z ~ N(0, 1), of several functions at once.

    Clenshaw-Curtis rules of 24 and of 12 intervals, on panels that are halved where the two differ.
    Both see the ends of a panel, so that no jump hides between an end and the first node.

    Args:
        what: is integrated, for errors.
        f: from points of any shape to an array (functions, *shape).
        floor: error of a panel that is small enough, whatever E|f| is.

    Returns:
        A number for each function.

    Raises:
        ValueError: if an integral does not converge.

    >>> expectation("z² and z⁴", lambda z: np.stack([z**2, z**4])).round(6).tolist()
    [1.0, 3.0]
    """
    nodes, rules = _rules()
    left, width = np.arange(-_REACH, _REACH, _WIDTH), _WIDTH
    total: Any = 0.0
    size: Any = None
    for _ in range(_HALVINGS):
        z = left[:, None] + width * nodes
        y = f(z) * (np.exp(-(z**2) / 2) * (width / math.sqrt(2 * math.pi)))
        fine, coarse = np.moveaxis(y @ rules, -1, 0)
        if size is None:
            shares = abs(y) @ rules[:, 0]
            size = shares.sum(axis=-1, keepdims=True)
            if not np.isfinite(size).all() or (shares[:, [0, -1]] > 1e-9 * size).any():
                raise ValueError(f"{what} is infinite, or has its mass where |z| > {_REACH}")
        error = abs(fine - coarse)
        rough = (error > _AIM * size + floor).any(axis=0)
        total = total + fine[:, ~rough].sum(axis=-1)
        fine, error, left = fine[:, rough], error[:, rough], left[rough]
        if not 0 < 2 * left.size <= _MOST_PANELS:
            break
        left, width = np.concatenate([left, left + width / 2]), width / 2
    if (error.sum(axis=-1, keepdims=True) > _LIMIT * size + floor).any():
        raise ValueError(
            f"{what} does not converge near z = {left[error.max(axis=0).argmax()]:.3g}: it is "
            "infinite, or its terms oscillate too fast"
        )
    return total + fine.sum(axis=-1)


@functools.cache
def _rules() -> tuple[Numbers, Numbers]:
    """The nodes of two nested Clenshaw-Curtis rules on [0, 1], and their weights, two columns."""
    n = 24
    weights = np.zeros((n + 1, 2))
    weights[:, 0], weights[::2, 1] = _clenshaw_curtis(n), _clenshaw_curtis(n // 2)
    return (1 - np.cos(np.pi * np.arange(n + 1) / n)) / 2, weights


def _clenshaw_curtis(n: int) -> Numbers:
    """Weights of (1 - cos(kπ/n))/2, k = 0 … n, for an even n: exact for polynomials of degree n."""
    k, j = np.arange(n + 1), np.arange(1, n // 2 + 1)
    series = np.cos(2 * np.pi / n * np.outer(k, j)) @ (np.where(j < n // 2, 2, 1) / (4 * j**2 - 1))
    return np.where(k % n, 1, 0.5) / n * (1 - series)


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
        A function from points of any shape in numpy to such arrays. It is compiled once, for a row
        of one size, and runs also while something else is traced.

    >>> vectorized(jnp.sin, "sin", jax.grad)(np.zeros(2)).tolist()
    [1.0, 1.0]
    """

    def scalar(x: Any) -> Any:
        y = jnp.asarray(fn(x))
        if y.shape != () or jnp.iscomplexobj(y):
            raise TypeError(f"it returns {y.dtype}{list(y.shape)} for a number")
        return y.astype(np.float64)

    @functools.cache
    def program() -> jax.stages.Compiled:
        row = jax.ShapeDtypeStruct((_ROW,), np.float64)
        try:
            return jax.jit(jax.vmap(transform(scalar))).lower(row).compile()
        except Exception as error:
            raise TypeError(f"{label} is no function of a real scalar in JAX: {error}") from error

    def evaluate(points: Numbers) -> Any:
        rows = np.pad(points.ravel(), (0, -points.size % _ROW), "edge").reshape(-1, _ROW)
        with jax.enable_x64(True), jax.default_device(_host()):
            parts = [program()(row) for row in rows]

        def joined(*parts: Any) -> Numbers:
            return np.concatenate(parts)[: points.size].reshape(points.shape)

        return jax.tree.map(joined, *parts)

    return evaluate


@contextlib.contextmanager
def on_the_host() -> Iterator[None]:
    """At once, also while something is traced, in double precision and on a CPU."""
    with jax.ensure_compile_time_eval(), jax.enable_x64(True), jax.default_device(_host()):
        yield


def _host() -> Any:
    """A CPU, so that every platform gets the same numbers, unless JAX may not use it."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None
