"""Variance by the width of a network: weights for its limits, and for transformers."""

from __future__ import annotations

import math
from typing import Annotated

from jax.typing import DTypeLike

from jaxinit import random
from jaxinit._checks import whole
from jaxinit._draw import Draw, Spec, sample
from jaxinit._initializer import initializer
from jaxinit.axes import Axis, KernelAxes, choose
from jaxinit.variance import Distribution, with_variance


@initializer
def spectral(
    spec: Spec,
    distribution: Distribution = "normal",
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Weights with E[w] = 0, standard deviation min(1, √(n_out / n_in)) / √n_in.

    The spectral norm of the matrix is √(n_out / n_in) times 1 + √(n_out / n_in) or its inverse,
    whichever is less: of the order that lets every layer learn features at any width.

    Args:
        distribution: "truncated_normal", "normal" or "uniform".
        in_axis: axes contracted with the input.
        out_axis: axes kept in the output.
        batch_axis: axes of independent kernels; the axes left over are the receptive field.
        dtype: default dtype of the weights.
        axes: all roles at once, an `Axes` or an einsum.

    Returns:
        An initializer.

    Raises:
        ValueError: for an unknown distribution; when called, if the axes do not fit the shape.

    >>> import jax
    >>> w = spectral()(jax.random.key(0), (400, 100))
    >>> print(f"{jax.numpy.linalg.norm(w, 2):.1f}")
    0.7

    Reference:
        Yang, Simon, Bernstein, "A Spectral Condition for Feature Learning", 2023,
        arXiv:2310.17813, parametrization 1.
    """
    n_in, n_out, _ = choose(axes, in_axis, out_axis, batch_axis).fans(spec.shape)
    return with_variance(spec, min(n_in, n_out), n_in**2, distribution)


@initializer
def ntk(spec: Spec, dtype: DTypeLike | None = None) -> Draw:
    """Weights w ~ N(0, 1), for layers that divide by √n_in themselves.

    In this neural tangent parametrization, y = (σ / √n_in) W x + b, the learning rate is the same
    at every width.

    Args:
        dtype: default dtype of the weights.

    Returns:
        An initializer.

    >>> import jax
    >>> print(f"{ntk()(jax.random.key(0), (400, 400)).std():.2f}")
    1.00

    Reference:
        Jacot, Gabriel, Hongler, "Neural Tangent Kernel: Convergence and Generalization in Neural
        Networks", 2018, arXiv:1806.07572.
    """
    return sample(random.normal, 1)


@initializer
def small(spec: Spec, width: Annotated[int, whole], dtype: DTypeLike | None = None) -> Draw:
    """Weights w ~ N(0, 2 / (5 d)), with d the width of a transformer.

    That is Glorot's variance of the kernel from d to 4 d features, for all kernels.

    Args:
        width: features d of the residual stream.
        dtype: default dtype of the weights.

    Returns:
        An initializer.

    Raises:
        ValueError: if width is not a whole number above 0.

    >>> import jax
    >>> print(f"{small(1000)(jax.random.key(0), (400, 400)).std():.3f}")
    0.020

    Peers:
        gpt-neox: small_init

    Reference:
        Nguyen, Salazar, "Transformers without Tears: Improving the Normalization of
        Self-Attention", 2019, arXiv:1910.05895.
    """
    return sample(random.normal, math.sqrt(2 / (5 * width)))


@initializer
def wang(
    spec: Spec,
    width: Annotated[int, whole],
    layers: Annotated[int, whole],
    dtype: DTypeLike | None = None,
) -> Draw:
    """Weights w with standard deviation 2 / (L √d), for the last kernel of a residual branch.

    All branches of L layers together then add a variance of order 1 / L to a transformer's stream
    of width d.

    Args:
        width: features d of the residual stream.
        layers: number L of layers.
        dtype: default dtype of the weights.

    Returns:
        An initializer.

    Raises:
        ValueError: if width or layers is not a whole number above 0.

    >>> import jax
    >>> print(f"{wang(1024, 24)(jax.random.key(0), (400, 400)).std():.4f}")
    0.0026

    Peers:
        gpt-neox: wang_init

    Reference:
        Black et al., "GPT-NeoX-20B: An Open-Source Autoregressive Language Model", 2022,
        arXiv:2204.06745, section 2.3.1.
    """
    return sample(random.normal, 2 / (layers * math.sqrt(width)))
