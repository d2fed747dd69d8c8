"""Initializers made of initializers: each combinator does to a draw what it says, and no more."""

import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import bits
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from scipy import stats

import jaxinit
from jaxinit import Axes
from jaxinit._initializer import Factory
from jaxinit.compose.relaid import relaid

untyped: Any = jaxinit
KEY = jax.random.key(20261124)
HE, NORMAL = jaxinit.he_normal(), jaxinit.normal(1.0)
P = PartitionSpec


def three_arguments(key: Any, shape: Any, dtype: Any) -> jax.Array:
    """A user's initializer, without out_sharding, whose sums no compiler rounds."""
    return 1 + jax.random.uniform(key, shape, dtype)


foreign: Any = three_arguments


def given(matrix: Any) -> Any:
    """A user's initializer that always returns the same weights."""
    return lambda key, shape, dtype: jnp.asarray(matrix, dtype)


def equal(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(bits(found), bits(expected))


def wide(x: Any) -> np.ndarray[Any, Any]:
    return np.asarray(x).astype(np.result_type(np.asarray(x).dtype, np.float64))


# Operators


def test_a_multiple_is_the_draw_times_the_factor() -> None:
    w = NORMAL(KEY, (6, 8))
    equal((NORMAL * 0.5)(KEY, (6, 8)), 0.5 * w)
    equal((0.5 * NORMAL)(KEY, (6, 8)), 0.5 * w)
    assert NORMAL * 0.5 == 0.5 * NORMAL == jaxinit.scaled(NORMAL, 0.5)
    row = np.arange(8.0)
    equal(jaxinit.scaled(NORMAL, row)(KEY, (6, 8)), w * np.float32(row))
    equal(jaxinit.scaled(foreign, -2.0)(KEY, (6, 8)), -2 * foreign(KEY, (6, 8), jnp.float32))
    slope = jax.grad(lambda f: (NORMAL * f)(KEY, (6, 8)).sum())(0.3)
    np.testing.assert_allclose(slope, w.sum(), rtol=1e-6)


@pytest.mark.parametrize("array", [np.array([1.0, 2.0]), jnp.array([1.0, 2.0])], ids=type)
def test_an_array_times_an_initializer_is_an_initializer(array: Any) -> None:
    assert array * NORMAL == NORMAL * array
    with pytest.raises(TypeError, match=r"a=.*\[1\., 2\.\].* is not an initializer"):
        array + NORMAL


def test_a_sum_adds_independent_draws() -> None:
    first, second = jax.random.split(KEY)
    a, b = HE(first, (6, 8)), NORMAL(second, (6, 8))
    for init, expected in (
        (HE + NORMAL, a + b),
        (HE + foreign, a + foreign(second, (6, 8), jnp.float32)),
        (foreign + HE, foreign(first, (6, 8), jnp.float32) + HE(second, (6, 8))),
    ):
        np.testing.assert_allclose(init(KEY, (6, 8)), expected, rtol=0, atol=1e-6)
    twice = (NORMAL + NORMAL)(KEY, (300, 400))
    assert abs(float(twice.var()) / 2 - 1) < 4 * math.sqrt(2 / twice.size)
    assert abs(float((2 * NORMAL(KEY, (300, 400))).var()) / 2 - 1) > 0.5  # one draw, twice


def test_replace_changes_arguments_of_the_factory() -> None:
    init = jaxinit.he_normal(in_axis=0, out_axis=1)
    assert init.replace(in_axis=2) == jaxinit.he_normal(2, 1)
    assert repr(init.replace(dtype="bfloat16")) == (
        "he_normal(in_axis=0, out_axis=1, dtype='bfloat16')"
    )
    assert (HE * 0.5).replace(factor=2.0) == HE * 2.0
    row = jaxinit.blocks(HE, NORMAL, axis=0)
    assert row.replace(axis=1) == jaxinit.blocks(HE, NORMAL, axis=1)
    assert row.replace(inits=(HE,), n=2) == jaxinit.blocks(HE, axis=0, n=2)
    with pytest.raises(TypeError, match="unexpected keyword argument 'stdev'"):
        NORMAL.replace(stdev=1.0)


def test_a_default_dtype_is_inherited() -> None:
    half = jaxinit.normal(0.1, jnp.bfloat16)
    for init in (half * 2, HE + half, jaxinit.blocks(HE, half), jaxinit.stacked(half)):
        assert init(KEY, (4, 2)).dtype == jnp.bfloat16
        assert init(KEY, (4, 2), jnp.float32).dtype == jnp.float32


def test_numbers_of_parts_share_one_compilation() -> None:
    from jaxinit import _draw

    run: Any = _draw.run
    composed: tuple[Callable[[float], jaxinit.Bound], ...] = (
        lambda x: jaxinit.normal(0.1 * x) * (0.5 * x),
        lambda x: jaxinit.blocks(jaxinit.normal(0.1 * x), n=2) * x,
        lambda x: jaxinit.mixture((jaxinit.normal(x), jaxinit.ones), (0.1 * x, 1 - 0.1 * x)),
    )
    for make in composed:
        first = make(1.0)(KEY, (6, 10))
        before = run._cache_size()
        assert (make(2.0)(KEY, (6, 10)) != first).any()
        assert run._cache_size() == before


# Layout


def test_blocks_are_the_draws_of_their_own_keys_and_shapes() -> None:
    keys = jax.random.split(KEY, 3)
    found = jaxinit.blocks(HE, n=3, axis=0)(KEY, (12, 6))
    for i, key in enumerate(keys):
        equal(found[4 * i : 4 * i + 4], HE(key, (4, 6)))
    q, k, v = jnp.split(jaxinit.blocks(HE, jaxinit.ones, foreign)(KEY, (5, 12)), 3, axis=1)
    equal(q, HE(keys[0], (5, 4)))
    equal(k, jnp.ones((5, 4)))
    equal(v, foreign(keys[2], (5, 4), jnp.float32))


def test_blocks_of_one_are_the_block() -> None:
    equal(jaxinit.blocks(HE)(KEY, (4, 6)), HE(KEY, (4, 6)))
    equal(jaxinit.block_diagonal(HE, 1)(KEY, (4, 6)), HE(KEY, (4, 6)))
    equal(jaxinit.tiled(HE, 1)(KEY, (4, 6)), HE(KEY, (4, 6)))


def test_equal_blocks_are_drawn_as_unequal_ones() -> None:
    together = jaxinit.blocks(HE, n=2, axis=1)(KEY, (3, 8, 4))
    other = jaxinit.lecun_normal(dtype="float32")
    apart = jaxinit.blocks(HE, other, axis=1)(KEY, (3, 8, 4))
    equal(apart[:, :4], together[:, :4])
    equal(jaxinit.blocks(HE, HE, axis=1)(KEY, (3, 8, 4)), together)
    repeated = jaxinit.blocks(HE, other, axis=1, n=2)(KEY, (3, 8, 4))
    keys = jax.random.split(KEY, 4)
    equal(repeated[:, 4:6], HE(keys[2], (3, 2, 4)))
    equal(repeated[:, 6:], other(keys[3], (3, 2, 4)))


def test_blocks_have_fans_of_their_own() -> None:
    """The queries, keys and values of grouped-query attention: Var w = 1 / n_out of each."""
    init = jaxinit.variance_scaling(1.0, "fan_out", "normal")
    sizes = (256, 64, 64)
    qkv = jaxinit.blocks(init, n=3, sizes=sizes)(KEY, (500, 384))
    for w in np.split(np.asarray(qkv), np.cumsum(sizes)[:-1], axis=1):
        fan = w.shape[1]
        assert abs(w.var() * fan - 1) < 4 * math.sqrt(2 / w.size)
        assert abs(w.var() * qkv.shape[1] - 1) > 4 * math.sqrt(2 / w.size)  # a draw of the whole


def test_blocks_on_a_diagonal() -> None:
    w = jaxinit.block_diagonal(foreign, 3)(KEY, (2, 6, 12))
    for i, key in enumerate(jax.random.split(KEY, 3)):
        equal(w[:, 2 * i : 2 * i + 2, 4 * i : 4 * i + 4], foreign(key, (2, 2, 4), jnp.float32))
    assert jnp.count_nonzero(w) == 2 * 3 * 2 * 4
    x = jax.random.normal(KEY, (5, 6))
    whole = jaxinit.block_diagonal(jaxinit.orthogonal(), 3)(KEY, (6, 6))
    np.testing.assert_allclose(jnp.linalg.norm(x @ whole), jnp.linalg.norm(x), rtol=1e-6)


@pytest.mark.parametrize("init", [HE, foreign, jax.nn.initializers.he_normal()], ids=range(3))
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_stack_is_its_slices(init: Any, axis: int) -> None:
    shape = tuple(np.insert((4, 6), axis % 3, 3))
    others = (jax.random.key_data(KEY), jax.random.key(1, impl="philox4x32"))
    for key in (KEY, *(others if axis == 0 else ())):
        stack = jnp.moveaxis(jaxinit.stacked(init, axis)(key, shape), axis, 0)
        for found, k in zip(stack, jax.random.split(key, 3), strict=True):
            equal(found, jax.jit(init, static_argnums=(1, 2))(k, (4, 6), np.dtype("float32")))


def test_a_stack_of_one_splits_its_key_too() -> None:
    (key,) = jax.random.split(KEY, 1)
    equal(jaxinit.stacked(HE)(KEY, (1, 4, 6))[0], HE(key, (4, 6)))


def test_a_stack_along_several_axes() -> None:
    init = jaxinit.stacked(HE, (2, 0))
    stack = init(KEY, (3, 4, 2, 6))
    keys = jax.random.split(KEY, (2, 3))
    for i in range(2):
        for j in range(3):
            equal(stack[j, :, i], HE(keys[i, j], (4, 6)))
    experts = jaxinit.stacked(jaxinit.orthogonal(), (0, 1))(KEY, (2, 3, 8, 5))
    gram = jnp.einsum("abij,abik->abjk", experts, experts)
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(5), gram.shape), atol=3e-6)


