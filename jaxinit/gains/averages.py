"""Gaussian averages of an activation as functions that compile, differentiate and are double."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero

from jaxinit._panels import GENERIC, REACH, Line, Panels, home, panels, points, roughness
from jaxinit._pointwise import on_the_host, vectorized
from jaxinit.gains.names import Activation, Parameters, fixed, scalar

Phi: TypeAlias = Callable[[Any], Any]
# Of φ, its panels, and arguments; one number.
Average: TypeAlias = Callable[..., Array]
Result: TypeAlias = Any

_TINY = 1e-300
# Nodes at once, which stay in the cache.
_LOT, _ROWS = 2**15, 64


class Curve(NamedTuple):
    """φ and φ' of arrays of points, and both at once."""

    value: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    both: Callable[[Any], tuple[Any, Any]]


def curve(phi: Phi) -> Curve:
    """Of a φ in JAX, at vectors."""
    return Curve(jax.vmap(phi), jax.vmap(jax.grad(phi)), jax.vmap(jax.value_and_grad(phi)))


def single(integrand: Callable[[Any, Any, Any], Any]) -> Average:
    """E[f(φ, x, z)], x = √variance · z + shift, z ~ N(0, 1), as a function of variance and shift.

    Args:
        integrand: f, of φ as it is given, a `Curve` as a rule, and of x and z: their like, or
            several, stacked in front.

    Returns:
        The average of each, in numpy or JAX, as the variance is. It is NaN where it is infinite,
        where the integrand is rough on its panels, and where φ was not resolved so far out.
    """

    def average(phi: Any, found: Panels, variance: Any, shift: Any = 0.0) -> Any:
        xp = home(variance)
        scale, shift = xp.sqrt(xp.maximum(variance, _TINY))[..., None], xp.asarray(shift)[..., None]
        ends = np.asarray(found.ends)
        if xp is np:
            # Most panels lie beyond the reach of a narrow density.
            ends = ends[abs(ends) <= REACH * scale.max() + abs(shift).max()]
        z, weights = points((ends - shift) / scale)
        x = scale * z + shift
        # A panel of no width has its nodes at an end, where φ' may be infinite.
        terms = xp.where(weights != 0, weights * integrand(phi, x, z), 0)
        known = terms if xp is np else jax.lax.stop_gradient(terms)
        size = abs(known).sum(axis=-1)
        far = xp.where(abs(z) > REACH - 1, abs(known), 0).sum(axis=-1)
        exact = (far <= 1e-9 * size) & ((REACH * scale + abs(shift))[..., 0] <= found.ends[-1])
        if found is not GENERIC:
            exact = exact & (roughness(known) <= 1e-6 * size)
        return xp.where(exact, terms.sum(axis=-1), xp.nan)

    return average


second: Average = single(lambda phi, x, z: phi.value(x) ** 2)
slope: Average = single(lambda phi, x, z: phi.slope(x) ** 2)


def _squares(phi: Any, x: Any, z: Any) -> Any:
    value, slope = phi.both(x)
    return home(value).stack([value**2, slope**2])


# `second` and `slope`, for what both take to find one of them.
squares: Average = single(_squares)
_length_slope: Average = single(lambda phi, x, z: phi.value(x) * phi.slope(x) * z)


def length_slope(phi: Curve, found: Panels, variance: Any) -> Any:
    """The derivative of `second` by the variance, E[φ(√q z) φ'(√q z) z] / √q, without jumps."""
    xp = home(variance)
    return _length_slope(phi, found, variance) / xp.sqrt(xp.maximum(variance, _TINY))


def product(phi: Curve, found: Panels, variance: Any, correlation: Any) -> Array:
    """E[φ(u) φ(v)] of normal u and v of one variance, by panels that follow the kinks.

    With x, y ~ N(0, 1) independent, u = √q (a x + b y) and v = ±√q (a x - b y), where
    a² = (1 + |c|)/2, b² = (1 - |c|)/2 and the sign is that of c. For each y the panels in x end at
    the kinks of φ(u) and of φ(v); those in y end where these two cross.

    Args:
        phi: φ.
        found: its panels.
        variance: q, of u and of v.
        correlation: c, of u and v.

    Returns:
        The average, NaN where the outer integrand is rough, or φ was not resolved so far out.
    """
    scale = jnp.sqrt(jnp.maximum(variance, _TINY))
    sign = jnp.where(correlation < 0, -1.0, 1.0)
    a, b = (jnp.sqrt(jnp.maximum(1 + s * abs(correlation), _TINY) / 2) for s in (1, -1))
    ends = jnp.asarray(found.ends) / scale
    kinks = jnp.asarray((0.0, *found.jumps, *found.slants)) / scale
    apart = (ends[:, None] - sign * kinks).ravel() / (2 * b)

    def inner(y: Array) -> Array:
        x, weights = points(jnp.concatenate([ends - b * y, sign * ends + b * y]) / a)
        u, v = (scale * jnp.clip(a * x + s * b * y, -REACH, REACH) for s in (1, -1))
        return weights @ (phi.value(u) * phi.value(sign * v))

    y, weights = (
        jnp.pad(part, (0, -part.size % _ROWS)).reshape(-1, _ROWS)
        for part in points(jnp.concatenate([apart, -apart]))
    )
    terms = (weights * jax.lax.map(jax.vmap(inner), y)).ravel()
    exact = REACH * scale <= found.ends[-1]
    if found is not GENERIC:
        known = jax.lax.stop_gradient(terms)
        # Of steps this is some ten times the error or more, of bumps far more.
        exact &= roughness(known) <= 1e-5 * abs(known).sum()
    return jnp.where(exact, terms.sum(), jnp.nan)


