"""Matrices that repeat their entries, and vectors of unit norm: exact structure, exact laws."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy import stats

import jaxinit
from jaxinit import Axes
from jaxinit._draw import Spec
from jaxinit.matrices import unfold

untyped: Any = jaxinit
KEY = jax.random.key(20261124)
STACK = "bti,bio->bto"
HE = jaxinit.he_normal()
NORMAL = jaxinit.normal(1.0)


def sphere(n: int) -> Any:
    """The law of an entry of a uniform unit vector: (w + 1)/2 is Beta((n-1)/2, (n-1)/2)."""
    return stats.beta((n - 1) / 2, (n - 1) / 2, loc=-1, scale=2).cdf


# Patterns


def test_circulant() -> None:
    w, v = jaxinit.circulant(HE)(KEY, (7, 7)), HE(KEY, (7, 7))
    np.testing.assert_array_equal(w, scipy.linalg.circulant(v[:, 0]))
    assert not (w == v).all()


@pytest.mark.parametrize("shape", [(7, 7), (4, 9), (9, 4), (1, 5), (5, 1)], ids=str)
def test_toeplitz(shape: tuple[int, int]) -> None:
    v = HE(KEY, shape)
    np.testing.assert_array_equal(
        jaxinit.toeplitz(HE)(KEY, shape), scipy.linalg.toeplitz(v[:, 0], v[0])
    )


def test_symmetric_and_antisymmetric() -> None:
    v = np.asarray(jaxinit.uniform()(KEY, (9, 9)))
    above = np.triu(v, 1)
    w = jaxinit.symmetric(jaxinit.uniform())(KEY, (9, 9))
    np.testing.assert_array_equal(w, np.triu(v) + above.T)
    w = jaxinit.antisymmetric(jaxinit.uniform())(KEY, (9, 9))
    np.testing.assert_array_equal(w, above - above.T)
    assert abs(np.linalg.eigvals(w).real).max() < 1e-6
    z = jaxinit.symmetric(NORMAL)(KEY, (9, 9), jnp.complex64)
    np.testing.assert_array_equal(z, z.T)
    assert (z.imag != 0).all()


def test_symmetric_keeps_the_law_of_entries() -> None:
    """Also on the diagonal; the mean of V and its transpose is no longer uniform."""
    law, size = stats.uniform.cdf, 300
    init = jaxinit.uniform(1.0)
    w = np.asarray(jaxinit.symmetric(init)(KEY, (size, size)), np.float64)
    upper = w[np.triu_indices(size)]
    assert stats.kstest(upper, law).pvalue > 1e-3
    assert stats.kstest(np.diagonal(w), law).pvalue > 1e-3
    v = np.asarray(init(KEY, (size, size)), np.float64)
    assert stats.kstest(((v + v.T) / 2)[np.triu_indices(size)], law).pvalue < 1e-3


def hankel(key: Any, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    return jnp.add.outer(jnp.arange(shape[0]), jnp.arange(shape[1])).astype(dtype)


def test_patterns_of_any_initializer_in_any_dtype() -> None:
    """Constants need no key and may be integers; a plain function will do."""
    assert jaxinit.antisymmetric(jaxinit.ones)(None, (2, 2), jnp.int32).tolist() == [
        [0, 1],
        [-1, 0],
    ]
    expected = scipy.linalg.circulant(range(4))
    np.testing.assert_array_equal(jaxinit.circulant(hankel)(KEY, (4, 4)), expected)
    np.testing.assert_array_equal(jaxinit.symmetric(hankel)(KEY, (4, 4)), hankel(KEY, (4, 4)))


@pytest.mark.parametrize("name", ["circulant", "toeplitz", "symmetric", "antisymmetric"])
def test_patterns_hold_in_each_group_and_batch(name: str) -> None:
    make = getattr(jaxinit, name)
    stack = make(NORMAL, axes=STACK)(KEY, (3, 5, 5))
    v = NORMAL(KEY, (3, 5, 5))
    grouped = make(NORMAL, axes=Axes.conv(spatial=1, groups=3))(KEY, (1, 5, 15))
    for i in range(3):
        alone = make(lambda key, shape, dtype, i=i: v[i].astype(dtype))(KEY, (5, 5))
        np.testing.assert_array_equal(stack[i], alone)
        block = NORMAL(KEY, (1, 5, 15))[0, :, 5 * i : 5 * i + 5]
        alone = make(lambda key, shape, dtype, block=block: block.astype(dtype))(KEY, (5, 5))
        np.testing.assert_array_equal(grouped[0, :, 5 * i : 5 * i + 5], alone)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((3, 2, 4, 12), Axes.conv(groups=3)),
        ((4, 3, 2, 5), Axes(in_axis=(0, 2), out_axis=1, batch_axis=3)),
        ((2, 6, 4), "bti,boi->bto"),
    ],
    ids=str,
)
def test_stack_undoes_fold(shape: tuple[int, ...], axes: Axes | str) -> None:
    unfolding = unfold(Spec(shape, np.dtype(np.float32)), axes)
    kernel = jnp.arange(math.prod(shape)).reshape(shape)
    matrices = unfolding.stack(kernel)
    assert matrices.shape == unfolding.size
    np.testing.assert_array_equal(unfolding.fold(matrices, shape), kernel)


# Unit vectors


@pytest.mark.parametrize("axis", [-1, 0, (0, 2)], ids=str)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64], ids=str)
def test_unit_norm(axis: Any, dtype: Any) -> None:
    w = np.asarray(jaxinit.unit_norm(axis)(KEY, (5, 8, 6), dtype)).astype(np.complex128)
    np.testing.assert_allclose((abs(w) ** 2).sum(axis), 1, atol=1e-6)
    assert abs((abs(w) ** 2).sum(1) - 1).max() > 0.1


def test_unit_norm_is_uniform_on_the_sphere() -> None:
    w = np.asarray(jaxinit.unit_norm()(KEY, (20_000, 5)), np.float64)
    turned = w @ stats.ortho_group.rvs(5, random_state=1)
    level = 1e-3 / 4
    for entry in (w[:, 0], w[:, 4], turned[:, 2]):
        assert stats.kstest(entry, sphere(5)).pvalue > level
        assert stats.kstest(1.06 * entry, sphere(5)).pvalue < level
    cube = np.asarray(jaxinit.uniform(2.0)(KEY, (20_000, 5)), np.float64) - 1
    cube /= np.linalg.norm(cube, axis=-1, keepdims=True)
    assert stats.kstest(cube[:, 0], sphere(5)).pvalue < level
    z = np.asarray(jaxinit.unit_norm()(KEY, (20_000, 4), jnp.complex64))
    assert (
        stats.kstest(abs(z[:, 0].astype(np.complex128)) ** 2, stats.beta(1, 3).cdf).pvalue > level
    )
    assert set(np.unique(jaxinit.unit_norm()(KEY, (20, 1)))) == {-1, 1}


def test_unit_rows() -> None:
    w = jaxinit.unit_rows(NORMAL)(KEY, (7, 9))
    np.testing.assert_array_equal(w, jaxinit.unit_norm(axis=0)(KEY, (7, 9)))
    v = HE(KEY, (3, 3, 4, 8))
    w = jaxinit.unit_rows(HE)(KEY, (3, 3, 4, 8))
    expected = v / jnp.linalg.norm(v.reshape(36, 8), axis=0)
    np.testing.assert_allclose(w, expected, rtol=0, atol=3e-7)
    w = jaxinit.unit_rows(NORMAL, axes=Axes.embedding())(KEY, (7, 9))
    np.testing.assert_allclose((w**2).sum(1), 1, atol=1e-6)


def test_unit_rows_of_any_size() -> None:
    """Squares may neither overflow nor underflow; a zero vector has no direction."""
    for scale in (1e-30, 1e30):
        w = jaxinit.unit_rows(jaxinit.normal(scale))(KEY, (30, 4))
        np.testing.assert_allclose((w**2).sum(0), 1, atol=1e-6)
    assert (jaxinit.unit_rows(jaxinit.zeros)(None, (3, 2)) == 0).all()


# Errors

SQUARE = "needs square ones"
FACTORY: list[tuple[Any, type[Exception], str]] = [
    (lambda: untyped.circulant(jaxinit.he_normal), TypeError, "call it first"),
    (lambda: untyped.toeplitz(3), TypeError, "init=3 is not an initializer"),
    (lambda: untyped.unit_norm("rows"), TypeError, "axis='rows' is neither an integer"),
    (lambda: untyped.unit_rows(), TypeError, "missing a required argument: 'init'"),
]


@pytest.mark.parametrize(("make", "error", "message"), FACTORY, ids=range(len(FACTORY)))
def test_factories(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


CALL: list[tuple[jaxinit.Bound, tuple[int, ...], type[Exception], str]] = [
    (jaxinit.circulant(HE), (3, 4), ValueError, SQUARE),
    (jaxinit.symmetric(HE), (3, 4), ValueError, SQUARE),
    (jaxinit.antisymmetric(HE), (2, 3, 3), ValueError, r"\(2, 3, 3\) .* 6 inputs .* by 3 outputs"),
    (jaxinit.toeplitz(NORMAL), (4,), ValueError, r"shape \(4,\) is 1-D"),
    (jaxinit.unit_norm(2), (3, 4), ValueError, "axis=2 is out of range"),
    (jaxinit.unit_norm((0, -2)), (3, 4), ValueError, r"axis=\(0, -2\) names an axis .* twice"),
    (jaxinit.unit_rows(NORMAL), (3,), ValueError, r"shape \(3,\) is 1-D"),
]


@pytest.mark.parametrize(("init", "shape", "error", "message"), CALL, ids=range(len(CALL)))
def test_calls(init: Any, shape: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        init(KEY, shape)
    with pytest.raises(error, match=message):
        jax.eval_shape(lambda key: init(key, shape), KEY)


def test_integers_have_no_directions() -> None:
    with pytest.raises(TypeError, match="dtype=int32 has no fractions"):
        jaxinit.unit_rows(jaxinit.ones)(None, (3, 2), jnp.int32)
