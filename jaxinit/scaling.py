"""Variance scaling: the variance of a weight follows from how many inputs or outputs a unit has."""

from __future__ import annotations

from typing import Annotated

from jax.typing import ArrayLike, DTypeLike

from jaxinit._checks import as_array, finite, non_negative, optional, positive, single
from jaxinit._draw import Draw, Spec
from jaxinit._initializer import initializer
from jaxinit.axes import Axis, KernelAxes, choose
from jaxinit.variance import Distribution, Mode, by_fan, with_variance


@initializer
def variance_scaling(
    spec: Spec,
    scale: Annotated[ArrayLike, non_negative],
    mode: Mode,
    distribution: Distribution,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
    fan: Annotated[float | None, optional(single(positive))] = None,
) -> Draw:
    """Weights with E[w] = 0, Var[w] = scale / n, with n given by mode.

    n is the fan-in n_in, the fan-out n_out, their mean (n_in + n_out)/2, geometric mean
    √(n_in n_out), sum, minimum or maximum. The normal is truncated at two standard deviations, and
    widened so that the variance holds after truncation. Complex weights have E|w|² = scale / n: a
    normal truncated in modulus, a circular normal, or a uniform disk.

    Args:
        scale: numerator of the variance.
        mode: "fan_in", "fan_out", "fan_avg", "fan_geo_avg", "fan_sum", "fan_min" or "fan_max".
        distribution: "truncated_normal", "normal" or "uniform".
        in_axis: axes contracted with the input.
        out_axis: axes kept in the output.
        batch_axis: axes of independent kernels; the axes left over are the receptive field.
        dtype: default dtype of the weights.
        axes: all roles at once, an `Axes` or an einsum.
        fan: n itself, in place of mode and axes; for a bias, say.

    Returns:
        An initializer, the same numbers as `jax.nn.initializers.variance_scaling`.

    Raises:
        ValueError: for a negative scale or an unknown mode or distribution; when called, if the
            axes do not fit the shape.

    >>> import jax
    >>> init = variance_scaling(2.0, "fan_in", "normal")
    >>> print(f"{init(jax.random.key(0), (200, 1000)).std():.2f}")
    0.10

    Peers:
        keras: VarianceScaling
        haiku: VarianceScaling
        flax: variance_scaling

    Reference:
        Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural
        networks", AISTATS 2010; He et al. 2015, arXiv:1502.01852.
    """
    if fan is not None:
        return with_variance(spec, scale, fan, distribution)
    kernel = choose(axes, in_axis, out_axis, batch_axis)
    return by_fan(spec, scale, mode, distribution, kernel)