def test_tiles_are_the_same_draw() -> None:
    w = jaxinit.tiled(foreign, 3, axis=0)(KEY, (6, 4))
    equal(w, jnp.tile(foreign(KEY, (2, 4), jnp.float32), (3, 1)))
    mirrored = jaxinit.mirrored(foreign, axis=0)(KEY, (6, 4))
    v = foreign(KEY, (3, 4), jnp.float32)
    equal(mirrored, jnp.concatenate([v, -v]))


def test_two_mirrors_make_rectifiers_linear() -> None:
    """relu(x W₁) W₂ = x V₁ V₂, for W₁ = [V₁, -V₁] and W₂ = [V₂; -V₂]: Balduzzi et al. 2017."""
    first, second = jax.random.split(KEY)
    w1, w2 = jaxinit.mirrored(HE)(first, (5, 16)), jaxinit.mirrored(HE, axis=0)(second, (16, 3))
    x = jax.random.normal(KEY, (7, 5))
    linear = x @ w1[:, :8] @ w2[:8]
    np.testing.assert_allclose(jax.nn.relu(x @ w1) @ w2, linear, atol=1e-5)


def test_turned_and_reshaped_draws() -> None:
    v = foreign(KEY, (4, 2, 3), jnp.float32)
    equal(jaxinit.transposed(foreign, (2, 0, -2))(KEY, (3, 4, 2)), v.transpose(2, 0, 1))
    equal(jaxinit.transposed(foreign)(KEY, (3, 2, 4)), v.T)
    equal(jaxinit.reshaped(foreign, (4, 2, 3))(KEY, (8, 3)), v.reshape(8, 3))
    equal(jaxinit.reshaped(foreign, (4, -1, 3))(KEY, (24,)), v.reshape(24))
    table = jaxinit.transposed(jaxinit.lecun_normal())(KEY, (400, 100))
    error = 4 * math.sqrt(2 / table.size)
    assert abs(float(table.var()) * 100 - 1) < error < abs(float(table.var()) * 400 - 1)


