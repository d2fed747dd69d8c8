"""timm's defaults: its truncated normals, and what its models draw over PyTorch's defaults.

A layer of timm that no model initializes has the law of `jaxinit.presets.torch`. Kernels are in
Flax's layout, inputs before outputs and taps first. The recipes `vit`, `convnext` and `resnet` of
`jaxinit.presets` put these where they belong.

>>> from jaxinit.presets import timm
>>> timm.vit_kernel()
truncated_normal(stddev=0.02, lower=-2.0, upper=2.0, bounds='absolute')

Reference:
    timm 1.0, `timm/layers/weight_init.py` and `timm/models`.
"""

from jaxinit._initializer import Bound
from jaxinit.axes import Axes
from jaxinit.constant import zeros
from jaxinit.depth import layer_scale as _layer_scale
from jaxinit.iid import normal, truncated_normal
from jaxinit.scaling import lecun_normal as _lecun_normal
from jaxinit.scaling import variance_scaling


def trunc_normal(stddev: float = 1.0, lower: float = -2.0, upper: float = 2.0) -> Bound:
    """trunc_normal_, which is PyTorch's too: w ~ N(0, stddev²) given lower < w < upper.

    The bounds hold w itself, so with a stddev of 0.02 they cut off nothing.

    Args:
        stddev: standard deviation before truncation.
        lower: lower end of w.
        upper: upper end of w.

    Returns:
        An initializer.

    Raises:
        ValueError: if stddev is negative or a number is not finite.

    >>> import jax
    >>> weights = trunc_normal(0.02)(jax.random.key(0), (400, 400))
    >>> print(f"{weights.std():.4f}")
    0.0200
    """
    return truncated_normal(stddev, lower=lower, upper=upper, bounds="absolute")


def trunc_normal_tf(stddev: float = 1.0, lower: float = -2.0, upper: float = 2.0) -> Bound:
    """trunc_normal_tf_: w = stddev z, with z ~ N(0, 1) given lower < z < upper.

    Args:
        stddev: standard deviation before truncation; that of w is 0.88 of it.
        lower: lower end of z.
        upper: upper end of z.

    Returns:
        An initializer.

    Raises:
        ValueError: if stddev is negative or a number is not finite.

    >>> import jax
    >>> weights = trunc_normal_tf(0.02)(jax.random.key(0), (400, 400))
    >>> print(f"{weights.std():.4f}")
    0.0176
    """
    return truncated_normal(stddev, lower=lower, upper=upper)


def lecun_normal() -> Bound:
    """lecun_normal_: Var[w] = 1/n_in, normal, truncated at two standard deviations and widened.

    Returns:
        An initializer.

    >>> lecun_normal()
    lecun_normal()
    """
    return _lecun_normal()


def vit_kernel() -> Bound:
    """Linear layers of vision transformers, Swin, BEiT, EVA, CaiT …: trunc_normal_(std=0.02).

    Returns:
        An initializer.

    >>> vit_kernel() == trunc_normal(0.02)
    True
    """
    return trunc_normal(0.02)


vit_position = relative_position_bias = vit_kernel


def vit_bias() -> Bound:
    """Biases of linear layers of vision transformers and of every layer of ConvNeXt: 0.

    Returns:
        An initializer.

    >>> vit_bias()
    zeros_init()
    """
    return zeros


convnext_bias = vit_bias


def vit_class_token() -> Bound:
    """Class and register tokens of vision transformers: w ~ N(0, 1e-12).

    Returns:
        An initializer.

    >>> vit_class_token()
    normal(stddev=1e-06)
    """
    return normal(1e-6)


def layer_scale() -> Bound:
    """LayerScale of vision transformers that are asked for it: 1e-5.

    Returns:
        An initializer.

    >>> layer_scale()
    layer_scale(eps=1e-05)
    """
    return _layer_scale(1e-5)


def convnext_kernel() -> Bound:
    """Convolutions and linear layers of ConvNeXt: trunc_normal_(std=0.02).

    Returns:
        An initializer.

    >>> convnext_kernel() == trunc_normal(0.02)
    True
    """
    return trunc_normal(0.02)


def convnext_layer_scale() -> Bound:
    """gamma of ConvNeXt's blocks: 1e-6.

    Returns:
        An initializer.

    >>> convnext_layer_scale()
    layer_scale(eps=1e-06)
    """
    return _layer_scale(1e-6)


def resnet_conv_kernel() -> Bound:
    """Convolutions of ResNet: w ~ N(0, 2/(k n_out)), He's by fan-out.

    Of a grouped convolution, PyTorch counts the outputs of all groups.

    Returns:
        An initializer.

    >>> resnet_conv_kernel()
    variance_scaling(scale=2.0, mode='fan_out', distribution='normal')
    """
    return variance_scaling(2.0, "fan_out", "normal")


def efficientnet_conv_kernel(spatial: int = 2, groups: int = 1) -> Bound:
    """Convolutions of EfficientNet and MobileNet: w ~ N(0, 2/(k n_out)).

    Args:
        spatial: number of spatial axes.
        groups: of the convolution, the channels of a depthwise one; n_out counts the outputs of
            one.

    Returns:
        An initializer.

    Raises:
        ValueError: if a number is less than 1; when called, if the kernel has other axes.

    >>> import jax
    >>> kernel = efficientnet_conv_kernel(groups=600)(jax.random.key(0), (5, 5, 1, 600))
    >>> print(f"{kernel.std() * (25 / 2) ** 0.5:.1f}")
    1.0
    """
    return variance_scaling(2.0, "fan_out", "normal", axes=Axes.conv(spatial, groups))


def efficientnet_head_kernel() -> Bound:
    """The classifier of EfficientNet and MobileNet: w ~ U[-b, b) with b = 1/√n_out.

    Returns:
        An initializer.

    >>> efficientnet_head_kernel()
    variance_scaling(scale=0.3333333333333333, mode='fan_out', distribution='uniform')
    """
    return variance_scaling(1 / 3, "fan_out", "uniform")
