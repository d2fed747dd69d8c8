"""Recommendations: the role of each parameter, the rules that follow, and the signal they keep."""

import json
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from recommend_models import (
    STEPS,
    Gpt,
    Mlp,
    Recurrent,
    ResNet,
    Steps,
    Vit,
    bump,
    llama,
    llama_params,
    rms,
)

import jaxinit
from jaxinit import capture, gains
from jaxinit.advice import Recommendation, grouped, recommended
from jaxinit.paths import Leaf, leaves, match

KEY = jax.random.key(0)


def checked(fn: Callable[..., Any], params: Any, *inputs: Any) -> Recommendation:
    """A recommendation whose code makes its rules, which give each leaf what its row says."""
    found = jaxinit.recommend(fn, params, *inputs)
    names: dict[str, Any] = {}
    exec(found.code(), names)
    assert names["rules"] == found.rules
    tree = leaves(params)
    given = {tree[a.positions[0]].path: a.init for a in found.rules.assign(tree)}
    assert given == {row.path: row.initializer for row in found.rows}
    assert json.loads(json.dumps(found.to_dict()))["code"] == found.code()
    return found


def of_linen(model: Any, *inputs: Any, **options: Any) -> Recommendation:
    params = jax.eval_shape(model.init, KEY, *inputs)
    return checked(lambda p, *x: model.apply(p, *x, **options), params, *inputs)


def shown(found: Recommendation, under: str = "") -> dict[str, str]:
    """Roles, with the activation if there is one."""
    return {
        row.path.removeprefix(under): f"{row.role}, {row.activation}"
        if row.activation
        else row.role
        for row in found.rows
        if row.path.startswith(under)
    }


def rules(found: Recommendation) -> dict[str, str]:
    return {rule[0]: repr(rule[1]) for rule in found.rules.rules}


IMAGES = jax.ShapeDtypeStruct((2, 8, 8, 3), "float32")
TOKENS = jax.ShapeDtypeStruct((2, STEPS), "int32")
SERIES = jax.ShapeDtypeStruct((2, STEPS, 4), "float32")


def test_each_activation_gets_its_law() -> None:
    functions = (nn.relu, jnp.tanh, nn.gelu, nn.selu, nn.leaky_relu, bump)
    found = of_linen(Mlp(functions), jax.ShapeDtypeStruct((2, 4), "float32"))
    kernels = {k: v for k, v in shown(found, "params/").items() if k.endswith("kernel")}
    names = ("relu", "tanh", "gelu", "selu", "leaky_relu", "unnamed")
    hidden = {f"l{i}/kernel": f"dense, {name}" for i, name in enumerate(names)}
    assert kernels == {**hidden, "out/kernel": "head"}
    scale = float(f"{gains.gain(bump) ** 2:.6g}")
    assert rules(found) == {
        "**/bias": "zeros_init()",
        "params/l0/kernel": "he_normal()",
        "params/l1/kernel": "for_activation(fn='tanh')",
        "params/l2/kernel": "for_activation(fn='gelu')",
        "params/l3/kernel": "lecun_normal()",
        "params/l4/kernel": "he_normal(negative_slope=0.01)",
        "params/l5/kernel": repr(
            jaxinit.variance_scaling(scale, mode="fan_in", distribution="truncated_normal")
        ),
        "params/out/kernel": "lecun_normal()",
    }


