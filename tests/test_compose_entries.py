"""Initializers made of initializers: what is done to entries, units and matrices."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from composed import HE, KEY, NORMAL, equal, foreign, given
from scipy import stats

import jaxinit
from jaxinit import Axes


def wide(x: Any) -> np.ndarray[Any, Any]:
    return np.asarray(x).astype(np.result_type(np.asarray(x).dtype, np.float64))


# Entries


def test_masked_entries_are_filled() -> None:
    mask = np.tri(6, 8, dtype=bool)
    w, v = jaxinit.masked(HE, mask)(KEY, (6, 8)), HE(KEY, (6, 8))
    equal(w, jnp.where(mask, v, 0))
    row = jaxinit.masked(foreign, jnp.array([1, 0, 1]), [7.0, 8.0, 9.0])(KEY, (2, 3))
    expected = foreign(KEY, (2, 3), jnp.float32)
    equal(row, expected.at[:, 1].set(8))
    assert jaxinit.masked(jaxinit.ones, [[0], [1]])(None, (2, 2), int).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("fraction", "axis"),
    [*((0.3, axis) for axis in (None, 0, -1, (0, 2))), (0.0, None), (0.5, (0, 2)), (1.0, -1)],
    ids=str,
)
def test_the_number_of_zeros_is_exact(fraction: float, axis: Any) -> None:
    shape = (7, 6, 5)
    w = np.asarray(jaxinit.sparsified(foreign, fraction, axis)(KEY, shape))
    zeros = (w == 0).sum(axis)
    over = range(3) if axis is None else np.atleast_1d(axis)
    assert (zeros == round(fraction * math.prod(shape[a] for a in over))).all()
    kept = w != 0
    v = jaxinit.sparsified(foreign, 0.0)(KEY, shape)
    np.testing.assert_array_equal(w[kept], v[kept])


def test_every_choice_of_zeros_is_as_likely() -> None:
    n, k, units = 6, 3, 20_000
    w = np.asarray(jaxinit.sparsified(NORMAL, k / n, 0)(KEY, (n, units)))

    def pvalue(zero: np.ndarray[Any, Any]) -> float:
        codes = (2 ** np.arange(n)) @ zero
        counts = np.bincount(codes, minlength=2**n)
        choices = [c for c in range(2**n) if c.bit_count() == k]
        return float(stats.chisquare(np.append(counts[choices], 0)[: len(choices)]).pvalue)

    zero = w == 0
    assert pvalue(zero) > 1e-3
    # Units choose on their own: neighbours agree by chance alone.
    same = (zero[:, 1:] == zero[:, :-1]).all(axis=0)
    p = 1 / math.comb(n, k)
    assert abs(same.mean() - p) < 4 * math.sqrt(p / units)
    # Power: one zero that sits a little too often at the top.
    moved = zero.copy()
    moved[:2, : units // 20] = [[True], [False]]
    assert pvalue(moved[:, moved.sum(axis=0) == k]) < 1e-3


def test_clipped_weights() -> None:
    v = NORMAL(KEY, (50, 40))
    equal(jaxinit.clipped(NORMAL, -0.5, 1.0)(KEY, (50, 40)), jnp.clip(v, -0.5, 1.0))


def test_a_mixture_takes_each_entry_from_one() -> None:
    probs = (0.2, 0.5, 0.3)
    inits = (
        jaxinit.uniform(1.0),
        jaxinit.constant(-1.0),
        jaxinit.normal(0.1) + jaxinit.constant(5),
    )
    w = np.asarray(jaxinit.mixture(inits, probs)(KEY, (300, 400)), np.float64)
    chosen = [(w >= 0) & (w < 1), w == -1, w > 4]
    for p, here in zip(probs, chosen, strict=True):
        assert abs(here.mean() - p) < 4 * math.sqrt(p * (1 - p) / w.size)
        # Entries choose on their own.
        both = (here[1:] & here[:-1]).mean()
        assert abs(both - p * p) < 5 * p / math.sqrt(w.size)
    assert sum(here.sum() for here in chosen) == w.size
    assert stats.kstest(w[chosen[0]], stats.uniform.cdf).pvalue > 1e-3
    assert stats.kstest((w[chosen[2]] - 5) / 0.1, stats.norm.cdf).pvalue > 1e-3
    # Were the choice made by the first draw's own numbers, small ones would prevail.
    assert stats.kstest(0.98 * w[chosen[0]], stats.uniform.cdf).pvalue < 1e-3
    certain: tuple[tuple[tuple[float, ...], float], ...] = (
        ((1, 0), 1.0),
        ((0, 1), 0.0),
        ((1,), 1.0),
    )
    for sure, value in certain:
        init = jaxinit.mixture((jaxinit.ones, jaxinit.zeros)[: len(sure)], sure)
        assert (init(KEY, (50, 50)) == value).all()


@pytest.mark.parametrize(("excitatory", "rows"), [(0.8, 8), (0.0, 0), (1.0, 10), (0.36, 4)])
def test_a_unit_excites_or_inhibits(excitatory: float, rows: int) -> None:
    w = np.asarray(jaxinit.dale(NORMAL, excitatory)(KEY, (10, 200)))
    np.testing.assert_array_equal(abs(w), abs(np.asarray(NORMAL(KEY, (10, 200)))))
    assert (w[:rows] > 0).all()
    assert (w[rows:] < 0).all()
    sent = np.asarray(jaxinit.dale(NORMAL, excitatory, axis=1)(KEY, (200, 10)))
    assert (np.sign(sent) == np.where(np.arange(10) < rows, 1, -1)).all()


# Statistics

SLICES = [
    (None, (30, 40), jnp.float32),
    (0, (30, 40), jnp.float32),
    (-1, (30, 40), jnp.complex64),
    ((0, 1, 2), (3, 3, 40, 6), jnp.float32),
]


@pytest.mark.parametrize(("axis", "shape", "dtype"), SLICES, ids=range(4))
def test_moments_are_exact(axis: Any, shape: tuple[int, ...], dtype: Any) -> None:
    tiny = NORMAL * 2.0**-70  # whose squares are no float32
    for init in (NORMAL + jaxinit.constant(2.0), *((NORMAL, tiny) if axis == 0 else ())):
        v = wide(init(KEY, shape, dtype))
        w = wide(jaxinit.centered(init, axis)(KEY, shape, dtype))
        size = abs(v).max()
        np.testing.assert_allclose(w, v - v.mean(axis, keepdims=True), atol=1e-5 * size)
        assert abs(w.mean(axis)).max() < 1e-7 * size < abs(v.mean(axis)).max()
        w = wide(jaxinit.standardized(init, axis)(KEY, shape, dtype))
        assert abs(w.mean(axis)).max() < 1e-7 * abs(w).max()
        assert abs((abs(w) ** 2).mean(axis) - 1).max() < 2e-6 < abs(v.std(axis) / size - 1).max()
        expected = (v - v.mean(axis, keepdims=True)) / v.std(axis, keepdims=True)
        np.testing.assert_allclose(w, expected, atol=1e-5 * abs(expected).max())
        w = wide(jaxinit.normalized(init, axis)(KEY, shape, dtype))
        norm = np.sqrt((abs(v) ** 2).sum(axis, keepdims=True))
        assert abs((abs(w) ** 2).sum(axis) - 1).max() < 2e-6
        np.testing.assert_allclose(w, v / norm, atol=1e-5 * abs(w).max())


def test_slices_that_do_not_vary_become_zero() -> None:
    for value in (0.0, 0.1, -3e30):
        constant = jaxinit.constant(value)
        assert (jaxinit.standardized(constant, 0)(None, (100, 3)) == 0).all()
    assert (jaxinit.normalized(jaxinit.zeros, 0)(None, (100, 3)) == 0).all()
    spread = jaxinit.standardized(given(1 + 2.0**-20 * np.arange(100)[:, None]))(KEY, (100, 1))
    assert abs(spread.std() - 1) < 1e-6  # small variation is variation
    rounded = given(1 + 2.0**-23 * (np.arange(100)[:, None] % 2))  # and rounding errors are none
    assert (jaxinit.standardized(rounded)(KEY, (100, 1)) == 0).all()


def test_normalized_normals_are_uniform_on_the_sphere() -> None:
    n = 5
    w = np.asarray(jaxinit.normalized(NORMAL, 0)(KEY, (n, 20_000)), np.float64)
    law = stats.beta(0.5, (n - 1) / 2).cdf
    for row in w:
        assert stats.kstest(row**2, law).pvalue > 1e-3 / n
    cube = np.asarray(
        jaxinit.normalized(jaxinit.uniform(2.0) + jaxinit.constant(-1.0), 0)(KEY, (n, 20_000))
    )
    assert stats.kstest(cube[0] ** 2, law).pvalue < 1e-3 / n


def with_spectrum(s: Any, n: int, m: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(7)
    u, v = (np.linalg.qr(rng.normal(size=(k, len(s))))[0] for k in (n, m))
    return np.asarray((u * s) @ v.T)


k = np.arange(280) / 280
SPECTRA = {
    "all equal": np.ones(280),
    "two close": np.append([1, 0.9999], 0.9 * k[:-2]),
    "crowded": 1 - 1e-3 * k,
    "even": 1 - k,
    "dense at the top": 1 - k**2,
    "one above the crowd": np.append(1, np.full(279, 0.9)),
    "rank one": np.append(1, np.zeros(279)),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("columns", [200, 300])  # by the Gram matrix, and by Lanczos steps
def test_the_largest_singular_value_whatever_the_others(name: str, columns: int) -> None:
    s = SPECTRA[name][:columns]
    shape = (columns, 350) if name == "even" else (350, columns)
    init = given(1e-20 * with_spectrum(s, *shape))
    w = wide(jaxinit.spectral_normalized(init, 3.0)(KEY, shape))
    assert abs(np.linalg.norm(w, 2) / 3 - 1) < 3e-5
    if name in ("crowded", "dense at the top"):
        # Power: what a few power iterations would take for it.
        x = np.random.default_rng(1).normal(size=shape[1])
        for _ in range(20):
            x = w.T @ (w @ x)
            x /= np.linalg.norm(x)
        assert abs(np.linalg.norm(w @ x) / 3 - 1) > 3e-5


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64], ids=str)
def test_spectral_norms_of_kernels(dtype: Any) -> None:
    conv = jaxinit.spectral_normalized(NORMAL, 0.5)(KEY, (3, 3, 8, 20), dtype)
    np.testing.assert_allclose(np.linalg.norm(wide(conv).reshape(72, 20), 2), 0.5, rtol=1e-5)
    stack = jaxinit.spectral_normalized(NORMAL, axes="hbi,hio->hbo")(KEY, (4, 12, 30), dtype)
    np.testing.assert_allclose(np.linalg.norm(wide(stack), 2, (1, 2)), np.ones(4), rtol=1e-5)
    groups = jaxinit.spectral_normalized(NORMAL, axes=Axes.conv(1, groups=2))(KEY, (3, 4, 6), dtype)
    drawn = NORMAL(KEY, (3, 4, 6), dtype)
    for half, v in ((groups[..., :3], drawn[..., :3]), (groups[..., 3:], drawn[..., 3:])):
        norm = np.linalg.norm(wide(v).reshape(12, 3), 2)
        np.testing.assert_allclose(half, wide(v) / norm, atol=1e-5)
    assert (jaxinit.spectral_normalized(jaxinit.zeros)(None, (4, 3), dtype) == 0).all()
