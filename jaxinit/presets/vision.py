"""Models of images: ViT, CLIP, ConvNeXt and ResNet, each a table from role to law."""

import math
from typing import Literal

from jaxinit._checks import one_of, whole
from jaxinit._initializer import Bound
from jaxinit.constant import constant, ones, zeros
from jaxinit.embedding import embedding
from jaxinit.iid import normal
from jaxinit.presets import timm, torch
from jaxinit.presets.naming import authors, flax, hugging_face
from jaxinit.presets.recipe import Paths, arrange
from jaxinit.rules import Rules
from jaxinit.scaling import glorot_uniform, lecun_normal, variance_scaling


def vit(
    mode: Literal["timm", "jax", "jax_nlhb", "moco"] = "jax",
    paths: Paths = flax.VIT,
    *,
    classes: int = 1000,
    patch: int = 16 * 16 * 3,
) -> Rules:
    """Vision transformers, in the four ways of timm.

    - jax: Xavier's uniform for kernels, N(0, 1e-12) for biases of the feed-forward block, 0 for the
      head, LeCun's normal for the patches: Google's own way.
    - jax_nlhb: the same, with a head's bias of -log(classes), for binary losses.
    - moco: Xavier's uniform for kernels, the head's included; PyTorch's law for the patches.
    - timm: N(0, 0.02²) for kernels, the head's included; PyTorch's law for the patches.

    Positions are N(0, 0.02²) and class tokens N(0, 1e-12) in all of them, and other biases 0.

    Roles: patch and patch_bias (the convolution that embeds patches), position, class_token (and
    register tokens), head, head_bias, attention (of queries, keys and values), output (of
    attention), kernel (every other), feed_forward_bias, scale (1), bias (every other). A kernel of
    queries, keys and values in one draws Xavier's law with the fans of the three.

    Args:
        mode: "timm", "jax", "jax_nlhb" or "moco".
        paths: from role to path pattern.
        classes: of the head, for jax_nlhb.
        patch: pixels of a patch times channels, on which PyTorch's bias of the patches depends.

    Returns:
        The rules.

    Raises:
        TypeError: if a number is not whole, or a path is no pattern.
        ValueError: for an unknown mode, if a number is less than 1, or if paths lack a role or have
            one too many.

    >>> print(*(law for _, law in vit("jax_nlhb").rules[4:6]))
    zeros_init() constant(value=-6.907755278982137)

    Reference:
        Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at
        Scale", 2020, arXiv:2010.11929, and its code; Chen, Xie, He, "An Empirical Study of Training
        Self-Supervised Vision Transformers", 2021, arXiv:2104.02057 (moco); timm 1.0.
    """
    one_of("mode", mode, ("timm", "jax", "jax_nlhb", "moco"))
    jax = mode in ("jax", "jax_nlhb")
    kernel = timm.vit_kernel() if mode == "timm" else glorot_uniform()
    nlhb = constant(-math.log(whole("classes", classes)))
    table = {
        "patch": lecun_normal() if jax else torch.conv_kernel(),
        "patch_bias": zeros if jax else torch.conv_bias(whole("patch", patch)),
        "position": timm.vit_position(),
        "class_token": timm.vit_class_token(),
        "head": zeros if jax else kernel,
        "head_bias": nlhb if mode == "jax_nlhb" else zeros,
        "attention": kernel,
        "output": kernel,
        "kernel": kernel,
        "feed_forward_bias": normal(1e-6) if jax else zeros,
        "scale": ones,
        "bias": zeros,
    }
    return arrange("vit", table, paths)


