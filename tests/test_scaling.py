"""Variance scaling beyond JAX's: fans, activations, widths, and the theorems that they serve."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxinit
from jaxinit import Axes

KEY = jax.random.key(20261124)
N_IN, N_OUT = 300, 400
SHAPE = (N_IN, N_OUT)
CONV = Axes.conv(groups=8)
MERGE = "bthk,hkd->btd"  # heads contracted
TURNED: Any = {"in_axis": -1, "out_axis": -2}
variance_scaling = jaxinit.variance_scaling
for_activation = jaxinit.for_activation


def law(variance: float, distribution: str) -> Any:
    stddev = math.sqrt(variance)
    if distribution == "normal":
        return stats.norm(scale=stddev)
    if distribution == "uniform":
        return stats.uniform(-math.sqrt(3) * stddev, 2 * math.sqrt(3) * stddev)
    return stats.truncnorm(-2, 2, scale=stddev / 0.87962566103423978)


# Initializer, shape, variance, distribution, and the variance of a likely mistake.
LAWS: list[tuple[jaxinit.Bound, tuple[int, ...], float, str, float]] = [
    (variance_scaling(1.5, "fan_sum", "normal"), SHAPE, 1.5 / 700, "normal", 1.5 / 350),
    (variance_scaling(1.5, "fan_min", "uniform"), SHAPE, 1.5 / 300, "uniform", 1.5 / 400),
    (
        variance_scaling(1.5, "fan_max", "truncated_normal"),
        SHAPE,
        1.5 / 400,
        "truncated_normal",
        1.5 / 300,
    ),
    (variance_scaling(1, "fan_in", "normal", fan=37), (9999,), 1 / 37, "normal", 1 / 9999),
    (variance_scaling(1, "fan_in", "normal", axes=CONV), (3, 3, 9, 1000), 1 / 81, "normal", 1 / 9),
    (variance_scaling(1, "fan_in", "normal", axes=MERGE), (8, 16, 500), 1 / 128, "normal", 1 / 16),
    (for_activation("relu"), SHAPE, 2 / 300, "truncated_normal", 1 / 300),
    (
        for_activation(jnp.sin, "fan_out", "uniform"),
        SHAPE,
        2 / 400 / (1 - math.exp(-2)),
        "uniform",
        2 / 300 / (1 - math.exp(-2)),
    ),
    (
        for_activation("relu", "fan_avg", "normal", "variance"),
        SHAPE,
        1 / 350 / (0.5 - 0.5 / math.pi),
        "normal",
        2 / 350,
    ),
    (for_activation("tanh", moment="torch"), SHAPE, 25 / 9 / 300, "truncated_normal", 2.536 / 300),
    (
        for_activation(lambda x, a: jnp.where(x > 0, x, a * x), a=2.0),
        SHAPE,
        2 / 5 / 300,
        "truncated_normal",
        2 / 300,
    ),
    (for_activation("relu", axes=CONV), (3, 3, 9, 1000), 2 / 81, "truncated_normal", 2 / 9),
    (jaxinit.kumar("sigmoid"), SHAPE, 12.8 / 300, "normal", 16 / 300),
    (jaxinit.kumar("tanh", "uniform", axes=MERGE), (8, 16, 500), 1 / 128, "uniform", 1 / 500),
    (jaxinit.kumar("elu", alpha=1.0, **TURNED), SHAPE, 1 / 400, "normal", 1 / 300),
    (jaxinit.random_walk(), (10, 9000), 0.2 * math.exp(2.4 / 7.6), "normal", 0.2),
    (jaxinit.random_walk(), (2, 9000), math.exp(2.4 / 3.6), "normal", math.exp(-2.4 / 0.4)),
    (
        jaxinit.random_walk("linear", axes=Axes(-1, -2)),
        (9000, 10),
        0.1 * math.exp(0.1),
        "normal",
        0.1,
    ),
    (jaxinit.spectral(), SHAPE, 1 / 300, "normal", 1 / 400),
    (jaxinit.spectral("truncated_normal", **TURNED), SHAPE, 3 / 1600, "truncated_normal", 1 / 400),
    (jaxinit.spectral(axes=MERGE), (8, 16, 32), 1 / 512, "normal", 1 / 128),
    (jaxinit.ntk(), SHAPE, 1, "normal", 1 / 300),
    (jaxinit.small(64), SHAPE, 2 / 320, "normal", 2 / 64),
    (jaxinit.wang(64, 12), SHAPE, 4 / (144 * 64), "normal", 4 / (12 * 64)),
]
# Bonferroni: one false alarm in a thousand runs of the table, were the keys not fixed.
LEVEL = 1e-3 / len(LAWS)


@pytest.mark.parametrize(
    ("init", "shape", "variance", "distribution", "wrong"), LAWS, ids=range(len(LAWS))
)
def test_distribution(
    init: jaxinit.Bound,
    shape: tuple[int, ...],
    variance: float,
    distribution: str,
    wrong: float,
) -> None:
    sample = np.asarray(init(KEY, shape), np.float64).ravel()
    right = law(variance, distribution)
    assert stats.kstest(sample, right.cdf).pvalue > LEVEL
    assert stats.kstest(sample, law(wrong, distribution).cdf).pvalue < LEVEL
    error = 4 * math.sqrt((right.stats(moments="k") + 2) / sample.size)  # four standard errors
    assert abs(sample.var() / variance - 1) < error
    assert abs(sample.mean()) < 4 * math.sqrt(variance / sample.size)
    z = np.asarray(init(KEY, shape, jnp.complex64), np.complex128).ravel()
    assert abs((abs(z) ** 2).mean() / variance - 1) < 4 / math.sqrt(z.size)
    assert abs((z**2).mean()) < 4 * math.sqrt(2 / z.size) * variance


def test_he_is_the_case_of_relu() -> None:
    cases: tuple[tuple[Any, Any, float], ...] = (
        (jaxinit.he_normal, "truncated_normal", 0.0),
        (jaxinit.he_normal, "truncated_normal", 0.2),
        (jaxinit.he_uniform, "uniform", 0.2),
    )
    for make, distribution, slope in cases:
        he = make(negative_slope=slope)
        found = for_activation("leaky_relu", distribution=distribution, negative_slope=slope)
        np.testing.assert_allclose(found(KEY, SHAPE), he(KEY, SHAPE), rtol=3e-7)
    selu = for_activation(jax.nn.selu)(KEY, SHAPE)
    np.testing.assert_allclose(selu, jaxinit.lecun_normal()(KEY, SHAPE), rtol=2e-6)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize(
    "fn",
    ["tanh", "gelu", "silu", "squareplus", lambda x: x > 0.3, lambda x: jnp.sin(3 * x)],
    ids=["tanh", "gelu", "silu", "squareplus", "step", "sine"],
)
def test_for_activation_keeps_the_second_moment(fn: Any, distribution: Any) -> None:
    """E[(Wᵀφ(x))²] = 1 for x ~ N(0, I); given x, its mean over n outputs has variance 2/n."""
    n_in, n_out, batch = 400, 5000, 50
    phi = getattr(jax.nn, fn) if isinstance(fn, str) else fn
    features = phi(jax.random.normal(KEY, (batch, n_in))).astype(jnp.float32)

    def second(init: Any) -> float:
        return float(((features @ init(KEY, (n_in, n_out))) ** 2).mean())

    # φ² has an excess of less than 5 over its mean square, in 20 000 samples.
    error = 4 * math.sqrt(2 / n_out + 5 / (batch * n_in))
    assert abs(second(for_activation(fn, "fan_in", distribution)) - 1) < error
    assert abs(second(jaxinit.lecun_normal()) - 1) > error


def test_for_activation_keeps_the_variance() -> None:
    """Over inputs, Var[Wᵀφ(x)] = 1 with moment="variance", however large the mean of φ is."""
    n_in, n_out, batch = 400, 2000, 400
    features = jax.nn.softplus(jax.random.normal(KEY, (batch, n_in)))

    def variance(moment: Any) -> float:
        init = for_activation("softplus", moment=moment)
        return float((features @ init(KEY, (n_in, n_out))).var(axis=0).mean()) * batch / (batch - 1)

    # Mean of φ² over 160 000 features, whose rank is at most 400.
    error = 4 * math.sqrt(2 / batch / 400 + 2 / n_out)
    assert abs(variance("variance") - 1) < error
    assert abs(variance("second") - 1) > error


def test_kumar_keeps_the_variance_of_a_line() -> None:
    """With φ(y) = a y + b and inputs of mean b and variance 1, φ(Wᵀx) has variance 1."""
    n_in, n_out = 1000, 20_000

    def line(y: Any) -> Any:
        return 0.25 * y + 0.5

    x = 0.5 + jax.random.normal(KEY, (n_in,))
    x = 0.5 + (x - x.mean()) / x.std()
    error = 4 * math.sqrt(2 / n_out)
    kumar = line(x @ jaxinit.kumar(line)(KEY, (n_in, n_out)))
    assert abs(float(kumar.var()) - 1) < error
    for wrong in (16, 1 / (0.25**2 + 0.5**2), 1):  # without φ(0), with φ' misplaced, without φ
        w = variance_scaling(wrong, "fan_in", "normal")(KEY, (n_in, n_out))
        assert abs(float(line(x @ w).var()) - 1) > error


@pytest.mark.parametrize("shape", [(16, 16), (16, 40), (16, 7)], ids=str)
@pytest.mark.parametrize("fn", ["relu", "linear"])
def test_random_walk_is_unbiased(fn: Any, shape: tuple[int, int]) -> None:
    """E log|Dᵀ W δ| = log|δ| for a gradient δ, with D the ReLU's random half of the inputs."""
    count = 30_000
    delta = np.asarray(jax.random.normal(KEY, (shape[1],)))
    alive = np.asarray(jax.random.bernoulli(KEY, 0.5, (count, shape[0]))) if fn == "relu" else 1

    def steps(init: Any) -> Any:
        back = alive * (np.asarray(init(KEY, (count, *shape)), np.float64) @ delta)
        norms = np.linalg.norm(back, axis=1)
        return np.log(norms[norms > 0] / np.linalg.norm(delta))

    walk = steps(jaxinit.random_walk(fn, batch_axis=0))
    error = 4 * walk.std() / math.sqrt(count) + 2e-3  # the fit of the paper's formula
    assert abs(walk.mean()) < error
    # He's variance and LeCun's drift, and so does a gain by the number of outputs.
    scale = 2.0 if fn == "relu" else 1.0
    assert steps(variance_scaling(scale, "fan_in", "normal", batch_axis=0)).mean() < -error
    if shape[0] != shape[1]:
        by_outputs = jaxinit.random_walk(fn, -1, -2, 0)
        assert abs(steps(by_outputs).mean()) > error


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize(
    "shape", [(200, 50), (50, 200), (150, 150), (800, 200), (40, 640)], ids=str
)
def test_spectral_norm(shape: tuple[int, int], distribution: Any) -> None:
    """|W| = σ (√n_in + √n_out) to the 2/3 power of Tracy and Widom: √(n_out/n_in) times 1 to 2."""
    n_in, n_out = shape
    norm = np.linalg.norm(np.asarray(jaxinit.spectral(distribution)(KEY, shape)), 2)
    ratio = math.sqrt(n_out / n_in)
    edge = min(1, ratio) * (1 + ratio)
    assert abs(norm / edge - 1) < 1.5 * min(shape) ** (-2 / 3)
    assert 0.9 < norm / ratio < 2.05
    lecun = np.linalg.norm(np.asarray(jaxinit.lecun_normal()(KEY, shape)), 2)
    assert (0.9 < lecun / ratio < 2.05) == (n_out >= n_in)


