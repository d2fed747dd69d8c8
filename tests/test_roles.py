"""Roles: what each parameter does in a function, read off its data flow and not off its name."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recommend_models import KEY, STEPS, checked, laws, normalized, rms, shapes

import jaxinit
from jaxinit import capture, gains
from jaxinit.advice import grouped, recommended
from jaxinit.paths import Leaf, match

X = jax.ShapeDtypeStruct((2, STEPS, 8), "float32")


def test_the_last_kernel_of_a_branch_is_divided_where_nothing_else_keeps_the_stream() -> None:
    layer = shapes(a=(8, 12), b=(12, 8), scale=(8,), bias=(8,))

    def stream(kind: str) -> Callable[..., Any]:
        def fn(p: Any, x: Any) -> Any:
            for w in p:
                y = jax.nn.relu(x @ w["a"]) @ w["b"]
                if kind == "plain":
                    x = x + y + 0 * w["bias"]
                if kind == "scaled":
                    x = x + w["scale"] * y
                if kind == "after":
                    x = normalized(x + y, w["scale"], w["bias"])
                if kind == "inside":
                    x = x + normalized(y, w["scale"], w["bias"])
            return x

        return fn

    divided = "depth_scaled(init=lecun_normal(), layers=3, branches=1)"
    scales = {
        "scaled": ("layer scale", "layer_scale(depth=3)"),
        "plain": ("unused", "zeros_init()"),
    }
    for kind in ("plain", "scaled", "after", "inside"):
        found = laws(checked(stream(kind), [layer] * 3, X))
        for i in range(3):
            assert found[f"{i}/a"] == ("dense", "he_normal()")
            end = divided if kind == "plain" else "lecun_normal()"
            assert found[f"{i}/b"] == ("residual output", end)
            assert found[f"{i}/scale"] == scales.get(kind, ("norm scale", "ones_init()"))


@pytest.mark.parametrize("function", [jax.nn.relu, jnp.tanh, lambda z: jax.nn.relu(2 * z) + 0])
@pytest.mark.parametrize("kind", ["plain", "rezero", "normalized"])
def test_a_branch_may_end_in_a_function(function: Callable[..., Any], kind: str) -> None:
    def fn(p: Any, x: Any) -> Any:
        for w in p["layers"]:
            y = function(x @ w["kernel"])
            x = x + (w["alpha"] * y if kind == "rezero" else y)
            x = normalized(x, 1.0, 0.0) if kind == "normalized" else x
        return x @ p["out"]

    layer = shapes(kernel=(8, 8), alpha=())
    found = laws(checked(fn, {"layers": [layer] * 3, **shapes(out=(8, 2))}, X))
    role, law = found["layers/1/kernel"]
    assert role == "residual output"
    assert law.startswith("depth_scaled(") == (kind == "plain")
    if kind == "rezero":
        assert found["layers/1/alpha"] == ("layer scale", "zeros_init()")


@pytest.mark.parametrize(
    "prelu",
    [
        lambda a, z: jax.nn.relu(z) - a * jax.nn.relu(-z),
        lambda a, z: jnp.maximum(z, 0) + a * jnp.minimum(z, 0),
        lambda a, z: jnp.maximum(z, a * z),
    ],
)
def test_a_slope_however_it_is_written(prelu: Callable[..., Any]) -> None:
    params = shapes(w=(8, 6), slope=(6,), out=(6, 2))
    found = laws(checked(lambda p, x: prelu(p["slope"], x @ p["w"]) @ p["out"], params, X))
    assert found["slope"] == ("slope", "constant(value=0.25)")
    assert found["w"][1].startswith("he_normal(")


def test_a_low_rank_update_starts_at_0_and_a_branch_does_not() -> None:
    def fn(p: Any, x: Any) -> Any:
        h = jax.nn.relu(x @ p["w"] + p["bias"] + 2.0 * ((0.5 * x) @ p["a"]) @ p["b"])
        h = jax.nn.relu(h @ p["shortcut"] + jax.nn.relu(h @ p["c"]) @ p["d"])
        return h @ p["out"]

    params = shapes(w=(8, 6), bias=(6,), a=(8, 2), b=(2, 6), shortcut=(6, 6), c=(6, 2), d=(2, 6))
    found = laws(checked(fn, params | shapes(out=(6, 2)), X))
    assert found["w"] == ("dense", "he_normal()")
    assert found["a"] == ("dense", "lecun_normal()")
    assert found["b"] == ("low-rank update", "zeros_init()")
    assert found["d"] == ("residual output", "he_normal()")


def test_gates_of_what_went_through_a_function() -> None:
    def fn(p: Any, x: Any) -> Any:
        t = jax.nn.sigmoid(x @ p["highway"])
        x = t * jax.nn.relu(x @ p["inner"]) + (1 - t) * x
        squeezed = jax.nn.relu(x.mean(1) @ p["squeeze"]) @ p["excite"]
        y = jax.nn.silu(x @ p["signal"]) * jax.nn.sigmoid(squeezed)[:, None]
        return (x + y) @ p["out"]

    params = shapes(**dict.fromkeys(("highway", "inner", "signal"), (8, 8)))
    params |= shapes(squeeze=(8, 2), excite=(2, 8), out=(8, 2))
    found = laws(checked(fn, params, X))
    assert {path: role for path, (role, _) in found.items()} == {
        **{"highway": "gate", "inner": "dense", "squeeze": "dense", "excite": "gate"},
        **{"signal": "residual output", "out": "head"},
    }


def test_parallel_branches_are_counted_one_by_one() -> None:
    def fn(p: Any, x: Any) -> Any:
        for _ in range(2):
            h = normalized(x, 1.0, 0.0)
            x = x + jnp.tanh(h @ p["a"]) @ p["b"] + jax.nn.relu(h @ p["c"]) @ p["d"]
        return x @ p["head"]

    params = shapes(a=(8, 6), b=(6, 8), c=(8, 6), d=(6, 8), head=(8, 3))
    found = laws(checked(fn, params, X))
    divided = ("residual output", "depth_scaled(init=lecun_normal(), layers=4, branches=1)")
    assert found["b"] == found["d"] == divided
    assert found["head"] == ("head", "lecun_normal()")


def test_grouped_queries_with_norms_of_their_own() -> None:
    def fn(p: Any, x: Any) -> Any:
        q, k, v = (jnp.einsum("btd,dhk->bthk", x, p[name]) for name in "qkv")
        y = jax.nn.dot_product_attention(rms(q, p["scale"]), rms(k, 1.0), v)
        return jnp.einsum("bthk,hkd->btd", y, p["o"])

    params = shapes(q=(8, 4, 3), k=(8, 2, 3), v=(8, 2, 3), o=(4, 3, 8), scale=(3,))
    found = laws(checked(fn, params, X))
    assert {path: role for path, (role, _) in found.items()} == {
        **{"q": "attention query", "k": "attention key", "v": "attention value"},
        **{"o": "attention output", "scale": "norm scale"},
    }
    assert found["k"][1] == "glorot_uniform(axes=Axes(in_axis=0, out_axis=(1, 2), rank=3))"


def test_scores_of_keys_by_queries_are_turned_before_their_softmax() -> None:
    def fn(p: Any, x: Any) -> Any:
        scores = jnp.einsum("btd,bsd->bts", x @ p["k"], x @ p["q"]).swapaxes(1, 2)
        return jax.nn.softmax(scores) @ (x @ p["v"]) @ p["o"]

    found = laws(checked(fn, shapes(q=(8, 6), k=(8, 6), v=(8, 6), o=(6, 8)), X))
    roles = {"q": "query", "k": "key", "v": "value", "o": "output"}
    assert {p: role for p, (role, _) in found.items()} == {
        path: f"attention {role}" for path, role in roles.items()
    }


def test_convolutions_of_every_kind_have_the_fans_they_have() -> None:
    dims = ("NHWC", "HWIO", "NHWC")

    def fn(p: Any, x: Any) -> Any:
        x = jax.lax.conv_general_dilated(
            x, p["depthwise"], (1, 1), "SAME", dimension_numbers=dims, feature_group_count=6
        )
        x = jax.lax.conv_general_dilated(
            jax.nn.relu(x),
            p["grouped"],
            (1, 1),
            "SAME",
            dimension_numbers=dims,
            feature_group_count=2,
        )
        x = jax.nn.relu(jax.lax.conv_transpose(jax.nn.relu(x), p["up"], (2, 2), "SAME"))
        return x.mean((1, 2)) @ p["head"]

    params = shapes(depthwise=(3, 3, 1, 6), grouped=(3, 3, 3, 8), up=(4, 4, 8, 4), head=(4, 2))
    found = laws(checked(fn, params, jax.ShapeDtypeStruct((2, 4, 4, 6), "float32")))
    axes = "Axes(in_axis=2, out_axis=3, groups=6, rank=4)"
    assert found["depthwise"] == ("depthwise", f"he_normal(axes={axes})")
    assert found["grouped"][0] == "conv"
    axes = "Axes(in_axis=2, out_axis=3, rank=4, in_stride=4)"
    assert found["up"] == ("transposed conv", f"he_normal(axes={axes})")
    assert found["head"] == ("head", "lecun_normal()")


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_a_cell_that_joins_its_inputs_and_is_unrolled(shift: float) -> None:
    def fn(p: Any, x: Any) -> Any:
        c = h = jnp.zeros((2, 8))
        for t in range(3):
            z = jnp.concatenate([x[:, t], h], 1) @ p["kernel"] + p["bias"]
            i, g, f, o = jnp.split(z, 4, 1)
            c = jax.nn.sigmoid(f + shift) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return h @ p["out"]

    found = laws(checked(fn, shapes(kernel=(16, 32), bias=(32,), out=(8, 2)), X))
    # A cell that adds 1 by itself is left alone.
    biased = ("bias", "zeros_init()")
    forget = ("forget bias", "gate_bias(values=(0, 0, 1, 0))")
    assert found == {
        "kernel": ("recurrent input and kernel", "gates(init=glorot_uniform(), n=4)"),
        "bias": biased if shift else forget,
        "out": ("head", "lecun_normal()"),
    }


@pytest.mark.parametrize(
    ("shared", "wanted"),
    [
        (False, ("dense", "he_normal(axes=Axes(in_axis=1, out_axis=2, batch_axis=(0,), rank=3))")),
        (True, ("recurrent kernel", "orthogonal()")),
    ],
)
def test_a_scan_recurs_if_its_kernel_is_the_same_in_all_steps(shared: bool, wanted: Any) -> None:
    def fn(p: Any, x: Any, rates: Any) -> Any:
        def step(h: Any, each: Any) -> Any:
            rate, kernel = each
            return jax.nn.relu(h @ (p["w"] if shared else kernel)) * rate, None

        kernels = None if shared else p["w"]
        return jax.lax.scan(step, x, (rates, kernels))[0] @ p["out"]

    params = shapes(w=(8, 8) if shared else (3, 8, 8), out=(8, 2))
    rates = jax.ShapeDtypeStruct((3,), "float32")
    assert laws(checked(fn, params, X, rates))["w"] == wanted


def test_tables_tokens_lengths_and_factors() -> None:
    def fn(p: Any, tokens: Any) -> Any:
        x = jax.nn.one_hot(tokens, 11) @ p["table"]
        x = jnp.where((tokens == 0)[..., None], p["blank"], x)
        x = x + p["step"][jnp.arange(STEPS)]
        v = p["direction"] / jnp.linalg.norm(p["direction"], axis=0)
        x = x + p["open"] * jnp.tanh(x @ (p["length"] * v))
        return (x * p["weights"]) @ p["head"]

    params = shapes(
        **{"table": (11, 8), "blank": (8,), "step": (STEPS, 8), "direction": (8, 8)},
        **{"length": (8,), "open": (), "weights": (8,), "head": (8, 2)},
    )
    assert laws(checked(fn, params, jax.ShapeDtypeStruct((2, STEPS), "int32"))) == {
        "table": ("embedding", "embedding()"),
        "blank": ("token", "normal(stddev=0.02)"),
        "step": ("positional table", "normal(stddev=0.02)"),
        "direction": ("residual output", "for_activation(fn='tanh')"),
        "length": ("kernel scale", "ones_init()"),
        "open": ("layer scale", "zeros_init()"),
        "weights": ("scale", "ones_init()"),
        "head": ("head", "lecun_normal()"),
    }


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (jax.nn.softmax, ("head", "lecun_normal()")),
        (jax.nn.sigmoid, ("head", "lecun_normal()")),
        (jax.nn.relu, ("dense", "he_normal()")),
    ],
)
def test_a_last_layer_is_a_head_unless_it_is_rectified(function: Any, wanted: Any) -> None:
    found = checked(lambda p, x: function(x @ p["w"] + p["b"]), shapes(w=(8, 4), b=(4,)), X)
    assert laws(found) == {"w": wanted, "b": ("bias", "zeros_init()")}


def test_names_play_no_part() -> None:
    def fn(p: Any, x: Any) -> Any:
        return jax.nn.relu(x @ p["bias"] + p["kernel"]) @ p["embedding"]

    found = laws(checked(fn, shapes(bias=(8, 6), kernel=(6,), embedding=(6, 2)), X))
    assert found == {
        "bias": ("dense", "he_normal()"),
        "kernel": ("bias", "zeros_init()"),
        "embedding": ("head", "lecun_normal()"),
    }


def test_a_trace_is_enough_for_one_layer() -> None:
    params = shapes(a=(8, 6), b=(6, 2))
    traced = capture.trace(lambda p, x: jax.nn.silu(x @ p["a"]) @ p["b"], params, X)
    choice = recommended(traced, params)["a"]
    assert choice.init == jaxinit.for_activation("silu")
    assert f"{1 / gains.gain('silu') ** 2:.4g} for silu" in choice.reason


def test_paths_of_any_letters_make_code() -> None:
    found = checked(lambda p, x: x @ p['a"b\\c'], shapes(**{'a"b\\c': (8, 2)}), X)
    assert laws(found) == {'a"b\\c': ("head", "lecun_normal()")}
    with pytest.raises(ValueError, match=r"'a\*' has a \* or \? of its own.*rename it"):
        _ = jaxinit.recommend(
            lambda p, x: x @ p["a*"] + p["ab"], shapes(**{"a*": (8, 2), "ab": (2,)}), X
        ).rules


def test_bad_input_is_told() -> None:
    params = shapes(a=(8, 6))
    with pytest.raises(TypeError, match=r"apply_fn=3 is a int: pass a function"):
        jaxinit.recommend(3, params, X)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="params has leaves of float, str: pass a tree of arrays"):
        jaxinit.recommend(lambda p, x: x, {"a": "kernel", "b": 1.0}, X)
    with pytest.raises(TypeError, match="params has no leaves"):
        jaxinit.recommend(lambda p, x: x, {}, X)
    with pytest.raises(ValueError, match="no kernel to recommend"):
        jaxinit.recommend(lambda p, x: x + p["a"][0, 0], params, X)

    def hidden(p: Any, x: Any) -> Any:
        return jax.lax.while_loop(lambda c: c.sum() < 1, lambda c: c @ p["a"], x)

    with pytest.raises(ValueError, match="not looked into: while"):
        jaxinit.recommend(hidden, shapes(a=(8, 8)), X)


def test_whole_numbers_are_covered_where_they_are_abstract() -> None:
    params = {**shapes(a=(8, 6)), "count": jax.ShapeDtypeStruct((), "int32")}
    found = checked(lambda p, x: x @ p["a"], params, X)
    assert laws(found)["count"] == ("count", "zeros_init()")
    assert jaxinit.initialize(params, found.rules, KEY)["count"].dtype == "int32"
    params = {**params, "count": jnp.int32(3)}
    found = checked(lambda p, x: x @ p["a"], params, X)
    assert found.kept == ("count",)
    assert int(jaxinit.initialize(params, found.rules, KEY)["count"]) == 3


@given(
    st.dictionaries(
        st.lists(st.sampled_from(["a", "b0", "b1", "kernel", "w"]), min_size=1, max_size=4).map(
            "/".join
        ),
        st.integers(0, 1),
        min_size=1,
        max_size=30,
    ),
    st.sets(st.sampled_from(["b0/a", "kernel/b1", "a/a/a"])),
)
@example({"b1/b0": 0, "a/w": 1, "w/b1": 0, "w/bias": 1, "b0/w": 1, "a/bias": 0, "a/a": 1}, set())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_patterns_give_each_path_its_value(values: dict[str, int], others: set[str]) -> None:
    others -= values.keys()
    found = grouped(values, sorted(others))
    for path in (*values, *others):
        first = next((v for p, v in found if match(p, Leaf(path, None)) is not None), None)
        assert first == values.get(path)
    assert len(found) <= len(values)
