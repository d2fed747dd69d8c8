"""Models made of Flax's own layers, with the names that Flax's examples give them.

Attention is linen's MultiHeadDotProductAttention or nnx's MultiHeadAttention, whose kernels have an
axis of heads. A feed-forward block is `MlpBlock_0/Dense_0` and `Dense_1` in linen, as in the LM1B
and ViT examples, and `mlp/linear1` and `linear2` in nnx.
"""

import re
from types import MappingProxyType

from jaxinit.presets.recipe import Paths

_INTO_HEADS = "btd,dhk->bthk"
_FROM_HEADS = "bthk,hkd->btd"
_LAST = re.compile(r"(/out|MlpBlock_\d+/Dense_1|mlp/linear2)/kernel$")
_NORM: Paths = MappingProxyType({"scale": "**/scale", "bias": "**/bias"})

GPT2: Paths = MappingProxyType(
    {
        "embedding": "**/embedding",
        "position": "**/pos_embedding",
        "residual": _LAST,
        "kernel": "**/kernel",
        **_NORM,
    }
)
BERT: Paths = MappingProxyType(
    {"embedding": re.compile(r"(^|/|_)embedding$"), "kernel": "**/kernel", **_NORM}
)
T5: Paths = MappingProxyType(
    {
        "embedding": "**/embedding",
        "position": "**/rel_embedding",
        "query": ("**/query/kernel", _INTO_HEADS),
        "key_value": (re.compile(r"/(key|value)/kernel$"), _INTO_HEADS),
        "head": "**/logitdense/kernel",
        "kernel": "**/kernel",
        "scale": "**/scale",
    }
)
VIT: Paths = MappingProxyType(
    {
        "patch": "**/embedding/kernel",
        "patch_bias": "**/embedding/bias",
        "position": "**/pos_embedding",
        "class_token": "**/cls",
        "head": "**/head/kernel",
        "head_bias": "**/head/bias",
        "attention": (re.compile(r"/(query|key|value)/kernel$"), _INTO_HEADS),
        "output": ("**/out/kernel", _FROM_HEADS),
        "kernel": "**/kernel",
        "feed_forward_bias": re.compile(r"(MlpBlock_\d+|mlp)/\w+/bias$"),
        **_NORM,
    }
)
RESNET: Paths = MappingProxyType(
    {
        "head": "**/Dense_0/kernel",
        "head_bias": "**/Dense_0/bias",
        "kernel": "**/kernel",
        "last_scale": re.compile(
            r"(^|/)(ResNetBlock_\d+/BatchNorm_1|BottleneckResNetBlock_\d+/BatchNorm_2)/scale$"
        ),
        **_NORM,
    }
)
DEEPNET: Paths = MappingProxyType(
    {
        "embedding": "**/embedding",
        "query_key": (re.compile(r"/(query|key)/kernel$"), _INTO_HEADS),
        "value": ("**/value/kernel", _INTO_HEADS),
        "output": ("**/out/kernel", _FROM_HEADS),
        "head": "**/logitdense/kernel",
        "feed_forward": "**/kernel",
        **_NORM,
    }
)
