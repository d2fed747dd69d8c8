"""Tables of positions for attention: no weight to learn, unless one wants to."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from jaxinit._checks import positive, single
from jaxinit._draw import Draw, Spec, fill
from jaxinit._initializer import initializer
from jaxinit._turns import multiples
from jaxinit.axes import normalize, positions
from jaxinit.constant import spread


@initializer
def sinusoidal(
    spec: Spec,
    max_timescale: Annotated[float, single(positive)] = 1e4,
    layout: Literal["interleave", "concat"] = "interleave",
    dtype: DTypeLike | None = None,
) -> Draw:
    """Sines and cosines of positions p: sin(p ω_i) and cos(p ω_i) with ω_i = T^(-2i/d).

    Moving by k positions turns each pair by the angle k ω_i. Entries are precise at any position:
    whole turns are taken away in integers.

    Args:
        max_timescale: T, by which the slowest wavelength is about 2π T.
        layout: "interleave" puts sin(p ω_i) at feature 2i and its cosine at 2i + 1, "concat" all
            sines before all cosines.
        dtype: default dtype of the weights, not an integer one.

    Returns:
        An initializer for shapes of positions by d features; leading axes repeat the table.

    Raises:
        TypeError: when called, if the dtype is an integer one.
        ValueError: if max_timescale is not above 0 or the layout is another; when called, if the
            shape has fewer than two axes.

    >>> print(np.asarray(sinusoidal()(None, (2, 4))).round(2))
    [[0.   1.   0.   1.  ]
     [0.84 0.54 0.01 1.  ]]

    Peers:
        flax: sinusoidal_init
        huggingface: SinusoidalPositionalEmbedding

    Reference:
        Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762, section 3.5.
    """
    if len(spec.shape) < 2:
        raise ValueError(
            f"shape {spec.shape} is {len(spec.shape)}-D: a table has positions by features"
        )
    interleave = layout == "interleave"
    return fill(_sinusoidal, scale=float(max_timescale), interleave=interleave, real=spec.real)


def _sinusoidal(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    scale: float,
    interleave: bool,
    real: np.dtype[Any],
) -> Array:
    d = shape[-1]
    feature = np.arange(d)
    sine = feature % 2 == 0 if interleave else feature < (d + 1) // 2
    i = feature // 2 if interleave else feature - np.where(sine, 0, (d + 1) // 2)
    omega = scale ** (-2 * i / d) if d else np.zeros(0)
    position = lax.broadcasted_iota(jnp.uint32, shape, len(shape) - 2)
    return multiples(position, omega / (2 * math.pi), real).cos(ahead=np.where(sine, 3, 0))


@initializer
def alibi_slopes(
    spec: Spec, axis: Annotated[int, normalize] = -1, dtype: DTypeLike | None = None
) -> Draw:
    """Slopes of linear attention biases: m_h = 2^(-8h/H) for the heads h = 1 to H.

    If H is not a power of two, those of the n heads below that is one, and then every other one of
    2n heads, from the first.

    Args:
        axis: of the heads; the slopes are repeated along every other axis.
        dtype: default dtype of the weights, not an integer one.

    Returns:
        An initializer for shapes (heads,), or (heads, 1, 1) with axis=0.

    Raises:
        TypeError: when called, if the dtype is an integer one.
        ValueError: when called, if axis is out of range.

    >>> alibi_slopes()(None, (4,)).tolist()
    [0.25, 0.0625, 0.015625, 0.00390625]

    Reference:
        Press, Smith, Lewis, "Train Short, Test Long: Attention with Linear Biases Enables Input
        Length Extrapolation", 2021, arXiv:2108.12409, section 3.
    """
    (place,) = positions("axis", axis, spec.shape)
    heads = spec.shape[place]
    n = 2 ** (max(heads, 1).bit_length() - 1)
    h = np.arange(heads)
    exponent = np.where(h < n, -8 * (h + 1) / n, -4 * (2 * (h - n) + 1) / n)
    return _along(spec, place, np.exp2(exponent))


@initializer
def rotary_frequencies(
    spec: Spec,
    theta: Annotated[float, single(positive)] = 1e4,
    axis: Annotated[int, normalize] = -1,
    dtype: DTypeLike | None = None,
) -> Draw:
    """Angles per position by which rotary embeddings turn pairs: ω_i = θ^(-2i/d), i < d/2.

    Args:
        theta: base θ.
        axis: of the d/2 pairs; the frequencies are repeated along every other axis.
        dtype: default dtype of the weights, not an integer one.

    Returns:
        An initializer for shapes (d/2,), d being the features of a head that are turned.

    Raises:
        TypeError: when called, if the dtype is an integer one.
        ValueError: if theta is not above 0; when called, if axis is out of range.

    >>> print(rotary_frequencies()(None, (4,)))
    [1.    0.1   0.01  0.001]

    Reference:
        Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021,
        arXiv:2104.09864, section 3.2.2.
    """
    (place,) = positions("axis", axis, spec.shape)
    pairs = spec.shape[place]
    return _along(spec, place, float(theta) ** (-np.arange(pairs) / max(pairs, 1)))


def _along(spec: Spec, axis: int, values: np.ndarray[Any, Any]) -> Draw:
    """The same values along an axis, rounded once."""
    column = values.astype(spec.real).reshape((-1,) + (1,) * (len(spec.shape) - 1 - axis))
    return spread("values", column, spec.shape)
