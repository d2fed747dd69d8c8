"""Activations evaluated by numpy against what XLA compiles of the same trace."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from jax import lax

from jaxinit import gains
from jaxinit._numpy import by_numpy
from jaxinit._operations import NUMPY, SHAPED
from jaxinit._pointwise import by_xla, vectorized

SPECIAL = [0.0, -0.0, 1e-310, -1e-310, 1e-9, 40.0, -40.0, 710.0, -710.0, np.inf, -np.inf, np.nan]
POINTS = np.append(np.linspace(-9, 9, 1999), SPECIAL)


@jax.custom_vjp
def cubed(x: Any) -> Any:
    return x**3


cubed.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x**2 * g,))

WEIGHTS = np.array([0.5, -1.0, 2.0])
MATRIX = np.arange(6.0).reshape(2, 3) - 2
CUBE = np.arange(8.0).reshape(2, 2, 2) - 3

UNARY = (
    *("abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "ceil", "cos", "cosh"),
    *("erf", "erfc", "erf_inv", "exp", "exp2", "expm1", "floor", "lgamma", "log", "log1p"),
    *("logistic", "neg", "rsqrt", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient"),
    *("tan", "tanh"),
)
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    **{name: getattr(lax, name) for name in UNARY},
    "bessel_i0e": lax.bessel_i0e,
    "bessel_i1e": lax.bessel_i1e,
    "searchsorted": lambda x: (
        jnp.searchsorted(np.array([-2.0, 0.0, 0.5]), jnp.round(x))
        + 5.0 * jnp.searchsorted(np.array([-2.0, 0.0, 0.5]), jnp.round(x), side="right")
    ),
    # At 0 versions of JAX differ.
    "digamma": lambda x: lax.digamma(jnp.where(x == 0, 0.5, x)),
    "add": lambda x: x + 2,
    "sub": lambda x: 2 - x,
    "mul": lambda x: 3 * x,
    "div": lambda x: 3 / x,
    "rem": lambda x: lax.rem(x, 0.7),
    "pow": lambda x: lax.pow(abs(x), 1.3),
    "atan2": lambda x: lax.atan2(x, -0.3),
    "max": lambda x: lax.max(x, 0.5),
    "min": lambda x: lax.min(x, 0.5),
    "clamp": lambda x: lax.clamp(-0.5, x, 1.5),
    "select_n": lambda x: lax.select_n(x > 0, x + 5, 2 * x),
    "comparisons": lambda x: (x == 0) + 2.0 * (x != 0) + 4.0 * (x > 0) + 8.0 * (x >= 0),
    "less": lambda x: (x < 0) + 2.0 * (x <= 0),
    "logic": lambda x: ((x > 0) & (x < 1)) + 2.0 * ((x > 0) | (x < -1)) + 4.0 * ~(x > 0),
    "xor": lambda x: 1.0 * ((x > 0) ^ (x > 1)) + jnp.isfinite(x),
    "round": lambda x: lax.round(x / 2) + 10 * jnp.round(x / 2),
    "powers": lambda x: lax.integer_pow(x, 3) + lax.integer_pow(x, -2),
    "single": lambda x: (x.astype(np.float32) * np.float32(0.1)).astype(np.float64),
    "array": lambda x: x * jnp.full((), x) + jnp.array(np.float64(0.3)),
    "custom": cubed,
    "words": lambda x: lax.bitcast_convert_type(
        lax.bitcast_convert_type(x, np.uint64) & np.uint64(2**63 - 1), np.float64
    ),
    "slope of tanh": jax.grad(jnp.tanh),
    "slope of erf": jax.grad(lax.erf),
    "slope of gelu": jax.grad(lambda x: jax.nn.gelu(x, approximate=False)),
    "slope twice": jax.grad(lambda x: jnp.sin(x) * x + cubed(x)),
}

# XLA loses NaN in sums and extremes: at finite points.
ARRAYS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: jnp.sum(WEIGHTS * jnp.stack([x, x**2, jnp.tanh(x)])),
    "product": lambda x: jnp.prod(jnp.stack([x, x + 1])),
    "extremes": lambda x: jnp.max(WEIGHTS * x) - 2 * jnp.min(WEIGHTS * x),
    "matrices": lambda x: ((MATRIX * x) @ MATRIX.T @ jnp.stack([x, 1.0])) @ WEIGHTS[:2],
    "batches": lambda x: jnp.einsum("bij,bjk->bik", CUBE * x, CUBE + x)[1, 0, 1],
    "transposed": lambda x: (MATRIX * x).T.reshape(6)[4] + (MATRIX + x).reshape(3, 2)[2, 0],
    "counted": lambda x: jnp.sum(lax.broadcasted_iota(np.float64, (2, 3), 1) ** x.clip(0, 2)),
    "parts": lambda x: (p := jnp.split(jnp.arange(4.0) * x, 2))[0] @ p[1] + p[0][1],
    "strided": lambda x: lax.slice(WEIGHTS * x, (0,), (3,), (2,))[1],
    "concatenated": lambda x: jnp.concatenate([WEIGHTS, jnp.stack([x, 2 * x])])[3:] @ WEIGHTS[:2],
    "padded": lambda x: lax.pad(WEIGHTS * x, 0.5, [(1, -1, 1)]) @ jnp.arange(5.0),
    "cropped": lambda x: lax.pad(WEIGHTS * x, 0.5, [(-1, 2, 0)]) @ jnp.arange(4.0),
    "running": lambda x: jnp.cumsum(WEIGHTS * x)[1] + lax.cumsum(WEIGHTS * x, reverse=True)[1],
    "places": lambda x: jnp.argmax(WEIGHTS * x) + 3.0 * jnp.argmin(jnp.stack([x, 0.5])),
    "cond": lambda x: lax.cond(x > 0.5, lambda y: 2 * y, lambda y: jnp.exp(-abs(y)), x),
    "constants": lambda x: lax.cond(x > 0.5, lambda y: 2.0, lambda y: 3.0, x),
    "switch": lambda x: lax.switch(
        (x > 0).astype(int) + (x > 1), [lambda y: y, lambda y: y**2, jnp.sin], x
    ),
    "piecewise": lambda x: jnp.piecewise(x, [x < -1, x > 1], [-1.0, 1.0, lambda y: y**3]),
    "select": lambda x: jnp.select([x < -1, x > 1], [x**2, 1.0], x),
    "loop": lambda x: lax.fori_loop(0, 3, lambda i, y: jnp.sin(y) + i, x),
    "backwards": lambda x: (
        lax.scan(lambda y, row: (y * x + row, y), 0.0, WEIGHTS, reverse=True)[1]
        @ WEIGHTS[[1, 0, 2]]
    ),
    "rows": lambda x: lax.scan(lambda y, r: (y + r[0], y * r[1]), x, MATRIX.T)[1][2],
    "polynomial": lambda x: jnp.polyval(WEIGHTS, x),
    "look-up": lambda x: jnp.array([1.0, 3.0, 7.0])[(x > 0).astype(int) + (x > 1)],
    "look-up of x": lambda x: (WEIGHTS * x)[(x > 0).astype(int)] + (WEIGHTS * x)[-2],
    "interp": lambda x: jnp.interp(x, np.array([-2.0, 0.0, 0.5]), WEIGHTS),
    "until": lambda x: lax.while_loop(lambda y: abs(y) > 0.3, lambda y: 0.7 * y, x.clip(-9, 9)),
    "until it is near": lambda x: lax.while_loop(
        (lambda a: lambda y: abs(y) > a)(0.1 * abs(x) + 0.1),
        (lambda b: lambda y: y / 2 + b)(jnp.sin(2 * x) / 100),
        3 * x,
    ),
    "until both": lambda x: lax.while_loop(
        lambda y: y[0] < y[1], lambda y: (y[0] + 1, y[1] * 0.9 + x**0), (x.clip(-9), 4.0)
    )[1],
    "slope of a loop without end": lambda x: jax.jvp(
        lambda y: lax.while_loop(
            lambda z: abs(z) > 1, lambda z: z * y.clip(-9, 9) / 9.5, y.clip(-9, 9)
        ),
        (x,),
        (1.0,),
    )[1],
    "nothing": lambda x: jnp.sum((WEIGHTS * x)[:0].reshape(0, 1)) + x,
    "nothing twice": lambda x: jnp.sum(jnp.broadcast_to((WEIGHTS * x)[:0], (2, 0))) + x,
    "slope of a loop": jax.grad(lambda x: lax.fori_loop(0, 3, lambda i, y: jnp.sin(y), x)),
    "slope of an array": jax.grad(lambda x: jnp.max(WEIGHTS * jnp.tanh(x)) + (WEIGHTS * x)[1]),
    "slope of a stack": jax.grad(lambda x: jnp.max(jnp.stack([x, 0.1 * x, 2.0]))),
    "slope of piecewise": jax.grad(
        lambda x: jnp.piecewise(x, [x < -1, x > 1], [-1.0, lambda y: y**3, lambda y: y])
    ),
}


def traced(fn: Callable[[Any], Any]) -> Any:
    with jax.enable_x64(True):
        return jax.make_jaxpr(lambda x: jnp.asarray(fn(x)).astype(np.float64))(np.float64(0))


def names(closed: Any) -> Iterator[str]:
    for equation in closed.jaxpr.eqns:
        name = equation.primitive.name
        yield name
        for value in equation.params.values():
            for called in value if isinstance(value, tuple) else (value,):
                if hasattr(called, "eqns"):
                    yield from names(called)


@pytest.mark.parametrize("name", [*FUNCTIONS, *ARRAYS])
def test_numpy_gives_what_xla_gives(name: str) -> None:
    """To 1e-13, a product in single precision too; NaN, zeros and infinities at the same points."""
    trace = traced({**FUNCTIONS, **ARRAYS}[name])
    interpreted = by_numpy(trace)
    assert interpreted
    with np.errstate(all="ignore"), jax.enable_x64(True):
        (ours,), (xla,) = interpreted(POINTS), by_xla(trace)(POINTS)
    # XLA takes numbers under 2e-308 for zero.
    normal = (abs(POINTS) != 1e-310) & (np.isfinite(POINTS) | (name in FUNCTIONS))
    # 1 - tanh² has the rounding of 1, as have these where they are 0.
    floor = 4e-15 if name in ("slope of tanh", "digamma", "lgamma") else 1e-300
    np.testing.assert_allclose(ours[normal], xla[normal], rtol=1e-13, atol=floor)


def test_the_inverse_error_function_near_1() -> None:
    """Where XLA has ten digits."""
    rest = 2.0 ** -np.arange(4, 50, 5)
    expected = [float(mp.erfinv(1 - mp.mpf(x))) for x in rest]
    np.testing.assert_allclose(NUMPY["erf_inv"](1 - rest), expected, rtol=1e-14)
    np.testing.assert_allclose(NUMPY["erf_inv"](rest - 1), np.negative(expected), rtol=1e-14)


def test_every_operation_of_the_table_is_tried() -> None:
    tried = {name for fn in (*FUNCTIONS.values(), *ARRAYS.values()) for name in names(traced(fn))}
    # Some versions of JAX do without these.
    some = {"le_to", "lt_to", "one_minus_square", "polynomial"}
    assert {*NUMPY, *SHAPED} - some <= tried


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: lax.igamma(2.0, abs(x)),
        lambda x: jnp.sort(WEIGHTS * x)[1],
        lambda x: jnp.array([[1.0, 2.0]])[0, (x > 0).astype(int)],
        lambda x: jnp.sum(jnp.zeros(65) + x),
        lambda x: jnp.interp(x, np.linspace(-2, 2, 65), np.arange(65.0)),
        lambda x: jnp.sum(jnp.searchsorted(np.arange(3.0), jnp.stack([x, 2 * x]))),
        lambda x: lax.reshape(CUBE[0] * x, (4,), dimensions=(1, 0))[1],
        lambda x: lax.bitcast_convert_type(x, np.uint32)[1] & 1,
        lambda x: lax.scan(lambda y, row: (y + row, y), x, jnp.zeros(0))[0],
        lambda x: lax.fori_loop(0, 65, lambda i, y: jnp.sin(y), x),
        lambda x: lax.fori_loop(
            0, 60, lambda i, y: lax.fori_loop(0, 60, lambda j, z: jnp.sin(z), y), x
        ),
        lambda x: jnp.stack([x, 1 - x]).astype(int) @ jnp.array([1, 2]),
        lambda x: lax.div(jnp.argmax(jnp.stack([x, 0.5])) - 3, 2),
        lambda x: (x * 3).astype(np.int32),
        lambda x: jnp.tanh(x.astype(jnp.bfloat16)),
        lambda x: lax.while_loop(lambda y: y < 3, lambda y: y + lax.igamma(2.0, 3.0), x),
    ],
)
def test_what_numpy_does_not_know_is_compiled(fn: Callable[[Any], Any]) -> None:
    """All of it, and with the same result as JAX's own."""
    assert by_numpy(traced(fn)) is None
    points = np.linspace(-2, 2, 2001)
    with jax.enable_x64(True):
        expected = jax.vmap(fn)(points).astype(np.float64)
    np.testing.assert_allclose(vectorized(fn, "fn")(points), expected, rtol=1e-12, atol=1e-14)


