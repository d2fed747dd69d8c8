"""The fans of every kernel that Flax hands over, by the variance that comes out."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxinit
from jaxinit import Axes

KEY = jax.random.key(11)
CIRCULAR: dict[str, Any] = {"use_bias": False, "padding": "CIRCULAR"}


class Layer(NamedTuple):
    """A layer's kernel and what the layer computes with a kernel."""

    kernel: jax.Array
    apply: Callable[[Any], jax.Array]
    inputs: int


def linen(module: nn.Module, *shape: int) -> Layer:
    x = jnp.ones(shape)
    params = module.init(KEY, x)
    (kernel,) = jax.tree.leaves(params)

    def apply(kernel: Any) -> jax.Array:
        return module.apply(jax.tree.map(lambda _: kernel, params), x)  # type: ignore[return-value]

    return Layer(kernel, apply, x.size)


def nnx_layer(module: Any, *shape: int) -> Layer:
    definition, state = nnx.split(module)
    (kernel,) = (leaf for leaf in jax.tree.leaves(state) if jnp.ndim(leaf) > 1)
    x = jnp.ones(shape)

    def apply(kernel: Any) -> jax.Array:
        filled = jax.tree.map(lambda leaf: kernel if jnp.ndim(leaf) > 1 else leaf, state)
        return nnx.merge(definition, filled)(x)

    return Layer(kernel, apply, x.size)


def rngs() -> nnx.Rngs:
    return nnx.Rngs(0)


# Each layer with the axes that its documentation says a user should pass.
LAYERS: dict[str, tuple[Axes | str | None, Callable[[Any], Layer]]] = {
    "linen.Dense": (None, lambda i: linen(nn.Dense(96, use_bias=False, kernel_init=i), 2, 64)),
    "linen.DenseGeneral": (
        Axes.dense(),
        lambda i: linen(nn.DenseGeneral((12, 8), use_bias=False, kernel_init=i), 2, 64),
    ),
    "linen.DenseGeneral over two axes": (
        None,
        lambda i: linen(
            nn.DenseGeneral(96, axis=(-2, -1), use_bias=False, kernel_init=i), 2, 4, 16
        ),
    ),
    "linen.Einsum": (
        "btd,dhk->bthk",
        lambda i: linen(
            nn.Einsum((64, 12, 8), "btd,dhk->bthk", use_bias=False, kernel_init=i), 2, 3, 64
        ),
    ),
    "linen.Einsum over heads": (
        "bthk,hkd->btd",
        lambda i: linen(
            nn.Einsum((8, 16, 64), "bthk,hkd->btd", use_bias=False, kernel_init=i), 2, 3, 8, 16
        ),
    ),
    "linen.Einsum of experts": (
        "ebd,edf->ebf",
        lambda i: linen(
            nn.Einsum((4, 32, 48), "ebd,edf->ebf", use_bias=False, kernel_init=i), 4, 3, 32
        ),
    ),
    "linen.Conv": (
        None,
        lambda i: linen(nn.Conv(64, (3, 3), kernel_init=i, **CIRCULAR), 1, 6, 6, 32),
    ),
    "linen.Conv in groups": (
        Axes.conv(groups=8),
        lambda i: linen(
            nn.Conv(64, (3, 3), feature_group_count=8, kernel_init=i, **CIRCULAR), 1, 6, 6, 32
        ),
    ),
    "linen.Conv depthwise": (
        Axes.conv(groups=128),
        lambda i: linen(
            nn.Conv(256, (5, 5), feature_group_count=128, kernel_init=i, **CIRCULAR), 1, 5, 5, 128
        ),
    ),
    "linen.Conv strided": (
        Axes.conv(stride=2),
        lambda i: linen(nn.Conv(64, (4, 4), (2, 2), kernel_init=i, **CIRCULAR), 1, 8, 8, 32),
    ),
    "linen.ConvTranspose": (
        Axes.conv(stride=(2, 2), transposed=True),
        lambda i: linen(
            nn.ConvTranspose(64, (4, 4), (2, 2), kernel_init=i, **CIRCULAR), 1, 4, 4, 32
        ),
    ),
    "linen.ConvTranspose of a transposed kernel": (
        Axes.conv(transpose_kernel=True, stride=2),
        lambda i: linen(
            nn.ConvTranspose(64, (4, 4), (2, 2), transpose_kernel=True, kernel_init=i, **CIRCULAR),
            1,
            4,
            4,
            32,
        ),
    ),
    "linen.Embed": (
        Axes.embedding(),
        lambda i: embed(i),
    ),
    "nnx.Linear": (
        Axes.dense(),
        lambda i: nnx_layer(nnx.Linear(64, 96, use_bias=False, kernel_init=i, rngs=rngs()), 2, 64),
    ),
    "nnx.LinearGeneral": (
        Axes.dense(),
        lambda i: nnx_layer(
            nnx.LinearGeneral(
                (4, 16), (12, 8), axis=(-2, -1), use_bias=False, kernel_init=i, rngs=rngs()
            ),
            2,
            4,
            16,
        ),
    ),
    "nnx.Einsum": (
        "bthk,hkd->btd",
        lambda i: nnx_layer(
            nnx.Einsum("bthk,hkd->btd", (8, 16, 64), None, kernel_init=i, rngs=rngs()), 2, 3, 8, 16
        ),
    ),
    "nnx.Conv in groups": (
        Axes.conv(spatial=1, groups=4),
        lambda i: nnx_layer(
            nnx.Conv(32, 64, (5,), feature_group_count=4, kernel_init=i, rngs=rngs(), **CIRCULAR),
            1,
            7,
            32,
        ),
    ),
    "nnx.ConvTranspose": (
        Axes.conv(spatial=1, stride=3, transposed=True),
        lambda i: nnx_layer(
            nnx.ConvTranspose(48, 64, (6,), 3, kernel_init=i, rngs=rngs(), **CIRCULAR), 1, 4, 48
        ),
    ),
    "nnx.Embed": (
        Axes.embedding(),
        lambda i: nnx_embed(i),
    ),
    "nnx.ConvTranspose of a transposed kernel": (
        Axes.conv(spatial=1, transpose_kernel=True, stride=3),
        lambda i: nnx_layer(
            nnx.ConvTranspose(
                64, 48, (6,), 3, transpose_kernel=True, kernel_init=i, rngs=rngs(), **CIRCULAR
            ),
            1,
            4,
            64,
        ),
    ),
}