@initializer
def glorot_normal(
    spec: Spec,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Weights w ~ N(0, 2 / (n_in + n_out)) within two standard deviations.

    It keeps the variance of signals and of gradients, as nearly as one number can, through a
    network that is linear near zero.

    Args:
        in_axis: axes contracted with the input.
        out_axis: axes kept in the output.
        batch_axis: axes of independent kernels; the axes left over are the receptive field.
        dtype: default dtype of the weights.
        axes: all roles at once, an `Axes` or an einsum.

    Returns:
        An initializer, the same numbers as `jax.nn.initializers.glorot_normal`.

    Raises:
        ValueError: when called, if the axes do not fit the shape.

    >>> import jax
    >>> print(f"{glorot_normal()(jax.random.key(0), (400, 400)).std():.2f}")
    0.05

    Peers:
        torch: xavier_normal_
        keras: GlorotNormal

    Reference:
        Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural
        networks", AISTATS 2010, eq. 12.
    """
    return by_fan(
        spec, 1.0, "fan_avg", "truncated_normal", choose(axes, in_axis, out_axis, batch_axis)
    )


@initializer
def glorot_uniform(
    spec: Spec,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Weights w ~ U[-b, b) with b = √(6 / (n_in + n_out)).

    It keeps the variance of signals and of gradients, as nearly as one number can, through a
    network that is linear near zero.

    Args:
        in_axis: axes contracted with the input.
        out_axis: axes kept in the output.
        batch_axis: axes of independent kernels; the axes left over are the receptive field.
        dtype: default dtype of the weights.
        axes: all roles at once, an `Axes` or an einsum.

    Returns:
        An initializer, the same numbers as `jax.nn.initializers.glorot_uniform`.

    Raises:
        ValueError: when called, if the axes do not fit the shape.

    >>> import jax
    >>> print(f"{glorot_uniform()(jax.random.key(0), (400, 400)).std():.2f}")
    0.05

    Peers:
        torch: xavier_uniform_
        keras: GlorotUniform

    Reference:
        Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural
        networks", AISTATS 2010, eq. 16.
    """
    kernel = choose(axes, in_axis, out_axis, batch_axis)
    return by_fan(spec, 1.0, "fan_avg", "uniform", kernel)


@initializer
def he_normal(
    spec: Spec,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DTypeLike | None = None,
    *,
    negative_slope: Annotated[ArrayLike, finite] = 0.0,
    axes: KernelAxes = None,
) -> Draw:
    """Weights w ~ N(0, 2 / ((1 + a²) n_in)) within two standard deviations.

    It keeps the signal's second moment through ReLU layers, or leaky ones of slope a.

    Args:
        in_axis: axes contracted with the input.
        out_axis: axes kept in the output.
        batch_axis: axes of independent kernels; the axes left over are the receptive field.
        dtype: default dtype of the weights.
        negative_slope: slope a of the rectifier below zero.
        axes: all roles at once, an `Axes` or an einsum.

    Returns:
        An initializer, the same numbers as `jax.nn.initializers.he_normal`.

    Raises:
        ValueError: when called, if the axes do not fit the shape.

    >>> import jax
    >>> print(f"{he_normal()(jax.random.key(0), (400, 400)).std():.2f}")
    0.07

    Peers:
        torch: kaiming_normal_
        keras: HeNormal

    Reference:
        He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015, arXiv:1502.01852, eq. 15.
    """
    return by_fan(
        spec,
        2 / (1 + as_array(negative_slope) ** 2),
        "fan_in",
        "truncated_normal",
        choose(axes, in_axis, out_axis, batch_axis),
    )


@initializer
def he_uniform(
    spec: Spec,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DTypeLike | None = None,
    *,
    negative_slope: Annotated[ArrayLike, finite] = 0.0,
    axes: KernelAxes = None,
) -> Draw:
    """Weights w ~ U[-b, b) with b = √(6 / ((1 + a²) n_in)).

    It keeps the signal's second moment through ReLU layers, or leaky ones of slope a.

    Args:
        in_axis: axes contracted with the input.
        out_axis: axes kept in the output.
        batch_axis: axes of independent kernels; the axes left over are the receptive field.
        dtype: default dtype of the weights.
        negative_slope: slope a of the rectifier below zero.
        axes: all roles at once, an `Axes` or an einsum.

    Returns:
        An initializer, the same numbers as `jax.nn.initializers.he_uniform`.

    Raises:
        ValueError: when called, if the axes do not fit the shape.

    >>> import jax
    >>> print(f"{he_uniform()(jax.random.key(0), (400, 400)).std():.2f}")
    0.07

    Peers:
        torch: kaiming_uniform_
        keras: HeUniform

    Reference:
        He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015, arXiv:1502.01852, eq. 15.
    """
    return by_fan(
        spec,
        2 / (1 + as_array(negative_slope) ** 2),
        "fan_in",
        "uniform",
        choose(axes, in_axis, out_axis, batch_axis),
    )


@initializer
def lecun_normal(
    spec: Spec,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Weights w ~ N(0, 1 / n_in) within two standard deviations.

    It keeps the variance of a signal through a linear or self-normalizing (SELU) network.

    Args:
        in_axis: axes contracted with the input.
        out_axis: axes kept in the output.
        batch_axis: axes of independent kernels; the axes left over are the receptive field.
        dtype: default dtype of the weights.
        axes: all roles at once, an `Axes` or an einsum.

    Returns:
        An initializer, the same numbers as `jax.nn.initializers.lecun_normal`.

    Raises:
        ValueError: when called, if the axes do not fit the shape.

    >>> import jax
    >>> print(f"{lecun_normal()(jax.random.key(0), (400, 400)).std():.2f}")
    0.05

    Peers:
        keras: LecunNormal

    Reference:
        LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, eq. 16; Klambauer et al.
        2017, arXiv:1706.02515.
    """
    return by_fan(
        spec, 1.0, "fan_in", "truncated_normal", choose(axes, in_axis, out_axis, batch_axis)
    )


@initializer
def lecun_uniform(
    spec: Spec,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Weights w ~ U[-b, b) with b = √(3 / n_in).

    It keeps the variance of a signal through a linear or self-normalizing (SELU) network.

    Args:
        in_axis: axes contracted with the input.
        out_axis: axes kept in the output.
        batch_axis: axes of independent kernels; the axes left over are the receptive field.
        dtype: default dtype of the weights.
        axes: all roles at once, an `Axes` or an einsum.

    Returns:
        An initializer, the same numbers as `jax.nn.initializers.lecun_uniform`.

    Raises:
        ValueError: when called, if the axes do not fit the shape.

    >>> import jax
    >>> print(f"{lecun_uniform()(jax.random.key(0), (400, 400)).std():.2f}")
    0.05

    Peers:
        keras: LecunUniform

    Reference:
        LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, eq. 16; Klambauer et al.
        2017, arXiv:1706.02515.
    """
    kernel = choose(axes, in_axis, out_axis, batch_axis)
    return by_fan(spec, 1.0, "fan_in", "uniform", kernel)


xavier_normal = glorot_normal
xavier_uniform = glorot_uniform
kaiming_normal = he_normal
kaiming_uniform = he_uniform
