"""Whole trees: rules, keys from paths, one compilation for what differs in numbers alone."""

import re
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.core import FrozenDict
from jax.sharding import AxisType, Mesh, NamedSharding
from ruled import KEY, P, abstract, model

import jaxinit
from jaxinit import Rules, by_depth, initialize, joint, reinitialize
from jaxinit.paths import Leaf, leaves, match

RULES = Rules(
    [
        ("embed", jaxinit.normal(0.02)),
        ("**/bias", jaxinit.zeros),
        (re.compile(r"attn/out"), by_depth(lambda i: jaxinit.layer_scaled(jaxinit.he_normal(), i))),
        (lambda path, leaf: "mlp" in path and leaf.ndim == 2, jaxinit.orthogonal()),
        ("**/kernel", jaxinit.lecun_normal()),
    ]
)


@pytest.mark.parametrize(
    ("pattern", "path", "captured"),
    [
        ("**/kernel", "kernel", (None,)),
        ("**/kernel", "a/b/kernel", ("a/b",)),
        ("*/kernel", "a/b/kernel", None),
        ("h_*/kernel", "h_12/kernel", ("12",)),
        ("a/**", "a/b/c", ("b/c",)),
        ("a/**", "a", (None,)),
        ("**", "x/y", ("x/y",)),
        ("a.b", "axb", None),
        ("h_?", "h_1", ("1",)),
        ("h_?", "h_12", None),
        (re.compile("b(.)"), "a/bc", ("c",)),
        (lambda path, leaf: path == "a", "a", ()),
        (lambda path, leaf: path == "a", "b", None),
    ],
    ids=range(13),
)
def test_patterns(pattern: Any, path: str, captured: Any) -> None:
    assert match(pattern, Leaf(path, None)) == captured


def test_the_first_rule_wins_and_every_leaf_is_drawn_by_its_law() -> None:
    tree = initialize(model(), RULES, KEY)
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert shapes == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), model())
    assert not tree["h_0"]["mlp"]["bias"].any()
    q = np.asarray(tree["h_1"]["mlp"]["kernel"], np.float64)
    np.testing.assert_allclose(q @ q.T, np.eye(16), atol=0.05)  # rounded to bfloat16
    for i in range(3):
        out = tree[f"h_{i}"]["attn"]["out"]["kernel"]
        assert float(out.var()) * 8 * 2 * (i + 1) == pytest.approx(1, abs=4 * (2 / 256) ** 0.5)


def test_keys_come_from_paths() -> None:
    """Removing, adding or reordering layers leaves every other parameter as it was."""
    three = initialize(model(3), RULES, KEY)
    two = initialize(model(2), RULES, KEY)
    turned = initialize(dict(reversed(model(3).items())), RULES, KEY)
    for i in range(2):
        for found in (two, turned):
            jax.tree.map(np.testing.assert_array_equal, found[f"h_{i}"], three[f"h_{i}"])
    q, k = (three["h_0"]["attn"][name]["kernel"] for name in ("query", "key"))
    assert abs(q - k).max() > 0.1
    other = initialize(model(2), RULES, jax.random.key(5))
    assert abs(other["embed"] - two["embed"]).max() > 0.01


def test_stable_values() -> None:
    """A change of these is a change of every model that users have initialized."""
    tree = initialize({"a": {"b": abstract(2)}}, Rules({"**": jaxinit.normal(1.0)}), KEY)
    np.testing.assert_allclose(tree["a"]["b"], GOLDEN, rtol=1e-6)


GOLDEN = [-2.577256441116333, 0.7839914560317993]


def test_jit_is_eager() -> None:
    eager = initialize(model(), RULES, KEY)
    jitted = jax.jit(lambda key: initialize(model(), RULES, key))(KEY)
    for a, b in zip(jax.tree.leaves(eager), jax.tree.leaves(jitted), strict=True):
        np.testing.assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), atol=1e-5)


@jax.tree_util.register_dataclass
@dataclass
class Pair:
    """A user's own parameters."""

    first: Any
    second: Any


