"""Haiku's defaults: what each module of `haiku` draws where it is given no initializer.

Its truncated normal is cut at two standard deviations and not widened, so the standard deviation of
a weight is 0.88 of the one that is asked for; its `VarianceScaling` is widened.

>>> import jax
>>> from jaxinit.presets import haiku
>>> kernel = haiku.linear_kernel()(jax.random.key(0), (400, 300))
>>> print(f"{kernel.std() * 400**0.5:.2f} {abs(kernel).max() * 400**0.5:.2f}")
0.88 2.00

Reference:
    dm-haiku 0.0.17, `haiku/_src`.
"""

from jaxinit._checks import whole
from jaxinit._initializer import Bound
from jaxinit.axes import Axes
from jaxinit.constant import ones, zeros
from jaxinit.iid import truncated_normal
from jaxinit.recurrent import gate_bias
from jaxinit.scaling import lecun_normal, variance_scaling

# Of N(0, 1) given |z| < 2.
_TRUNCATED_VARIANCE = 0.7737413035499232


def linear_kernel() -> Bound:
    """Linear's kernel (inputs, outputs): w = z/√n_in, with z ~ N(0, 1) given |z| < 2.

    Returns:
        An initializer.

    >>> linear_kernel()
    variance_scaling(scale=0.7737413035499232, mode='fan_in', distribution='truncated_normal')
    """
    return variance_scaling(_TRUNCATED_VARIANCE, "fan_in", "truncated_normal")


rnn_kernel = linear_kernel


def linear_bias() -> Bound:
    """The bias of Linear, of every convolution, of MultiHeadAttention, VanillaRNN and GRU: 0.

    Returns:
        An initializer.

    >>> linear_bias()
    zeros_init()
    """
    return zeros


conv_bias = attention_bias = rnn_bias = gru_bias = linear_bias


def conv_kernel() -> Bound:
    """Conv's, ConvTranspose's and DepthwiseConv's kernel: z/√(k n_in), z as in `linear_kernel`.

    n_in counts the inputs of a group: 1 if depthwise.

    Returns:
        An initializer of kernels with inputs before outputs.

    >>> conv_kernel() == linear_kernel()
    True
    """
    return linear_kernel()


conv_transpose_kernel = depthwise_kernel = conv_kernel


def embedding() -> Bound:
    """Embed's table (tokens, features): w ~ N(0, 1) given |w| < 2.

    Returns:
        An initializer.

    >>> embedding()
    truncated_normal(stddev=1.0)
    """
    return truncated_normal(1.0)


def attention_kernel(scale: float) -> Bound:
    """MultiHeadAttention's four kernels by w_init_scale: Var[w] = scale/n_in, truncated, widened.

    Haiku has no default here: w_init or w_init_scale has to be given.

    Args:
        scale: Haiku's w_init_scale.

    Returns:
        An initializer.

    Raises:
        ValueError: if scale is negative.

    >>> attention_kernel(2.0)
    variance_scaling(scale=2.0, mode='fan_in', distribution='truncated_normal')
    """
    return variance_scaling(scale, "fan_in", "truncated_normal")


def lstm_kernel(inputs: int, hidden: int) -> Bound:
    """LSTM's kernels, of inputs and of states: w = z/√(inputs + hidden), z as in `linear_kernel`.

    Haiku holds them as one, of the two side by side.

    Args:
        inputs: size of the input.
        hidden: size of the state.

    Returns:
        An initializer of both, and of each.

    Raises:
        TypeError: if a size is not whole.
        ValueError: if one is less than 1.

    >>> import jax
    >>> kernel = lstm_kernel(inputs=40, hidden=60)(jax.random.key(0), (60, 240))
    >>> print(f"{kernel.std() * 100**0.5:.2f}")
    0.88
    """
    fan = whole("inputs", inputs) + whole("hidden", hidden)
    return variance_scaling(_TRUNCATED_VARIANCE, "fan_in", "truncated_normal", fan=fan)


def lstm_bias(order: str = "ifgo") -> Bound:
    """LSTM's packed bias: 1 for the forget gate and 0 for the others.

    Haiku's bias is 0, and its cell adds 1 to the forget gate, which cells of Flax do not.

    Args:
        order: a letter for each gate; Haiku's is "igfo", that of `nnx.OptimizedLSTMCell` "ifgo".

    Returns:
        An initializer.

    Raises:
        ValueError: if order is not made of these four letters.

    >>> lstm_bias()(None, (4,)).tolist(), lstm_bias("igfo")(None, (4,)).tolist()
    ([0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0])
    """
    if sorted(order) != sorted("ifgo"):
        raise ValueError(f"order={order!r} does not name each of the gates i, f, g and o once")
    return gate_bias(tuple(float(gate == "f") for gate in order))


def gru_kernel() -> Bound:
    """GRU's packed kernels, of inputs and of states: Var[w] = 1/n_in, truncated, widened.

    Returns:
        An initializer.

    >>> gru_kernel()
    lecun_normal()
    """
    return lecun_normal()


def vector_quantizer_embedding() -> Bound:
    """VectorQuantizer's codes (features, codes): w ~ U[-b, b) with b = √(3/features).

    Returns:
        An initializer.

    >>> vector_quantizer_embedding()
    variance_scaling(scale=1.0, mode='fan_in', distribution='uniform', axes=Axes(rank=2))
    """
    return variance_scaling(1.0, "fan_in", "uniform", axes=Axes.dense())


def norm_scale() -> Bound:
    """The scale of BatchNorm, LayerNorm, GroupNorm, InstanceNorm and RMSNorm: 1.

    Returns:
        An initializer.

    >>> norm_scale()
    ones_init()
    """
    return ones


def norm_bias() -> Bound:
    """The offset of BatchNorm, LayerNorm, GroupNorm and InstanceNorm: 0.

    Returns:
        An initializer.

    >>> norm_bias()
    zeros_init()
    """
    return zeros
