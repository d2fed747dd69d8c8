"""Small models in linen, in nnx and as plain functions, and what is recommended for them."""

import json
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

import jaxinit
from jaxinit.advice import Recommendation
from jaxinit.paths import leaves

KEY = jax.random.key(0)
D, HEADS, HIDDEN, VOCAB, STEPS = 8, 2, 12, 11, 5


def bump(z: Any) -> Any:
    """An activation without a name."""
    return z * jnp.sin(z)


class Mlp(nn.Module):
    """A layer for each of some activations."""

    functions: tuple[Callable[..., Any], ...]

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Three outputs."""
        for i, function in enumerate(self.functions):
            x = function(nn.Dense(16, name=f"l{i}")(x))
        return nn.Dense(3, name="out")(x)


class Residual(nn.Module):
    """Two convolutions and a skip, with a convolution of its own where the size changes."""

    features: int
    stride: int
    train: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """As He et al."""

        def conv(size: int, stride: int, name: str, x: Any) -> Any:
            y = nn.Conv(self.features, (size, size), stride, use_bias=False, name=name)(x)
            return nn.BatchNorm(use_running_average=not self.train, name=f"{name}_norm")(y)

        y = nn.relu(conv(3, self.stride, "a", x))
        y = conv(3, 1, "b", y)
        if self.stride > 1:
            x = conv(1, self.stride, "skip", x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A stem, two blocks and a classifier."""

    train: bool = True

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Ten outputs."""
        x = nn.relu(nn.Conv(8, (3, 3), name="stem")(x))
        x = Residual(8, 1, self.train, name="block_0")(x)
        x = Residual(16, 2, self.train, name="block_1")(x)
        return nn.Dense(10, name="head")(x.mean((1, 2)))


class Block(nn.Module):
    """Causal attention and a feed-forward layer, each behind a norm."""

    causal: bool = True

    @nn.compact
    def __call__(self, x: Any, _: Any = None) -> tuple[Any, None]:
        """The stream, as a scan takes it."""
        mask = nn.make_causal_mask(x[..., 0]) if self.causal else None
        h = nn.LayerNorm(name="n1")(x)
        x = x + nn.MultiHeadDotProductAttention(HEADS, name="attn")(h, h, mask=mask)
        h = nn.gelu(nn.Dense(HIDDEN, name="up")(nn.LayerNorm(name="n2")(x)))
        return x + nn.Dense(D, name="down")(h), None


class Gpt(nn.Module):
    """Three blocks, one by one or scanned, and a table for tokens and logits."""

    scan: bool = False

    @nn.compact
    def __call__(self, tokens: Any) -> Any:
        """Logits."""
        table = nn.Embed(VOCAB, D, name="tokens")
        x = table(tokens) + nn.Embed(STEPS, D, name="positions")(jnp.arange(STEPS))
        if self.scan:
            options: dict[str, Any] = {"variable_axes": {"params": 0}, "length": 3}
            block = nn.scan(Block, split_rngs={"params": True}, **options)
            x, _ = block(name="h")(x, None)
        else:
            for i in range(3):
                x, _ = Block(name=f"h_{i}")(x)
        return table.attend(nn.LayerNorm(name="n")(x))


class Vit(nn.Module):
    """Patches, a token for the class, positions and two blocks."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Three outputs."""
        x = nn.Conv(D, (2, 2), 2, name="patches")(x)
        x = x.reshape(x.shape[0], -1, D)
        token = self.param("token", nn.initializers.zeros, (1, 1, D))
        x = jnp.concatenate([jnp.tile(token, (x.shape[0], 1, 1)), x], 1)
        x = x + self.param("positions", nn.initializers.zeros, (1, x.shape[1], D))
        for i in range(2):
            x, _ = Block(causal=False, name=f"h_{i}")(x)
        return nn.Dense(3, name="head")(nn.LayerNorm(name="n")(x)[:, 0])


class Recurrent(nn.Module):
    """A recurrent layer of linen and an output of its last step."""

    cell: Callable[..., Any]

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Three outputs."""
        states: Any = nn.RNN(self.cell(D, name="cell"))(x)
        return nn.Dense(3, name="out")(states[:, -1])


class Steps(nnx.Module):
    """The same in nnx, with a dropout that has a key."""

    def __init__(self, cell: Callable[..., Any]) -> None:
        rngs = nnx.Rngs(0)
        self.rnn = nnx.RNN(cell(4, D, rngs=rngs))
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(D, 3, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Three outputs."""
        return self.out(self.dropout(self.rnn(x)[:, -1]))


def rms(x: Any, scale: Any) -> Any:
    """Root mean square normalization."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6) * scale


def turned(x: Any) -> Any:
    """Rotary positions."""
    half = x.shape[-1] // 2
    angle = jnp.outer(jnp.arange(x.shape[-3]), 1e4 ** (-jnp.arange(half) / half))[:, None]
    a, b = jnp.split(x, 2, -1)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def llama(p: Any, tokens: Any) -> Any:
    """Packed and rotated attention, a gated feed-forward layer, a table for logits of its own."""
    x = p["tokens"][tokens]
    for b in p["blocks"]:
        parts = jnp.split(rms(x, b["n1"]) @ b["qkv"], 3, -1)
        q, k, v = (z.reshape(*z.shape[:-1], HEADS, -1) for z in parts)
        a = jax.nn.dot_product_attention(turned(q), turned(k), v, is_causal=True)
        x = x + a.reshape(x.shape) @ b["o"]
        h = rms(x, b["n2"])
        x = x + (jax.nn.silu(h @ b["gate"]) * (h @ b["up"])) @ b["down"]
    return rms(x, p["n"]) @ p["head"]


def llama_params() -> Any:
    """Shapes of its parameters, one of which it does not read."""
    block = shapes(
        **{"qkv": (D, 3 * D), "o": (D, D), "n1": (D,), "n2": (D,)},
        **{"up": (D, HIDDEN), "gate": (D, HIDDEN), "down": (HIDDEN, D)},
    )
    rest = shapes(tokens=(VOCAB, D), n=(D,), head=(D, VOCAB), spare=(3, 3))
    return {"blocks": [block, block], **rest}


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
    """That of a module of linen, traced on shapes."""
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
    """Patterns and initializers, as they print."""
    pairs = (rule for rule in found.rules.rules if isinstance(rule, tuple))
    return {str(pattern): repr(init) for pattern, init in pairs}


def shapes(**sizes: tuple[int, ...]) -> dict[str, Any]:
    """Abstract parameters."""
    return {name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in sizes.items()}


def normalized(x: Any, scale: Any, bias: Any) -> Any:
    """Layer normalization."""
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(
        x.var(-1, keepdims=True) + 1e-5
    ) * scale + bias


def laws(found: Recommendation) -> dict[str, tuple[str, str]]:
    """Role and initializer of each parameter."""
    return {row.path: (row.role, repr(row.initializer)) for row in found.rows}