def test_a_flattened_kernel_of_flax_gets_its_axes_back() -> None:
    """DenseGeneral asks for (batch · in, out), whose fan-in is batch times too large."""
    from flax import linen as nn

    init = jaxinit.reshaped(jaxinit.lecun_normal(batch_axis=0), (8, -1, 200))
    fans = []
    for kernel_init in (init, jaxinit.lecun_normal()):
        layer = nn.DenseGeneral(200, axis=-1, batch_dims=(0,), kernel_init=kernel_init)
        kernel = layer.init(KEY, jnp.zeros((8, 2, 50)))["params"]["kernel"]
        assert kernel.shape == (8, 50, 200)
        fans.append(1 / float(kernel.var()))
    error = 4 * math.sqrt(2 / (8 * 50 * 200))
    assert abs(fans[0] / 50 - 1) < error
    assert abs(fans[1] / 400 - 1) < error


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


# Context


def test_a_forced_dtype() -> None:
    init = jaxinit.with_dtype(HE, jnp.bfloat16)
    assert init == jaxinit.with_dtype(HE, "bfloat16")
    for dtype in (None, jnp.float32, jnp.float16):
        equal(init(KEY, (4, 6), dtype), HE(KEY, (4, 6), jnp.bfloat16))
    equal((init * 3)(KEY, (4, 6), jnp.float32), (HE * 3)(KEY, (4, 6), jnp.bfloat16))
    assert jaxinit.with_dtype(init, "float32")(KEY, (4, 6)).dtype == jnp.float32
    equal(jaxinit.with_dtype(NORMAL, complex)(KEY, (9,), float), NORMAL(KEY, (9,), complex))
    assert jaxinit.with_dtype(jaxinit.ones, "int8")(None, (2,), "float32").dtype == jnp.int8