def test_kinds_of_trees() -> None:
    rules = Rules({"**/bias": jaxinit.zeros, "**": jaxinit.normal()})
    trees: tuple[Any, ...] = (
        FrozenDict({"a": {"kernel": abstract(3, 4), "bias": abstract(4)}}),
        [abstract(3, 4), {"bias": abstract(4)}],
        Pair(abstract(3), Pair(abstract(2), {"bias": abstract(1)})),
        nnx.eval_shape(lambda: nnx.Linear(3, 4, rngs=nnx.Rngs(0))),
        nnx.state(nnx.eval_shape(lambda: nnx.Linear(3, 4, rngs=nnx.Rngs(0))), nnx.Param),
    )
    for tree in trees:
        filled = initialize(tree, rules, KEY)
        assert str(jax.tree.structure(filled)) == str(jax.tree.structure(tree))
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(filled))
    assert filled["kernel"][...].shape == (3, 4)
    paths = [leaf.path for leaf in leaves(filled)]
    assert paths == ["bias", "kernel"]


def test_linen_partitioned_boxes_are_no_part_of_the_path() -> None:
    kernel_init = nn.with_partitioning(nn.initializers.lecun_normal(), ("a", "b"))
    variables = nn.Dense(3, kernel_init=kernel_init).init(KEY, jnp.ones((1, 2)))
    assert [leaf.path for leaf in leaves(variables)] == ["params/bias", "params/kernel"]


def test_reinitialize_redraws_what_matches_alone() -> None:
    tree = initialize(model(), RULES, KEY)
    again = reinitialize(tree, Rules({"h_2/**/kernel": jaxinit.ones}), KEY)
    assert (again["h_2"]["mlp"]["kernel"] == 1).all()
    assert again["h_1"]["mlp"]["kernel"] is tree["h_1"]["mlp"]["kernel"]
    assert again["h_2"]["mlp"]["bias"] is tree["h_2"]["mlp"]["bias"]


def test_scales_by_depth_share_one_compilation() -> None:
    from jaxinit import _draw

    tree = {f"h_{i}": abstract(7, 11) for i in range(48)}
    run: Any = _draw.run
    before = run._cache_size()
    drawn = initialize(tree, Rules([("h_*", by_depth(lambda i: jaxinit.normal(1 / (i + 1))))]), KEY)
    assert run._cache_size() == before + 1
    assert float(drawn["h_47"].std()) < 0.05
    before = run._cache_size()
    stack = {"blocks": abstract(48, 40, 50)}
    rule = ("blocks", by_depth(lambda i: jaxinit.normal(1 / (i + 1)), axis=0))
    layers = initialize(stack, Rules([rule]), KEY)["blocks"]
    assert run._cache_size() == before + 1
    spread = np.asarray(layers.std(axis=(1, 2))) * np.arange(1, 49)
    assert abs(spread - 1).max() < 5 / (2 * 2000) ** 0.5


def test_layered_is_a_loop_over_split_keys() -> None:
    inits = [jaxinit.he_normal() * (i + 1) for i in range(3)]
    mixed = [jaxinit.he_normal(), jaxinit.orthogonal(), jaxinit.ones]
    keys = jax.random.split(KEY, 3)
    for each in (inits, mixed):
        stack = jaxinit.layered(*each)(KEY, (3, 8, 6))
        for i in range(3):
            np.testing.assert_allclose(stack[i], each[i](keys[i], (8, 6)), rtol=0, atol=1e-6)
    turned = jaxinit.layered(*inits, axis=1)(KEY, (8, 3, 6))
    np.testing.assert_array_equal(turned[:, 2], inits[2](keys[2], (8, 6)))
    assert (jaxinit.layered(jaxinit.ones, jaxinit.zeros)(None, (2, 2)) == jnp.eye(2)[:1].T).all()
    with pytest.raises(ValueError, match="has 4 slices and there are 3 initializers"):
        jaxinit.layered(*inits)(KEY, (4, 8, 6))


def test_joint_rules_draw_the_roles_of_each_block_together() -> None:
    law = jaxinit.orthogonal(axes=jaxinit.Axes((0, 1), 2))  # (2, 16, 16): [Q; K] of 32 by 16
    roles = {"query": "**/query/kernel", "key": "**/key/kernel"}
    rules = Rules([joint(roles, law), *RULES.rules[:-1]])
    tree = initialize(model(), rules, KEY)
    for i in range(3):
        q, k = (tree[f"h_{i}"]["attn"][name]["kernel"] for name in ("query", "key"))
        np.testing.assert_allclose(q.T @ q + k.T @ k, np.eye(16), atol=1e-5)
    assert abs(tree["h_0"]["attn"]["query"]["kernel"] - q).max() > 0.1
    alone = initialize(model(1), rules, KEY)
    jax.tree.map(np.testing.assert_array_equal, alone["h_0"], tree["h_0"])