def embed(init: Any) -> Layer:
    table = nn.Embed(96, 64, embedding_init=init)
    params = table.init(KEY, jnp.zeros((1,), jnp.int32))
    (kernel,) = jax.tree.leaves(params)
    x = jnp.ones((2, 64))

    def apply(kernel: Any) -> jax.Array:
        filled = jax.tree.map(lambda _: kernel, params)
        return table.apply(filled, x, method=table.attend)  # type: ignore[return-value]

    return Layer(kernel, apply, x.size)


def nnx_embed(init: Any) -> Layer:
    table = nnx.Embed(96, 64, embedding_init=init, rngs=rngs())
    x = jnp.ones((2, 64))

    def apply(kernel: Any) -> jax.Array:
        filled = nnx.clone(table)
        filled.embedding[...] = kernel
        return filled.attend(x)

    return Layer(table.embedding[...], apply, x.size)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_flax_get_the_variance_of_their_fans(name: str) -> None:
    """With a kernel and an input of ones, a layer counts its own fans."""
    axes, build = LAYERS[name]
    init = jaxinit.variance_scaling(1.0, "fan_in", "normal", axes=axes)
    inward, outward = build(init), build(init.replace(mode="fan_out"))
    counts = inward.apply(jnp.ones_like(inward.kernel))
    error = 4 * math.sqrt(2 / inward.kernel.size)  # four standard errors of a variance
    assert error < 0.2  # so that a fan that is off by a quarter is seen
    for layer, fan in ((inward, counts.mean()), (outward, counts.sum() / inward.inputs)):
        assert abs(float(layer.kernel.var()) * float(fan) - 1) < error


def test_the_default_axes_are_wrong_where_axes_are_needed() -> None:
    """The cases above can fail: what JAX's axes give in a few of these layers."""
    for name in ("linen.Einsum", "linen.Embed", "linen.Einsum of experts"):
        _, build = LAYERS[name]
        layer = build(jaxinit.variance_scaling(1.0, "fan_in", "normal"))
        fan = float(layer.apply(jnp.ones_like(layer.kernel)).mean())
        assert abs(float(layer.kernel.var()) * fan - 1) > 0.3, name


def test_a_flattened_kernel_with_batch_axes() -> None:
    """Flax counts the batch into the inputs; `reshaped` puts it back where it belongs."""
    per_slice = jaxinit.lecun_normal(axes=Axes.dense().stacked())
    init = jaxinit.reshaped(per_slice, (8, 32, 48))
    for kernel in (
        linen(
            nn.DenseGeneral(48, axis=-1, batch_dims=(0,), use_bias=False, kernel_init=init),
            8,
            2,
            32,
        ).kernel,
        nnx.LinearGeneral(
            32, 48, batch_axis={0: 8}, use_bias=False, kernel_init=init, rngs=rngs()
        ).kernel[...],
    ):
        assert kernel.shape == (8, 32, 48)
        error = 4 * math.sqrt(2 / kernel.size)
        assert abs(float(kernel.var()) * 32 - 1) < error
        assert abs(float(kernel.var()) * 256 - 1) > error  # Flax's own fan