def test_spectral_norm_of_each_slice() -> None:
    """Of each expert and of each group of a convolution, whose taps are inputs."""
    experts = np.asarray(jaxinit.spectral(batch_axis=0)(KEY, (3, 200, 50)))
    groups = np.asarray(jaxinit.spectral(axes=CONV)(KEY, (3, 3, 22, 400)))
    for matrices, fans in (
        (experts, (200, 50)),
        (np.moveaxis(groups.reshape(198, 8, 50), 1, 0), (198, 450)),
    ):
        n_in, n_out = fans
        stddev = math.sqrt(min(fans)) / n_in
        for matrix in matrices:
            edge = stddev * (math.sqrt(n_in) + math.sqrt(matrix.shape[1]))
            assert abs(np.linalg.norm(matrix, 2) / edge - 1) < 0.1
    assert n_out == 9 * 50


def test_ntk_is_the_parametrization_that_divides() -> None:
    x = jax.random.normal(KEY, (500,))
    y = x @ jaxinit.ntk()(KEY, (500, 20_000)) / math.sqrt(500)
    assert abs(float((y**2).mean() / (x**2).mean()) - 1) < 4 * math.sqrt(2 / 20_000)


def test_small_is_glorot_of_the_feed_forward_kernel() -> None:
    glorot = variance_scaling(1, "fan_avg", "normal")(KEY, (64, 256))
    np.testing.assert_allclose(jaxinit.small(64)(KEY, (64, 256)), glorot, rtol=3e-7)
    small, wang = (i(KEY, (8, 8)) for i in (jaxinit.small(64), jaxinit.wang(64, 8)))
    np.testing.assert_allclose(wang, small * math.sqrt(10) / 8, rtol=1e-6)  # NeoX: L/√10


