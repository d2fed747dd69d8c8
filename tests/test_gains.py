"""Gaussian moments against closed forms and against quadrature that knows where the kinks are."""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

import jaxinit
from jaxinit import gain, gains
from jaxinit._quadrature import expectation
from jaxinit.gains import moments, tangent

Φ = special.ndtr
PEAK = 1 / math.sqrt(2 * math.pi)  # the density at 0
TAIL = math.exp(0.5) * Φ(-1)  # E[exp(z); z < 0]


def elu(alpha: float) -> tuple[float, float]:
    second = 0.5 + alpha**2 * (math.exp(2) * Φ(-2) - 2 * TAIL + 0.5)
    return PEAK + alpha * (TAIL - 0.5), second


# φ, its parameters, E[φ(z)] and E[φ(z)²].
CLOSED: list[tuple[Any, dict[str, Any], float, float]] = [
    ("identity", {}, 0, 1),
    ("relu", {}, PEAK, 1 / 2),
    (jax.nn.leaky_relu, {"negative_slope": 0.2}, 0.8 * PEAK, 1.04 / 2),
    (functools.partial(jax.nn.leaky_relu, negative_slope=-1), {}, 2 * PEAK, 1),
    ("elu", {}, *elu(1)),
    ("elu", {"alpha": np.float32(0.5)}, *elu(0.5)),
    ("gelu", {"approximate": False}, PEAK / math.sqrt(2), 1 / 3 + 1 / (2 * math.pi * 3**0.5)),
    (jax.lax.erf, {}, 0, 2 / math.pi * math.asin(2 / 3)),
    ("sin", {}, 0, -math.expm1(-2) / 2),
    (lambda x: jnp.sin(200 * x), {}, 0, 1 / 2),
    ("exp", {}, math.exp(0.5), math.exp(2)),
    (lambda x: jnp.exp(x * x / 8), {}, 2 / math.sqrt(3), math.sqrt(2)),
    (lambda x: x**3, {}, 0, 15),
    ("sign", {}, 0, 1),
    (lambda x: x > 0.3, {}, Φ(-0.3), Φ(-0.3)),
    (lambda x: jnp.where(x < -math.e, 3.0, 5.0), {}, 5 - 2 * Φ(-math.e), 25 - 16 * Φ(-math.e)),
    (lambda x: 1e-100 * jnp.abs(x), {}, 2e-100 * PEAK, 1e-200),
]


@pytest.mark.parametrize(("fn", "params", "mean", "second"), CLOSED, ids=range(len(CLOSED)))
def test_closed_forms(fn: Any, params: dict[str, Any], mean: float, second: float) -> None:
    found = moments(fn, **params)
    scale = math.sqrt(second)
    assert abs(found.mean - mean) < 1e-10 * scale
    assert abs(found.second / second - 1) < 1e-10
    variance = second - mean**2
    assert abs(found.variance - variance) < 1e-10 * second
    assert abs(gain(fn, **params) * scale - 1) < 1e-10
    assert abs(gain(fn, "variance", **params) * math.sqrt(variance) - 1) < 1e-9


