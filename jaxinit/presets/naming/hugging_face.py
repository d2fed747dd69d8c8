"""The Flax models of Hugging Face's transformers, of version 4.

Reference:
    transformers 4.53, `src/transformers/models/*/modeling_flax_*.py`.
"""

import re
from types import MappingProxyType

from jaxinit.presets.recipe import Paths

_NORM: Paths = MappingProxyType({"scale": "**/scale", "bias": "**/bias"})

GPT2: Paths = MappingProxyType(
    {
        "embedding": "**/wte/embedding",
        "position": "**/wpe/embedding",
        "residual": "**/c_proj/kernel",
        "kernel": "**/kernel",
        **_NORM,
    }
)
BERT: Paths = MappingProxyType({"embedding": "**/embedding", "kernel": "**/kernel", **_NORM})
T5: Paths = MappingProxyType(
    {
        "embedding": "**/shared/embedding",
        "position": "**/relative_attention_bias/embedding",
        "query": "**/q/kernel",
        "key_value": re.compile(r"/[kv]/kernel$"),
        "head": "**/lm_head/kernel",
        "kernel": "**/kernel",
        "scale": "**/weight",
    }
)
LLAMA: Paths = MappingProxyType(
    {
        "embedding": "**/embed_tokens/embedding",
        "head": "**/lm_head/kernel",
        "residual": re.compile(r"/(o_proj|up_proj|down_proj)/kernel$"),
        "kernel": "**/kernel",
        "scale": "**/weight",
    }
)
VIT: Paths = MappingProxyType(
    {
        "patch": "**/patch_embeddings/projection/kernel",
        "patch_bias": "**/patch_embeddings/projection/bias",
        "position": "**/position_embeddings",
        "class_token": "**/cls_token",
        "head": "**/classifier/kernel",
        "head_bias": "**/classifier/bias",
        "attention": re.compile(r"/(query|key|value)/kernel$"),
        "output": "**/attention/output/dense/kernel",
        "kernel": "**/kernel",
        "feed_forward_bias": re.compile(r"layer/\d+/(intermediate|output)/dense/bias$"),
        **_NORM,
    }
)
CLIP: Paths = MappingProxyType(
    {
        "text_embedding": "**/token_embedding/embedding",
        "text_position": "**/text_model/**/position_embedding/embedding",
        "vision_patch": "**/patch_embedding/kernel",
        "vision_class_token": "**/class_embedding",
        "vision_position": "**/vision_model/**/position_embedding/embedding",
        "text_residual": re.compile(r"(^|/)text_model/.*/(out_proj|fc2)/kernel$"),
        "text_feed_forward": "**/text_model/**/fc1/kernel",
        "text_kernel": "**/text_model/**/kernel",
        "vision_residual": re.compile(r"(^|/)vision_model/.*/(out_proj|fc2)/kernel$"),
        "vision_feed_forward": "**/vision_model/**/fc1/kernel",
        "vision_kernel": "**/vision_model/**/kernel",
        "projection": re.compile(r"(^|/)(text|visual)_projection/kernel$"),
        "logit_scale": "**/logit_scale",
        **_NORM,
    }
)
RESNET: Paths = MappingProxyType(
    {
        "head": "**/classifier/1/kernel",
        "head_bias": "**/classifier/1/bias",
        "kernel": "**/kernel",
        "last_scale": re.compile(r"layer/(2|layer_1)/normalization/scale$"),
        **_NORM,
    }
)
