"""Keras's defaults: the `*_initializer` arguments of each layer of `keras.layers`.

Kernels are in Flax's layout, which is Keras's, but for depthwise and transposed convolutions.

>>> import jax
>>> from jaxinit.presets import keras
>>> kernel = keras.dense_kernel()(jax.random.key(0), (300, 200))
>>> print(f"{kernel.std() * 250**0.5:.2f}")
1.00

Reference:
    keras 3.15, `keras/src/layers`; Glorot, Bengio, "Understanding the difficulty of training deep
    feedforward neural networks", 2010.
"""

import math
from typing import Annotated

from jaxinit._checks import whole
from jaxinit._draw import Draw, Spec
from jaxinit._initializer import Bound, initializer
from jaxinit.constant import ones, zeros
from jaxinit.iid import uniform_between
from jaxinit.orthogonal import orthogonal
from jaxinit.recurrent import gate_bias
from jaxinit.scaling import glorot_uniform, he_uniform
from jaxinit.variance import with_variance


def dense_kernel() -> Bound:
    """Dense's and EinsumDense's kernel: Glorot's uniform, Var[w] = 2/(n_in + n_out).

    So are the kernels of MultiHeadAttention, each with its own fans, as Flax flattens them.

    Returns:
        An initializer.

    >>> dense_kernel()
    glorot_uniform()
    """
    return glorot_uniform()


attention_kernel = dense_kernel


def dense_bias() -> Bound:
    """The bias of Dense, EinsumDense, MultiHeadAttention and every convolution: 0.

    Returns:
        An initializer.

    >>> dense_bias()
    zeros_init()
    """
    return zeros


conv_bias = attention_bias = dense_bias


def conv_kernel() -> Bound:
    """Conv's and ConvTranspose's kernel: Glorot's uniform, Var[w] = 2/(k (n_in + n_out)).

    Of a grouped convolution Keras counts the inputs of a group and the outputs of all.

    Returns:
        An initializer.

    >>> conv_kernel()
    glorot_uniform()
    """
    return glorot_uniform()


conv_transpose_kernel = pointwise_kernel = conv_kernel


@initializer
def depthwise_kernel(spec: Spec, multiplier: Annotated[int, whole] = 1) -> Draw:
    """The kernel (taps…, 1, outputs) of depthwise convolutions: Var[w] = 2/(k (c + m)), uniform.

    Keras holds it as (taps…, c, m), and takes the c channels for the inputs of a unit and the
    m = outputs/c for its outputs.

    Args:
        multiplier: m, Keras's depth_multiplier.

    Returns:
        An initializer.

    Raises:
        TypeError: if multiplier is not whole.
        ValueError: if it is less than 1; when called, if the kernel is none of a depthwise
            convolution, or multiplier does not divide its outputs.

    >>> import jax
    >>> kernel = depthwise_kernel()(jax.random.key(0), (3, 3, 1, 511))
    >>> print(f"{abs(kernel).max() * (9 * 512 / 6) ** 0.5:.2f}")
    1.00
    """
    shape = spec.shape
    if len(shape) < 3 or shape[-2] != 1 or shape[-1] % multiplier:
        raise ValueError(
            f"shape {shape} is not that of a depthwise kernel with multiplier={multiplier}: it is "
            "(taps…, 1, channels times multiplier)"
        )
    *taps, _, outputs = shape
    fans = math.prod(taps) * (outputs // multiplier + multiplier)
    return with_variance(spec, 2, fans, "uniform")


def embedding() -> Bound:
    """Embedding's table (tokens, features): w ~ U[-0.05, 0.05).

    Returns:
        An initializer.

    >>> embedding()
    uniform_between(low=-0.05, high=0.05)
    """
    return uniform_between(-0.05, 0.05)


def rnn_kernel() -> Bound:
    """The kernel of inputs of SimpleRNN, LSTM and GRU: Glorot's uniform, all gates its outputs.

    Returns:
        An initializer of the packed kernel.

    >>> rnn_kernel()
    glorot_uniform()
    """
    return glorot_uniform()


lstm_kernel = gru_kernel = rnn_kernel


def rnn_recurrent_kernel() -> Bound:
    """The kernel of states of SimpleRNN, LSTM and GRU: orthogonal, all gates as one matrix.

    Returns:
        An initializer of the packed kernel, of orthonormal rows.

    >>> rnn_recurrent_kernel()
    orthogonal()
    """
    return orthogonal()


lstm_recurrent_kernel = gru_recurrent_kernel = rnn_recurrent_kernel


def rnn_bias() -> Bound:
    """SimpleRNN's and GRU's bias: 0.

    Returns:
        An initializer.

    >>> rnn_bias()
    zeros_init()
    """
    return zeros


gru_bias = rnn_bias


def lstm_bias() -> Bound:
    """LSTM's packed bias: 1 for the forget gate and 0 for the others, in the order i, f, c, o.

    Returns:
        An initializer; the order is that of `nnx.OptimizedLSTMCell` too.

    >>> lstm_bias()(None, (8,)).tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    return gate_bias((0, 1, 0, 0))


def norm_scale() -> Bound:
    """gamma of BatchNormalization, LayerNormalization, GroupNormalization, RMSNormalization: 1.

    Returns:
        An initializer.

    >>> norm_scale()
    ones_init()
    """
    return ones


def norm_bias() -> Bound:
    """beta of BatchNormalization, LayerNormalization and GroupNormalization: 0.

    Returns:
        An initializer.

    >>> norm_bias()
    zeros_init()
    """
    return zeros


def prelu_slope() -> Bound:
    """PReLU's negative slope: 0.

    Returns:
        An initializer.

    >>> prelu_slope()
    zeros_init()
    """
    return zeros


def lora_a() -> Bound:
    """The first factor (inputs, rank) of LoRA: He's uniform, Var[w] = 2/n_in.

    Returns:
        An initializer.

    >>> lora_a()
    he_uniform()
    """
    return he_uniform()


def lora_b() -> Bound:
    """The second factor (rank, outputs) of LoRA: 0, so that the layer starts as it was.

    Returns:
        An initializer.

    >>> lora_b()
    zeros_init()
    """
    return zeros
