"""Each framework's layers, made anew, beside the presets that are to draw as they do."""

from collections.abc import Callable
from typing import Any

import equinox
import flax.linen as nn
import haiku
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from peers import HOUSES, LAYERS
from scipy import stats

import jaxinit
from jaxinit import presets

# Sizes are alike, so that draws of one law share what JAX compiles, quickly with these bits.
KEY, THEIRS = (jax.random.key(seed, impl="unsafe_rbg") for seed in (20261124, 5))
Weights = np.ndarray[Any, Any]
Row = tuple[str, jaxinit.Bound, Callable[[], Any]]
torch_nn, keras_layers = LAYERS["torch"], LAYERS["keras"]


def turned(weights: Any, inputs: int = 1, outputs: int = 0) -> Weights:
    """A kernel that has its inputs and outputs first, in Flax's layout."""
    return np.moveaxis(np.asarray(weights), (inputs, outputs), (-2, -1))


def torch(layer: str, name: str, *sizes: int, **settings: Any) -> Callable[[], Weights]:
    def draw() -> Weights:
        import torch as house

        house.manual_seed(5)
        found = getattr(torch_nn, layer)(*sizes, **settings)
        for part in name.split("."):
            found = getattr(found, part)
        return np.asarray(found.detach().numpy())

    return draw


def keras(layer: str, name: str, shape: tuple[Any, ...], *sizes: Any, **settings: Any) -> Any:
    def draw() -> Weights:
        made = getattr(keras_layers, layer)(*sizes, **settings)
        made.build(*shape) if isinstance(shape[0], tuple) else made.build(shape)
        found = made
        for part in name.split("."):
            found = getattr(found, part)
        return np.asarray(found)

    return draw


def of_haiku(name: str, call: Callable[..., Any], *shape: int) -> Callable[[], Weights]:
    def draw() -> Weights:
        x = jnp.zeros(shape, jnp.int32 if name == "embeddings" else jnp.float32)
        params = haiku.transform(call).init(THEIRS, x)
        (found,) = (leaves[name] for leaves in params.values() if name in leaves)
        return np.asarray(found)

    return draw


def linen(name: str, layer: Any, *shapes: tuple[int, ...]) -> Callable[[], Weights]:
    def draw() -> Weights:
        found = layer.init(THEIRS, *(jnp.zeros(shape) for shape in shapes))["params"]
        for part in name.split("."):
            found = found[part]
        return np.asarray(found)

    return draw


def then(draw: Callable[[], Weights], change: Callable[[Weights], Weights]) -> Any:
    return lambda: change(draw())


def eqx(name: str, make: Callable[[], Any]) -> Callable[[], Weights]:
    def draw() -> Weights:
        found = make()
        for part in name.split("."):
            found = getattr(found, part)
        return np.asarray(found)

    return draw


def lstm(x: Any) -> Any:
    core = haiku.LSTM(75)
    return core(x, core.initial_state(1))


def gru(x: Any) -> Any:
    core = haiku.GRU(100)
    return core(x, core.initial_state(1))


def attention(x: Any) -> Any:
    return haiku.MultiHeadAttention(4, 75, w_init_scale=0.7)(x, x, x)


