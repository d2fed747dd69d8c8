"""The laws of independent entries."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxinit

SHAPE = (400, 500)
KEY = jax.random.key(20261124)
Numbers = np.ndarray[Any, Any]


def numbers(init: Any, shape: tuple[int, ...] = SHAPE, dtype: Any = None) -> Numbers:
    weights = np.asarray(init(KEY, shape, dtype))
    return weights.astype(np.complex128 if weights.dtype.kind == "c" else np.float64)


def truncated(stddev: float, low: float, high: float) -> Any:
    """Of standard deviation stddev, from a normal between low and high of its own."""
    return stats.truncnorm(low, high, scale=stddev / stats.truncnorm(low, high).std())


LAWS: list[tuple[jaxinit.Bound, Any]] = [
    (jaxinit.uniform_between(-1.5, 0.5), stats.uniform(-1.5, 2.0)),
    (jaxinit.normal(0.5, mean=-2.0), stats.norm(-2.0, 0.5)),
    (jaxinit.truncated_normal(0.5, corrected=True), truncated(0.5, -2, 2)),
    (jaxinit.truncated_normal(0.5, None, -0.5, 3.0, corrected=True), truncated(0.5, -0.5, 3)),
    (
        jaxinit.truncated_normal(0.5, None, -0.2, 1.1, bounds="absolute"),
        stats.truncnorm(-0.4, 2.2, scale=0.5),
    ),
    (jaxinit.laplace(0.3), stats.laplace(scale=0.3)),
    (jaxinit.student_t(2.5, 0.3), stats.t(2.5, scale=0.3 * math.sqrt(0.5 / 2.5))),
    (jaxinit.student_t(9.0, 0.3), stats.t(9, scale=0.3 * math.sqrt(7 / 9))),
    (jaxinit.student_t(1e7, 0.3), stats.norm(scale=0.3)),
]
LEVEL = 1e-3 / len(LAWS)


@pytest.mark.parametrize(("init", "law"), LAWS, ids=map(repr, dict(LAWS)))
def test_distribution(init: jaxinit.Bound, law: Any) -> None:
    sample = numbers(init).ravel()
    assert stats.kstest(sample, law.cdf).pvalue > LEVEL
    middle = np.median(sample)
    assert stats.kstest(middle + 1.04 * (sample - middle), law.cdf).pvalue < LEVEL
    width = law.ppf(0.84) - law.ppf(0.16)
    assert stats.kstest(sample + 0.0125 * width, law.cdf).pvalue < LEVEL


@pytest.mark.parametrize(
    ("init", "law"),
    [
        (jaxinit.laplace(1.0), stats.laplace()),
        (jaxinit.student_t(3.0, 1.0), stats.t(3, scale=math.sqrt(1 / 3))),
    ],
    ids=["laplace", "student_t"],
)
def test_tails(init: jaxinit.Bound, law: Any) -> None:
    """Counts beyond a far quantile are Poisson: four standard deviations of them."""
    weights = abs(numbers(init, (2000, 2000)))

    def off(weights: Numbers, mass: float) -> bool:
        expected = mass * weights.size
        count = (weights > law.isf(mass / 2)).sum()
        return bool(abs(count - expected) > 4 * math.sqrt(expected))

    assert not any(off(weights, mass) for mass in (1e-3, 1e-4, 1e-5))
    assert off(0.9 * weights, 1e-3)


def test_complex_student_t_is_spherical() -> None:
    """P(|w|² > m) = (1 + 2 m / (σ² (df - 2)))^(-df/2), with uniform phases and E|w|² = σ²."""
    df, stddev = 9.0, 0.5
    z = numbers(jaxinit.student_t(df, stddev), dtype=jnp.complex64).ravel()

    def cdf(m: Numbers) -> Numbers:
        return 1 - (1 + m / (stddev**2 * (df - 2) / 2)) ** (-df / 2)

    assert stats.kstest(abs(z) ** 2, cdf).pvalue > 1e-4
    assert (
        stats.kstest(abs(z.real + 1j * np.random.default_rng(0).permutation(z.imag)) ** 2, cdf)[1]
        < 1e-4
    )  # independent components are not spherical
    assert stats.kstest(np.angle(z), stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 1e-4
    marginal = stats.t(df, scale=stddev * math.sqrt((df - 2) / df / 2))
    assert stats.kstest(z.real, marginal.cdf).pvalue > 1e-4


def test_laplace_is_that_of_jax() -> None:
    expected = jax.jit(lambda k: 0.3 * jax.random.laplace(k, SHAPE))(KEY)
    np.testing.assert_allclose(jaxinit.laplace(0.3)(KEY, SHAPE), expected, rtol=1e-6)


def test_rademacher() -> None:
    w = numbers(jaxinit.rademacher(0.25))
    np.testing.assert_array_equal(w, 0.25 * np.asarray(jax.random.rademacher(KEY, SHAPE)))
    assert abs(w.mean() / 0.25) < 4 / math.sqrt(w.size)
    z = numbers(jaxinit.rademacher(2.0), dtype=jnp.complex64)
    np.testing.assert_allclose(abs(z), 2, rtol=1e-6)
    quadrants = np.unique(np.round(z, 3), return_counts=True)[1]
    assert quadrants.size == 4
    assert stats.chisquare(quadrants).pvalue > 1e-4
    assert stats.chisquare(quadrants * [1.02, 1, 0.98, 1]).pvalue < 1e-4


def test_ternary() -> None:
    prob = 0.3
    values, counts = np.unique(numbers(jaxinit.ternary(prob, 0.5)), return_counts=True)
    assert values.tolist() == [-0.5, 0, 0.5]
    expected = np.array([prob / 2, 1 - prob, prob / 2]) * counts.sum()
    assert stats.chisquare(counts, expected).pvalue > 1e-4
    wrong = np.array([prob / 2 - 0.004, 1 - prob, prob / 2 + 0.004]) * counts.sum()
    assert stats.chisquare(counts, wrong).pvalue < 1e-4


def test_a_mean_moves_the_numbers() -> None:
    mean = np.linspace(-1, 1, 500, dtype=np.float32)
    for dtype in (jnp.float32, jnp.complex64):
        moved = numbers(jaxinit.normal(0.5, mean=mean), dtype=dtype)
        np.testing.assert_allclose(moved, mean + numbers(jaxinit.normal(0.5), dtype=dtype), 0, 1e-6)
    still = jaxinit.normal(0.5, mean=0.0)(KEY, SHAPE)
    assert np.asarray(still).tobytes() == np.asarray(jaxinit.normal(0.5)(KEY, SHAPE)).tobytes()


BOUNDS = [(-2.0, 2.0), (-0.5, 3.0), (1.5, 2.0), (-4.0, -2.5), (-40.0, 50.0), (-0.01, 0.01)]


@pytest.mark.parametrize(("lower", "upper"), BOUNDS)
def test_corrected_truncation_has_the_standard_deviation(lower: float, upper: float) -> None:
    law = stats.truncnorm(lower, upper)
    # The standard deviation of one is exact; that of a sample has four standard errors.
    plain = jaxinit.truncated_normal(1.0, None, lower, upper)
    ratio = numbers(plain.replace(corrected=True)) / numbers(plain)
    np.testing.assert_allclose(ratio, 1 / law.std(), rtol=1e-6)
    excess = float(law.stats(moments="k"))
    sample = numbers(plain.replace(corrected=True))
    error = 4 * math.sqrt((excess + 2) / sample.size) / 2
    # Far bounds leave few float32 numbers of a uniform between them: half a step of it.
    assert abs(sample.std() - 1) < error + (0.002 if abs(lower + upper) > 3 else 0)


def test_corrected_truncation_is_that_of_variance_scaling() -> None:
    ours = jaxinit.truncated_normal(1 / math.sqrt(400), corrected=True)(KEY, SHAPE)
    np.testing.assert_allclose(ours, jaxinit.lecun_normal()(KEY, SHAPE), rtol=1e-6)


def test_absolute_bounds_hold_the_weights() -> None:
    for stddev, lower, upper in ((0.02, -2.0, 2.0), (1.0, -0.3, 0.1), (0.3, 0.1, 0.7)):
        weights = np.asarray(
            jaxinit.truncated_normal(stddev, None, lower, upper, bounds="absolute")(KEY, SHAPE)
        )
        assert np.float32(lower) <= weights.min()
        assert weights.max() <= np.float32(upper)
        relative = jaxinit.truncated_normal(stddev, None, lower / stddev, upper / stddev)
        np.testing.assert_array_equal(weights, relative(KEY, SHAPE))
    # torch's defaults, (-2, 2), cut nothing of small weights; relative ones cut one in twenty.
    wide = jaxinit.truncated_normal(0.02, None, -2.0, 2.0, bounds="absolute")
    assert abs(numbers(wide)).max() > 3.5 * 0.02
    scales = np.array([0.5, 1.0], np.float32)
    columns = jaxinit.truncated_normal(scales, None, -0.5, 1.0, bounds="absolute")(KEY, (9000, 2))
    for i, scale in enumerate(scales):
        law = stats.truncnorm(-0.5 / scale, 1 / scale, scale=scale)
        assert stats.kstest(np.asarray(columns[:, i]), law.cdf).pvalue > 1e-4


@pytest.mark.parametrize("bounds", [(5.0, 6.0), (-6.0, -5.0), (4.0, 8.0), (-100.0, 100.0)], ids=str)
def test_truncation_far_out_is_that_of_jax(bounds: tuple[float, float]) -> None:
    """Where the erf of a bound rounds to ±1, the numbers beyond are at that bound."""
    found = jaxinit.truncated_normal(1.0, None, *bounds)(KEY, (1 << 21,))
    init = jax.nn.initializers.truncated_normal(1.0, jnp.float32, *bounds)
    expected = jax.jit(lambda key: init(key, (1 << 21,)))(KEY)
    np.testing.assert_array_equal(found, expected)


def test_gradients_through_a_truncation() -> None:
    def spread(stddev: Any, lower: Any, **how: Any) -> jax.Array:
        return jaxinit.truncated_normal(stddev, None, lower, 3.0, **how)(KEY, (4000,)).std()

    def slopes(stddev: float, **how: Any) -> list[float]:
        both = jax.jit(jax.grad(lambda s, low: spread(s, low, **how), (0, 1)))
        return [float(slope) for slope in both(stddev, -0.5)]

    by_stddev, by_lower = slopes(0.5, corrected=True)
    np.testing.assert_allclose(by_stddev, spread(1.0, -0.5, corrected=True), rtol=1e-4)
    # Corrected, the bounds have no effect on the spread; uncorrected, they widen it.
    assert abs(by_lower) < 0.1 * abs(slopes(0.5)[1])
    assert slopes(0.5, bounds="absolute")[0] > 0


def test_double_precision_has_finer_numbers() -> None:
    with jax.enable_x64(True):
        for init in (jaxinit.student_t(5.0, 1.0), jaxinit.laplace(1.0)):
            weights = np.asarray(init(KEY, (200, 100), jnp.float64))
            assert np.unique(weights).size == weights.size
            assert (weights != weights.astype(np.float32)).mean() > 0.99


untyped: Any = jaxinit
FACTORY: list[tuple[Any, type[Exception], str]] = [
    (lambda: jaxinit.uniform_between(0.0, math.inf), ValueError, "high=inf is not finite"),
    (lambda: jaxinit.normal(0.1, mean=math.nan), ValueError, "mean=nan is not finite"),
    (lambda: untyped.normal(0.1, mean=1j), TypeError, "mean=1j is not a real number"),
    (
        lambda: untyped.truncated_normal(0.1, bounds="abs"),
        ValueError,
        "bounds='abs' is none of 'relative', 'absolute'",
    ),
    (lambda: jaxinit.laplace(-1.0), ValueError, "scale=-1.0 is negative"),
    (lambda: jaxinit.student_t(2.0), ValueError, "df=2.0 is not above 2: .*variance is infinite"),
    (lambda: jaxinit.student_t(np.array([3, 1])), ValueError, "is not above 2"),
    (lambda: untyped.student_t(), TypeError, "missing a required argument: 'df'"),
    (lambda: jaxinit.rademacher(-1.0), ValueError, "scale=-1.0 is negative"),
    (
        lambda: untyped.truncated_normal(0.1, corrected="no"),
        TypeError,
        "corrected='no' is neither True nor False",
    ),
    (lambda: jaxinit.ternary(1.5), ValueError, r"prob=1.5 is outside \(0, 1\)"),
]


@pytest.mark.parametrize(("make", "error", "message"), FACTORY, ids=range(len(FACTORY)))
def test_factories(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def drawn(init: jaxinit.Bound, shape: tuple[int, ...] = (8, 4), dtype: Any = None) -> Any:
    return lambda: init(KEY, shape, dtype)


CALL: list[tuple[Any, type[Exception], str]] = [
    (
        drawn(jaxinit.uniform_between(0.5, 0.5)),
        ValueError,
        "low=0.5 is not below high=0.5",
    ),
    *(
        (drawn(init, dtype=jnp.complex64), TypeError, "law on the real line; ")
        for init in (jaxinit.uniform_between(0, 1), jaxinit.laplace(), jaxinit.ternary())
    ),
    (drawn(jaxinit.laplace(), dtype=jnp.int32), TypeError, "dtype=int32 has no fractions"),
    (
        drawn(jaxinit.truncated_normal(0.1, corrected=True, bounds="absolute")),
        ValueError,
        "corrected=True .*moves bounds='absolute': pass relative bounds",
    ),
    (
        drawn(jaxinit.truncated_normal(0.0, bounds="absolute")),
        ValueError,
        "stddev=0.0 is not above 0",
    ),
    (
        drawn(jaxinit.truncated_normal(0.01, None, 0.1, 0.2, bounds="absolute")),
        ValueError,
        "lower=10.0 and upper=20.0 standard deviations have next to no probability",
    ),
    (
        drawn(jaxinit.truncated_normal(np.ones(4), None, -np.ones(3), 2.0, bounds="absolute")),
        ValueError,
        r"lower of shape \(3,\) does not broadcast to the shape \(8, 4\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), CALL, ids=range(len(CALL)))
def test_calls(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
    with pytest.raises(error, match=message):  # and so while tracing
        jax.eval_shape(call)