AWARE: list[Any] = [
    lambda **axes: for_activation("gelu", **axes),
    lambda **axes: jaxinit.kumar("gelu", **axes),
    lambda **axes: jaxinit.random_walk(**axes),
    lambda **axes: jaxinit.spectral(**axes),
]


@pytest.mark.parametrize("make", AWARE, ids=range(len(AWARE)))
def test_axes_in_both_ways(make: Any) -> None:
    shape = (4, 6, 5, 3)
    roles = {"in_axis": (0, 2), "out_axis": 1, "batch_axis": -1}
    together = make(axes=Axes((0, 2), 1, -1))
    np.testing.assert_array_equal(together(KEY, shape), make(**roles)(KEY, shape))
    np.testing.assert_array_equal(
        make(axes="abce,adce->bde")(KEY, shape),
        make(in_axis=(0, 2), out_axis=1, batch_axis=3)(KEY, shape),
    )
    assert (make()(KEY, (6, 4)) != make(axes=Axes(-1, -2))(KEY, (6, 4))).any()


def test_activations_share_one_compilation_and_are_values() -> None:
    from jaxinit import _draw

    run: Any = _draw.run
    for_activation("tanh")(KEY, (5, 9))
    before = run._cache_size()
    for init in (
        for_activation("elu", alpha=0.3),
        for_activation(jax.nn.mish),
        jaxinit.kumar("elu", "truncated_normal"),
    ):
        init(KEY, (5, 9))
    assert run._cache_size() == before
    assert for_activation(jax.nn.relu) == for_activation("relu")
    assert for_activation("elu", alpha=0.3) != for_activation("elu", alpha=0.4)
    assert for_activation("elu", alpha=0.3) != for_activation("elu")
    assert for_activation("elu", alpha=np.float32(0.5)) == for_activation("elu", alpha=0.5)
    two: Any = for_activation(max, a=1, b=2)
    assert two == for_activation(max, b=2, a=1) != for_activation(max, a=2, b=1)
    assert two != for_activation(max, a=1, c=2)
    assert repr(two.replace(b=3)) == f"for_activation(fn={max!r}, a=1, b=3)"


