"""PyTorch's defaults: what `reset_parameters` of each layer of `torch.nn` draws.

Kernels are in Flax's layout, inputs before outputs and taps first, which is PyTorch's turned round.
Almost all are w ~ U[-b, b) with b = 1/√n, so a third of the variance that keeps a signal alive, and
biases are drawn too, so a bias has to be told the fan-in of its kernel.

>>> import jax, jaxinit
>>> from jaxinit.presets import torch
>>> kernel = torch.linear_kernel()(jax.random.key(0), (64, 32))
>>> bias = torch.linear_bias(fan_in=64)(jax.random.key(1), (32,))
>>> bool(abs(kernel).max() < 1 / 8), bool(abs(bias).max() < 1 / 8)
(True, True)

Reference:
    torch 2.13, `torch/nn/modules`; LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, whence
    the 1/√n.
"""

from jaxinit._checks import whole
from jaxinit._initializer import Bound
from jaxinit.axes import Axes
from jaxinit.constant import constant, ones, zeros
from jaxinit.embedding import embedding as _table
from jaxinit.scaling import glorot_uniform, variance_scaling


def linear_kernel() -> Bound:
    """Linear's kernel (inputs, outputs): w ~ U[-b, b) with b = 1/√n_in.

    Returns:
        An initializer.

    >>> linear_kernel()
    variance_scaling(scale=0.3333333333333333, mode='fan_in', distribution='uniform')
    """
    return variance_scaling(1 / 3, "fan_in", "uniform")


def linear_bias(fan_in: int) -> Bound:
    """The bias (outputs,) of Linear and of Conv: w ~ U[-b, b) with b = 1/√fan_in.

    Args:
        fan_in: inputs of a unit; of a convolution the taps times the inputs of a group.

    Returns:
        An initializer.

    Raises:
        TypeError: if fan_in is not whole.
        ValueError: if it is less than 1.

    >>> linear_bias(64)
    variance_scaling(scale=0.3333333333333333, mode='fan_in', distribution='uniform', fan=64)
    """
    return _within("fan_in", fan_in)


conv_bias = linear_bias


def _within(name: str, fan: int) -> Bound:
    """w ~ U[-b, b) with b = 1/√fan, of a shape that does not tell the fan."""
    return variance_scaling(1 / 3, "fan_in", "uniform", fan=whole(name, fan))


def bilinear_kernel() -> Bound:
    """Bilinear's kernel (inputs, inputs of the other, outputs): U[-b, b), b = 1/√(first inputs).

    Its bias is `linear_bias` of the first inputs.

    Returns:
        An initializer.

    >>> import jax
    >>> print(f"{abs(bilinear_kernel()(jax.random.key(0), (25, 9, 100))).max():.2f}")
    0.20
    """
    axes = Axes(in_axis=0, out_axis=2, batch_axis=1, rank=3)
    return variance_scaling(1 / 3, "fan_in", "uniform", axes=axes)


def conv_kernel(spatial: int = 2, groups: int = 1) -> Bound:
    """Conv's kernel (taps…, inputs of a group, outputs): w ~ U[-b, b) with b = 1/√(k n_in).

    Args:
        spatial: number of spatial axes.
        groups: of the convolution; n_in counts the inputs of one.

    Returns:
        An initializer.

    Raises:
        ValueError: if a number is less than 1; when called, if the kernel has other axes.

    >>> import jax
    >>> print(f"{abs(conv_kernel()(jax.random.key(0), (5, 5, 4, 64))).max():.2f}")
    0.10
    """
    return variance_scaling(1 / 3, "fan_in", "uniform", axes=Axes.conv(spatial, groups))


def conv_transpose_kernel(spatial: int = 2, transpose_kernel: bool = False) -> Bound:
    """ConvTranspose's kernel (taps…, inputs, outputs): w ~ U[-b, b) with b = 1/√(k n_out).

    PyTorch holds this kernel the other way round and takes its fan-in all the same, so n_out it is.

    Args:
        spatial: number of spatial axes.
        transpose_kernel: as in Flax's `ConvTranspose`: outputs before inputs.

    Returns:
        An initializer.

    Raises:
        ValueError: if spatial is less than 1; when called, if the kernel has other axes.

    >>> import jax
    >>> print(f"{abs(conv_transpose_kernel()(jax.random.key(0), (5, 5, 64, 4))).max():.2f}")
    0.10
    """
    axes = Axes.conv(spatial, transpose_kernel=transpose_kernel, transposed=True)
    return variance_scaling(1 / 3, "fan_out", "uniform", axes=axes)


