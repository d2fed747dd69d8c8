"""What Flax really sends: real modules, eager and jitted, in two dtypes, sharded."""

import math
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxinit as initializers

KEY = jax.random.key(0)
HE = initializers.he_normal()


class Block(nn.Module):
    """Attention, convolution, embedding and a feed-forward layer."""

    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Logits."""
        dtype = self.param_dtype
        x = nn.Embed(64, 32, param_dtype=dtype, embedding_init=initializers.normal(0.02))(tokens)
        x = nn.MultiHeadDotProductAttention(
            4,
            param_dtype=dtype,
            kernel_init=initializers.orthogonal(),
            bias_init=initializers.zeros,
        )(x, x)
        x = nn.Conv(48, (3,), param_dtype=dtype, kernel_init=initializers.delta_orthogonal())(x)
        x = nn.LayerNorm(param_dtype=dtype, scale_init=initializers.ones_init())(x)
        return nn.DenseGeneral((4, 5), param_dtype=dtype, kernel_init=HE)(x)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=str)
def test_linen(dtype: Any) -> None:
    model = Block(dtype)
    tokens = jnp.zeros((2, 7), jnp.int32)
    eager = model.init(KEY, tokens)
    jitted = jax.jit(model.init)(KEY, tokens)
    chex.assert_trees_all_close(eager, jitted, rtol=0, atol=1e-5 if dtype == jnp.float32 else 0)
    for leaf in jax.tree.leaves(eager):
        assert leaf.dtype == dtype
    wide = Block(jnp.float32).init(KEY, tokens)
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x.astype(dtype), wide), eager)
    chex.assert_shape(model.apply(eager, tokens), (2, 7, 4, 5))


def test_equal_modules_do_not_retrace() -> None:
    traces = []

    def apply(model: nn.Module, params: Any, x: jax.Array) -> Any:
        traces.append(model)
        return model.apply(params, x)

    jitted = jax.jit(apply, static_argnums=0)
    x = jnp.ones((1, 4))
    params = nn.Dense(3, kernel_init=initializers.he_normal()).init(KEY, x)
    for _ in range(3):
        jitted(nn.Dense(3, kernel_init=initializers.he_normal()), params, x)
    assert len(traces) == 1
    jitted(nn.Dense(3, kernel_init=initializers.he_uniform()), params, x)
    assert len(traces) == 2


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=str)
def test_nnx(dtype: Any) -> None:
    def make(rngs: nnx.Rngs) -> nnx.Module:
        return nnx.Sequential(
            nnx.Linear(32, 64, kernel_init=HE, param_dtype=dtype, rngs=rngs),
            nnx.LinearGeneral(64, (4, 8), kernel_init=HE, param_dtype=dtype, rngs=rngs),
            nnx.Conv(
                8, 16, (3,), kernel_init=initializers.orthogonal(), param_dtype=dtype, rngs=rngs
            ),
            nnx.LayerNorm(16, scale_init=initializers.ones, param_dtype=dtype, rngs=rngs),
        )

    eager = nnx.state(make(nnx.Rngs(0)))
    jitted = nnx.state(nnx.jit(make)(nnx.Rngs(0)))
    atol = 1e-5 if dtype == jnp.float32 else 0
    chex.assert_trees_all_close(jax.tree.leaves(eager), jax.tree.leaves(jitted), rtol=0, atol=atol)
    kernel = make(nnx.Rngs(0)).layers[0].kernel[...]  # type: ignore[attr-defined]
    assert kernel.dtype == dtype
    error = 4 * math.sqrt(0.9 / kernel.size) + 2**-8  # a truncated normal's, and bfloat16's
    assert abs(kernel.astype(jnp.float32).var() * 32 / 2 - 1) < error


def test_nnx_hands_weight_norm_a_stream_instead_of_a_key() -> None:
    layer = nnx.WeightNorm(
        nnx.Linear(4, 3, rngs=nnx.Rngs(0)), scale_init=initializers.ones, rngs=nnx.Rngs(1)
    )
    assert layer(jnp.ones((2, 4))).shape == (2, 3)


def test_scanned_layers_differ() -> None:
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, _: Any) -> tuple[jax.Array, None]:
            return nn.Dense(8, kernel_init=HE)(x), None

    stack = nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
    params = stack().init(KEY, jnp.ones((2, 8)), None)
    kernel = params["params"]["Dense_0"]["kernel"]
    assert kernel.shape == (3, 8, 8)
    assert abs(kernel[0] - kernel[1]).max() > 0.1


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_a_sharded_model(kind: AxisType) -> None:
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind,) * 2)
    spec = PartitionSpec(None, "model")

    def kernel(key: Any, shape: Any, dtype: Any = None) -> jax.Array:
        return HE(key, shape, dtype, spec)

    model = nn.Dense(16, kernel_init=kernel)
    x = jnp.ones((4, 8))
    expected = nn.Dense(16, kernel_init=HE).init(KEY, x)["params"]["kernel"]
    with jax.set_mesh(mesh):
        found = jax.jit(lambda k: model.init(k, x)["params"]["kernel"])(KEY)
    assert found.sharding.is_equivalent_to(NamedSharding(mesh, spec), 2)
    np.testing.assert_array_equal(found, expected)


def test_migration() -> None:
    """`import jaxinit as initializers` stands in for both of Flax's modules."""
    import flax.linen.initializers as linen_names

    for module in (linen_names, nnx.initializers):
        for name in vars(module):
            value = getattr(module, name)
            if callable(value) and getattr(value, "__module__", "").endswith("initializers"):
                assert hasattr(initializers, name), name
