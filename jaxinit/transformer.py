"""Transformers: kernels by the part that they play, and the pairs that attention multiplies."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias, get_args

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from jaxinit import random
from jaxinit._checks import finite, natural, non_negative, one_of, whole
from jaxinit._draw import Draw, Spec, sample
from jaxinit._initializer import initializer
from jaxinit.axes import Axes, KernelAxes, as_axes
from jaxinit.matrices import adjoint
from jaxinit.variance import by_fan

Role: TypeAlias = Literal["query", "key", "value", "output", "ffn"]
Side: TypeAlias = Literal["encoder", "decoder", None]
Depth: TypeAlias = Annotated[int, natural]


def _lone(encoder_layers: int, decoder_layers: int, side: str | None) -> int:
    """Layers of the only stack, or 0 if there are two, one of which is side's."""
    if encoder_layers and decoder_layers:
        if side is None:
            raise ValueError(
                f"side=None: encoder_layers={encoder_layers} and decoder_layers={decoder_layers} "
                "make two stacks: pass side='encoder' or 'decoder', that of this kernel"
            )
        return 0
    if not encoder_layers and not decoder_layers:
        raise ValueError(
            "encoder_layers=0 and decoder_layers=0: pass the layers of one stack, or of both"
        )
    if side == ("decoder" if encoder_layers else "encoder"):
        raise ValueError(f"side={side!r} has {side}_layers=0: pass its layers, or leave out side")
    return encoder_layers or decoder_layers


def _xavier(spec: Spec, role: str, gain: float, distribution: str, axes: Axes | str | None) -> Draw:
    variance = 1.0 if role in ("query", "key") else gain**2
    return by_fan(spec, variance, "fan_avg", distribution, as_axes("axes", axes) or Axes())


