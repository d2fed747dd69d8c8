"""The laws of embeddings and of networks over coordinates."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxinit
from jaxinit import Axes

KEY = jax.random.key(20261125)
SHAPE = (400, 500)


def within(bound: float) -> Any:
    return stats.uniform(-bound, 2 * bound)


LAWS: list[tuple[jaxinit.Bound, Any]] = [
    (jaxinit.embedding(), stats.norm(scale=1 / math.sqrt(500))),
    (jaxinit.embedding(0.3), stats.norm(scale=0.3)),
    (jaxinit.siren(), within(math.sqrt(6 / 400) / 30)),
    (jaxinit.siren(10.0, axes=Axes(-1, -2)), within(math.sqrt(6 / 500) / 10)),
    (jaxinit.siren(first=True), within(1 / 400)),
    (jaxinit.fourier_features(10.0), stats.norm(scale=10)),
    (jaxinit.finer_bias(5.0), within(5)),
    (jaxinit.hash_grid(), within(1e-4)),
]
LEVEL = 1e-3 / len(LAWS)


@pytest.mark.parametrize(("init", "law"), LAWS, ids=map(repr, dict(LAWS)))
def test_distribution(init: jaxinit.Bound, law: Any) -> None:
    sample = np.asarray(init(KEY, SHAPE), np.float64).ravel()
    assert stats.kstest(sample, law.cdf).pvalue > LEVEL
    assert stats.kstest(1.04 * sample, law.cdf).pvalue < LEVEL
    assert stats.kstest(sample + 0.025 * sample.std(), law.cdf).pvalue < LEVEL


def test_complex_weights_are_a_disk() -> None:
    z = np.asarray(jaxinit.hash_grid(3.0)(KEY, SHAPE, jnp.complex64)).ravel()
    assert stats.kstest(abs(z) ** 2, stats.uniform(0, 6).cdf).pvalue > 1e-4  # mean 3²/3
    assert stats.kstest(np.angle(z), within(math.pi).cdf).pvalue > 1e-4


def test_an_embedding_is_that_of_flax() -> None:
    table = jaxinit.embedding()(KEY, (1000, 64))
    default = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)
    flax = jax.jit(lambda key: default(key, (1000, 64)))(KEY)
    np.testing.assert_array_equal(table, flax)
    # Vectors of norm 1: E|w|² = 1, with variance 2 / features.
    squares = np.asarray((table**2).sum(axis=1))
    assert abs(squares.mean() - 1) < 4 * math.sqrt(2 / table.size)
    assert abs(2 * squares.mean() - 1) > 4 * math.sqrt(2 / table.size)


@pytest.mark.parametrize(("padding_id", "row"), [(0, 0), (7, 7), (-1, 19), (np.int64(-20), 0)])
def test_the_padding_token_is_zero(padding_id: int, row: int) -> None:
    for shape in ((20, 6), (3, 20, 6)):
        plain = np.array(jaxinit.embedding(0.5)(KEY, shape))
        padded = jaxinit.embedding(0.5, padding_id)(KEY, shape)
        assert abs(plain[..., row, :]).min() > 0
        plain[..., row, :] = 0
        np.testing.assert_array_equal(padded, plain)


def arguments_of_the_sines(init: jaxinit.Bound, omega: float, layers: int) -> list[float]:
    """The variance of ω W x in each hidden layer of a network of sines."""
    first, *keys = jax.random.split(KEY, layers + 1)
    x = jax.random.uniform(KEY, (512, 2), minval=-1)
    x = jnp.sin(30 * (x @ jaxinit.siren(first=True)(first, (2, 1024))))
    variances = []
    for key in keys:
        z = omega * (x @ init(key, (1024, 1024)))
        variances.append(float(z.var()))
        x = jnp.sin(z)
    return variances


@pytest.mark.parametrize("omega", [30.0, 7.0])
def test_siren_keeps_the_arguments_of_its_sines(omega: float) -> None:
    """v = E[(ω W x)²] follows v ← 1 - e^(-2v), which tends to 0.797, at any ω and depth."""
    layers, v = 8, 1.0
    error = 4 * math.sqrt(2 / 1024)
    found = arguments_of_the_sines(jaxinit.siren(omega), omega, layers)
    for variance in found:
        assert abs(variance / v - 1) < error
        v = 1 - math.exp(-2 * v)
    assert abs(v - 0.797) < 1e-3
    for wrong in (jaxinit.siren(1.5 * omega), jaxinit.lecun_uniform() * (2 / omega)):
        assert abs(arguments_of_the_sines(wrong, omega, layers)[-1] / v - 1) > error


def test_fourier_features_have_a_gaussian_kernel() -> None:
    """The mean of cos 2π w·(x - y) is exp(-2 π² σ² |x - y|²): four standard errors."""
    scale, n = 3.0, 100_000
    w = np.asarray(jaxinit.fourier_features(scale)(KEY, (2, n)), np.float64)
    error = 4 / math.sqrt(2 * n)
    for step in ([0.0, 0.0], [0.02, 0.01], [0.05, -0.02], [-0.1, 0.1]):
        delta = np.array(step)
        kernel = math.exp(-2 * (math.pi * scale) ** 2 * (delta @ delta))
        assert abs(np.cos(2 * math.pi * (delta @ w)).mean() - kernel) < error
    delta = np.array([0.03, 0.02])  # and without 2π, or with a standard deviation squared, it fails
    kernel = math.exp(-2 * (math.pi * scale) ** 2 * (delta @ delta))
    assert abs(np.cos(delta @ w).mean() - kernel) > error
    assert abs(np.cos(2 * math.pi * (delta @ w) * math.sqrt(scale)).mean() - kernel) > error


untyped: Any = jaxinit
FACTORY: list[tuple[Any, type[Exception], str]] = [
    (lambda: jaxinit.embedding(-1.0), ValueError, "stddev=-1.0 is negative"),
    (lambda: untyped.embedding(padding_id=0.5), TypeError, "padding_id=0.5 is not a whole number"),
    (lambda: jaxinit.siren(0.0), ValueError, "omega=0.0 is not above 0"),
    (lambda: untyped.siren(None), TypeError, "omega=None is not a real number"),
    (lambda: untyped.siren(axes="bd"), ValueError, "is not an einsum"),
    (lambda: untyped.fourier_features(), TypeError, "missing a required argument: 'scale'"),
    (lambda: jaxinit.fourier_features(math.nan), ValueError, "scale=nan is not finite"),
    (lambda: jaxinit.finer_bias(-1.0), ValueError, "k=-1.0 is negative"),
    (lambda: jaxinit.hash_grid(-1e-4), ValueError, "scale=-0.0001 is negative"),
]


@pytest.mark.parametrize(("make", "error", "message"), FACTORY, ids=range(len(FACTORY)))
def test_factories(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


CALL: list[tuple[Any, type[Exception], str]] = [
    (lambda: jaxinit.embedding()(KEY, (8,)), ValueError, "is 1-D: an embedding is a table"),
    (
        lambda: jaxinit.embedding(padding_id=8)(KEY, (8, 4)),
        ValueError,
        "padding_id=8 is none of the 8 tokens",
    ),
    (lambda: jaxinit.siren()(KEY, (8,)), ValueError, "is 1-D"),
    (lambda: jaxinit.siren()(KEY, (8, 4), jnp.int32), TypeError, "has no fractions"),
]


@pytest.mark.parametrize(("call", "error", "message"), CALL, ids=range(len(CALL)))
def test_calls(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
    with pytest.raises(error, match=message):  # and so while tracing
        jax.eval_shape(call)
