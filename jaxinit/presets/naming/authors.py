"""Models with the names of their authors' code, and the leaves that Flax's layers add to them.

Norms may call their scale `scale`, as Flax does, or `weight`.
"""

import re
from types import MappingProxyType

from jaxinit.presets.recipe import Paths

_SCALE = re.compile(r"(^|/)(scale|weight)$")

LLAMA: Paths = MappingProxyType(
    {
        "embedding": "**/tok_embeddings/embedding",
        "head": "**/output/kernel",
        "residual": re.compile(r"/(wo|w2|w3)/kernel$"),
        "kernel": "**/kernel",
        "scale": _SCALE,
    }
)
MAMBA: Paths = MappingProxyType(
    {
        "embedding": "**/embedding",
        "convolution": "**/conv1d/kernel",
        "convolution_bias": "**/conv1d/bias",
        "step": "**/dt_proj/kernel",
        "step_bias": "**/dt_proj/bias",
        "decay": "**/A_log",
        "skip": "**/D",
        "residual": "**/out_proj/kernel",
        "kernel": "**/kernel",
        "scale": _SCALE,
    }
)
CONVNEXT: Paths = MappingProxyType(
    {
        "head": "**/head/kernel",
        "kernel": "**/kernel",
        "layer_scale": "**/gamma",
        "scale": _SCALE,
        "bias": "**/bias",
    }
)