def clip(text_layers: int = 12, vision_layers: int = 12, paths: Paths = hugging_face.CLIP) -> Rules:
    """CLIP with two transformers: w ~ N(0, 1/d), d the width, less where a branch ends.

    Kernels that end a branch, of a tower of L layers, are N(0, 1/(2 L d)), and the first of a
    feed-forward block N(0, 1/(2 d)). OpenAI's code has this for text and leaves the vision tower
    to PyTorch; here it is for both, as in Hugging Face's, which has the laws of queries, keys and
    values and of the output the other way round.

    Roles: text_embedding (N(0, 0.02²)), text_position (N(0, 0.01²)), vision_patch (PyTorch's law),
    vision_class_token and vision_position (N(0, 1/d)); residual (ends of branches), feed_forward
    and kernel (every other), of each tower: text_residual, vision_residual …; projection (to the
    joint space, N(0, 1/d)), logit_scale (log 1/0.07), scale (1), bias (0).

    Args:
        text_layers: L of the text tower.
        vision_layers: L of the vision tower.
        paths: from role to path pattern.

    Returns:
        The rules.

    Raises:
        TypeError: if a number of layers is not whole, or a path is no pattern.
        ValueError: if one is less than 1, or paths lack a role or have one too many.

    >>> from jaxinit.presets import naming
    >>> paths = {**naming.hugging_face.CLIP, "text_residual": "**/c_proj/kernel"}
    >>> clip(8, paths=paths).rules[5]
    ('**/c_proj/kernel', variance_scaling(scale=0.0625, mode='fan_out', distribution='normal'))

    Reference:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
        2021, arXiv:2103.00020, and its code.
    """
    kernel = variance_scaling(1.0, "fan_in", "normal")
    table = {
        "text_embedding": normal(0.02),
        "text_position": normal(0.01),
        "vision_patch": torch.conv_kernel(),
        "vision_class_token": variance_scaling(1.0, "fan_in", "normal", in_axis=-1, out_axis=()),
        "vision_position": embedding(),
        **_tower("text", text_layers, kernel),
        **_tower("vision", vision_layers, kernel),
        "projection": kernel,
        "logit_scale": constant(math.log(1 / 0.07)),
        "scale": ones,
        "bias": zeros,
    }
    return arrange("clip", table, paths)


def _tower(name: str, layers: int, kernel: Bound) -> dict[str, Bound]:
    depth = whole(f"{name}_layers", layers)
    return {
        f"{name}_residual": variance_scaling(1 / (2 * depth), "fan_out", "normal"),
        f"{name}_feed_forward": variance_scaling(0.5, "fan_in", "normal"),
        f"{name}_kernel": kernel,
    }


def convnext(
    paths: Paths = authors.CONVNEXT, *, head_scale: float = 1.0, layer_scale: float = 1e-6
) -> Rules:
    """ConvNeXt: w ~ N(0, 0.02²) for every convolution and linear layer.

    Roles: head (times head_scale), kernel (every other), layer_scale (of each block), scale (1),
    bias (0).

    Args:
        paths: from role to path pattern.
        head_scale: factor of the head, head_init_scale of timm; fine-tuning takes 0.001.
        layer_scale: the factors at the end of a branch.

    Returns:
        The rules.

    Raises:
        TypeError: if a path is no pattern.
        ValueError: if a factor is not finite, or paths lack a role or have one too many.

    >>> print(*(pattern for pattern, _ in convnext().rules if isinstance(pattern, str)))
    **/head/kernel **/kernel **/gamma **/bias

    Reference:
        Liu, Mao, Wu, Feichtenhofer, Darrell, Xie, "A ConvNet for the 2020s", 2022,
        arXiv:2201.03545, and its code.
    """
    kernel = timm.convnext_kernel()
    table = {
        "head": kernel * head_scale,
        "kernel": kernel,
        "layer_scale": constant(layer_scale),
        "scale": ones,
        "bias": zeros,
    }
    return arrange("convnext", table, paths)


def resnet(
    zero_init_last: bool = True, paths: Paths = flax.RESNET, *, features: int = 2048
) -> Rules:
    """ResNet: w ~ N(0, 2/(k n_out)) for convolutions; branches that start as nothing.

    Roles: head and head_bias (PyTorch's laws), kernel (of convolutions), last_scale (of the last
    norm of each branch), scale (1), bias (0).

    Args:
        zero_init_last: whether last_scale is 0, so that each block starts as the identity, or 1.
        paths: from role to path pattern.
        features: inputs of the head, on which PyTorch's law of its bias depends: 512 for ResNet-18
            and 34, 2048 for deeper ones.

    Returns:
        The rules.

    Raises:
        TypeError: if features is not whole, or a path is no pattern.
        ValueError: if it is less than 1, or paths lack a role or have one too many.

    >>> resnet().rules[2]
    ('**/kernel', variance_scaling(scale=2.0, mode='fan_out', distribution='normal'))

    Reference:
        He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015, arXiv:1502.01852; Goyal et al.,
        "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017, arXiv:1706.02677
        (zero_init_last).
    """
    table = {
        "head": torch.linear_kernel(),
        "head_bias": torch.linear_bias(whole("features", features)),
        "kernel": timm.resnet_conv_kernel(),
        "last_scale": zeros if zero_init_last else ones,
        "scale": ones,
        "bias": zeros,
    }
    return arrange("resnet", table, paths)
