"""Builders of other frameworks: the same bits by `batched`, and their trees filled by rules."""

from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinit
from jaxinit import Rules, batched, initialize, reinitialize
from jaxinit.paths import leaves

KEY = jax.random.key(3)


def assert_same(found: Any, expected: Any) -> None:
    ours, theirs = (jax.tree.flatten(tree) for tree in (found, expected))
    assert str(ours[1]) == str(theirs[1])
    for a, b in zip(ours[0], theirs[0], strict=True):
        if eqx.is_array(b):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            np.testing.assert_array_equal(a, b)


def mixed(key: jax.Array) -> Any:
    keys = jax.random.split(key, 4)
    return (
        eqx.nn.MLP(4, 3, 16, 3, key=keys[0]),
        eqx.nn.MultiheadAttention(2, 8, key=keys[1]),
        eqx.nn.Conv2d(3, 4, 3, key=keys[2]),
        eqx.nn.LSTMCell(3, 4, key=keys[3]),
    )


def test_equinox_builders() -> None:
    found = batched(mixed)(KEY)
    assert isinstance(found[0], eqx.nn.MLP)
    assert_same(found, eqx.filter_jit(mixed)(KEY))
    assert found[0](jnp.ones(4)).shape == (3,)


def stateful(x: jax.Array) -> jax.Array:
    x = hk.Sequential([hk.Linear(8), jax.nn.relu, hk.Conv1D(4, 3)])(x)
    return hk.BatchNorm(True, True, 0.9)(hk.LayerNorm(-1, True, True)(x), True)


def test_haiku_builders() -> None:
    x = jnp.ones((2, 5, 3))
    init = hk.transform_with_state(stateful).init
    assert_same(batched(init)(KEY, x), jax.jit(init)(KEY, x))


@pytest.mark.parametrize("is_abstract", [True, False])
def test_equinox_modules_by_rules(is_abstract: bool) -> None:
    def build(key: jax.Array) -> eqx.nn.MLP:
        return eqx.nn.MLP(4, 3, 16, 3, key=key)

    tree = eqx.filter_eval_shape(build, KEY) if is_abstract else build(KEY)
    weights = jaxinit.he_normal(axes="i,oi->o")
    found = initialize(tree, Rules({"**/bias": jaxinit.zeros, "**/weight": weights}), KEY)
    assert found(jnp.ones(4)).shape == (3,)
    assert not found.layers[1].bias.any()
    assert float(found.layers[1].weight.var()) * 16 / 2 == pytest.approx(
        1, abs=4 * (2 / 256) ** 0.5
    )
    again = reinitialize(found, Rules({"layers/0/weight": jaxinit.zeros}), KEY)
    assert not again.layers[0].weight.any()
    assert again.layers[1].weight is found.layers[1].weight


def test_haiku_trees_by_rules() -> None:
    params, _ = jax.eval_shape(hk.transform_with_state(stateful).init, KEY, jnp.ones((2, 5, 3)))
    rules = Rules({"**/w": jaxinit.he_normal(), "**/b": jaxinit.zeros, "**": jaxinit.ones})
    found = initialize(params, rules, KEY)
    assert [leaf.path for leaf in leaves(found)] == [leaf.path for leaf in leaves(params)]
    assert (found["layer_norm"]["scale"] == 1).all()
