"""Networks whose weights are scaled by data."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxinit import capture
from jaxinit.paths import leaves

KEY = jax.random.key(0)
X = 1 + jax.random.normal(jax.random.key(1), (64, 16))
IMAGES = 1 + jax.random.normal(jax.random.key(2), (16, 6, 6, 3))
TOKENS = jax.random.randint(jax.random.key(3), (16, 8), 0, 11)


def normals(*shape: int, seed: int = 0) -> Any:
    return jax.random.normal(jax.random.key(seed), shape)


def deep(params: Any, x: Any) -> Any:
    for kernel in params:
        x = jax.nn.relu(x @ kernel)
    return x


def attention(params: Any, x: Any, weigh: Any = jax.nn.softmax) -> Any:
    """Two blocks, whose queries and keys have rates that no scale brings to those of the values."""
    for query, key, value in (params[:3], params[3:]):
        z = jax.nn.standardize(x)
        x = x + weigh((z @ query) @ (z @ key).T / 4) @ (z @ value)
    return jax.nn.standardize(x)


class Residual(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.relu(nn.Conv(8, (3, 3), strides=2)(x))
        h = nn.relu(nn.Conv(8, (3, 3), feature_group_count=2)(x))
        x = x + nn.Conv(8, (1, 1))(h)
        return nn.Dense(5)(x.reshape(len(x), -1))


class Block(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(x))
        return x + nn.Dense(8)(nn.gelu(nn.Dense(16)(nn.LayerNorm()(x))))


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, tokens: Any) -> Any:
        x = nn.Embed(11, 8)(tokens)
        stack = nn.scan(
            lambda block, x, _: (block(x), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=3,
        )
        return nn.Dense(11)(stack(Block(), x, None)[0])


class Module(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.a = nnx.Linear(16, 8, rngs=rngs)
        self.b = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.b(jnp.tanh(self.a(x)))


def call(module: Any, x: Any) -> Any:
    return module(x)


def unweighted(params: Any, x: Any) -> Any:
    """Attention that is not seen to be one, as its weights are no softmax."""
    return attention(params, x, lambda scores: scores / 8)


def linen(model: Any, x: Any) -> tuple[Callable[..., Any], Any, Any]:
    """A model with random kernels, drawn by numpy, as compiling its own start takes long."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, KEY, x)

    params = jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape), s.dtype), shapes)
    return model.apply, params, x


MODELS: dict[str, Callable[[], tuple[Callable[..., Any], Any, Any]]] = {
    "50 layers": lambda: (deep, [0.01 * normals(16, 16)] * 50, X),
    "residual": lambda: linen(Residual(), IMAGES),
    "transformer": lambda: linen(Transformer(), TOKENS),
    "nnx": lambda: (call, Module(nnx.Rngs(0)), X),
}


def units(apply: Any, params: Any, batch: Any) -> dict[str, Any]:
    """Of each kernel: mean, its bias included, and variance of each unit, and variance of all."""

    def observe(site: Any, side: str, value: Any) -> Any:
        rows = tuple(axis for axis in range(value.ndim) if axis not in site.units)
        return value.mean(rows), value.var(rows), value.var()

    trace = capture.trace(apply, params, batch)
    found = trace.observe(params, batch, observer=observe, backward=False).statistics
    sites = [s for s in trace.sites if s.kernels and s.kind != "embedding"]
    arrays = {leaf.path: leaf.value for leaf in leaves(params)}
    made = {}
    for site in sites:
        mean, *variances = found[site.name]["output"]
        shift = arrays[site.bias] if site.bias else 0
        made[site.name] = (mean + shift, *variances)
    return made