@pytest.mark.parametrize("train", [True, False])
def test_a_resnet_by_its_batches_or_by_stored_statistics(train: bool) -> None:
    options = {"mutable": ["batch_stats"]} if train else {}
    found = of_linen(ResNet(train), IMAGES, **options)
    norm = {"scale": "norm scale", "bias": "norm bias"}
    norms = {f"{name}_norm/{leaf}": role for name in "ab" for leaf, role in norm.items()}
    block = {"a/kernel": "conv, relu", "b/kernel": "residual output, relu"}
    assert shown(found, "params/block_0/") == {**block, **norms}
    assert shown(found, "params/block_1/skip") == {
        "/kernel": "conv, relu",
        **{f"_norm/{leaf}": role for leaf, role in norm.items()},
    }
    assert set(shown(found, "batch_stats/").items()) == {
        (f"{name}_norm/{leaf}", f"running {role}")
        for name in ("block_0/a", "block_0/b", "block_1/a", "block_1/b", "block_1/skip")
        for leaf, role in (("mean", "mean"), ("var", "variance"))
    }
    # The branches end in a norm, so that their kernels take no factor.
    assert rules(found) == {
        "**/mean": "zeros_init()",
        "**/var": "ones_init()",
        "params/block_*/*/kernel": "he_normal()",
        "**/bias": "zeros_init()",
        "**/scale": "ones_init()",
        "params/head/kernel": "lecun_normal()",
        "params/stem/kernel": "he_normal()",
    }


BLOCK = {
    **{f"attn/{name}/kernel": f"attention {name}" for name in ("query", "key", "value")},
    **{f"attn/{name}/bias": "bias" for name in ("query", "key", "value", "out")},
    **{"attn/out/kernel": "attention output", "up/kernel": "dense, gelu", "up/bias": "bias"},
    **{"down/kernel": "residual output", "down/bias": "bias"},
    **{f"{n}/{leaf}": f"norm {leaf}" for n in ("n1", "n2") for leaf in ("scale", "bias")},
}
INWARD, OUTWARD = (
    "Axes(in_axis=0, out_axis=(1, 2), rank=3)",
    "Axes(in_axis=(0, 1), out_axis=2, rank=3)",
)


def transformer(layers: int) -> dict[str, str]:
    return {
        "**/bias": "zeros_init()",
        "**/scale": "ones_init()",
        "**/up/kernel": "for_activation(fn='gelu')",
        "**/down/kernel": f"depth_scaled(init=lecun_normal(), layers={layers})",
        "**/out/kernel": f"depth_scaled(init=glorot_uniform(axes={OUTWARD}), layers={layers})",
        "params/h_*/attn/*/kernel": f"glorot_uniform(axes={INWARD})",
    }


def test_a_gpt_with_a_tied_table() -> None:
    found = of_linen(Gpt(), TOKENS)
    for i in range(3):
        assert shown(found, f"params/h_{i}/") == BLOCK
    rest = {k: v for k, v in shown(found, "params/").items() if not k.startswith("h_")}
    assert rest == {
        **{"n/scale": "norm scale", "n/bias": "norm bias"},
        **{"tokens/embedding": "tied embedding", "positions/embedding": "positional table"},
    }
    assert rules(found) == {**transformer(3), "**/embedding": "normal(stddev=0.02)"}


def test_a_scanned_gpt_has_the_same_roles_on_stacked_axes() -> None:
    found = of_linen(Gpt(scan=True), TOKENS)
    assert shown(found, "params/h/") == BLOCK
    laws = {row.path.removeprefix("params/h/"): repr(row.initializer) for row in found.rows}
    stacked = "batch_axis=(0,), rank"
    inward = f"Axes(in_axis=1, out_axis=(2, 3), {stacked}=4)"
    outward = f"Axes(in_axis=(1, 2), out_axis=3, {stacked}=4)"
    dense = f"Axes(in_axis=1, out_axis=2, {stacked}=3)"
    assert laws["attn/query/kernel"] == f"glorot_uniform(axes={inward})"
    assert laws["attn/out/kernel"] == f"depth_scaled(init=glorot_uniform(axes={outward}), layers=3)"
    assert laws["up/kernel"] == f"for_activation(fn='gelu', axes={dense})"
    assert laws["down/kernel"] == f"depth_scaled(init=lecun_normal(axes={dense}), layers=3)"