@initializer
def t_fixup(
    spec: Spec,
    role: Literal["query", "key", "value", "output", "ffn", "embedding"],
    layers: Annotated[int, whole],
    side: Literal["encoder", "decoder"],
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Weights w ~ g U[-b, b) with b = √(6 / (n_in + n_out)): no layer norm and no warm-up needed.

    g = 0.67 N^(-1/4) in an encoder and (9 N)^(-1/4) in a decoder, for value, output and
    feed-forward kernels; 1 for query and key. Embeddings are w ~ (9 N)^(-1/4) N(0, 1/d) on both
    sides, d their features.

    Args:
        role: "query", "key", "value", "output", "ffn" or "embedding".
        layers: N, of the encoder or of the decoder.
        side: "encoder" or "decoder".
        dtype: default dtype of the weights.
        axes: roles of the kernel's axes, an `Axes` or an einsum; None means inputs by outputs, and
            tokens by features for an embedding.

    Returns:
        An initializer.

    Raises:
        TypeError: if layers is not whole.
        ValueError: for an unknown role or side, or layers less than 1; when called, if the axes do
            not fit the shape.

    >>> import jax
    >>> w = t_fixup("embedding", 6, "encoder")(jax.random.key(0), (1000, 64))
    >>> print(f"{w.std() * 8:.2f}, {54**-0.25:.2f}")
    0.37, 0.37

    Reference:
        Huang, Pérez, Ba, Volkovs, "Improving Transformer Optimization Through Better
        Initialization", ICML 2020.
    """
    decoder = (9 * layers) ** -0.25
    if role == "embedding":
        table = as_axes("axes", axes) or Axes.embedding()
        return by_fan(spec, decoder**2, "fan_in", "normal", table)
    gain = decoder if side == "decoder" else 0.67 * layers**-0.25
    return _xavier(spec, role, gain, "uniform", axes)


@initializer
def deepnorm(
    spec: Spec,
    role: Role,
    encoder_layers: Depth = 0,
    decoder_layers: Depth = 0,
    side: Side = None,
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Weights w ~ N(0, 2 β² / (n_in + n_out)), for blocks x ← norm(α x + f(x)) of any number.

    β = 1 for query and key. For value, output and feed-forward kernels of one stack of N layers,
    β = (8 N)^(-1/4). With N layers of an encoder and M of a decoder, β = 0.87 (N⁴ M)^(-1/16) in the
    encoder and (12 M)^(-1/4) in the decoder. `deepnorm_alpha` is α.

    Args:
        role: "query", "key", "value", "output" or "ffn".
        encoder_layers: N; 0 if there is no encoder.
        decoder_layers: M; 0 if there is no decoder.
        side: "encoder" or "decoder", whose the kernel is; needed if there are both.
        dtype: default dtype of the weights.
        axes: roles of the kernel's axes, an `Axes` or an einsum; None means inputs by outputs.

    Returns:
        An initializer.

    Raises:
        TypeError: if a number of layers is not whole.
        ValueError: for an unknown role or side, or a negative number of layers; when called, if
            there are no layers or two stacks and no side, or the axes do not fit the shape.

    >>> import jax
    >>> w = deepnorm("value", encoder_layers=32)(jax.random.key(0), (400, 400))
    >>> print(f"{w.std() * 20:.2f}")
    0.25

    Peers:
        torchscale: deepnorm

    Reference:
        Wang, Ma, Dong, Huang, Zhang, Wei, "DeepNet: Scaling Transformers to 1,000 Layers", 2022,
        arXiv:2203.00555, figure 2. torchscale divides an encoder's weights by (N⁴ M)^(1/16) / 1.15,
        which is not to multiply them by 0.87 (N⁴ M)^(-1/16).
    """
    _, beta = _deepnorm(encoder_layers, decoder_layers, side)
    return _xavier(spec, role, beta, "normal", axes)


def deepnorm_alpha(
    encoder_layers: int = 0,
    decoder_layers: int = 0,
    side: Side = None,
) -> float:
    """α of the blocks x ← norm(α x + f(x)) whose kernels `deepnorm` draws.

    For one stack of N layers, α = (2 N)^(1/4). With N layers of an encoder and M of a decoder,
    α = 0.81 (N⁴ M)^(1/16) in the encoder and (3 M)^(1/4) in the decoder.

    Args:
        encoder_layers: N; 0 if there is no encoder.
        decoder_layers: M; 0 if there is no decoder.
        side: "encoder" or "decoder", whose the block is; needed if there are both.

    Returns:
        The factor.

    Raises:
        TypeError: if a number of layers is not whole.
        ValueError: for an unknown side, a negative number of layers, no layers, or two stacks and
            no side.

    >>> deepnorm_alpha(encoder_layers=8)
    2.0
    """
    one_of("side", side, get_args(Side))
    encoder_layers = natural("encoder_layers", encoder_layers)
    alpha, _ = _deepnorm(encoder_layers, natural("decoder_layers", decoder_layers), side)
    return alpha


def _deepnorm(n: int, m: int, side: str | None) -> tuple[float, float]:
    """α and β."""
    if layers := _lone(n, m, side):
        return (2 * layers) ** 0.25, (8 * layers) ** -0.25
    if side == "encoder":
        return 0.81 * (n**4 * m) ** (1 / 16), 0.87 * (n**4 * m) ** (-1 / 16)
    return (3 * m) ** 0.25, (12 * m) ** -0.25


@initializer
def sub_ln(
    spec: Spec,
    role: Role,
    encoder_layers: Depth = 0,
    decoder_layers: Depth = 0,
    side: Side = None,
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Weights w ~ N(0, 2 γ² / (n_in + n_out)), for blocks with a second norm inside (Magneto).

    γ = 1 for query and key. For value, output and feed-forward kernels of one stack of N layers,
    γ = √log 2N. With N layers of an encoder and M of a decoder, γ = √(⅓ log 3M log 2N) in the
    encoder and √log 3M in the decoder. Cross-attention has no second norm in torchscale, and γ = 1.

    Args:
        role: "query", "key", "value", "output" or "ffn".
        encoder_layers: N; 0 if there is no encoder.
        decoder_layers: M; 0 if there is no decoder.
        side: "encoder" or "decoder", whose the kernel is; needed if there are both.
        dtype: default dtype of the weights.
        axes: roles of the kernel's axes, an `Axes` or an einsum; None means inputs by outputs.

    Returns:
        An initializer.

    Raises:
        TypeError: if a number of layers is not whole.
        ValueError: for an unknown role or side, or a negative number of layers; when called, if
            there are no layers or two stacks and no side, or the axes do not fit the shape.

    >>> import jax, math
    >>> w = sub_ln("ffn", decoder_layers=24)(jax.random.key(0), (400, 400))
    >>> print(f"{w.std() * 20:.2f}, {math.log(48) ** 0.5:.2f}")
    1.97, 1.97

    Peers:
        torchscale: subln

    Reference:
        Wang et al., "Magneto: A Foundation Transformer", 2022, arXiv:2210.06423.
    """
    n, m = encoder_layers, decoder_layers
    if layers := _lone(n, m, side):
        squared = math.log(2 * layers)
    else:
        squared = math.log(3 * m) * (math.log(2 * n) / 3 if side == "encoder" else 1)
    return _xavier(spec, role, math.sqrt(squared), "normal", axes)


@initializer
def switch(
    spec: Spec,
    scale: Annotated[ArrayLike, non_negative] = 0.1,
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Weights with E[w] = 0, Var[w] = scale / n_in: normal, truncated at two standard deviations.

    A tenth of the usual variance keeps mixtures of experts stable. The fan-in is that of one
    expert: the axes before the last two are experts, and layers of them.

    Args:
        scale: numerator of the variance.
        dtype: default dtype of the weights.
        axes: roles of the kernel's axes, an `Axes` or an einsum; None means experts by inputs by
            outputs.

    Returns:
        An initializer.

    Raises:
        ValueError: if scale is negative; when called, if the axes do not fit the shape.

    >>> import jax
    >>> w = switch()(jax.random.key(0), (8, 40, 400))
    >>> print(f"{w.std() * 400**0.5:.2f}")
    1.00

    Reference:
        Fedus, Zoph, Shazeer, "Switch Transformers: Scaling to Trillion Parameter Models with Simple
        and Efficient Sparsity", 2021, arXiv:2101.03961, section 2.4. There, in Mesh TensorFlow, the
        variance is that before truncation: a scale of 0.0774 gives theirs.
    """
    experts = Axes(batch_axis=tuple(range(len(spec.shape) - 2)))
    return by_fan(spec, scale, "fan_in", "truncated_normal", as_axes("axes", axes) or experts)


@initializer
def mimetic(
    spec: Spec,
    alpha: Annotated[ArrayLike, non_negative] = 0.7,
    beta: Annotated[ArrayLike, finite] = 0.7,
    dtype: DTypeLike | None = None,
) -> Draw:
    """Two kernels with W₀ W₁ᵀ ≈ α Z + β I, and Z of independent entries z ~ N(0, 1/d).

    They are the factors U √S and V √S of the singular value decomposition, of which a head keeps
    the largest: no product of that rank is nearer. Each head has a Z of its own. The shape is
    (2, d, heads, head size), or (2, d, rank) without heads.

    With `query, key = mimetic()(rng, (2, d, heads, d // heads))` tokens attend to those like them.
    Value and output take α = 0.4 and β = -0.4, and all heads one Z: their kernels are `value` and
    `output.T` of `value, output = mimetic(0.4, -0.4)(rng, (2, d, d))`. The decomposition takes
    O(d³) a head. Of complex kernels, W₀ W₁ᴴ is so.

    Args:
        alpha: size of the random part.
        beta: of the identity; vision transformers learn a negative one for value and output.
        dtype: default dtype of the weights.

    Returns:
        An initializer of a stack of two kernels.

    Raises:
        ValueError: if alpha is negative or a number is not finite; when called, if the shape is not
            that of such a stack, or a head is larger than d.

    >>> import jax
    >>> query, key = mimetic(alpha=0.0)(jax.random.key(0), (2, 64, 64))
    >>> bool(abs(query @ key.T - 0.7 * jax.numpy.eye(64)).max() < 1e-5)
    True

    Reference:
        Trockman, Kolter, "Mimetic Initialization of Self-Attention Layers", 2023, arXiv:2305.09828.
    """
    shape = spec.shape
    if len(shape) not in (3, 4) or shape[0] != 2:
        raise ValueError(
            f"shape {shape} is not that of a pair of kernels: pass (2, d, heads, head size), or "
            "(2, d, rank) without heads"
        )
    if shape[-1] > shape[1]:
        raise ValueError(
            f"shape {shape} has heads of size {shape[-1]}, but their product is a matrix of "
            f"{shape[1]} by {shape[1]}, of no higher rank than that: pass a smaller size"
        )
    return sample(_mimetic, alpha, beta)


def _mimetic(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], alpha: Array, beta: Array
) -> Array:
    if 0 in shape:
        return jnp.zeros(shape, dtype)
    _, d, *heads, rank = shape
    z = random.normal(key, (*heads, d, d), dtype, d**-0.5)
    u, s, vh = jnp.linalg.svd(alpha * z + beta * jnp.eye(d, dtype=dtype), full_matrices=False)
    root = jnp.sqrt(s[..., None, :])
    pair = jnp.stack([u * root, adjoint(vh) * root])[..., :rank]
    return jnp.moveaxis(pair, -2, 1)
