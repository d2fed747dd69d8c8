"""The law each initializer claims, with tolerances from the sample size and power shown."""

import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxinit

N_IN, N_OUT = 400, 500
SHAPE = (N_IN, N_OUT)
KEY = jax.random.key(20261123)
TRUNCATED = 0.87962566103423978


def truncated(stddev: float, low: float = -2.0, high: float = 2.0) -> Any:
    return stats.truncnorm(low, high, scale=stddev)


def interval(low: float, high: float) -> Any:
    return stats.uniform(low, high - low)


def scaled(variance: float, distribution: str) -> Any:
    stddev = math.sqrt(variance)
    if distribution == "normal":
        return stats.norm(scale=stddev)
    if distribution == "uniform":
        return interval(-math.sqrt(3) * stddev, math.sqrt(3) * stddev)
    return truncated(stddev / TRUNCATED)


FANS = {
    "fan_in": N_IN,
    "fan_out": N_OUT,
    "fan_avg": (N_IN + N_OUT) / 2,
    "fan_geo_avg": math.sqrt(N_IN * N_OUT),
}
LAWS: list[tuple[jaxinit.Bound, Any]] = [
    (jaxinit.uniform(0.4), interval(0, 0.4)),
    (jaxinit.normal(0.02), stats.norm(scale=0.02)),
    (jaxinit.truncated_normal(0.5), truncated(0.5)),
    (jaxinit.truncated_normal(0.5, None, -0.5, 3.0), truncated(0.5, -0.5, 3.0)),
    (jaxinit.glorot_normal(), scaled(2 / (N_IN + N_OUT), "truncated_normal")),
    (jaxinit.glorot_uniform(), scaled(2 / (N_IN + N_OUT), "uniform")),
    (jaxinit.he_normal(), scaled(2 / N_IN, "truncated_normal")),
    (jaxinit.he_normal(negative_slope=0.5), scaled(1.6 / N_IN, "truncated_normal")),
    (jaxinit.he_uniform(), scaled(2 / N_IN, "uniform")),
    (jaxinit.lecun_normal(), scaled(1 / N_IN, "truncated_normal")),
    (jaxinit.lecun_uniform(), scaled(1 / N_IN, "uniform")),
    *(
        (
            jaxinit.variance_scaling(1.5, mode, distribution),  # type: ignore[arg-type]
            scaled(1.5 / fan, distribution),
        )
        for mode, fan in FANS.items()
        for distribution in ("truncated_normal", "normal", "uniform")
    ),
]
# Bonferroni: one false alarm in a thousand runs of the table, were the keys not fixed.
LEVEL = 1e-3 / len(LAWS)


@pytest.mark.parametrize(("init", "law"), LAWS, ids=map(repr, dict(LAWS)))
def test_distribution(init: jaxinit.Bound, law: Any) -> None:
    sample = np.asarray(init(KEY, SHAPE), np.float64).ravel()
    assert stats.kstest(sample, law.cdf).pvalue > LEVEL
    mean, variance, excess = (float(m) for m in law.stats(moments="mvk"))
    error = 4 * math.sqrt((excess + 2) / sample.size)  # four standard errors of a variance
    assert abs(sample.var() / variance - 1) < error
    assert abs(sample.mean() - mean) < 4 * math.sqrt(variance / sample.size)
    # Power: the wrong scale and the wrong centre that these tests see.
    assert stats.kstest(1.04 * sample, law.cdf).pvalue < LEVEL
    assert stats.kstest(sample + 0.025 * sample.std(), law.cdf).pvalue < LEVEL
    assert abs((1.01 * sample).var() / variance - 1) > error


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float8_e4m3fn], ids=str)
def test_low_precision_keeps_the_moments(dtype: Any) -> None:
    n = 1_000_000
    weights = jaxinit.normal(1.0)(KEY, (n,), dtype).astype(jnp.float32)
    rounding = float(jnp.finfo(dtype).eps)
    assert abs(weights.mean()) < 4 / math.sqrt(n)
    assert abs(weights.var() - 1) < 4 * math.sqrt(2 / n) + rounding**2
    # JAX draws a bfloat16 normal from 8 bits: 128 values, and a mean of -0.012.
    assert np.unique(np.asarray(weights)).size > 130