def test_a_vit_with_a_token_and_positions() -> None:
    found = of_linen(Vit(), IMAGES)
    assert shown(found, "params/h_1/") == BLOCK
    rest = {k: v for k, v in shown(found, "params/").items() if not k.startswith("h_")}
    assert rest == {
        **{"patches/kernel": "conv", "patches/bias": "bias", "n/scale": "norm scale"},
        **{"n/bias": "norm bias", "head/kernel": "head", "head/bias": "bias"},
        **{"token": "token", "positions": "positional table"},
    }
    assert rules(found) == {
        **transformer(2),
        "params/*/kernel": "lecun_normal()",
        "params/*": "normal(stddev=0.02)",
    }


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.OptimizedLSTMCell])
def test_an_lstm_whose_kernels_are_apart(cell: Any) -> None:
    found = of_linen(Recurrent(cell), SERIES)
    gates = {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"}
    assert shown(found, "params/cell/") == {
        **{f"h{g}/kernel": f"recurrent kernel, {fn}" for g, fn in gates.items()},
        **{f"i{g}/kernel": f"recurrent input, {fn}" for g, fn in gates.items()},
        **{f"h{g}/bias": "forget bias" if g == "f" else "bias" for g in gates},
    }
    assert rules(found) == {
        "params/cell/hf/bias": "ones_init()",
        "params/cell/h*/kernel": "orthogonal()",
        "params/cell/i*/kernel": "glorot_uniform()",
        "params/out/kernel": "lecun_normal()",
        "**/bias": "zeros_init()",
    }


def test_packed_gates_in_nnx_and_what_is_no_number() -> None:
    model = Steps(nnx.OptimizedLSTMCell)
    found = checked(lambda m, x: m(x), model, jnp.ones((2, STEPS, 4)))
    assert shown(found) == {
        **{"out/bias": "bias", "out/kernel": "head", "rnn/cell/dense_h/bias": "forget bias"},
        "rnn/cell/dense_h/kernel": "recurrent kernel, sigmoid, tanh",
        "rnn/cell/dense_i/kernel": "recurrent input, sigmoid, tanh",
    }
    assert rules(found) == {
        "out/bias": "zeros_init()",
        "out/kernel": "lecun_normal()",
        "rnn/cell/dense_h/bias": "gate_bias(values=(0, 1, 0, 0))",
        "rnn/cell/dense_h/kernel": "gates(init=orthogonal(), n=4)",
        "rnn/cell/dense_i/kernel": "gates(init=glorot_uniform(), n=4)",
    }
    assert all(path.split("/")[-1] in ("count", "key") for path in found.kept)


def test_a_gru_has_no_forget_gate() -> None:
    found = of_linen(Recurrent(nn.GRUCell), SERIES)
    assert rules(found) == {
        "**/bias": "zeros_init()",
        "params/cell/h*/kernel": "orthogonal()",
        "params/cell/i*/kernel": "glorot_uniform()",
        "params/out/kernel": "lecun_normal()",
    }


def test_a_plain_function_with_packed_attention_and_gated_layers() -> None:
    found = checked(llama, llama_params(), TOKENS)
    assert shown(found, "blocks/1/") == {
        **{"qkv": "packed attention", "o": "attention output", "gate": "gate, silu"},
        **{"up": "dense", "down": "residual output", "n1": "norm scale", "n2": "norm scale"},
    }
    assert found.unused == ("spare",)
    assert "never read: spare" in str(found)
    assert rules(found) == {
        "**/down": "depth_scaled(init=lecun_normal(), layers=2)",
        "**/gate": "lecun_normal()",
        "**/n*": "ones_init()",
        "**/o": "depth_scaled(init=glorot_uniform(), layers=2)",
        "**/qkv": "lecun_normal()",
        "**/up": "lecun_normal()",
        "head": "lecun_normal()",
        "spare": "lecun_normal()",
        "tokens": "embedding()",
    }
    new = jaxinit.initialize(llama_params(), found.rules, KEY)
    assert np.isfinite(jax.jit(llama)(new, jnp.zeros(TOKENS.shape, int))).all()


def shapes(**sizes: tuple[int, ...]) -> dict[str, Any]:
    return {name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in sizes.items()}


X = jax.ShapeDtypeStruct((2, STEPS, 8), "float32")


def normalized(x: Any, scale: Any, bias: Any) -> Any:
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(
        x.var(-1, keepdims=True) + 1e-5
    ) * scale + bias


def laws(found: Recommendation) -> dict[str, tuple[str, str]]:
    return {row.path: (row.role, repr(row.initializer)) for row in found.rows}


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
    assert found["k"][1] == f"glorot_uniform(axes={INWARD})"


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
        "kernel": ("recurrent kernel", "gates(init=glorot_uniform(), n=4)"),
        "bias": biased if shift else forget,
        "out": ("head", "lecun_normal()"),
    }


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