def mesh(kind: AxisType, *sizes: int) -> Mesh:
    names = ("a", "b")[: len(sizes)]
    devices = np.array(jax.devices()[: math.prod(sizes)]).reshape(sizes)
    return Mesh(devices, names, axis_types=(kind,) * len(sizes))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_a_sharding_of_its_own(kind: AxisType) -> None:
    expected = np.asarray(HE(KEY, (16, 8)))
    whole = mesh(kind, 4, 2)
    rows, columns = NamedSharding(whole, P("a")), NamedSharding(whole, P(None, "b"))
    init = jaxinit.with_sharding(HE, rows)
    for composed in (init, init * 1.0, jaxinit.masked(init, True)):
        found = composed(KEY, (16, 8))
        assert found.sharding.is_equivalent_to(rows, 2)
        np.testing.assert_array_equal(found, expected)
        asked = composed(KEY, (16, 8), None, columns)
        assert asked.sharding.is_equivalent_to(columns, 2)  # the call's comes first
        np.testing.assert_array_equal(asked, expected)
    named = jaxinit.with_sharding(HE, P("a"))
    for sizes in ((4, 2), (2, 4)):  # the mesh in force, whatever it was before
        with jax.set_mesh(mesh(kind, *sizes)):
            assert named(KEY, (16, 8)).sharding.shard_shape((16, 8)) == (16 // sizes[0], 8)
            under_jit = jax.jit(lambda key: named(key, (16, 8)))(KEY)
            np.testing.assert_array_equal(under_jit, expected)
            assert under_jit.sharding.shard_shape((16, 8)) == (16 // sizes[0], 8)
    assert pickle.loads(pickle.dumps(named)) == named


def test_axes_reach_the_initializers_inside() -> None:
    einsum = Axes.einsum("btd,dhk->bthk")
    inner = jaxinit.he_normal(axes=einsum)
    pairs: tuple[tuple[Any, Any], ...] = (
        (jaxinit.he_normal(0, (1, 2)), inner),
        (jaxinit.he_normal(dtype="bfloat16"), jaxinit.he_normal(dtype="bfloat16", axes=einsum)),
        (jaxinit.orthogonal(2.0, column_axis=0), jaxinit.orthogonal(2.0, axes=einsum)),
        (HE * 0.5, inner * 0.5),
        (HE + jaxinit.zeros, inner + jaxinit.zeros),
        (jaxinit.blocks(HE, NORMAL, axis=1), jaxinit.blocks(inner, NORMAL, axis=1)),
        (jaxinit.mixture((HE, NORMAL), (0, 1)), jaxinit.mixture((inner, NORMAL), (0, 1))),
        (jaxinit.transposed(HE, (0, 1, 2)), jaxinit.transposed(inner, (0, 1, 2))),
        (
            jaxinit.spectral_normalized(HE, 2.0),
            jaxinit.spectral_normalized(inner, 2.0, axes=einsum),
        ),
    )
    for init, expected in pairs:
        found = jaxinit.with_axes(init, "btd,dhk->bthk")
        assert found == expected
        assert found(KEY, (8, 2, 4)).shape == (8, 2, 4)


# All of them

COMBINATORS: tuple[Callable[[Any], jaxinit.Bound], ...] = (
    lambda init: jaxinit.scaled(init, 2.0),
    lambda init: jaxinit.added(init, init),
    lambda init: jaxinit.blocks(init, n=2),
    lambda init: jaxinit.blocks(init, jaxinit.zeros, axis=0),
    lambda init: jaxinit.block_diagonal(init, 2),
    lambda init: jaxinit.stacked(init, -1),
    lambda init: jaxinit.layered(*(8 * [init]), axis=1),
    lambda init: jaxinit.tiled(init, 2),
    lambda init: jaxinit.mirrored(init),
    lambda init: jaxinit.transposed(init),
    lambda init: jaxinit.reshaped(init, (-1,)),
    lambda init: jaxinit.masked(init, True),
    lambda init: jaxinit.clipped(init, -1.0, 4.0),
    lambda init: jaxinit.dale(init),
    lambda init: jaxinit.centered(init),
    lambda init: jaxinit.standardized(init),
    lambda init: jaxinit.normalized(init),
    lambda init: jaxinit.spectral_normalized(init),
    lambda init: jaxinit.with_dtype(init, "float32"),
    lambda init: jaxinit.with_sharding(init, None),
)
RANDOM: tuple[Callable[[Any], jaxinit.Bound], ...] = (
    lambda init: jaxinit.sparsified(init, 0.5),
    lambda init: jaxinit.mixture((init, jaxinit.zeros), (0.5, 0.5)),
)


def test_the_list_is_complete() -> None:
    from jaxinit import compose

    names = {make(NORMAL)._factory.__name__ for make in COMBINATORS + RANDOM}
    factories = {n for n, f in vars(compose).items() if isinstance(f, Factory)} - {"with_axes"}
    assert names == factories | {"scaled", "added"}


@pytest.mark.parametrize("make", COMBINATORS, ids=lambda make: repr(make(jaxinit.ones)))
def test_constants_never_touch_the_key(make: Any) -> None:
    init, random = make(jaxinit.ones), make(jax.nn.initializers.ones)
    expected = init(KEY, (8, 8))
    np.testing.assert_allclose(expected, random(KEY, (8, 8)), rtol=0, atol=1e-6)
    for key in (None, object(), "stream"):
        equal(init(key, (8, 8)), expected)


@pytest.mark.parametrize("make", COMBINATORS + RANDOM, ids=lambda make: repr(make(jaxinit.ones)))
def test_any_callable_will_do(make: Any) -> None:
    sharding = NamedSharding(mesh(AxisType.Auto, 4, 2), P("a", "b"))
    found = make(foreign)(KEY, (8, 8), jnp.float32)
    sharded = make(foreign)(KEY, (8, 8), jnp.float32, sharding)
    assert sharded.sharding == sharding
    np.testing.assert_allclose(sharded, found, rtol=0, atol=1e-5)
    assert make(foreign) == make(foreign)


@pytest.mark.parametrize("make", (COMBINATORS + RANDOM)[::3], ids=lambda m: repr(m(jaxinit.ones)))
def test_what_jax_draws_is_what_jaxinit_draws(make: Any) -> None:
    theirs = jax.jit(jax.nn.initializers.normal(1.0), static_argnums=(1, 2))
    ours = make(NORMAL)(KEY, (8, 8))
    np.testing.assert_allclose(make(theirs)(KEY, (8, 8)), ours, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "inits",
    [
        (HE * 0.5, HE * 1.5, HE * 2.0),
        (HE, NORMAL, jaxinit.zeros),
        (HE * 2.0, HE * np.array([1.0, 2.0, 3.0, 4.0]), HE * np.ones((8, 1))),
    ],
    ids=repr,
)
def test_each_layer_draws_from_a_key_of_its_own(inits: Any) -> None:
    found = jaxinit.layered(*inits, axis=1)(KEY, (8, 3, 4))
    for i, key in enumerate(jax.random.split(KEY, 3)):
        np.testing.assert_allclose(found[:, i], inits[i](key, (8, 4)), rtol=1e-6, atol=0)


def test_whole_numbers_keep_what_is_whole() -> None:
    four = jaxinit.constant(4)
    assert (four * 3)(None, (2,), jnp.int32).tolist() == [12, 12]
    assert (jaxinit.with_dtype(jaxinit.ones, "float32") * 0.5)(None, (1,), jnp.int32)[0] == 0.5
    assert jaxinit.with_dtype(HE, "float32")(KEY, (2, 3), jnp.int32).dtype == jnp.float32
    for init in (
        four * 0.5,
        jaxinit.depth_scaled(jaxinit.constant(8), 8),
        jaxinit.identity(jnp.float32(0.5)),
        jaxinit.clipped(four, 0.5, 0.9),
        jaxinit.masked(four, 0, jnp.bfloat16(0.5)),
    ):
        with pytest.raises(TypeError, match="dtype=int32 would cut off the fraction of"):
            init(None, (2, 2), jnp.int32)
    with pytest.raises(TypeError, match=r"cut off the fraction of 0\.5 "):
        (jaxinit.with_dtype(four, "int32") * 0.5)(None, (2,))


def test_a_row_of_initializers_is_a_value() -> None:
    init = jaxinit.blocks(HE, jaxinit.zeros, axis=0, sizes=[4, 2]) * 0.5
    assert repr(init) == (
        "scaled(init=blocks(he_normal(), zeros_init(), axis=0, sizes=(4, 2)), factor=0.5)"
    )
    for twin in (eval(repr(init), vars(jaxinit).copy()), pickle.loads(pickle.dumps(init))):
        assert twin == init
        assert hash(twin) == hash(init)
    assert jaxinit.blocks(HE, NORMAL) != jaxinit.blocks(NORMAL, HE)


COLLECTIVES = re.compile(r"all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter")
KEPT = (jaxinit.blocks(NORMAL, jaxinit.zeros, axis=0), jaxinit.layered(*(8 * [NORMAL]), axis=1))
FUSED = [make for make in COMBINATORS[:14] if make(NORMAL) not in KEPT]


def compiled(init: Any, shape: tuple[int, ...], sharding: Any) -> tuple[Any, str]:
    """Memory figures of the drawing program, and its text."""
    drawn = jax.jit(lambda key: init(key, shape, jnp.float32, sharding)).lower(KEY).compile()
    return drawn.memory_analysis(), drawn.as_text() or ""


@pytest.mark.parametrize("spec", [None, P(None, ("a", "b"))], ids=str)
@pytest.mark.parametrize("make", FUSED, ids=lambda make: repr(make(jaxinit.ones)))
def test_nothing_is_kept_but_the_result(make: Any, spec: Any) -> None:
    """One kernel, no temporary, and no device works for another: 3 blocks on 8 devices too."""
    shape = (384, 1536)
    sharding = None if spec is None else NamedSharding(mesh(AxisType.Auto, 4, 2), spec)
    init = make(NORMAL)
    if init._factory is jaxinit.blocks:
        init = init.replace(n=3)
    memory, text = compiled(init, shape, sharding)
    assert memory.temp_size_in_bytes <= 0.06 * memory.output_size_in_bytes
    assert not COLLECTIVES.search(text)


def test_unequal_blocks_are_kept_once() -> None:
    memory, _ = compiled(jaxinit.blocks(HE, n=3, sizes=(512, 128, 128)), (256, 768), None)
    assert memory.temp_size_in_bytes <= 1.01 * memory.output_size_in_bytes


@pytest.mark.parametrize(
    ("init", "shape", "spec"),
    [
        (jaxinit.stacked(jaxinit.orthogonal()), (4, 512, 512), P(None, None, "a")),
        (jaxinit.transposed(jaxinit.orthogonal()), (512, 512), P("a")),
        (jaxinit.blocks(jaxinit.orthogonal(), n=3), (512, 1536), P("a")),
        (jaxinit.mirrored(jaxinit.orthogonal()), (512, 1024), P("a")),
    ],
    ids=range(4),
)
def test_matrices_inside_know_their_sharding(init: Any, shape: Any, spec: Any) -> None:
    memory, text = compiled(init, shape, NamedSharding(mesh(AxisType.Auto, 8), spec))
    assert memory.temp_size_in_bytes <= 6 * memory.output_size_in_bytes
    assert not COLLECTIVES.search(text)


FACTORY: list[tuple[Any, type[Exception], str]] = [
    (lambda: untyped.blocks(3), TypeError, "inits=3 is not an initializer"),
    (lambda: untyped.blocks(jaxinit.he_normal), TypeError, "a factory of initializers: call it"),
    (lambda: jaxinit.blocks(HE, n=0), ValueError, "n=0 is less than 1"),
    (lambda: untyped.blocks(HE, axis=(0, 1)), TypeError, r"axis=\(0, 1\) is not a whole number"),
    (lambda: jaxinit.blocks(HE, sizes=(3, 0)), ValueError, r"sizes\[1\]=0 is less than 1"),
    (lambda: untyped.blocks(HE, sizes=3), TypeError, "sizes=3 is not a sequence of integers"),
    (lambda: jaxinit.block_diagonal(HE, 0), ValueError, "n=0 is less than 1"),
    (lambda: untyped.stacked(HE, "b"), TypeError, "axis='b' is neither an integer"),
    (lambda: untyped.transposed(HE, 1), TypeError, "axes=1 is not a sequence of integers"),
    (lambda: untyped.reshaped(HE, (2, 0.5)), TypeError, r"to\[1\]=0.5 is not a whole number"),
    (lambda: jaxinit.masked(HE, [0, 2]), ValueError, r"mask=\[0, 2\] has entries other than 0"),
    (lambda: jaxinit.masked(HE, True, np.inf), ValueError, "fill=inf is not finite"),
    (lambda: jaxinit.sparsified(HE, 1.5), ValueError, r"fraction=1.5 is outside \[0, 1\]"),
    (lambda: untyped.sparsified(HE, "x"), TypeError, "fraction='x' is not a real number"),
    (lambda: jaxinit.clipped(HE, 0, np.nan), ValueError, "high=nan is not finite"),
    (lambda: untyped.mixture(HE, (1,)), TypeError, "is not a sequence of initializers"),
    (lambda: untyped.mixture((HE, 2), (0, 1)), TypeError, r"inits\[1\]=2 is not an initializer"),
    (lambda: untyped.mixture((HE,), 1.0), TypeError, "probs=1.0 is not a sequence of numbers"),
    (lambda: jaxinit.mixture((HE, HE), (0.5, 0.6)), ValueError, "add up to 1.1, not 1"),
    (lambda: jaxinit.mixture((HE, HE), (1.5, -0.5)), ValueError, r"probs\[0\]=1.5 is outside"),
    (lambda: jaxinit.dale(HE, -0.1), ValueError, r"excitatory=-0.1 is outside \[0, 1\]"),
    (lambda: jaxinit.spectral_normalized(HE, -1.0), ValueError, "norm=-1.0 is negative"),
    (lambda: untyped.spectral_normalized(HE, axes=3), TypeError, "axes=3 is a int"),
    (lambda: jaxinit.with_dtype(HE, "float33"), TypeError, "dtype='float33' is not a dtype"),
    (lambda: untyped.with_dtype(HE, None), TypeError, "dtype=None forces no dtype"),
    (lambda: untyped.with_sharding(HE, "a"), TypeError, "sharding='a' is a str"),
    (lambda: jaxinit.with_axes(NORMAL, Axes()), TypeError, "takes no axes="),
    (lambda: jaxinit.with_axes(NORMAL * 2, Axes()), TypeError, "takes no axes="),
    (lambda: untyped.with_axes(foreign, Axes()), TypeError, "no initializer of jaxinit"),
    (lambda: jaxinit.with_axes(HE + foreign, Axes()), TypeError, "no initializer of jaxinit"),
    (lambda: untyped.with_axes(HE, None), TypeError, "axes=None gives no axes"),
    (lambda: jaxinit.with_axes(HE, "ab"), ValueError, "axes='ab' is not an einsum"),
]


@pytest.mark.parametrize(("make", "error", "message"), FACTORY, ids=range(len(FACTORY)))
def test_factories_refuse(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


CALL: list[tuple[Any, Any, type[Exception], str]] = [
    (jaxinit.blocks(), (4,), ValueError, r"blocks\(\) has no initializer"),
    (jaxinit.blocks(HE, n=3), (4, 8), ValueError, "3 equal blocks do not divide axis 1 .*sizes="),
    (jaxinit.blocks(HE, axis=2), (4, 8), ValueError, "axis=2 is out of range"),
    (jaxinit.blocks(HE, n=2, sizes=(4,)), (4, 8), ValueError, "of 1 blocks and there are 2"),
    (jaxinit.blocks(HE, n=2, sizes=(4, 3)), (4, 8), ValueError, "add up to 7 and axis 1 .* has 8"),
    (jaxinit.block_diagonal(HE, 3), (6, 8), ValueError, "do not divide axis 1"),
    (jaxinit.block_diagonal(HE, 3), (6,), ValueError, "is 1-D"),
    (jaxinit.stacked(HE, (0, -2)), (6, 8), ValueError, r"axis=\(0, -2\) names an axis .* twice"),
    (jaxinit.stacked(HE), (6, 8), ValueError, r"shape \(8,\) is 1-D: a bias has no fan-in"),
    (jaxinit.tiled(HE, 3), (6, 8), ValueError, "3 equal blocks do not divide axis 1"),
    (jaxinit.mirrored(HE), (6, 7), ValueError, "2 equal blocks .* a mirrored axis is even"),
    (jaxinit.transposed(HE, (0, 0)), (6, 7), ValueError, "no permutation of the 2 axes"),
    (jaxinit.transposed(HE, (0, 1, 2)), (6, 7), ValueError, "out of range"),
    (jaxinit.reshaped(HE, (6, 8)), (6, 7), ValueError, r"to=\(6, 8\) has not the 42 entries"),
    (jaxinit.reshaped(HE, (5, -1)), (6, 7), ValueError, "has not the 42 entries"),
    (jaxinit.reshaped(HE, (-1, -1)), (6, 7), ValueError, "has not the 42 entries"),
    (jaxinit.masked(HE, [1, 0]), (6, 7), ValueError, r"mask of shape \(2,\) does not broadcast"),
    (jaxinit.masked(HE, True, [1, 0]), (6, 7), ValueError, "fill of shape"),
    (jaxinit.sparsified(HE, 0.5, 2), (6, 7), ValueError, "axis=2 is out of range"),
    (jaxinit.clipped(NORMAL, 1, 1), (6, 7), ValueError, "low=1 is not below high=1"),
    (jaxinit.mixture((HE,), (0.5, 0.5)), (6, 7), ValueError, "probs=.* are 2 and inits are 1"),
    (jaxinit.dale(NORMAL), (6,), ValueError, "axis=-2 is out of range"),
    (jaxinit.centered(NORMAL, (0, 0)), (6, 7), ValueError, "twice"),
    (jaxinit.standardized(NORMAL, 0), (1, 7), ValueError, "slices of one entry"),
    (jaxinit.spectral_normalized(NORMAL), (6,), ValueError, "is 1-D"),
    (jaxinit.with_sharding(NORMAL, P("a")), (6,), ValueError, "under jax.set_mesh"),
    (jaxinit.stacked(given(1.0)), (2, 3), ValueError, r"returned shape \(\), not the shape \(3,\)"),
]


@pytest.mark.parametrize(("init", "shape", "error", "message"), CALL, ids=range(len(CALL)))
def test_calls_refuse(init: Any, shape: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        init(KEY, shape)
    with pytest.raises(error, match=message):  # and so while tracing
        jax.eval_shape(lambda: init(KEY, shape))


@pytest.mark.parametrize("init", [jaxinit.clipped(NORMAL, 0, 1), jaxinit.dale(NORMAL)], ids=repr)
def test_laws_on_the_real_line(init: Any) -> None:
    with pytest.raises(TypeError, match="is a law on the real line"):
        init(KEY, (6, 7), jnp.complex64)


def test_an_array_held_by_a_law_is_relaid_with_it() -> None:
    table = np.arange(6.0, dtype=np.float32).reshape(3, 2)

    def compute() -> Any:
        return jnp.sin(jnp.asarray(table)) + jax.lax.iota(np.float32, 6).reshape(3, 2)

    expected = (np.sin(table) + np.arange(6).reshape(3, 2)).reshape(2, 3)
    np.testing.assert_allclose(relaid(compute, (2, 3)), expected, rtol=1e-6)