def slope_product(phi: Curve, found: Panels, variance: Any, correlation: Any) -> Array:
    """The derivative of `product` by the correlation, q E[φ'(u) φ'(v)], if φ does not jump.

    Reference:
        Price, "A useful theorem for nonlinear devices having Gaussian inputs", 1958.
    """
    return variance * product(phi._replace(value=phi.slope), found, variance, correlation)


def evaluate(
    average: Average, fn: Activation, params: Mapping[str, Any], *args: Any, strict: bool = True
) -> Result:
    """An average of an activation, elementwise: at once, or where an argument is traced, in JAX.

    Args:
        average: `single(…)`, `product` or the like.
        fn: activation φ.
        params: of the activation.
        *args: of the average; numbers or arrays.
        strict: raise, instead of returning NaN, where nothing is traced.

    Returns:
        A float, an array in numpy in double precision, or a traced one.

    Raises:
        TypeError: if fn is no function of a scalar.
        ValueError: if the average is infinite, or φ could not be resolved.
    """
    names = sorted(params)
    values = [params[name] for name in names]
    if not _traced(*args, *values):
        return _at_once(average, fn, fixed(params), args, strict)
    found = GENERIC if _traced(*values) else resolved(fn, fixed(params))

    def with_params(average: Average) -> Callable[..., Array]:
        def of_scalars(*scalars: Any) -> Array:
            known = dict(zip(names, scalars[len(args) :], strict=True))
            phi = curve(double(scalar(fn, tuple(known.items()))))
            return average(phi, found, *scalars[: len(args)])

        return of_scalars

    # The panels' own derivatives are singular at q = 0 and at c = ±1, which these are not.
    known: Any = {} if found.jumps else {second: {0: length_slope}, product: {1: slope_product}}
    slopes = {i: with_params(slope) for i, slope in known.get(average, {}).items()}
    floats = (
        jnp.asarray(x, jnp.promote_types(jnp.result_type(x), float)) for x in (*args, *values)
    )
    return jnp.vectorize(_narrowed(with_params(average), slopes))(*floats)


def resolved(fn: Activation, params: Parameters) -> Panels:
    """The panels of an activation, found once."""
    return _resolved(fn, params)


@functools.lru_cache(maxsize=256)
def _resolved(fn: Activation, params: Parameters) -> Panels:
    return panels(_line(fn, params), f"fn={fn!r}")


@functools.lru_cache(maxsize=256)
def _line(fn: Activation, params: Parameters) -> Line:
    return vectorized(scalar(fn, params), f"fn={fn!r}", slope=True)


def _traced(*values: Any) -> bool:
    return any(isinstance(value, jax.core.Tracer) for value in values)


def double(fn: Callable[[Any], Any]) -> Phi:
    """An activation whose values are in double precision, whatever it returns."""
    return lambda x: jnp.asarray(fn(x)).astype(np.float64)


def _at_once(
    average: Average, fn: Activation, params: Parameters, args: tuple[Any, ...], strict: bool
) -> Result:
    arrays = np.broadcast_arrays(*(np.asarray(arg, np.float64) for arg in args))
    rows, shape = np.stack([a.ravel() for a in arrays]), arrays[0].shape
    if not rows.size:
        return np.zeros(shape)
    known = resolved(fn, params)
    if average in (product, slope_product):
        # Of millions of points, none of which a program keeps.
        program = _compiled(average, fn, params)
        with on_the_host():
            found = np.array([program(*row) for row in rows.T], np.float64)
    else:
        line = _line(fn, params)
        phi = Curve(lambda x: line(x, 0), lambda x: line(x, 1), line)
        lot = max(1, _LOT // (16 * len(known.ends)))
        lots = np.split(rows, range(lot, rows.shape[1], lot), axis=1)
        with np.errstate(all="ignore"):  # what is infinite is told of below
            found = np.concatenate([average(phi, known, *lot) for lot in lots], axis=-1)
    if strict and np.isnan(found).any():
        first = np.isnan(found).reshape(-1, rows.shape[1]).any(axis=0).argmax()
        at = ", ".join(f"{x:.6g}" for x in rows[:, first])
        raise ValueError(
            f"an average of fn={fn!r} at {at} is infinite, is not known to 1e-6, or needs it at "
            f"|x| > {known.ends[-1]:.6g}, where it was not resolved"
        )
    found = found.reshape((*found.shape[:-1], *shape))
    return found if found.ndim else float(found)


@functools.lru_cache(maxsize=256)
def _compiled(average: Average, fn: Activation, params: Parameters) -> Callable[..., Array]:
    phi, found = curve(double(scalar(fn, params))), resolved(fn, params)
    return jax.jit(functools.partial(average, phi, found))


def _narrowed(
    function: Callable[..., Array], slopes: Mapping[int, Callable[..., Array]]
) -> Callable[..., Array]:
    """A function of scalars, and its derivatives, in double precision inside of any program."""

    @jax.custom_jvp
    def narrow(*args: Any) -> Array:
        dtype = jnp.result_type(*args)
        with jax.enable_x64(True):
            wide = function(*(jax.lax.convert_element_type(arg, np.float64) for arg in args))
            return jax.lax.convert_element_type(wide, dtype)

    @functools.partial(narrow.defjvp, symbolic_zeros=True)
    def rule(primals: Any, tangents: Any) -> Any:
        total: Any = 0.0
        for i, tangent in enumerate(tangents):
            if not isinstance(tangent, SymbolicZero):
                derivative = slopes.get(i) or jax.jacfwd(function, i)
                total = total + _narrowed(derivative, {})(*primals) * tangent
        return narrow(*primals), total

    return narrow