def test_straight_onto_the_mesh() -> None:
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    kernel, bias = NamedSharding(mesh, P("a", "b")), NamedSharding(mesh, P("b"))
    tree = {"kernel": abstract(16, 8), "bias": abstract(8), "rest": abstract(3)}
    rules = Rules({"kernel": jaxinit.orthogonal(), "*": jaxinit.normal()})
    plain = initialize(tree, rules, KEY)
    by_tree = initialize(tree, rules, KEY, {"kernel": kernel, "bias": bias, "rest": None})
    marked = tree | {"kernel": jax.ShapeDtypeStruct((16, 8), jnp.float32, sharding=kernel)}
    for found in (by_tree, initialize(marked, rules, KEY)):
        assert found["kernel"].sharding == kernel
        np.testing.assert_allclose(found["kernel"], plain["kernel"], atol=1e-5)
    np.testing.assert_array_equal(by_tree["bias"], plain["bias"])
    pair = Rules([joint({"q": "q", "k": "k"}, jaxinit.normal())])
    both = {name: jax.ShapeDtypeStruct((16, 8), jnp.float32, sharding=kernel) for name in "qk"}
    assert initialize(both, pair, KEY)["k"].sharding.is_equivalent_to(kernel, 2)


def test_foreign_initializers() -> None:
    tree = {f"h_{i}": abstract(5, 6) for i in range(4)}
    drawn = initialize(tree, Rules({"*": jax.nn.initializers.normal(1.0)}), KEY)
    assert 0.5 < float(jnp.stack(list(drawn.values())).std()) < 1.5


def test_explain() -> None:
    rules = Rules(
        [*RULES.rules[:2], ("**/key/kernel", jaxinit.he_normal() * 0.5), *RULES.rules[2:]]
    )
    table = rules.explain(model(1))
    rows = {row.path: row for row in table.rows}
    assert rows["embed"].expected == 0.02
    assert rows["h_0/attn/query/kernel"].expected == 0.25
    assert rows["h_0/attn/key/kernel"].expected == pytest.approx(0.5 * (2 / 16) ** 0.5, rel=1e-5)
    assert rows["h_0/attn/out/kernel"].expected == pytest.approx(0.25, rel=1e-5)
    assert rows["h_0/mlp/kernel"].expected == 0.125
    assert rows["h_0/mlp/bias"].expected == 0.0
    assert rows["h_0/attn/query/kernel"].fans == (16, 16, 1)
    assert rows["h_0/mlp/bias"].fans is None
    assert all(row.measured is None for row in table.rows)
    filled = rules.explain(initialize(model(1), rules, KEY))
    for row in filled.rows:
        assert row.expected is not None
        assert row.measured == pytest.approx(row.expected, abs=4 * row.expected / 16)
    text = str(filled)
    assert len(text.splitlines()) == len(filled.rows) + 1
    assert "layer_scaled(init=he_normal(), index=0)" in text
    assert filled.to_dict()[0]["path"] == "embed"


REAL = (jaxinit.uniform(0.4), jaxinit.truncated_normal(0.5, None, -0.5, 3.0))
EITHER = (
    jaxinit.normal(0.3),
    jaxinit.glorot_uniform(),
    jaxinit.glorot_normal(),
    jaxinit.orthogonal(2.0),
    jaxinit.he_normal() * 0.5 + jaxinit.normal(0.1),
    jaxinit.depth_scaled(jaxinit.normal(1.0), 8),
    jaxinit.zeros,
)


@pytest.mark.parametrize(
    ("init", "dtype"),
    [
        *((init, jnp.float32) for init in (*REAL, *EITHER)),
        *((init, jnp.complex64) for init in EITHER),
    ],
    ids=str,
)
def test_expected_is_what_is_drawn(init: Any, dtype: Any) -> None:
    from jaxinit._draw import Spec
    from jaxinit.expected import expected_stddev

    shape = (200, 300)
    drawn = init(KEY, shape, dtype)
    expected = expected_stddev(init, Spec(shape, np.dtype(dtype)))
    assert expected is not None
    error = 4 * (2 / drawn.size) ** 0.5  # no law here has more kurtosis than the normal
    assert float(jnp.std(drawn)) == pytest.approx(expected, rel=error / 2, abs=1e-12)


