"""Flax's own defaults: the `*_init` arguments of each layer of linen and nnx.

In float32 they are Flax's numbers, not its laws alone; in bfloat16 they are the float32 ones, cast.

>>> import jax
>>> from jaxinit.presets import flax
>>> kernel = flax.dense_kernel()(jax.random.key(0), (400, 300))
>>> print(f"{kernel.std() * 400**0.5:.2f}")
1.00

Reference:
    flax 0.12, `flax/linen` and `flax/nnx/nn`; LeCun, Bottou, Orr, Müller, "Efficient BackProp",
    1998.
"""

from jaxinit._initializer import Bound
from jaxinit.constant import constant, ones, zeros
from jaxinit.embedding import embedding as _table
from jaxinit.orthogonal import orthogonal
from jaxinit.scaling import he_uniform, lecun_normal


def dense_kernel() -> Bound:
    """Dense's and Linear's kernel: LeCun's normal, Var[w] = 1/n_in, truncated and widened.

    So are those of DenseGeneral, LinearGeneral, Einsum, Conv, ConvTranspose, attention, and of the
    inputs of every recurrent cell; of a grouped convolution n_in counts the inputs of a group.

    Returns:
        An initializer.

    >>> dense_kernel()
    lecun_normal()
    """
    return lecun_normal()


linear_kernel = einsum_kernel = conv_kernel = conv_transpose_kernel = dense_kernel
attention_kernel = rnn_kernel = lstm_kernel = gru_kernel = dense_kernel


def dense_bias() -> Bound:
    """The bias of every layer and of every cell, forget gates included: 0.

    Returns:
        An initializer.

    >>> dense_bias()
    zeros_init()
    """
    return zeros


linear_bias = einsum_bias = conv_bias = conv_transpose_bias = dense_bias
attention_bias = rnn_bias = lstm_bias = gru_bias = dense_bias


def embedding() -> Bound:
    """Embed's table (tokens, features): w ~ N(0, 1/features).

    Returns:
        An initializer.

    >>> embedding()
    embedding()
    """
    return _table()


def rnn_recurrent_kernel() -> Bound:
    """The kernel of states of every cell: orthogonal, all gates of a packed one as one matrix.

    Returns:
        An initializer.

    >>> rnn_recurrent_kernel()
    orthogonal()
    """
    return orthogonal()


lstm_recurrent_kernel = gru_recurrent_kernel = rnn_recurrent_kernel


def mgu_forget_bias() -> Bound:
    """The bias of the forget gate of MGUCell: 1.

    Returns:
        An initializer.

    >>> mgu_forget_bias()
    ones_init()
    """
    return ones


def norm_scale() -> Bound:
    """The scale of BatchNorm, LayerNorm, GroupNorm, InstanceNorm, RMSNorm and WeightNorm: 1.

    Returns:
        An initializer.

    >>> norm_scale()
    ones_init()
    """
    return ones


def norm_bias() -> Bound:
    """The bias of BatchNorm, LayerNorm, GroupNorm and InstanceNorm: 0.

    Returns:
        An initializer.

    >>> norm_bias()
    zeros_init()
    """
    return zeros


def prelu_slope() -> Bound:
    """PReLU's negative slope: 0.01.

    Returns:
        An initializer.

    >>> prelu_slope()
    constant(value=0.01)
    """
    return constant(0.01)


def lora_a() -> Bound:
    """The first factor (inputs, rank) of nnx.LoRA: He's uniform, Var[w] = 2/n_in.

    Returns:
        An initializer.

    >>> lora_a()
    he_uniform()
    """
    return he_uniform()


def lora_b() -> Bound:
    """The second factor (rank, outputs) of nnx.LoRA: 0, so that the layer starts as it was.

    Returns:
        An initializer.

    >>> lora_b()
    zeros_init()
    """
    return zeros