def test_attention_hands_over_flattened_kernels() -> None:
    init = jaxinit.variance_scaling(1.0, "fan_in", "normal", axes=Axes.dense())
    x = jnp.ones((2, 3, 64))
    module = nn.MultiHeadDotProductAttention(4, qkv_features=96, kernel_init=init, use_bias=False)
    params = module.init(KEY, x, x)["params"]
    layer = nnx.MultiHeadAttention(
        4, 64, 96, kernel_init=init, use_bias=False, decode=False, rngs=rngs()
    )
    for kernel, fan in (
        (params["query"]["kernel"], 64),
        (params["value"]["kernel"], 64),
        (params["out"]["kernel"], 96),
        (layer.key.kernel[...], 64),
        (layer.out.kernel[...], 96),
    ):
        assert abs(float(kernel.var()) * fan - 1) < 4 * math.sqrt(2 / kernel.size)
    wrong = jaxinit.he_normal(axes="btd,dhk->bthk")
    with pytest.raises(ValueError, match=r"3-D kernel.*is 2-D.*pass Axes\.dense\(\)"):
        nn.MultiHeadDotProductAttention(4, kernel_init=wrong).init(KEY, x, x)
    with pytest.raises(ValueError, match=r"pass Axes\.dense\(\)"):
        nnx.LinearGeneral(64, (4, 16), kernel_init=wrong, rngs=rngs())


@pytest.mark.parametrize("cell", ["LSTMCell", "OptimizedLSTMCell", "GRUCell"])
def test_recurrent_cells(cell: str) -> None:
    """Separate gates have the law; packed ones have it gate by gate."""
    lecun = jaxinit.variance_scaling(1.0, "fan_in", "normal")
    arguments: dict[str, Any] = {
        "kernel_init": lecun,
        "recurrent_kernel_init": jaxinit.orthogonal(),
    }
    module = getattr(nn, cell)(64, **arguments)
    x = jnp.zeros((1, 48))
    params = module.init(KEY, module.initialize_carry(KEY, x.shape), x)["params"]
    recurrent = [gate["kernel"] for name, gate in params.items() if name.startswith("h")]
    inputs = [gate["kernel"] for name, gate in params.items() if name.startswith("i")]
    assert len(recurrent) == len(inputs) == (3 if cell == "GRUCell" else 4)

    gates = len(recurrent)
    packed = arguments | {"recurrent_kernel_init": jaxinit.blocks(jaxinit.orthogonal(), n=gates)}
    layer = getattr(nnx, cell)(48, 64, **packed, rngs=rngs())
    state = jax.tree.leaves_with_path(nnx.state(layer, nnx.Param))
    for path, leaf in state:
        where = jax.tree_util.keystr(path)
        if "kernel" in where and leaf.shape[-1] == 64 * gates:
            found = recurrent if leaf.shape[0] == 64 else inputs
            found.extend(jnp.split(leaf, gates, axis=-1))
    for kernel in inputs:
        assert abs(float(kernel.var()) * 48 - 1) < 4 * math.sqrt(2 / kernel.size)
    for q in recurrent:
        np.testing.assert_allclose(q.T @ q, np.eye(64), atol=1e-5)
    assert len(recurrent) == (2 if cell != "LSTMCell" else 1) * gates


def test_layers_that_scan_or_vmap_stacks() -> None:
    """A stack is drawn layer by layer, so each layer has the law of one."""

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, _: Any) -> Any:
            """One layer."""
            return nn.Dense(64, use_bias=False, kernel_init=jaxinit.orthogonal())(x), None

    stack = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=5)
    (kernels,) = jax.tree.leaves(stack().init(KEY, jnp.ones((2, 64)), None))

    @nnx.split_rngs(splits=5)
    @nnx.vmap(in_axes=(0,), out_axes=0)
    def create(streams: nnx.Rngs) -> Any:
        return nnx.Linear(64, 64, kernel_init=jaxinit.orthogonal(), rngs=streams)

    direct = jaxinit.orthogonal(axes=Axes.dense().stacked())(KEY, (5, 64, 64))
    for found in (kernels, create(rngs()).kernel[...], direct):
        grams = jnp.einsum("lij,lik->ljk", found, found)
        np.testing.assert_allclose(grams, np.broadcast_to(np.eye(64), (5, 64, 64)), atol=1e-5)
        assert abs(found[0] - found[1]).max() > 0.1
