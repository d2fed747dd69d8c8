"""Recipes on models of each naming: every leaf covered, and drawn by its role's law."""

import math
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

import jaxinit
from jaxinit import Rules, initialize, presets
from jaxinit.paths import leaves
from jaxinit.presets import naming

KEY = jax.random.key(20261124)
D, HEADS, SIZE, HIDDEN, VOCAB, LAYERS = 32, 4, 8, 128, 96, 3
CUT = stats.truncnorm(-2, 2).std()
CUT_3 = stats.truncnorm(-3, 3).std()
ONE, ZERO = "ones_init()", "zeros_init()"
untyped: Any = presets


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
    return jax.eval_shape(module.init, KEY, *inputs)["params"]


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


def uniform(fan: float) -> float:
    """Of PyTorch's U(±1/√n)."""
    return (3 * fan) ** -0.5


def xavier(inputs: int, outputs: int, gain: float = 1.0) -> float:
    return gain * math.sqrt(2 / (inputs + outputs))


def depth(path: str) -> int:
    found = re.search(r"\d+", path)
    assert found
    return int(found[0])


def by_layer(path: str) -> float:
    return 0.02 / math.sqrt(2 * (depth(path) + 1))


hf = naming.hugging_face
PLAIN: dict[str, Any] = {r"scale$|weight$": ONE, r"bias$": ZERO}
GPT2 = {
    r"c_proj/kernel|/out/kernel|Dense_1/kernel|linear2/kernel": 0.02 / math.sqrt(2 * LAYERS),
    r"kernel|embedding": 0.02,
    **PLAIN,
}
T5 = {
    r"(rel_embedding|bias/embedding)$": D**-0.5,
    r"embedding$|lm_head|logitdense": 1.0,
    r"(query|/q)/kernel": (D * SIZE) ** -0.5,
    r"/o/kernel": 48**-0.5,
    r"(wo|Dense_1)/kernel": HIDDEN**-0.5,
    r"kernel": D**-0.5,
    **PLAIN,
}
LLAMA = {
    r"(o_proj|up_proj|down_proj|wo|w2|w3)/kernel": by_layer,
    r"(lm_head|output)/kernel": CUT_3 * D**-0.5,
    r"kernel": 0.02,
    r"embedding": 1.0,
    **PLAIN,
}
BLOCK = {
    r"(query|key|value|out|attention/output/dense)/kernel": xavier(D, D),
    r"(Dense_\d|linear\d|intermediate/dense|\d/output/dense)/kernel": xavier(D, HIDDEN),
}
TOKENS_OF_VIT = {r"cls": 1e-6, r"pos(ition)?_embedding": 0.02}
VIT_JAX = {
    **TOKENS_OF_VIT,
    r"(projection|embedding)/kernel": (4 * 4 * 3) ** -0.5,
    r"(head|classifier)/": ZERO,
    **BLOCK,
    r"(Dense_\d|linear\d|intermediate/dense|\d/output/dense)/bias": "normal(stddev=1e-06)",
    **PLAIN,
}
VIT_JAX = {r"attention/output/dense/bias": ZERO, **VIT_JAX}
PATCH = {r"(projection|embedding)/(kernel|bias)": uniform(4 * 4 * 3)}
VIT_MOCO = {
    **TOKENS_OF_VIT,
    **PATCH,
    r"(head|classifier)/kernel": xavier(D, 10),
    **BLOCK,
    **PLAIN,
}
BETA = (8 * LAYERS) ** -0.25
DEEPNET = {
    r"embedding|logitdense": D**-0.5,
    r"(query|key)/kernel": xavier(D, D),
    r"(value|out)/kernel": xavier(D, D, BETA),
    r"kernel": xavier(D, HIDDEN, BETA),
    **PLAIN,
}
RESNET = {
    r"ResNetBlock_\d/BatchNorm_1/scale|layer/2/normalization/scale": ZERO,
    r"(Dense_0|classifier/1)/(kernel|bias)": uniform(D),
    r"(conv_init|embedder/convolution)/kernel": (2 / (49 * D)) ** 0.5,
    r"layer/\d/convolution/kernel": (2 / (9 * 2 * D)) ** 0.5,
    r"Conv_\d/kernel": (2 / (9 * D)) ** 0.5,
    **PLAIN,
}
CLIP = {
    r"token_embedding": 0.02,
    r"text_model/embeddings/position": 0.01,
    r"patch_embedding": uniform(48),
    r"class_embedding|vision_model/embeddings/position": D**-0.5,
    r"text_model.*(out_proj|fc2)/kernel": (2 * LAYERS * D) ** -0.5,
    r"vision_model.*(out_proj|fc2)/kernel": (2 * 5 * D) ** -0.5,
    r"fc1/kernel": (2 * D) ** -0.5,
    r"kernel": D**-0.5,
    r"logit_scale": f"constant(value={math.log(1 / 0.07)!r})",
    **PLAIN,
}
MAMBA = {
    r"conv1d": uniform(4),
    r"dt_proj/kernel": uniform(4),
    r"dt_proj/bias": "inverse_softplus_step()",
    r"A_log": "mamba_a_log()",
    r"/D$": ONE,
    r"out_proj": uniform(2 * D) / math.sqrt(LAYERS),
    r"in_proj": uniform(D),
    r"x_proj": uniform(2 * D),
    r"embedding": 0.02,
    **PLAIN,
}
CASES: list[tuple[str, Rules, dict[str, Any]]] = [
    ("text", presets.gpt2(LAYERS), GPT2),
    ("nnx text", presets.gpt2(LAYERS), GPT2),
    ("gpt2", presets.gpt2(LAYERS, hf.GPT2), GPT2),
    ("text", presets.bert(), {r"kernel|embedding": 0.02 * CUT, **PLAIN}),
    ("bert", presets.bert(hf.BERT, truncated=False), {r"kernel|embedding": 0.02, **PLAIN}),
    ("t5", presets.t5(D, SIZE), T5),
    ("t5 of hf", presets.t5(D, SIZE, hf.T5), T5),
    ("llama", presets.llama(), LLAMA),
    ("llama of its authors", presets.llama(paths=naming.authors.LLAMA), LLAMA),
    ("llama", presets.llama("hugging_face"), {r"kernel|embedding": 0.02, **PLAIN}),
    ("mamba", presets.mamba(LAYERS), MAMBA),
    ("deepnet", presets.deepnet(LAYERS), DEEPNET),
    ("vision", presets.vit(), VIT_JAX),
    ("nnx vision", presets.vit(), VIT_JAX),
    ("vit", presets.vit(paths=hf.VIT), VIT_JAX),
    ("vision", presets.vit("moco", patch=48), VIT_MOCO),
    (
        "vit",
        presets.vit("timm", hf.VIT, patch=48),
        {**TOKENS_OF_VIT, **PATCH, "kernel": 0.02, **PLAIN},
    ),
    (
        "vit",
        presets.vit("jax_nlhb", hf.VIT, classes=10),
        {r"classifier/bias": f"constant(value={-math.log(10)!r})", **VIT_JAX},
    ),
    ("clip", presets.clip(LAYERS, 5), CLIP),
    (
        "convnext",
        presets.convnext(head_scale=0.1),
        {r"head/kernel": 0.002, r"kernel": 0.02, r"gamma": "constant(value=1e-06)", **PLAIN},
    ),
    ("resnet", presets.resnet(features=D), RESNET),
    (
        "resnet",
        presets.resnet(False, features=D),
        {r"layer/2.*scale|BatchNorm_1/scale": ONE, **RESNET},
    ),
    ("resnet of hf", presets.resnet(True, hf.RESNET, features=D), RESNET),
]