def test_a_common_activation_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("compiled")

    monkeypatch.setattr("jaxinit._pointwise.by_xla", refuse)
    for fn in (
        ARRAYS["piecewise"],
        jax.nn.gelu,
        jax.nn.relu,
        jax.nn.selu,
        jax.nn.silu,
        jax.nn.mish,
        jax.nn.softplus,
    ):
        # A function of its own, so that nothing is remembered of it.
        gains.gain(lambda x, fn=fn: fn(x))
        gains.susceptibility(lambda x, fn=fn: fn(x), 1.0, 1.5)
    with pytest.raises(TypeError, match="compiled"):
        gains.gain(lambda x: lax.igamma(2.0, abs(x)))


def test_slopes_forward_and_backward() -> None:
    """Of a loop that only has the one, and of a rule that only has the other."""

    def halved(x: Any) -> Any:
        return lax.while_loop(lambda y: abs(y) > 1, lambda y: y / 2, x)

    value, slope = vectorized(halved, "halved", slope=True)(np.array([0.5, 3.0]))
    assert (value.tolist(), slope.tolist()) == ([0.5, 0.75], [1, 0.25])
    value, slope = vectorized(cubed, "cubed", slope=True)(np.array([2.0]))
    assert (value.tolist(), slope.tolist()) == ([8], [12])


def test_an_activation_of_a_traced_number_is_an_error_that_names_it() -> None:
    def scaled(a: Any) -> Any:
        return gains.gain(lambda x: jnp.tanh(a * x))

    with pytest.raises(TypeError, match="is no function of a real scalar"):
        jax.jit(scaled)(2.0)
