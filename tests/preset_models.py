"""Models of the namings that presets know: Flax's own layers, and the names of other codes."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

D, HEADS, SIZE, HIDDEN, VOCAB, LAYERS = 32, 4, 8, 128, 96, 3


class MlpBlock(nn.Module):
    """As in Flax's LM1B and Google's ViT."""

    bias: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Two layers."""
        x = nn.gelu(nn.Dense(HIDDEN, use_bias=self.bias)(x))
        return nn.Dense(D, use_bias=self.bias)(x)


class Block(nn.Module):
    """Attention and a feed-forward block."""

    bias: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Two branches."""
        norm = nn.LayerNorm if self.bias else nn.RMSNorm
        x = x + nn.MultiHeadDotProductAttention(HEADS, use_bias=self.bias)(norm()(x))
        return x + MlpBlock(self.bias)(norm()(x))


class Text(nn.Module):
    """A language model of Flax's layers."""

    position: str = "pos_embedding"
    bias: bool = True
    head: bool = False

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Features of tokens, or logits."""
        x = nn.Embed(VOCAB, D)(tokens)
        if self.position:
            x = x + self.param(self.position, nn.initializers.zeros, (D,))
        for i in range(LAYERS):
            x = Block(self.bias, name=f"encoderblock_{i}")(x)
        return nn.Dense(VOCAB, use_bias=False, name="logitdense")(x) if self.head else x


class Vision(nn.Module):
    """A vision transformer, as Google's."""

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Logits."""
        x = nn.Conv(D, (4, 4), (4, 4), name="embedding")(image).reshape(1, -1, D)
        x = x + self.param("cls", nn.initializers.zeros, (1, 1, D))
        x = x + self.param("pos_embedding", nn.initializers.zeros, (1, 1, D))
        for i in range(LAYERS):
            x = Block(True, name=f"encoderblock_{i}")(x)
        return nn.Dense(10, name="head")(nn.LayerNorm(name="encoder_norm")(x))


class NnxMlp(nnx.Module):
    """As in Flax's LM1B for nnx."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.linear1 = nnx.Linear(D, HIDDEN, rngs=rngs)
        self.linear2 = nnx.Linear(HIDDEN, D, rngs=rngs)


class NnxBlock(nnx.Module):
    """Attention and a feed-forward block."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.ln1 = nnx.LayerNorm(D, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(HEADS, D, decode=False, rngs=rngs)
        self.mlp = NnxMlp(rngs)


class NnxText(nnx.Module):
    """A language model of Flax's layers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(VOCAB, D, rngs=rngs)
        self.pos_embedding = nnx.Param(jnp.zeros((9, D)))
        for i in range(LAYERS):
            setattr(self, f"block_{i}", NnxBlock(rngs))