WIDTH, DEPTH = 512, 30


@pytest.mark.parametrize(
    ("function", "wrong"),
    [
        (jax.nn.relu, jaxinit.lecun_normal()),
        (jnp.tanh, jaxinit.lecun_normal()),
        (jax.nn.selu, jaxinit.normal(0.02)),
        (lambda z: z / jnp.sqrt(1 + z**2), jaxinit.glorot_normal()),
    ],
    ids=["relu", "tanh", "selu", "unnamed"],
)
def test_thirty_layers_keep_the_signal(function: Callable[..., Any], wrong: Any) -> None:
    """The second moment of each layer is that of the length map.

    Given the layer before, it is a mean of φ(z)² over n units, of relative variance c / n with
    c = E[φ⁴] / E[φ²]² - 1; a length map that is no steeper than a line hands errors on no larger.
    So the logarithm of the moment walks from the map's with a drift of c / 2n and steps of √(c/n).
    """
    params = shapes(**{f"l{i:02}": (WIDTH, WIDTH) for i in range(DEPTH)}, out=(WIDTH, 2))
    hidden = sorted(name for name in params if name != "out")

    def fn(p: Any, x: Any) -> Any:
        for name in hidden:
            x = function(x @ p[name])
        return x @ p["out"]

    x = jax.random.normal(KEY, (2, WIDTH))
    x = x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True))
    found = checked(fn, params, jax.ShapeDtypeStruct(x.shape, x.dtype))
    given = jaxinit.initialize(params, found.rules, KEY)
    steps = jnp.stack([given[name] for name in hidden])

    @jax.jit
    def moments(stack: Any) -> Any:
        def step(x: Any, w: Any) -> Any:
            x = function(x @ w)
            return x, jnp.mean(x**2, -1)

        return jax.lax.scan(step, x, stack)[1]

    scale = gains.gain(function) ** 2
    z, weight = np.polynomial.hermite_e.hermegauss(200)
    weight = weight / weight.sum()

    def mean(q: float, power: int) -> float:
        y = np.asarray(function(jnp.asarray(math.sqrt(q) * z)), np.float64)
        return float(weight @ y**power)

    q, wanted, spread = 1.0, [], 0.0
    for _ in hidden:
        square = mean(scale * q, 2)
        spread = max(spread, mean(scale * q, 4) / square**2 - 1)
        wanted.append(q := square)
    layers = np.arange(1, DEPTH + 1)[:, None]
    bound = layers * spread / (2 * WIDTH) + 4 * np.sqrt(layers * spread / WIDTH)
    apart = np.abs(np.log(moments(steps)) - np.log(wanted)[:, None])
    assert (apart < bound).all()
    bad = jnp.stack([wrong(key, (WIDTH, WIDTH)) for key in jax.random.split(KEY, DEPTH)])
    assert (np.abs(np.log(moments(bad)) - np.log(wanted)[:, None])[-1] > bound[-1]).all()


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
        st.lists(st.sampled_from(["a", "b0", "b1", "kernel"]), min_size=1, max_size=4).map(
            "/".join
        ),
        st.integers(0, 2),
        min_size=1,
        max_size=12,
    ),
    st.sets(st.sampled_from(["b0/a", "kernel/b1", "a/a/a"])),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_patterns_give_each_path_its_value(values: dict[str, int], others: set[str]) -> None:
    others -= values.keys()
    found = grouped(values, sorted(others))
    for path in (*values, *others):
        first = next((v for p, v in found if match(p, Leaf(path, None)) is not None), None)
        assert first == values.get(path)
    assert len(found) <= len(values)