t, k, h, f, e = presets.torch, presets.keras, presets.haiku, presets.flax, presets.equinox
flat = np.ravel
TORCH: list[Row] = [
    ("linear", t.linear_kernel(), then(torch("Linear", "weight", 100, 300), turned)),
    ("linear bias", t.linear_bias(9), torch("Linear", "bias", 9, 9000)),
    (
        "bilinear",
        t.bilinear_kernel(),
        then(torch("Bilinear", "weight", 9, 30, 80), lambda w: np.moveaxis(w, 0, -1)),
    ),
    ("bilinear bias", t.linear_bias(9), torch("Bilinear", "bias", 9, 2, 9000)),
    ("conv", t.conv_kernel(), then(torch("Conv2d", "weight", 40, 80, 3), turned)),
    (
        "grouped conv",
        t.conv_kernel(1, groups=8),
        then(torch("Conv1d", "weight", 64, 160, 5, groups=8), turned),
    ),
    ("conv bias", t.conv_bias(3 * 3 * 2), torch("Conv2d", "bias", 2, 9000, 3)),
    (
        "transposed conv",
        t.conv_transpose_kernel(),
        then(torch("ConvTranspose2d", "weight", 40, 80, 3), lambda w: turned(w, 0, 1)),
    ),
    (
        "transposed conv turned",
        t.conv_transpose_kernel(transpose_kernel=True),
        then(torch("ConvTranspose2d", "weight", 80, 40, 3), turned),
    ),
    (
        "transposed conv bias",
        t.conv_transpose_bias(9000 * 2),
        torch("ConvTranspose1d", "bias", 3, 9000, 2),
    ),
    ("embedding", t.embedding(), torch("Embedding", "weight", 100, 300)),
    ("rnn", t.rnn_kernel(300), then(torch("RNN", "weight_ih_l0", 100, 300), turned)),
    ("lstm", t.lstm_kernel(75), then(torch("LSTM", "weight_ih_l0", 100, 75), turned)),
    ("lstm bias", t.lstm_bias(2250), torch("LSTM", "bias_ih_l0", 2, 2250)),
    ("gru", t.gru_kernel(100), then(torch("GRUCell", "weight_hh", 9, 100), turned)),
    (
        "attention",
        t.attention_kernel(),
        then(torch("MultiheadAttention", "in_proj_weight", 100, 4), lambda w: turned(w[:100])),
    ),
    (
        "packed attention",
        t.attention_kernel(),
        then(torch("MultiheadAttention", "in_proj_weight", 100, 4), turned),
    ),
    (
        "attention of other keys",
        t.attention_kernel(packed=False),
        then(torch("MultiheadAttention", "k_proj_weight", 100, 4, kdim=60), turned),
    ),
    (
        "attention output",
        t.attention_output_kernel(),
        then(torch("MultiheadAttention", "out_proj.weight", 100, 4), turned),
    ),
    (
        "attention token",
        t.attention_extra_token(),
        torch("MultiheadAttention", "bias_k", 9000, 1, add_bias_kv=True, kdim=1, vdim=1),
    ),
    (
        "transformer",
        t.transformer_kernel(),
        then(
            torch(
                "Transformer", "encoder.layers.0.linear1.weight", 100, 4, 1, 0, dim_feedforward=300
            ),
            turned,
        ),
    ),
    (
        "transformer attention",
        t.attention_kernel(),
        then(
            torch("Transformer", "encoder.layers.0.self_attn.in_proj_weight", 100, 4, 1, 0), turned
        ),
    ),
]
KERAS: list[Row] = [
    ("dense", k.dense_kernel(), keras("Dense", "kernel", (None, 100), 300)),
    (
        "attention",
        k.attention_kernel(),
        then(
            keras(
                "MultiHeadAttention",
                "query_dense.kernel",
                ((None, 5, 100), (None, 5, 100)),
                4,
                75,
            ),
            lambda w: w.reshape(100, 300),
        ),
    ),
    ("conv", k.conv_kernel(), keras("Conv2D", "kernel", (None, 9, 9, 40), 80, 3)),
    (
        "grouped conv",
        k.conv_kernel(),
        keras("Conv1D", "kernel", (None, 9, 64), 160, 5, groups=8),
    ),
    (
        "transposed conv",
        k.conv_transpose_kernel(),
        then(
            keras("Conv2DTranspose", "kernel", (None, 9, 9, 40), 80, 3),
            lambda w: np.swapaxes(w, -2, -1),
        ),
    ),
    (
        "depthwise conv",
        k.depthwise_kernel(3),
        then(
            keras("DepthwiseConv2D", "kernel", (None, 9, 9, 500), 3, depth_multiplier=3),
            lambda w: w.reshape(3, 3, 1, 1500),
        ),
    ),
    (
        "separable conv",
        k.pointwise_kernel(),
        keras("SeparableConv2D", "pointwise_kernel", (None, 9, 9, 100), 300, 3),
    ),
    ("embedding", k.embedding(), keras("Embedding", "embeddings", (None, 4), 100, 300)),
    ("lstm", k.lstm_kernel(), keras("LSTM", "cell.kernel", (None, 5, 100), 75)),
    (
        "lstm states",
        k.lstm_recurrent_kernel(),
        keras("LSTM", "cell.recurrent_kernel", (None, 5, 100), 75),
    ),
    ("gru", k.gru_kernel(), keras("GRU", "cell.kernel", (None, 5, 100), 100)),
    ("lora", k.lora_a(), keras("Dense", "lora_kernel_a", (None, 100), 40, lora_rank=300)),
]
HAIKU: list[Row] = [
    ("linear", h.linear_kernel(), of_haiku("w", lambda x: haiku.Linear(300)(x), 1, 100)),
    ("conv", h.conv_kernel(), of_haiku("w", lambda x: haiku.Conv2D(80, 3)(x), 1, 9, 9, 40)),
    (
        "grouped conv",
        h.conv_kernel(),
        of_haiku("w", lambda x: haiku.Conv1D(160, 5, feature_group_count=8)(x), 1, 9, 64),
    ),
    (
        "transposed conv",
        h.conv_transpose_kernel(),
        then(
            of_haiku("w", lambda x: haiku.Conv2DTranspose(80, 3)(x), 1, 9, 9, 40),
            lambda w: np.swapaxes(w, -2, -1),
        ),
    ),
    (
        "depthwise conv",
        h.depthwise_kernel(),
        of_haiku("w", lambda x: haiku.DepthwiseConv2D(3, 3)(x), 1, 9, 9, 500),
    ),
    ("embedding", h.embedding(), of_haiku("embeddings", lambda x: haiku.Embed(100, 300)(x), 1)),
    ("lstm", h.lstm_kernel(100, 75), of_haiku("w", lstm, 1, 100)),
    ("gru", h.gru_kernel(), of_haiku("w_i", gru, 1, 100)),
    (
        "attention",
        h.attention_kernel(0.7),
        lambda: haiku.transform(attention).init(THEIRS, jnp.zeros((1, 3, 100)))[
            "multi_head_attention/query"
        ]["w"],
    ),
    (
        "vector quantizer",
        h.vector_quantizer_embedding(),
        lambda: haiku.transform_with_state(
            lambda x: haiku.nets.VectorQuantizer(100, 300, 0.25)(x, False)
        ).init(THEIRS, jnp.zeros((1, 100)))[0]["vector_quantizer"]["embeddings"],
    ),
]
FLAX: list[Row] = [
    ("dense", f.dense_kernel(), linen("kernel", nn.Dense(300), (1, 100))),
    ("conv", f.conv_kernel(), linen("kernel", nn.Conv(80, (3, 3)), (1, 9, 9, 40))),
    (
        "grouped conv",
        f.conv_kernel(),
        linen("kernel", nn.Conv(160, (5,), feature_group_count=8), (1, 9, 64)),
    ),
    (
        "attention",
        f.attention_kernel(),
        then(
            linen(
                "query.kernel", nn.MultiHeadDotProductAttention(4, qkv_features=300), (1, 3, 100)
            ),
            lambda w: w.reshape(100, 300),
        ),
    ),
    (
        "embedding",
        f.embedding(),
        lambda: nn.Embed(100, 300).init(THEIRS, jnp.zeros(1, jnp.int32))["params"]["embedding"],
    ),
    (
        "nnx embedding",
        f.embedding(),
        lambda: nnx.Embed(100, 300, rngs=nnx.Rngs(THEIRS)).embedding[...],
    ),
    (
        "nnx linear",
        f.linear_kernel(),
        lambda: nnx.Linear(100, 300, rngs=nnx.Rngs(THEIRS)).kernel[...],
    ),
    (
        "nnx lstm",
        f.lstm_kernel(),
        lambda: nnx.OptimizedLSTMCell(100, 75, rngs=nnx.Rngs(THEIRS)).dense_i.kernel[...],
    ),
    (
        "nnx lstm states",
        f.lstm_recurrent_kernel(),
        lambda: nnx.OptimizedLSTMCell(100, 75, rngs=nnx.Rngs(THEIRS)).dense_h.kernel[...],
    ),
    ("nnx lora", f.lora_a(), lambda: nnx.LoRA(100, 300, 40, rngs=nnx.Rngs(THEIRS)).lora_a[...]),
]
EQUINOX: list[Row] = [
    (
        "linear",
        e.linear_kernel(),
        then(eqx("weight", lambda: equinox.nn.Linear(100, 300, key=THEIRS)), turned),
    ),
    ("linear bias", e.linear_bias(9), eqx("bias", lambda: equinox.nn.Linear(9, 9000, key=THEIRS))),
    (
        "conv",
        e.conv_kernel(1, groups=8),
        then(
            eqx("weight", lambda: equinox.nn.Conv1d(64, 160, 5, groups=8, key=THEIRS)),
            turned,
        ),
    ),
    (
        "conv bias",
        e.conv_bias(3 * 3 * 2),
        then(eqx("bias", lambda: equinox.nn.Conv2d(2, 9000, 3, key=THEIRS)), flat),
    ),
    (
        "transposed conv",
        e.conv_transpose_kernel(),
        then(eqx("weight", lambda: equinox.nn.ConvTranspose2d(40, 80, 3, key=THEIRS)), turned),
    ),
    ("embedding", e.embedding(), eqx("weight", lambda: equinox.nn.Embedding(100, 300, key=THEIRS))),
    (
        "gru",
        e.gru_kernel(100),
        then(eqx("weight_hh", lambda: equinox.nn.GRUCell(9, 100, key=THEIRS)), turned),
    ),
    ("lstm bias", e.lstm_bias(2250), eqx("bias", lambda: equinox.nn.LSTMCell(2, 2250, key=THEIRS))),
    (
        "attention",
        e.attention_kernel(),
        then(
            eqx("query_proj.weight", lambda: equinox.nn.MultiheadAttention(4, 100, key=THEIRS)),
            turned,
        ),
    ),
]