def test_entries_are_independent() -> None:
    w = np.asarray(jaxinit.normal(1.0)(KEY, (2000, 400)), np.float64)
    bound = 5 / math.sqrt(w[:, 1:].size)  # five standard errors
    for lagged in (w[:, :-1] * w[:, 1:], w[:-1] * w[1:]):
        assert abs(lagged.mean()) < bound
    correlations = np.asarray(np.corrcoef(w.T))[np.triu_indices(400, 1)]
    assert abs(correlations).max() < 6 / math.sqrt(2000)  # 80 000 pairs: 5.2 σ is Bonferroni's


@pytest.mark.parametrize("distribution", ["normal", "truncated_normal", "uniform"])
def test_complex_weights_are_circular(distribution: Any) -> None:
    init = jaxinit.variance_scaling(2.0, "fan_in", distribution)
    z = np.asarray(init(KEY, SHAPE, jnp.complex64), np.complex128).ravel() * math.sqrt(N_IN / 2)
    squared = np.abs(z) ** 2
    law = {
        "normal": stats.expon(),
        "truncated_normal": stats.truncexpon(4, scale=1 / (1 - 4 / math.expm1(4))),
        "uniform": interval(0, 2),
    }[distribution]
    assert stats.kstest(squared, law.cdf).pvalue > 1e-4
    assert stats.kstest(squared * 1.0093**2, law.cdf).pvalue < 1e-4  # JAX's constant, 0.93 % off
    angle = interval(-math.pi, math.pi).cdf
    assert stats.kstest(np.angle(z), angle).pvalue > 1e-4
    assert stats.kstest(np.angle(z.real + 1.08j * z.imag), angle).pvalue < 1e-4
    deviation = 4 / math.sqrt(z.size)
    assert abs(squared.mean() - 1) < deviation
    assert abs((z**2).mean()) < deviation * math.sqrt(2)


def defect(q: Any) -> float:
    """max |Qᴴ Q - I| over the short side, in double precision."""
    q = np.asarray(q, np.complex128)
    q = q if q.shape[0] >= q.shape[1] else q.conj().T
    return float(abs(q.conj().T @ q - np.eye(q.shape[1])).max())


SIZES = [(1, 1), (2, 2), (7, 3), (3, 7), (64, 64), (65, 65), (200, 130), (300, 300)]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [*((n, jnp.float32) for n in SIZES), *((n, jnp.complex64) for n in SIZES[::3])],
    ids=str,
)
def test_orthogonal(shape: tuple[int, int], dtype: Any) -> None:
    q = jaxinit.orthogonal(2.0)(KEY, shape, dtype)
    assert defect(q / 2) < 1e-6
    assert defect(q / 2 * (1 + 1e-4)) > 1e-6


def test_orthogonal_in_double_precision() -> None:
    with jax.enable_x64(True):
        assert defect(jaxinit.orthogonal()(KEY, (150, 100), jnp.float64)) < 1e-14


def test_orthogonal_axes() -> None:
    q = jaxinit.orthogonal(column_axis=1)(KEY, (3, 16, 5))
    assert defect(np.moveaxis(np.asarray(q), 1, -1).reshape(15, 16)) < 3e-6
    stack = np.asarray(jaxinit.orthogonal(batch_axis=(1,))(KEY, (12, 6, 9)))
    for i in range(6):
        assert defect(stack[:, i]) < 3e-6
    assert abs(stack[:, 0] - stack[:, 1]).max() > 0.1  # slices are matrices of their own


def haar(n: int, count: int, dtype: Any = jnp.float32) -> np.ndarray[Any, Any]:
    init = jaxinit.orthogonal(batch_axis=0)
    return np.asarray(init(KEY, (count, n, n), dtype)).astype(np.complex128)