def test_rules_are_values() -> None:
    rules = Rules({"a": jaxinit.ones})
    assert rules == Rules([("a", jaxinit.ones)])
    assert hash(rules) == hash(Rules([("a", jaxinit.ones)]))
    assert repr(rules) == "Rules([('a', ones_init())])"
    assert (rules + RULES).rules == (*rules.rules, *RULES.rules)


def test_each_member_of_a_joint_rule_is_put_on_its_own_sharding() -> None:
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    places = {"q": NamedSharding(mesh, P("a", "b")), "k": NamedSharding(mesh, P(None, "a"))}
    tree = {name: abstract(16, 8) for name in "qk"}
    rules = Rules([joint({"q": "q", "k": "k"}, jaxinit.normal())])
    plain = initialize(tree, rules, KEY)
    for found in (
        initialize(tree, rules, KEY, places),
        jax.jit(lambda key: initialize(tree, rules, key, places))(KEY),
    ):
        for name, sharding in places.items():
            assert found[name].sharding.is_equivalent_to(sharding, 2)
            np.testing.assert_array_equal(found[name], plain[name])
    with pytest.raises(ValueError, match=r"^k: .* has 3 entries for shape"):
        initialize(tree, rules, KEY, places | {"k": NamedSharding(mesh, P(None, None, "a"))})


@jax.tree_util.register_dataclass
@dataclass
class Attention:
    """Fields of which one is called as the content of a box is."""

    query: Any
    value: Any


def test_a_field_called_value_is_part_of_the_path() -> None:
    found = leaves({"attn": Attention(1.0, nnx.Param(jnp.ones(2)))})
    assert [leaf.path for leaf in found] == ["attn/query", "attn/value"]
    assert [leaf.path for leaf in leaves({"a": Attention(1.0, 2.0)})] == ["a/query", "a/value"]


class Tied(nnx.Module):
    """An embedding that is the head too."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(5, 4, rngs=rngs)
        self.head = self.embed


def test_shared_variables_of_nnx_stay_shared() -> None:
    rules = Rules({"**/embedding": jaxinit.normal()})
    model = Tied(nnx.Rngs(0))
    for found in (
        reinitialize(model, rules, KEY),
        initialize(nnx.eval_shape(lambda: Tied(nnx.Rngs(0))), rules, KEY),
    ):
        assert found.head.embedding is found.embed.embedding
        assert isinstance(found.head.embedding[...], jax.Array)
    paths = [row.path for row in jaxinit.describe(model).rows]
    assert [path for path in paths if "embedding" in path] == ["embed/embedding"]


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_other_leaves_change_no_leaf(implementation: str) -> None:
    key = jax.random.key(0, impl=implementation)
    rules = Rules({"*": jaxinit.normal()})
    both = initialize({"a": abstract(4, 4), "b": abstract(4, 4)}, rules, key)
    alone = initialize({"b": abstract(4, 4)}, rules, key)
    np.testing.assert_array_equal(both["b"], alone["b"])


def test_keys_and_whole_numbers_may_stay_abstract() -> None:
    key = jax.eval_shape(lambda: jax.random.key(0))
    tree = {"w": abstract(2), "key": key, "count": abstract(dtype=jnp.int32)}
    found = initialize(tree, Rules({"w": jaxinit.ones}), KEY)
    assert found["key"] is key
    assert isinstance(found["count"], jax.ShapeDtypeStruct)
    everything = initialize(tree, Rules({"**": jaxinit.zeros}), KEY)
    assert everything["key"] is key
    assert everything["count"] == 0
    drop = initialize(nnx.eval_shape(lambda: nnx.Dropout(0.1, rngs=nnx.Rngs(0))), Rules({}), KEY)
    assert isinstance(drop, nnx.Dropout)


def test_reinitialized_arrays_stay_on_their_device() -> None:
    device = jax.devices()[3]
    tree = {"w": jax.device_put(jnp.ones(3), device)}
    assert reinitialize(tree, Rules({"w": jaxinit.normal()}), KEY)["w"].devices() == {device}