class NnxVision(nnx.Module):
    """A vision transformer."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embedding = nnx.Conv(3, D, (4, 4), rngs=rngs)
        self.cls = nnx.Param(jnp.zeros((1, 1, D)))
        self.pos_embedding = nnx.Param(jnp.zeros((1, 5, D)))
        self.block_0 = NnxBlock(rngs)
        self.head = nnx.Linear(D, 10, rngs=rngs)


Child = Callable[[str], Any] | tuple[int, ...] | Mapping[str, Any]


class Named(nn.Module):
    """Layers with the names of another code."""

    children: Any

    @nn.compact
    def __call__(self) -> None:
        """Make the parameters."""
        for name, child in self.children.items():
            if isinstance(child, tuple):
                self.param(name, nn.initializers.zeros, child)
            elif callable(child):
                child(name)
            else:
                Named(child, name=name)()


def dense(inputs: int, outputs: int, use_bias: bool = True) -> Child:
    return lambda name: nn.Dense(outputs, use_bias=use_bias, name=name)(jnp.zeros((1, inputs)))


def embed(tokens: int = VOCAB) -> Child:
    return lambda name: nn.Embed(tokens, D, name=name)(jnp.zeros(1, int))


def conv(taps: int, inputs: int, outputs: int, spatial: int = 2, **settings: Any) -> Child:
    x = jnp.zeros((1, *(8,) * spatial, inputs))
    return lambda name: nn.Conv(outputs, (taps,) * spatial, name=name, **settings)(x)


def norm(name: str) -> Any:
    return nn.LayerNorm(name=name)(jnp.zeros((1, D)))


def repeated(layer: Mapping[str, Any]) -> dict[str, Any]:
    return {str(i): layer for i in range(LAYERS)}


plain = partial(dense, use_bias=False)
NAMED: dict[str, dict[str, Any]] = {
    "gpt2": {
        "transformer": {
            "wte": embed(),
            "wpe": embed(9),
            "h": repeated(
                {
                    "ln_1": norm,
                    "attn": {"c_attn": dense(D, 3 * D), "c_proj": dense(D, D)},
                    "mlp": {"c_fc": dense(D, HIDDEN), "c_proj": dense(HIDDEN, D)},
                }
            ),
        }
    },
    "bert": {
        "embeddings": {"word_embeddings": embed(), "position_embeddings": embed(9)},
        "encoder": {"layer": repeated({"attention": {"self": {"query": dense(D, D)}}})},
        "pooler": {"dense": dense(D, D), "LayerNorm": norm},
    },
    "t5": {
        "shared": embed(),
        "decoder": {
            "block": repeated(
                {
                    "layer": {
                        "0": {
                            "SelfAttention": {
                                **{name: plain(D, 48) for name in "qkv"},
                                "o": plain(48, D),
                                "relative_attention_bias": lambda name: nn.Embed(9, 4, name=name)(
                                    jnp.zeros(1, int)
                                ),
                            },
                            "layer_norm": {"weight": (D,)},
                        },
                        "1": {
                            "DenseReluDense": {"wi": plain(D, HIDDEN), "wo": plain(HIDDEN, D)},
                        },
                    }
                }
            )
        },
        "lm_head": plain(D, VOCAB),
    },
    "llama": {
        "model": {
            "embed_tokens": embed(),
            "layers": repeated(
                {
                    "self_attn": {f"{name}_proj": plain(D, D) for name in "qkvo"},
                    "mlp": {
                        "gate_proj": plain(D, HIDDEN),
                        "up_proj": plain(D, HIDDEN),
                        "down_proj": plain(HIDDEN, D),
                    },
                    "input_layernorm": {"weight": (D,)},
                }
            ),
        },
        "lm_head": plain(D, VOCAB),
    },
    "llama of its authors": {
        "tok_embeddings": embed(),
        "layers": repeated(
            {
                "attention": {name: plain(D, D) for name in ("wq", "wk", "wv", "wo")},
                "feed_forward": {
                    "w1": plain(D, HIDDEN),
                    "w2": plain(HIDDEN, D),
                    "w3": plain(D, HIDDEN),
                },
            }
        ),
        "norm": {"weight": (D,)},
        "output": plain(D, VOCAB),
    },
    "mamba": {
        "embedding": embed(),
        "layers": repeated(
            {
                "norm": {"scale": (D,)},
                "mixer": {
                    "in_proj": plain(D, 4 * D),
                    "conv1d": conv(4, 2 * D, 2 * D, 1, feature_group_count=2 * D),
                    "x_proj": plain(2 * D, 20),
                    "dt_proj": dense(4, 2 * D),
                    "A_log": (2 * D, 8),
                    "D": (2 * D,),
                    "out_proj": plain(2 * D, D),
                },
            }
        ),
    },
    "vit": {
        "vit": {
            "embeddings": {
                "patch_embeddings": {"projection": conv(4, 3, D)},
                "cls_token": (1, 1, D),
                "position_embeddings": (1, 9, D),
            },
            "encoder": {
                "layer": repeated(
                    {
                        "attention": {
                            "attention": {n: dense(D, D) for n in ("query", "key", "value")},
                            "output": {"dense": dense(D, D)},
                        },
                        "intermediate": {"dense": dense(D, HIDDEN)},
                        "output": {"dense": dense(HIDDEN, D)},
                        "layernorm_before": norm,
                    }
                )
            },
        },
        "classifier": dense(D, 10),
    },
    "clip": {
        **{
            f"{tower}_model": {
                "embeddings": embeddings,
                "encoder": {
                    "layers": repeated(
                        {
                            "self_attn": {
                                **{f"{name}_proj": dense(D, D) for name in "qkv"},
                                "out_proj": dense(D, D),
                            },
                            "mlp": {"fc1": dense(D, HIDDEN), "fc2": dense(HIDDEN, D)},
                            "layer_norm1": norm,
                        }
                    )
                },
            }
            for tower, embeddings in (
                ("text", {"token_embedding": embed(), "position_embedding": embed(9)}),
                (
                    "vision",
                    {
                        "class_embedding": (D,),
                        "patch_embedding": conv(4, 3, D, use_bias=False),
                        "position_embedding": embed(9),
                    },
                ),
            )
        },
        "text_projection": plain(D, 20),
        "visual_projection": plain(D, 20),
        "logit_scale": (),
    },
    "convnext": {
        "stages": repeated(
            {
                "dwconv": conv(7, D, D, feature_group_count=D),
                "norm": {"weight": (D,), "bias": (D,)},
                "pwconv1": dense(D, HIDDEN),
                "gamma": (D,),
            }
        ),
        "head": dense(D, 10),
    },
    "resnet": {
        "resnet": {
            "embedder": {"convolution": conv(7, 3, D, use_bias=False), "normalization": norm},
            "encoder": {
                "stages": {
                    "0": {
                        "layers": repeated(
                            {
                                "layer": {
                                    str(i): {
                                        "convolution": conv(3, D, 2 * D, use_bias=False),
                                        "normalization": norm,
                                    }
                                    for i in range(3)
                                }
                            }
                        )
                    }
                }
            },
        },
        "classifier": {"1": dense(D, 10)},
    },
}


class ResNetBlock(nn.Module):
    """As in Flax's ImageNet example."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """A branch of two convolutions."""
        y = nn.BatchNorm(True)(nn.Conv(D, (3, 3), use_bias=False)(x))
        return x + nn.BatchNorm(True)(nn.Conv(D, (3, 3), use_bias=False)(y))