def test_orthogonal_is_haar() -> None:
    """An entry, and any rotated entry, has the Beta((n-1)/2, (n-1)/2) law on [-1, 1]."""
    n, count = 6, 20_000
    q = haar(n, count).real
    law = stats.beta((n - 1) / 2, (n - 1) / 2, loc=-1, scale=2).cdf
    entries = [(0, 0), (n - 1, n - 1), (0, n - 1), (n - 1, 0), (2, 3)]
    left = stats.ortho_group.rvs(n, random_state=1)
    level = 1e-3 / (2 * len(entries))
    for i, j in entries:
        assert stats.kstest(q[:, i, j], law).pvalue > level
        assert stats.kstest((left @ q @ left)[:, i, j], law).pvalue > level
    # Without the random signs, a QR of a Gaussian matrix has a diagonal of one sign.
    assert stats.kstest(-abs(q[:, 0, 0]), law).pvalue < level
    determinants = np.linalg.det(q)
    np.testing.assert_allclose(abs(determinants), 1, atol=1e-4)
    assert abs((determinants > 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(count)
    # E[tr Q] = 0 and E[(tr Q)²] = 1 under Haar (Diaconis and Shahshahani 1994).
    trace = np.trace(q, axis1=1, axis2=2)
    assert abs(trace.mean()) < 4 / math.sqrt(count)
    assert abs((trace**2).mean() - 1) < 4 * math.sqrt(2 / count)
    assert abs((np.trace(q @ q, axis1=1, axis2=2)).mean() - 1) < 4 * math.sqrt(2 / count)


def test_unitary_is_haar() -> None:
    """|u_ij|² is Beta(1, n-1); phases are uniform; E|tr U|² = 1."""
    n, count = 5, 20_000
    u = haar(n, count, jnp.complex64)
    level = 1e-3 / 6
    for i, j in [(0, 0), (n - 1, n - 1), (1, 3)]:
        assert stats.kstest(abs(u[:, i, j]) ** 2, stats.beta(1, n - 1).cdf).pvalue > level
        phase = interval(-math.pi, math.pi).cdf
        assert stats.kstest(np.angle(u[:, i, j]), phase).pvalue > level
    trace = np.trace(u, axis1=1, axis2=2)
    assert abs((abs(trace) ** 2).mean() - 1) < 4 / math.sqrt(count)
    assert abs(trace.mean()) < 4 / math.sqrt(count)


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("column_axis", [-1, -2])
def test_delta_orthogonal_is_an_isometry(spatial: int, column_axis: int) -> None:
    kernel = jaxinit.delta_orthogonal(1.0, column_axis)(KEY, (*(3, 4, 2)[:spatial], 8, 12))
    x = jax.random.normal(KEY, (2, *(5,) * spatial, 8))
    axes = "WHD"[:spatial]
    numbers = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    y = jax.lax.conv_general_dilated(x, kernel, (1,) * spatial, "SAME", dimension_numbers=numbers)
    norms = [jnp.sqrt((a**2).sum(axis=tuple(range(1, a.ndim)))) for a in (x, y)]
    chex.assert_trees_all_close(norms[0], norms[1], rtol=1e-5)
    assert jnp.count_nonzero(kernel) == 8 * 12


@pytest.mark.parametrize("taps", [(3, 3), (1, 5), (4, 2)], ids=str)
def test_identity_passes_its_input_on(taps: tuple[int, int]) -> None:
    x = jax.random.normal(KEY, (2, 5, 5, 8))
    kernel = jaxinit.identity()(KEY, (*taps, 8, 8))
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
    chex.assert_trees_all_equal(x, y)


def test_identity_of_matrices() -> None:
    np.testing.assert_array_equal(jaxinit.identity(2.0)(KEY, (3, 5)), 2 * np.eye(3, 5))
    stack = jaxinit.identity(in_axis=1, out_axis=2, batch_axis=0)(KEY, (4, 3, 3))
    np.testing.assert_array_equal(stack, np.broadcast_to(np.eye(3), (4, 3, 3)))


def test_constants() -> None:
    np.testing.assert_array_equal(jaxinit.constant([1, 2, 3])(None, (2, 3)), [[1, 2, 3]] * 2)
    assert jaxinit.constant(7)(None, (2,), jnp.int32).tolist() == [7, 7]
    assert jaxinit.constant(1 + 2j)(None, (1,), jnp.complex64).tolist() == [1 + 2j]
    assert jaxinit.zeros(None, (2,), bool).tolist() == [False, False]
    assert jaxinit.ones(object(), (2,), jnp.int8).tolist() == [1, 1]


def test_fans_of_a_convolution_and_of_attention() -> None:
    """Standard deviations by the axes that are contracted: four standard errors."""
    for shape, arguments, fan in (
        ((3, 3, 64, 128), {}, 9 * 64),
        ((64, 8, 32), {"in_axis": 0, "out_axis": (1, 2)}, 64),
        ((8, 32, 64), {"in_axis": (0, 1), "out_axis": 2}, 256),
        ((4, 64, 128), {"batch_axis": 0}, 64),
    ):
        w = jaxinit.variance_scaling(1.0, "fan_in", "normal", **arguments)(KEY, shape)  # type: ignore[arg-type]
        error = 4 * math.sqrt(2 / w.size)
        assert abs(float(w.var()) * fan - 1) < error, shape