def conv_transpose_bias(fan_out: int) -> Bound:
    """ConvTranspose's bias (outputs,): w ~ U[-b, b) with b = 1/√(k n_out).

    Args:
        fan_out: k n_out, the taps times the outputs of a group.

    Returns:
        An initializer.

    Raises:
        TypeError: if fan_out is not whole.
        ValueError: if it is less than 1.

    >>> conv_transpose_bias(3 * 3 * 16)
    variance_scaling(scale=0.3333333333333333, mode='fan_in', distribution='uniform', fan=144)
    """
    return _within("fan_out", fan_out)


def embedding(padding_id: int | None = None) -> Bound:
    """Embedding's table (tokens, features): w ~ N(0, 1), and zero for the padding token.

    Args:
        padding_id: PyTorch's padding_idx; None means there is none.

    Returns:
        An initializer.

    Raises:
        TypeError: if padding_id is not a whole number.

    >>> embedding()
    embedding(stddev=1.0)
    """
    return _table(1.0) if padding_id is None else _table(1.0, padding_id)


def rnn_kernel(hidden: int) -> Bound:
    """Kernels of RNN, LSTM and GRU, of inputs and of states: w ~ U[-b, b) with b = 1/√hidden.

    Args:
        hidden: size of the state.

    Returns:
        An initializer, of packed gates and of single ones alike.

    Raises:
        TypeError: if hidden is not whole.
        ValueError: if it is less than 1.

    >>> rnn_kernel(256)
    variance_scaling(scale=0.3333333333333333, mode='fan_in', distribution='uniform', fan=256)
    """
    return _within("hidden", hidden)


def rnn_bias(hidden: int) -> Bound:
    """Biases of RNN, LSTM and GRU, forget gates included: w ~ U[-b, b) with b = 1/√hidden.

    PyTorch has two, of inputs and of states. A cell with one has their sum in its place, which is
    `rnn_bias(hidden) + rnn_bias(hidden)`.

    Args:
        hidden: size of the state.

    Returns:
        An initializer.

    Raises:
        TypeError: if hidden is not whole.
        ValueError: if it is less than 1.

    >>> rnn_bias(256) == rnn_kernel(256)
    True
    """
    return _within("hidden", hidden)


lstm_kernel = gru_kernel = rnn_kernel
lstm_bias = gru_bias = rnn_bias


def attention_kernel(packed: bool = True) -> Bound:
    """MultiheadAttention's query, key and value kernels: Xavier's uniform, Var[w] = 2/(n_in + n).

    Where queries, keys and values are of one size, PyTorch holds the three as one kernel and n is
    its outputs, 3 n_in, though each is drawn for a kernel of its own here: Var[w] = 1/(2 n_in).

    Args:
        packed: whether PyTorch packs the three, as it does unless kdim or vdim differ; False means
            that n is a kernel's own outputs.

    Returns:
        An initializer of one of the kernels, or of the packed one.

    >>> attention_kernel()
    variance_scaling(scale=0.5, mode='fan_in', distribution='uniform')
    """
    return variance_scaling(0.5, "fan_in", "uniform") if packed else glorot_uniform()


def attention_bias() -> Bound:
    """MultiheadAttention's biases, that of the output included: 0.

    Returns:
        An initializer.

    >>> attention_bias()
    zeros_init()
    """
    return zeros


def attention_output_kernel() -> Bound:
    """MultiheadAttention's output kernel: that of Linear.

    Returns:
        An initializer.

    >>> attention_output_kernel() == linear_kernel()
    True
    """
    return linear_kernel()


def attention_extra_token() -> Bound:
    """MultiheadAttention's bias_k and bias_v (1, 1, features): w ~ N(0, 1/features).

    Returns:
        An initializer.

    >>> import jax
    >>> print(f"{attention_extra_token()(jax.random.key(0), (1, 1, 10000)).std():.3f}")
    0.010
    """
    return variance_scaling(1.0, "fan_in", "normal", axes=Axes(-1, -2, 0, rank=3))


def transformer_kernel() -> Bound:
    """Every kernel of Transformer: Xavier's uniform, Var[w] = 2/(n_in + n_out).

    The packed kernel of its attention has n_out = 3 n_in: take `attention_kernel` for the three.

    Returns:
        An initializer.

    >>> transformer_kernel()
    glorot_uniform()
    """
    return glorot_uniform()


def norm_scale() -> Bound:
    """The scale of BatchNorm, LayerNorm, GroupNorm, InstanceNorm and RMSNorm: 1.

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
    """PReLU's negative slope: 1/4.

    Returns:
        An initializer.

    >>> prelu_slope()
    constant(value=0.25)
    """
    return constant(0.25)