def tree(name: str) -> Any:
    if name in FLAX:
        return FLAX[name]()
    return linen(Named(NAMED[name.removesuffix(" of hf")]))


@pytest.mark.parametrize(
    ("name", "rules", "laws"), CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)]
)
def test_each_role_has_its_law(name: str, rules: Rules, laws: dict[str, Any]) -> None:
    model = tree(name)
    assigned = rules.assign(leaves(model))  # as `initialize`: nothing uncovered, nothing unused
    assert len(assigned) == len(leaves(model))
    used = set()
    for row in rules.explain(model).rows:
        pattern = next(p for p in laws if re.search(p, row.path))
        used.add(pattern)
        law = laws[pattern]
        if isinstance(law, str):
            assert row.initializer == law, row.path
        else:
            expected = law(row.path) if callable(law) else law
            assert row.expected == pytest.approx(expected, rel=1e-4), row.path
    assert len(used) > 1


def test_a_model_is_drawn_so() -> None:
    """What `explain` promises, measured; and the depth of a layer, by path and along an axis."""
    kernel = {"kernel": jax.ShapeDtypeStruct((60, 60), "float32")}
    abstract = {f"h_{i}": {"mlp": {"linear1": kernel, "linear2": kernel}} for i in range(3)}
    paths = dict.fromkeys(naming.flax.GPT2) | {
        role: naming.flax.GPT2[role] for role in ("residual", "kernel")
    }
    drawn = initialize(abstract, presets.gpt2(50, paths), KEY)
    for row in presets.gpt2(50, paths).explain(drawn).rows:
        law = 0.002 if "linear2" in row.path else 0.02
        assert row.measured == pytest.approx(law, rel=5 / (2 * 3600) ** 0.5), row.path
    none = dict.fromkeys(naming.authors.LLAMA)
    rules = presets.llama(paths={**none, "residual": "**/wo"}, stacked=0)
    stack = initialize({"wo": jax.ShapeDtypeStruct((3, 60, 60), "float32")}, rules, KEY)["wo"]
    spread = np.asarray(stack.std(axis=(1, 2))) * np.sqrt(2 * np.arange(1, 4)) / 0.02
    np.testing.assert_allclose(spread, 1, atol=5 / (2 * 3600) ** 0.5)


