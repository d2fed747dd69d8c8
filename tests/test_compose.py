"""Initializers made of initializers: each combinator does to a draw what it says, and no more."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from composed import HE, KEY, NORMAL, equal, foreign

import jaxinit

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
