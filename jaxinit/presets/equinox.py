"""Equinox's defaults: what the constructor of each layer of `equinox.nn` draws.

Kernels are in Flax's layout, inputs before outputs and taps first. The laws are PyTorch's, but for
transposed convolutions, whose fan-in Equinox counts in inputs, and attention, which is made of
linear layers. Biases of attention are off there unless asked for.

>>> from jaxinit.presets import equinox, torch
>>> equinox.linear_kernel() == torch.linear_kernel()
True

Reference:
    equinox 0.13, `equinox/nn`.
"""

from jaxinit._initializer import Bound
from jaxinit.axes import Axes
from jaxinit.presets.torch import conv_bias as conv_bias
from jaxinit.presets.torch import conv_kernel as conv_kernel
from jaxinit.presets.torch import embedding as _table
from jaxinit.presets.torch import gru_bias as gru_bias
from jaxinit.presets.torch import gru_kernel as gru_kernel
from jaxinit.presets.torch import linear_bias as linear_bias
from jaxinit.presets.torch import linear_kernel as linear_kernel
from jaxinit.presets.torch import lstm_bias as lstm_bias
from jaxinit.presets.torch import lstm_kernel as lstm_kernel
from jaxinit.presets.torch import norm_bias as norm_bias
from jaxinit.presets.torch import norm_scale as norm_scale
from jaxinit.presets.torch import prelu_slope as prelu_slope
from jaxinit.scaling import variance_scaling


def conv_transpose_kernel(
    spatial: int = 2, groups: int = 1, transpose_kernel: bool = False
) -> Bound:
    """ConvTranspose's kernel (taps…, inputs of a group, outputs): U[-b, b) with b = 1/√(k n_in).

    Its bias is `conv_bias` of k n_in.

    Args:
        spatial: number of spatial axes.
        groups: of the convolution; n_in counts the inputs of one.
        transpose_kernel: as in Flax's `ConvTranspose`: outputs before inputs.

    Returns:
        An initializer.

    Raises:
        ValueError: if a number is less than 1; when called, if the kernel has other axes.

    >>> import jax
    >>> print(f"{abs(conv_transpose_kernel()(jax.random.key(0), (5, 5, 4, 64))).max():.2f}")
    0.10
    """
    axes = Axes.conv(spatial, groups, transpose_kernel=transpose_kernel, transposed=True)
    return variance_scaling(1 / 3, "fan_in", "uniform", axes=axes)


def embedding() -> Bound:
    """Embedding's table (tokens, features): w ~ N(0, 1).

    Returns:
        An initializer.

    >>> embedding()
    embedding(stddev=1.0)
    """
    return _table()


def attention_kernel() -> Bound:
    """The four kernels of MultiheadAttention, that of the output included: those of Linear.

    Returns:
        An initializer.

    >>> attention_kernel() == linear_kernel()
    True
    """
    return linear_kernel()


def attention_bias(fan_in: int) -> Bound:
    """The biases of MultiheadAttention, where it has them: those of Linear.

    Args:
        fan_in: inputs of the kernel beside it.

    Returns:
        An initializer.

    Raises:
        TypeError: if fan_in is not whole.
        ValueError: if it is less than 1.

    >>> attention_bias(64) == linear_bias(64)
    True
    """
    return linear_bias(fan_in)
