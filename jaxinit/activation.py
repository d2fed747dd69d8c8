"""Variance scaling for the activation that a layer's input went through."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from jax.typing import DTypeLike

from jaxinit import gains
from jaxinit._draw import Draw, Spec
from jaxinit._initializer import initializer
from jaxinit.axes import Axis, KernelAxes, choose
from jaxinit.gains import Activation, Moment
from jaxinit.variance import Distribution, Mode, by_fan, with_variance


@initializer
def for_activation(
    spec: Spec,
    /,
    fn: Annotated[Activation, gains.activation],
    mode: Mode = "fan_in",
    distribution: Distribution = "truncated_normal",
    moment: Moment = "second",
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
    **params: Annotated[Any, gains.parameter],
) -> Draw:
    """Weights with E[w] = 0, Var[w] = 1 / (E[φ(z)²] n), z ~ N(0, 1), n given by mode.

    With n the fan-in, Wᵀφ(x) has the second moment 1 that x has: what He's initialization does for
    ReLU, for any activation.

    Args:
        fn: activation φ of the layer's input, a function of a scalar in JAX, or the name of one in
            `jax.nn` or `jax.numpy`.
        mode: as in `variance_scaling`.
        distribution: "truncated_normal", "normal" or "uniform".
        moment: "second", or "variance" for Var[φ(z)] in place of E[φ(z)²], or "torch" for the gain
            of `torch.nn.init.calculate_gain`.
        in_axis: axes contracted with the input.
        out_axis: axes kept in the output.
        batch_axis: axes of independent kernels; the axes left over are the receptive field.
        dtype: default dtype of the weights.
        axes: all roles at once, an `Axes` or an einsum.
        **params: of the activation, such as negative_slope=0.2.

    Returns:
        An initializer.

    Raises:
        TypeError: if fn is no function of a scalar, or a parameter is no number.
        ValueError: for an unknown name; when called, if φ has no such moment, or the axes do not
            fit the shape.

    >>> import jax
    >>> init = for_activation(jax.nn.gelu)
    >>> init
    for_activation(fn='gelu')
    >>> x = jax.random.normal(jax.random.key(0), (100, 400))
    >>> y = jax.nn.gelu(x) @ init(jax.random.key(1), (400, 400))
    >>> print(f"{(y**2).mean():.1f}")
    1.0

    Reference:
        He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015, arXiv:1502.01852, eq. 10;
        Poole et al. 2016, arXiv:1606.05340, eq. 3.
    """
    kernel = choose(axes, in_axis, out_axis, batch_axis)
    return by_fan(spec, gains.gain(fn, moment, **params) ** 2, mode, distribution, kernel)


@initializer
def kumar(
    spec: Spec,
    /,
    fn: Annotated[Activation, gains.activation],
    distribution: Distribution = "normal",
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
    **params: Annotated[Any, gains.parameter],
) -> Draw:
    """Weights with E[w] = 0, Var[w] = 1 / (n_in φ'(0)² (1 + φ(0)²)).

    It keeps the variance of a signal through the line that φ is near zero: 12.8 / n_in for the
    sigmoid, 1 / n_in for tanh.

    Args:
        fn: activation φ, differentiable at 0: a function of a scalar in JAX, or the name of one in
            `jax.nn` or `jax.numpy`.
        distribution: "truncated_normal", "normal" or "uniform".
        in_axis: axes contracted with the input.
        out_axis: axes kept in the output.
        batch_axis: axes of independent kernels; the axes left over are the receptive field.
        dtype: default dtype of the weights.
        axes: all roles at once, an `Axes` or an einsum.
        **params: of the activation.

    Returns:
        An initializer.

    Raises:
        TypeError: if fn is no function of a scalar, or a parameter is no number.
        ValueError: for an unknown name; when called, if φ has no derivative at 0, or a zero one, or
            the axes do not fit the shape.

    >>> import jax
    >>> print(f"{kumar('sigmoid')(jax.random.key(0), (400, 400)).std() * 20:.1f}")
    3.6

    Reference:
        Kumar, "On weight initialization in deep neural networks", 2017, arXiv:1704.08863.
    """
    value, slope = gains.tangent(fn, **params)
    if slope == 0:
        raise ValueError(
            f"fn={fn!r} is flat at 0, where kumar takes its slope: use for_activation, which takes "
            "its moments"
        )
    n_in = choose(axes, in_axis, out_axis, batch_axis).fans(spec.shape).fan_in
    return with_variance(spec, 1 / (slope**2 * (1 + value**2)), n_in, distribution)


@initializer
def random_walk(
    spec: Spec,
    fn: Literal["relu", "linear"] = "relu",
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Weights w ~ N(0, g² / n_in), with g = √2 exp(1.2 / (max(n_in, 6) - 2.4)) for ReLU layers.

    From layer to layer the logarithm of a gradient's norm walks at random, and this g takes the
    bias from its steps, to 1e-3 for n_in of 16 or more. For linear layers g = exp(1 / (2 n_in)).

    Args:
        fn: activation of the network, "relu" or "linear".
        in_axis: axes contracted with the input.
        out_axis: axes kept in the output.
        batch_axis: axes of independent kernels; the axes left over are the receptive field.
        dtype: default dtype of the weights.
        axes: all roles at once, an `Axes` or an einsum.

    Returns:
        An initializer.

    Raises:
        ValueError: for another activation; when called, if the axes do not fit the shape.

    >>> import jax
    >>> print(f"{random_walk()(jax.random.key(0), (10, 10000)).std() * 10**0.5:.2f}")
    1.66

    Reference:
        Sussillo, Abbott, "Random Walk Initialization for Training Very Deep Feedforward
        Networks", 2014, arXiv:1412.6558.
    """
    n_in = choose(axes, in_axis, out_axis, batch_axis).fans(spec.shape).fan_in
    if fn == "relu":
        log_gain = math.log(2) / 2 + 1.2 / (max(n_in, 6) - 2.4)
    else:
        log_gain = 1 / (2 * n_in) if n_in else 0.0
    return with_variance(spec, math.exp(2 * log_gain), n_in, "normal")
