"""Matrices of given determinant, spectrum, rank or radius: tolerances from the sample size."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxinit
from jaxinit import Axes
from jaxinit.reservoir import largest_modulus

untyped: Any = jaxinit
KEY = jax.random.key(20261124)
STACK = "bti,bio->bto"


def stacked(init: jaxinit.Bound, *shape: int, dtype: Any = jnp.float32) -> np.ndarray[Any, Any]:
    """Independent matrices in double precision."""
    draws = np.asarray(init.replace(axes=STACK)(KEY, shape, dtype))
    return draws.astype(np.complex128 if draws.dtype.kind == "c" else np.float64)


def sphere(n: int) -> Any:
    """The law of an entry of a uniform unit vector: (w + 1)/2 is Beta((n-1)/2, (n-1)/2)."""
    return stats.beta((n - 1) / 2, (n - 1) / 2, loc=-1, scale=2).cdf


# Special orthogonal


@pytest.mark.parametrize(
    ("n", "dtype"),
    [
        (2, jnp.float32),
        (3, jnp.float32),
        (130, jnp.float32),
        (1, jnp.complex64),
        (3, jnp.complex64),
    ],
    ids=str,
)
def test_rotations(n: int, dtype: Any) -> None:
    q = stacked(jaxinit.special_orthogonal(), 4, n, n, dtype=dtype)
    np.testing.assert_allclose(np.linalg.det(q), 1, atol=3e-5)
    np.testing.assert_allclose(q @ q.conj().swapaxes(1, 2), np.stack([np.eye(n)] * 4), atol=5e-6)


def test_rotations_are_haar() -> None:
    """On SO(3) an angle has density (1 - cos θ)/π; on SO(4) entries are those of unit vectors."""
    count = 20_000
    q = stacked(jaxinit.special_orthogonal(), count, 3, 3)
    cosine = np.clip((np.trace(q, axis1=1, axis2=2) - 1) / 2, -1, 1)

    def law(angle: Any) -> Any:
        return (angle - np.sin(angle)) / math.pi

    level = 1e-3 / 9
    assert stats.kstest(np.arccos(cosine), law).pvalue > level
    assert stats.kstest(0.98 * np.arccos(cosine), law).pvalue < level
    reflections = stacked(jaxinit.orthogonal(), count, 3, 3)
    assert abs((np.linalg.det(reflections) < 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(count)

    q = stacked(jaxinit.special_orthogonal(), count, 4, 4)
    left = stats.special_ortho_group.rvs(4, random_state=1)
    for i, j in ((0, 0), (3, 3), (0, 3), (2, 1)):
        assert stats.kstest(q[:, i, j], sphere(4)).pvalue > level
        assert stats.kstest((left @ q @ left)[:, i, j], sphere(4)).pvalue > level
    assert stats.kstest(-abs(q[:, 0, 0]), sphere(4)).pvalue < level  # one sign on the diagonal


def test_special_unitary_is_haar() -> None:
    """On SU(2) the trace is real: E[tr²] = E|tr|² = 1; on U(2), E[tr²] = 0."""
    count = 20_000
    for init, square in ((jaxinit.special_orthogonal(), 1), (jaxinit.orthogonal(), 0)):
        u = stacked(init, count, 2, 2, dtype=jnp.complex64)
        trace = np.trace(u, axis1=1, axis2=2)
        assert abs((abs(trace) ** 2).mean() - 1) < 4 / math.sqrt(count)
        assert abs((trace**2).mean() - square) < 4 / math.sqrt(count)
        for entry in (u[:, 0, 0], u[:, 0, 1], u[:, 1, 1]):
            assert stats.kstest(abs(entry) ** 2, stats.uniform.cdf).pvalue > 1e-4  # Beta(1, 1)
            assert stats.kstest(np.angle(entry), stats.uniform(-math.pi, 2 * math.pi).cdf)[1] > 1e-4


# Scaled orthogonal


@pytest.mark.parametrize(
    ("shape", "axes", "groups"),
    [
        ((3, 3, 8, 16), None, 1),
        ((4, 2, 16, 8), None, 1),
        ((3, 4, 16), Axes.conv(spatial=1, groups=2), 2),
        ((3, 3, 16, 4), Axes.conv(transpose_kernel=True), 1),
    ],
    ids=str,
)
def test_scaled_orthogonal(shape: tuple[int, ...], axes: Any, groups: int) -> None:
    kernel = np.asarray(jaxinit.scaled_orthogonal(3.0, axes=axes)(KEY, shape), np.float64)
    taps = shape[:-2]
    centre = kernel[tuple((k - 1) // 2 for k in taps)]
    assert np.count_nonzero(kernel) == centre.size
    centre = centre.T if axes is not None and axes.in_axis == -1 else centre
    n_in, n_out = centre.shape[0], centre.shape[1] // groups
    for group in range(groups):
        w = centre[:, group * n_out : (group + 1) * n_out] / 3
        if n_out >= n_in:
            np.testing.assert_allclose(w @ w.T, n_out / n_in * np.eye(n_in), atol=1e-5)
        else:
            np.testing.assert_allclose(w.T @ w, np.eye(n_out), atol=1e-5)


def test_scaled_orthogonal_keeps_the_mean_square() -> None:
    """Of every signal where it widens, and on average over Q where it narrows."""
    x = np.arange(1.0, 9)
    wide = stacked(jaxinit.scaled_orthogonal(), 10, 8, 20)
    np.testing.assert_allclose(((x @ wide) ** 2).mean(-1), (x**2).mean(), rtol=1e-5)
    count = 4000
    narrow = ((x @ stacked(jaxinit.scaled_orthogonal(), count, 8, 2)) ** 2).mean(-1)
    error = 4 * narrow.std() / math.sqrt(count)
    assert abs(narrow.mean() - (x**2).mean()) < error < 0.1 * (x**2).mean()


# Spectrum


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 3, 4), jnp.float32), ((4, 6), jnp.complex64)],
    ids=str,
)
def test_singular_values(shape: tuple[int, ...], dtype: Any) -> None:
    for values in ((0.5, 3.0, 0.0, 1.0), np.array([2, 2, 1, 1]), jnp.ones(4), 0.7):
        w = np.asarray(jaxinit.spectrum(values)(KEY, shape, dtype)).reshape(-1, shape[-1])
        expected = np.sort(np.broadcast_to(values, 4))[::-1]
        np.testing.assert_allclose(np.linalg.svd(w)[1], expected, atol=3e-6)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (3, 4)])
def test_singular_vectors_are_haar_and_independent(n: int, m: int) -> None:
    """With one singular value W = u vᵀ, and its first column is v₀ u, its first row u₀ v."""
    count = 20_000
    init = jaxinit.spectrum((1.0, 0.0, 0.0))
    w = np.asarray(
        jax.vmap(lambda key: init(key, (n, m)))(jax.random.split(KEY, count)), np.float64
    )
    v0, u0 = np.linalg.norm(w[:, :, 0], axis=1), np.linalg.norm(w[:, 0], axis=1)
    level = 1e-3 / 6
    assert stats.kstest(w[:, 1, 0] / v0, sphere(n)).pvalue > level
    assert stats.kstest(w[:, 0, 1] / u0, sphere(m)).pvalue > level
    assert stats.kstest(u0**2, stats.beta(1 / 2, (n - 1) / 2).cdf).pvalue > level
    assert stats.kstest(v0**2, stats.beta(1 / 2, (m - 1) / 2).cdf).pvalue > level
    assert stats.kstest(v0**2, stats.beta(1 / 2, m / 2).cdf).pvalue < level
    # Were V the same as U, the first row and the first column would be as long.
    assert abs(np.corrcoef(u0**2, v0**2)[0, 1]) < 4 / math.sqrt(count)
    assert np.corrcoef(u0**2, u0**2)[0, 1] > 4 / math.sqrt(count)


# Low rank


@pytest.mark.parametrize(
    ("rank", "dtype"), [(1, jnp.float32), (3, jnp.complex64), (8, jnp.float32)], ids=str
)
def test_rank_and_variance(rank: int, dtype: Any) -> None:
    w = stacked(jaxinit.low_rank(rank, 0.3), 400, 8, 12, dtype=dtype)
    assert (np.linalg.matrix_rank(w, tol=1e-4) == rank).all()
    share = (abs(w) ** 2).mean((1, 2)) / 0.09
    error = 4 * share.std() / math.sqrt(share.size)
    assert abs(share.mean() - 1) < error
    assert abs(1.5 * share.mean() - 1) > error


def test_rank_two_is_laplace() -> None:
    """a₁ b₁ + a₂ b₂ with four independent N(0, 1) has the law of Laplace, of scale 1."""
    w = stacked(jaxinit.low_rank(2, 0.3), 40_000, 2, 2)[:, 0, 1] / 0.3 * math.sqrt(2)
    assert stats.kstest(w, stats.laplace.cdf).pvalue > 1e-3
    assert stats.kstest(1.06 * w, stats.laplace.cdf).pvalue < 1e-3
    assert stats.kstest(w, stats.norm(scale=math.sqrt(2)).cdf).pvalue < 1e-3


# Permutation


def test_permutations_are_uniform() -> None:
    count, n = 24_000, 4
    w = stacked(jaxinit.permutation(), count, n, n)
    assert set(np.unique(w)) == {0, 1}
    assert (w.sum(1) == 1).all()
    assert (w.sum(2) == 1).all()

    def pvalue(image: Any) -> float:
        codes, counts = np.unique(image @ n ** np.arange(n), return_counts=True)
        assert codes.size == math.factorial(n)
        return float(stats.chisquare(counts).pvalue)

    assert pvalue(w.argmax(2)) > 1e-3
    # Power: the shuffle that swaps every place with any place, of 4⁴ outcomes for 4! permutations.
    rng = np.random.default_rng(0)
    naive = np.tile(np.arange(n), (count, 1))
    for i in range(n):
        j = rng.integers(0, n, count)
        naive[np.arange(count), i], naive[np.arange(count), j] = (
            naive[np.arange(count), j],
            naive[np.arange(count), i],
        )
    assert pvalue(naive) < 1e-3
    big = jaxinit.permutation()(KEY, (300, 300), jnp.bfloat16)
    assert (big.sum(0) == 1).all()
    # Fixed points are of mean 1 and variance 1.
    fixed = np.trace(w, axis1=1, axis2=2)
    assert abs(fixed.mean() - 1) < 4 / math.sqrt(count)


# Reservoir


def radius(w: Any) -> Any:
    return abs(np.linalg.eigvals(w)).max(-1)


@pytest.mark.parametrize(
    ("n", "density", "count", "dtype"),
    [
        (1, 1, 50, jnp.float32),
        (2, 0.5, 500, jnp.float32),
        (10, 0.1, 500, jnp.float32),
        (49, 1 / 49, 200, jnp.float32),
        (5, 0.3, 500, jnp.complex64),
        (100, 0.1, 10, jnp.complex64),
    ],
    ids=str,
)
def test_spectral_radius(n: int, density: float, count: int, dtype: Any) -> None:
    w = stacked(jaxinit.reservoir(1.3, density), count, n, n, dtype=dtype)
    np.testing.assert_allclose(radius(w), 1.3, rtol=1e-3)


def test_spectral_radius_at_half_precision_and_double() -> None:
    w = jaxinit.reservoir(1.3)(KEY, (64, 64))
    assert (jaxinit.reservoir(0.0)(KEY, (64, 64)) == 0).all()
    half = jaxinit.reservoir(1.3)(KEY, (64, 64), jnp.bfloat16)
    np.testing.assert_array_equal(half, w.astype(jnp.bfloat16))
    with jax.enable_x64(True):
        w = jaxinit.reservoir(1.3)(KEY, (64, 64), jnp.float64)
        assert abs(radius(np.asarray(w)) / 1.3 - 1) < 1e-4


def test_reservoir_is_sparse_and_normal() -> None:
    w = stacked(jaxinit.reservoir(density=0.15), 10, 100, 100)
    there = w != 0
    error = 4 * math.sqrt(0.15 * 0.85 / w.size)
    assert abs(there.mean() - 0.15) < error < 0.01
    assert abs(there[:, :, 7].mean() - 0.15) < 4 * math.sqrt(0.15 * 0.85 / 1000)
    z = np.concatenate([a[a != 0] / a[a != 0].std() for a in w])
    assert stats.kstest(z, stats.norm.cdf).pvalue > 1e-3
    assert stats.kstest(z, stats.laplace(scale=math.sqrt(0.5)).cdf).pvalue < 1e-3


def test_reservoir_is_drawn_again_until_it_has_a_cycle() -> None:
    """Of the 16 patterns of two units the 13 with a cycle are left, as likely as one another."""
    w = stacked(jaxinit.reservoir(1.0, 0.5), 13_000, 2, 2)
    codes, counts = np.unique((w != 0).reshape(-1, 4) @ [1, 2, 4, 8], return_counts=True)
    assert set(range(16)) - set(codes) == {0b0000, 0b0010, 0b0100}
    assert stats.chisquare(counts).pvalue > 1e-3
    biased = np.where(np.bitwise_count(codes) > 2, 1.1, 0.95) * counts
    assert stats.chisquare(biased / biased.mean() * 1000).pvalue < 1e-3


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_largest_modulus(scale: float) -> None:
    jordan = np.eye(4) + np.eye(4, k=1)
    cycle = np.roll(np.diag([1.0, 2.0, 4.0, 8.0]), 1, axis=1)
    weak = np.diag([1e-3, 0, 0, 0]) + np.eye(4, k=1)
    nilpotent = np.triu(np.full((4, 4), 7.0), 1)
    a = scale * np.stack([jordan, cycle, weak, nilpotent, np.zeros((4, 4))])
    found = largest_modulus(jnp.asarray(a, jnp.float32)) / scale
    np.testing.assert_allclose(found[:3], [1, 64**0.25, 1e-3], rtol=2e-4)
    assert (found[3:] == 0).all()


# Errors

SQUARE = "needs square ones"
FACTORY: list[tuple[Any, type[Exception], str]] = [
    (lambda: jaxinit.scaled_orthogonal(float("nan")), ValueError, "scale=nan is not finite"),
    (lambda: jaxinit.scaled_orthogonal(axes="ab"), ValueError, "axes='ab' is not an einsum"),
    (
        lambda: jaxinit.spectrum((1.0, -1.0)),
        ValueError,
        r"singular_values=\(1.0, -1.0\) is negative",
    ),
    (lambda: jaxinit.spectrum(1j), TypeError, "singular_values=1j is not a real number"),
    (lambda: jaxinit.low_rank(0), ValueError, "rank=0 is less than 1"),
    (lambda: untyped.low_rank(1.5), TypeError, "rank=1.5 is not a whole number"),
    (lambda: jaxinit.low_rank(1, -1.0), ValueError, "stddev=-1.0 is negative"),
    (lambda: jaxinit.reservoir(-0.9), ValueError, "spectral_radius=-0.9 is negative"),
    (lambda: jaxinit.reservoir(density=0.0), ValueError, r"density=0.0 is outside \(0, 1\]"),
    (lambda: untyped.reservoir(density=[0.1]), TypeError, r"density=\[0.1\] is not one number"),
    (lambda: jaxinit.reservoir(density=1.5), ValueError, r"density=1.5 is outside \(0, 1\]"),
    (lambda: jaxinit.reservoir(density=float("nan")), ValueError, "density=nan is not finite"),
    (lambda: untyped.reservoir(density="0.1"), TypeError, "density='0.1' is not a real number"),
]


@pytest.mark.parametrize(("make", "error", "message"), FACTORY, ids=range(len(FACTORY)))
def test_factories(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


CALL: list[tuple[jaxinit.Bound, tuple[int, ...], type[Exception], str]] = [
    (jaxinit.special_orthogonal(), (3, 4), ValueError, SQUARE),
    (jaxinit.permutation(), (3, 4), ValueError, SQUARE),
    (jaxinit.reservoir(), (30, 40), ValueError, SQUARE),
    (jaxinit.scaled_orthogonal(), (4,), ValueError, r"shape \(4,\) is 1-D"),
    (jaxinit.spectrum((1.0, 2.0)), (4, 4), ValueError, r"shape \(2,\).* have 4; pass so many"),
    (jaxinit.spectrum(np.ones((2, 2))), (2, 2), ValueError, r"shape \(2, 2\).* have 2"),
    (jaxinit.low_rank(5), (4, 8), ValueError, "rank=5 is more .* pass at most 4, or use normal"),
    (jaxinit.reservoir(), (5, 5), ValueError, "density=0.1 gives each of 5 units 0.5 inputs"),
]


@pytest.mark.parametrize(("init", "shape", "error", "message"), CALL, ids=range(len(CALL)))
def test_calls(init: Any, shape: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        init(KEY, shape)
    with pytest.raises(error, match=message):
        jax.eval_shape(lambda key: init(key, shape), KEY)


def test_integers_cannot_be_permuted() -> None:
    with pytest.raises(TypeError, match="dtype=int32 has no fractions"):
        jaxinit.permutation()(KEY, (3, 3), jnp.int32)