def of_timm(name: str, *arguments: float) -> Callable[[], Weights]:
    """timm's truncated normals are PyTorch's, with bounds that hold the weights or their z."""

    def draw() -> Weights:
        import torch as house

        house.manual_seed(6)
        tensor = house.empty((100, 300))
        if name == "trunc_normal_":
            HOUSES["torch"].trunc_normal_(tensor, 0.0, *arguments)
        else:
            HOUSES["torch"].trunc_normal_(tensor, 0.0, 1.0, *arguments[1:]).mul_(arguments[0])
        return np.asarray(tensor.numpy())

    return draw


TIMM: list[Row] = [
    ("trunc_normal_", presets.timm.trunc_normal(0.02), of_timm("trunc_normal_", 0.02, -2, 2)),
    ("cut", presets.timm.trunc_normal(2.0, -1, 3), of_timm("trunc_normal_", 2.0, -1, 3)),
    ("trunc_normal_tf_", presets.timm.trunc_normal_tf(0.5), of_timm("tf", 0.5, -2, 2)),
]
ROWS = [
    pytest.param(ours, theirs, id=f"{house} {name}")
    for house, rows in (
        ("torch", TORCH),
        ("keras", KERAS),
        ("haiku", HAIKU),
        ("flax", FLAX),
        ("equinox", EQUINOX),
        ("timm", TIMM),
    )
    for name, ours, theirs in rows
]
LEVEL = 1e-3 / len(ROWS)