def test_axes_of_a_naming() -> None:
    """A kernel the other way round has the fans of its axes, in composed laws and by depth too."""
    none = dict.fromkeys(naming.authors.MAMBA)
    rules = presets.mamba(LAYERS, {**none, "residual": ("**/w", "bi,oi->bo")})
    row = rules.explain({"w": jax.ShapeDtypeStruct((7, 300), "float32")}).rows[0]
    assert row.expected == pytest.approx(uniform(300) / math.sqrt(LAYERS), rel=1e-4)
    law = jaxinit.by_depth(lambda i: jaxinit.lecun_normal() * (i + 1.0))
    deep = presets.recipe.arrange("deep", {"kernel": law}, {"kernel": ("**/w", "bi,oi->bo")})
    row = deep.explain({"h_1": {"w": jax.ShapeDtypeStruct((7, 300), "float32")}}).rows[0]
    assert row.expected == pytest.approx(2 / 300**0.5, rel=1e-4)


def test_timm_s_grouped_convolutions() -> None:
    shape = (3, 3, 1, 64)
    law = jaxinit.variance_scaling(2.0, "fan_out", "normal", fan=9)
    ours = presets.timm.efficientnet_conv_kernel(groups=64)
    np.testing.assert_array_equal(ours(KEY, shape), law(KEY, shape))
    head = presets.timm.efficientnet_head_kernel()(KEY, (3, 10000))
    assert 0.0099 < abs(head).max() < 0.01


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda: untyped.gpt2(2, {k: v for k, v in hf.GPT2.items() if k != "residual"}),
            ValueError,
            r"no 'residual', which gpt2 needs: .* None if the model has no such .* 'embedding', ",
        ),
        (
            lambda: untyped.gpt2(2, {**hf.GPT2, "residuals": "**/x"}),
            ValueError,
            r"role of gpt2='residuals' is none of .*; did you mean 'residual'\?",
        ),
        (lambda: untyped.gpt2(2, "**/kernel"), TypeError, r"paths='\*\*/kernel' is a str"),
        (lambda: untyped.bert({**hf.BERT, "bias": 3}), TypeError, "bias: 3 is no pattern"),
        (
            lambda: untyped.bert({**hf.BERT, "kernel": ("**", "dense")}),
            ValueError,
            "kernel: axes='dense' is not an einsum",
        ),
        (lambda: untyped.gpt2(0), ValueError, "layers=0 is less than 1"),
        (lambda: untyped.t5(0), ValueError, "features=0 is less than 1"),
        (lambda: untyped.t5(8, 0), ValueError, "head_size=0 is less than 1"),
        (lambda: untyped.mamba(0), ValueError, "layers=0 is less than 1"),
        (lambda: untyped.clip(0), ValueError, "text_layers=0 is less than 1"),
        (lambda: untyped.vit("jaxx"), ValueError, "mode='jaxx' is none of .*did you mean 'jax'"),
        (lambda: untyped.llama("meta"), ValueError, "mode='meta' is none of 'torchtitan'"),
        (lambda: untyped.deepnet(), ValueError, "encoder_layers=0 and decoder_layers=0"),
        (lambda: untyped.torch.linear_bias(0), ValueError, "fan_in=0 is less than 1"),
        (lambda: untyped.torch.lstm_kernel(0.5), TypeError, "hidden=0.5 is not a whole number"),
        (lambda: untyped.haiku.lstm_bias("ifg"), ValueError, "order='ifg' does not name each"),
        (
            lambda: untyped.keras.depthwise_kernel(2)(KEY, (3, 3, 1, 5)),
            ValueError,
            r"shape \(3, 3, 1, 5\) is not that of a depthwise kernel with multiplier=2",
        ),
        (
            lambda: untyped.torch.conv_kernel(1)(KEY, (3, 3, 4, 5)),
            ValueError,
            "of a 3-D kernel and shape",
        ),
    ],
    ids=range(18),
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


def test_presets_load_when_they_are_named() -> None:
    script = (
        "import sys, jaxinit;"
        "assert not [m for m in sys.modules if m.startswith('jaxinit.presets')];"
        "assert jaxinit.presets.torch.linear_kernel();"
        "assert not {'flax', 'torch', 'keras', 'haiku', 'equinox', 'timm'} & set(sys.modules);"
        "import jaxinit.presets as presets; assert presets is jaxinit.presets;"
        "assert not hasattr(jaxinit, 'preset')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