class ResNet(nn.Module):
    """As in Flax's ImageNet example."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits."""
        x = nn.BatchNorm(True, name="bn_init")(
            nn.Conv(D, (7, 7), name="conv_init", use_bias=False)(x)
        )
        return nn.Dense(10)(ResNetBlock()(ResNetBlock()(x)).mean((1, 2)))


def linen(module: nn.Module, *inputs: jax.ShapeDtypeStruct) -> Any:
    return jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]


TOKENS, IMAGE = jax.ShapeDtypeStruct((1, D), "int32"), jax.ShapeDtypeStruct((1, 4, 4, 3), "float32")
FLAX: dict[str, Callable[[], Any]] = {
    "text": lambda: linen(Text(), TOKENS),
    "nnx text": lambda: nnx.state(nnx.eval_shape(lambda: NnxText(nnx.Rngs(0))), nnx.Param),
    "t5": lambda: linen(Text("rel_embedding", bias=False, head=True), TOKENS),
    "deepnet": lambda: linen(Text("", head=True), TOKENS),
    "vision": lambda: linen(Vision(), IMAGE),
    "nnx vision": lambda: nnx.state(nnx.eval_shape(lambda: NnxVision(nnx.Rngs(0))), nnx.Param),
    "resnet": lambda: linen(ResNet(), IMAGE),
}


def tree(name: str) -> Any:
    if name in FLAX:
        return FLAX[name]()
    return linen(Named(NAMED[name.removesuffix(" of hf")]))
