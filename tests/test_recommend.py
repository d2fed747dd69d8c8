"""Recommendations: the role of each parameter, the rules that follow, and the signal they keep."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from recommend_models import (
    KEY,
    STEPS,
    Gpt,
    Mlp,
    Recurrent,
    ResNet,
    Steps,
    Vit,
    bump,
    checked,
    llama,
    llama_params,
    of_linen,
    rules,
    shapes,
    shown,
)

import jaxinit
from jaxinit import gains

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


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_an_activation_may_be_normalized_at_once(norm: Any) -> None:
    net = nn.Sequential(
        [nn.Dense(16), nn.relu, norm(), nn.Dense(16), jnp.tanh, norm(), nn.Dense(3)]
    )
    laws = rules(of_linen(net, jax.ShapeDtypeStruct((2, 4), "float32")))
    kernels = [laws[f"params/layers_{i}/kernel"] for i in (0, 3, 6)]
    assert kernels == ["he_normal()", "for_activation(fn='tanh')", "lecun_normal()"]


class Prelu(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        for _ in range(2):
            x = nn.PReLU()(nn.Dense(16)(x))
        x = x + nn.PReLU()(nn.Dense(16)(x))
        return nn.Dense(3)(x)


def test_a_learned_slope_starts_between_a_line_and_a_relu() -> None:
    found = of_linen(Prelu(), jax.ShapeDtypeStruct((2, 4), "float32"))
    kernel, slope = "/kernel", "/negative_slope"
    roles = shown(found, "params/")
    assert {k: v for k, v in roles.items() if k.endswith((kernel, slope))} == {
        **{f"Dense_{i}{kernel}": "dense, leaky_relu" for i in range(2)},
        **{f"Dense_2{kernel}": "residual output, leaky_relu", f"Dense_3{kernel}": "head"},
        **{f"PReLU_{i}{slope}": "slope" for i in range(3)},
    }
    assert rules(found) == {
        "**/bias": "zeros_init()",
        "**/negative_slope": "constant(value=0.25)",
        "params/Dense_3/kernel": "lecun_normal()",
        "**/kernel": "he_normal(negative_slope=0.25)",
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