def test_a_rule_that_does_not_bisect_is_off() -> None:
    """The tolerance above has power: a hundred nodes of Gauss and Hermite leave 1e-4 and more."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    for fn, mean in ((lambda x: np.maximum(x, 0), PEAK), (lambda x: x > 0.3, Φ(-0.3))):
        assert abs(weights @ fn(nodes) * PEAK / mean - 1) > 1e-4


def test_jumps_and_kinks_anywhere() -> None:
    """Rules that miss the ends of a panel overlook one jump in five: 1e-3 to 1e-9 is left."""
    for k in np.random.default_rng(0).normal(0, 1.5, 300):
        found = expectation("", lambda z, k=k: np.stack([z > k, np.maximum(z - k, 0)]) * 1.0)  # type: ignore[misc]
        exact = np.array([Φ(-k), stats.norm.pdf(k) - k * Φ(-k)])
        assert abs(found / exact - 1).max() < 1e-11


SCALAR = (
    *("celu", "elu", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu"),
    *("log_sigmoid", "mish", "relu6", "selu", "sigmoid", "silu", "soft_sign", "softplus"),
    *("sparse_plus", "sparse_sigmoid", "squareplus", "tanh"),
)
KINKS = (-14, -6, -3, -1, 0, 1, 3, 6, 14)


@pytest.mark.parametrize("name", SCALAR)
def test_activations_of_jax(name: str) -> None:
    with jax.enable_x64(True):
        fn = jax.jit(getattr(jax.nn, name))

        def integral(power: int) -> float:
            return sum(
                integrate.fixed_quad(
                    lambda z: np.asarray(fn(z)) ** power * stats.norm.pdf(z), a, b, n=120
                )[0]
                for a, b in itertools.pairwise(KINKS)
            )

        mean, second = integral(1), integral(2)
    found = moments(name)
    assert found == moments(getattr(jax.nn, name))
    np.testing.assert_allclose(found, (mean, second, second - mean**2), rtol=1e-9, atol=1e-12)
    assert gain(name) == 1 / math.sqrt(found.second)


def test_singular_and_coarse_activations() -> None:
    """To the 1e-6 that is promised where double precision or a derivative is missing."""
    second = special.gamma(1 / 4) / (2**0.25 * math.sqrt(math.pi))
    root = moments(lambda x: jnp.where(x == 0, 0, jnp.abs(x) ** -0.25))
    assert abs(root.second / second - 1) < 1e-6
    exact = moments("tanh")
    single = moments(lambda x: jnp.tanh(x.astype(jnp.float32)))
    assert 0 < abs(single.second / exact.second - 1) < 1e-6
    shifted = moments(lambda x: 1e6 + jnp.tanh(x))
    assert abs(shifted.variance / exact.variance - 1) < 1e-6


@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.floats(0.01, 100), st.floats(-3, 3), st.floats(-2, 2))
def test_scale_shift_and_kink(factor: float, shift: float, kink: float) -> None:
    """g(aφ) = g(φ)/a; a constant leaves the variance; E[(z - k)₊²] = (1 + k²)Φ(-k) - k pdf(k)."""

    def fn(x: Any, a: float = 1.0, b: float = 0.0) -> Any:
        return a * jnp.maximum(x - kink, 0) + b

    second = (1 + kink**2) * Φ(-kink) - kink * stats.norm.pdf(kink)
    assert abs(moments(fn).second / second - 1) < 1e-9
    assert abs(gain(fn, a=factor) * factor / gain(fn) - 1) < 1e-9
    assert abs(gain(fn, "variance", b=shift) / gain(fn, "variance") - 1) < 1e-9


def test_the_same_number_wherever_it_is_asked_for() -> None:
    def fresh(x: Any) -> Any:
        return jax.nn.silu(x) + jnp.where(x > 0.1, 1, -x)

    found = []

    def ask(x: jax.Array) -> jax.Array:
        gains.scale._moments.cache_clear()
        found.append(gain(fresh))
        return x * gain(fresh)

    jax.jit(ask)(1.0)
    jax.grad(ask)(1.0)
    jax.vmap(ask)(jnp.ones(2))
    jax.eval_shape(ask, 1.0)
    with jax.enable_x64(True):
        jax.jit(ask)(1.0)
    ask(jnp.ones(()))
    assert len(set(found)) == 1
    assert isinstance(found[0], float)
    assert jnp.ones(()).dtype == jnp.float32


def test_integrates_once() -> None:
    traced = []

    def fn(x: Any, a: float) -> Any:
        traced.append(a)
        return jnp.tanh(a * x)

    assert gain(fn, a=2.0) == gain(fn, a=2) == gain(fn, a=jnp.float32(2))
    assert gain(fn, "variance", a=2.0) > 0
    assert traced == [2.0]
    assert gain(fn, a=3.0) < gain(fn, a=2.0)
    assert traced == [2.0, 3.0]


def test_torch() -> None:
    """The table of torch.nn.init.calculate_gain."""
    table = {"sigmoid": 1, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4, "linear": 1}
    table |= {"conv2d": 1, "conv_transpose3d": 1, "leaky_relu": math.sqrt(2 / 1.0001)}
    for name, expected in table.items():
        assert gain(name, "torch") == expected
        if hasattr(jax.nn, name):
            assert gain(getattr(jax.nn, name), "torch") == expected
    assert gain("leaky_relu", "torch", negative_slope=0.5) == math.sqrt(1.6)
    assert gain("linear") == pytest.approx(1, rel=1e-12)
    assert abs(gain("tanh") - gain("tanh", "torch")) > 0.05


def test_tangents() -> None:
    for fn, value, slope in (
        ("sigmoid", 1 / 2, 1 / 4),
        (jax.nn.softplus, math.log(2), 1 / 2),
        ("gelu", 0, 1 / 2),
        (lambda x: 1e6 * jnp.sin(x) - 2, -2, 1e6),
        ("cos", 1, 0),
    ):
        np.testing.assert_allclose(tangent(fn), (value, slope), rtol=1e-12)  # type: ignore[arg-type]
    assert tangent("elu", alpha=1.0).slope == 1


def test_jax_functions_are_kept_by_name() -> None:
    assert gains.activation("fn", jax.nn.swish) == "silu"
    assert gains.activation("fn", jnp.tanh) == "tanh"

    def relu(x: Any) -> Any:
        return x

    assert gains.activation("fn", relu) is relu


untyped: Any = gain


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, x: Any) -> Any:
        return x


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: gain("rleu"), ValueError, "fn='rleu' is no function of jax.*did you mean 'relu'"),
    (lambda: gain("qqqqqqq"), ValueError, "pass the function itself"),
    (lambda: gain("initializers"), ValueError, "is no function of jax.nn"),
    (lambda: untyped(3), TypeError, "fn=3 is a int, not an activation"),
    (lambda: untyped("relu", "seconds"), ValueError, "moment='seconds' is .*mean 'second'"),
    (lambda: gain(Unhashable()), TypeError, "which cannot be hashed"),
    (lambda: gain("softmax"), TypeError, "fn='softmax' is no function of a real scalar in JAX"),
    (lambda: gain(lambda x: jnp.stack([x, x])), TypeError, r"returns float64\[2\] for a number"),
    (lambda: gain(lambda x: x + 1j), TypeError, "returns complex128"),
    (lambda: gain(lambda x: x if x > 0 else 0.0), TypeError, "boolean conversion of traced"),
    (lambda: gain(lambda x, y: x), TypeError, "missing 1 required positional argument"),
    (lambda: gain("elu", beta=1.0), TypeError, "unexpected keyword argument 'beta'"),
    (lambda: gain("elu", alpha=jnp.ones(3)), TypeError, r"alpha has shape \(3,\)"),
    (lambda: gain("elu", alpha={}), TypeError, "alpha={} is a dict, which cannot be hashed"),
    (lambda: jax.jit(lambda a: gain("elu", alpha=a))(1.0), TypeError, "alpha=.* is traced"),
    (lambda: gain("log"), ValueError, "fn='log' is nan at -"),
    (lambda: gain(lambda x: jnp.exp(jnp.exp(x))), ValueError, "is inf at 6.5"),
    (lambda: gain(lambda x: 1 / x), ValueError, "is inf at 0"),
    (lambda: gain(lambda x: 1 / (x - 0.3)), ValueError, "does not converge near z = 0.3"),
    (lambda: gain(lambda x: jnp.abs(x - 0.3) ** -0.5), ValueError, "converge near z = 0.3"),
    (lambda: gain(lambda x: jnp.exp(x * x / 4)), ValueError, "is infinite, or has its mass"),
    (lambda: gain(lambda x: jnp.exp(2 * x * x)), ValueError, "is infinite, or has its mass"),
    (lambda: gain(lambda x: jnp.sin(1e5 * x)), ValueError, "oscillate too fast"),
    (lambda: gain(lambda x: 0 * x), ValueError, "is zero almost everywhere"),
    (lambda: gain(lambda x: 0 * x + 1e3, "variance"), ValueError, "is constant almost every"),
    (lambda: gain("gelu", "torch"), ValueError, "fn='gelu' is not in torch's table of linear"),
    (lambda: gain(lambda x: x, "torch"), ValueError, "moment='second' takes any function"),
    (lambda: gain("relu", "torch", alpha=1), TypeError, "relu has no parameter 'alpha'"),
    (lambda: tangent("relu"), ValueError, "no derivative at 0: .* slopes 0, 0, 1"),
    (lambda: tangent(jax.nn.leaky_relu), ValueError, "no derivative at 0: .* slopes 0.01, 1, 1"),
    (lambda: tangent(lambda x: jnp.sign(x) + x), ValueError, "values are -1, 0, 1"),
    (lambda: tangent(lambda x: jnp.sqrt(jnp.abs(x))), ValueError, "no derivative at 0"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_is_public() -> None:
    assert jaxinit.gain is gain
    assert jaxinit.gains is gains