untyped: Any = jaxinit
ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: untyped.variance_scaling(1, "fan_mean", "normal"), ValueError, "did you mean 'fan_"),
    (lambda: variance_scaling(1, "fan_in", "normal", fan=0), ValueError, "fan=0 is not above 0"),
    (
        lambda: variance_scaling(1, "fan_in", "normal", 0, axes="ab,bc->ac")(KEY, SHAPE),
        ValueError,
        "both say which axes",
    ),
    (lambda: for_activation("rleu"), ValueError, "did you mean 'relu'"),
    (lambda: untyped.for_activation(None), TypeError, "fn=None is a NoneType, not an activation"),
    (lambda: untyped.for_activation("relu", "fan"), ValueError, "mode='fan' is none of"),
    (lambda: untyped.for_activation("relu", moment="third"), ValueError, "moment='third' is none"),
    (lambda: for_activation("elu", alpha=[{}]), TypeError, "alpha=.*cannot be hashed"),
    (lambda: jax.jit(lambda a: for_activation("elu", alpha=a))(1), TypeError, "alpha=.*is traced"),
    (lambda: for_activation("elu", beta=1)(KEY, SHAPE), TypeError, "keyword argument 'beta'"),
    (lambda: for_activation("log")(KEY, SHAPE), ValueError, "fn='log' is nan at"),
    (lambda: for_activation("gelu", moment="torch")(KEY, SHAPE), ValueError, "torch's table"),
    (lambda: for_activation("relu")(KEY, (8,)), ValueError, r"\(8,\) is 1-D"),
    (lambda: for_activation("relu", axes="bi,io->bo")(KEY, (3, 4, 5)), ValueError, "2-D kernel"),
    (lambda: for_activation("relu")(KEY, SHAPE, jnp.int32), TypeError, "no fractions"),
    (lambda: jaxinit.kumar("relu")(KEY, SHAPE), ValueError, "fn='relu' has no derivative at 0"),
    (lambda: jaxinit.kumar("cos")(KEY, SHAPE), ValueError, "is flat at 0.* use for_activation"),
    (lambda: untyped.kumar("elu", "gauss"), ValueError, "distribution='gauss' is none of"),
    (lambda: untyped.random_walk("tanh"), ValueError, "fn='tanh' is none of 'relu', 'linear'"),
    (lambda: jaxinit.random_walk()(KEY, (8,)), ValueError, "is 1-D"),
    (lambda: untyped.spectral("norm"), ValueError, "did you mean 'normal'"),
    (lambda: jaxinit.spectral()(KEY, ()), ValueError, "is 0-D"),
    (lambda: jaxinit.small(0), ValueError, "width=0 is less than 1"),
    (lambda: untyped.small(2.5), TypeError, "width=2.5 is not a whole number"),
    (lambda: jaxinit.wang(64, -1), ValueError, "layers=-1 is less than 1"),
    (lambda: jaxinit.ntk()(KEY, (2,), bool), TypeError, "dtype=bool has no fractions"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