@pytest.mark.filterwarnings("ignore")  # of the houses
@pytest.mark.parametrize(("ours", "theirs"), ROWS)
def test_the_layer_s_law(ours: jaxinit.Bound, theirs: Callable[[], Weights]) -> None:
    expected = np.asarray(theirs())
    a, b = (np.asarray(w, np.float64).ravel() for w in (ours(KEY, expected.shape), expected))
    assert b.size > 3000
    assert stats.ks_2samp(a, b).pvalue > LEVEL
    error = 4 * np.sqrt((stats.kurtosis(b) + 2) / b.size * 2)
    assert abs(a.var() / b.var() - 1) < error
    assert abs(a.mean() - b.mean()) < 4 * b.std() * np.sqrt(2 / b.size)
    # Power: a standard deviation that a truncation not corrected for, or wrong fans, would give.
    assert abs((1.14 * a).var() / b.var() - 1) > error


EXACT: list[Row] = [
    ("torch attention bias", t.attention_bias(), torch("MultiheadAttention", "in_proj_bias", 8, 2)),
    (
        "torch output bias",
        t.attention_bias(),
        torch("MultiheadAttention", "out_proj.bias", 8, 2),
    ),
    ("torch norm", t.norm_scale(), torch("LayerNorm", "weight", 8)),
    ("torch norm bias", t.norm_bias(), torch("BatchNorm2d", "bias", 8)),
    ("torch prelu", t.prelu_slope(), torch("PReLU", "weight", 3)),
    (
        "torch padding",
        t.embedding(padding_id=1) * 0,
        lambda: torch("Embedding", "weight", 3, 4, padding_idx=1)() * [[0], [1], [0]],
    ),
    ("keras bias", k.dense_bias(), keras("Dense", "bias", (None, 9), 4)),
    ("keras lstm bias", k.lstm_bias(), keras("LSTM", "cell.bias", (None, 5, 7), 4)),
    ("keras gru bias", k.gru_bias(), keras("GRU", "cell.bias", (None, 5, 7), 4)),
    ("keras norm", k.norm_scale(), keras("LayerNormalization", "gamma", (None, 9))),
    ("keras norm bias", k.norm_bias(), keras("BatchNormalization", "beta", (None, 9))),
    ("keras prelu", k.prelu_slope(), keras("PReLU", "alpha", (None, 9))),
    ("keras lora", k.lora_b(), keras("Dense", "lora_kernel_b", (None, 9), 4, lora_rank=3)),
    ("haiku bias", h.linear_bias(), of_haiku("b", lambda x: haiku.Linear(3)(x), 1, 9)),
    (
        "haiku norm",
        h.norm_scale(),
        of_haiku("scale", lambda x: haiku.LayerNorm(-1, True, True)(x), 1, 9),
    ),
    (
        "haiku norm bias",
        h.norm_bias(),
        of_haiku("offset", lambda x: haiku.LayerNorm(-1, True, True)(x), 1, 9),
    ),
    ("flax bias", f.dense_bias(), linen("bias", nn.Dense(4), (1, 9))),
    ("flax norm", f.norm_scale(), linen("scale", nn.LayerNorm(), (1, 9))),
    ("flax prelu", f.prelu_slope(), linen("negative_slope", nn.PReLU(), (1, 9))),
    ("flax mgu", f.mgu_forget_bias(), linen("if.bias", nn.MGUCell(4), (1, 4), (1, 9))),
    ("flax lora", f.lora_b(), lambda: nnx.LoRA(3, 2, 4, rngs=nnx.Rngs(THEIRS)).lora_b[...]),
    ("equinox norm", e.norm_scale(), eqx("weight", lambda: equinox.nn.LayerNorm(9))),
    ("equinox norm bias", e.norm_bias(), eqx("bias", lambda: equinox.nn.GroupNorm(3, 9))),
    ("equinox prelu", e.prelu_slope(), eqx("negative_slope", lambda: equinox.nn.PReLU())),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("ours", "theirs"), [pytest.param(o, w, id=name) for name, o, w in EXACT])
def test_the_layer_s_numbers(ours: jaxinit.Bound, theirs: Callable[[], Weights]) -> None:
    expected = np.asarray(theirs())
    np.testing.assert_array_equal(np.asarray(ours(KEY, expected.shape)), expected)


def test_haiku_s_forget_gate_and_ours() -> None:
    """Its cell adds one to the forget gate: the third quarter of its gates, and the second of ours.

    A cell whose other gates are open tells, by the state that it keeps, what was added.
    """

    def step(x: Any) -> Any:
        state = haiku.LSTMState(hidden=jnp.zeros((1, 3)), cell=jnp.ones((1, 3)))
        return haiku.LSTM(3)(x, state)[1].cell

    transformed = haiku.without_apply_rng(haiku.transform(step))
    params = transformed.init(THEIRS, jnp.zeros((1, 2)))
    kept = transformed.apply(params, jnp.zeros((1, 2)))
    np.testing.assert_allclose(kept, jax.nn.sigmoid(1.0), rtol=1e-6)
    bias = h.lstm_bias()(None, (12,))
    cell = nnx.OptimizedLSTMCell(2, 3, rngs=nnx.Rngs(THEIRS))
    cell.dense_h.bias = nnx.Param(bias)
    (state, _), _ = cell((jnp.ones((1, 3)), jnp.zeros((1, 3))), jnp.zeros((1, 2)))
    np.testing.assert_allclose(state, jax.nn.sigmoid(1.0), rtol=1e-6)
