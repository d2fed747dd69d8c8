"""Decay rates of linear recurrences: Mamba, LRU and RWKV."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from jaxinit import random
from jaxinit._checks import as_array, finite, integer, ordered, positive, whole
from jaxinit._draw import Draw, Spec, fill, sample
from jaxinit._initializer import initializer
from jaxinit.axes import normalize, positions
from jaxinit.ssm import along, repeated

_REAL = "λ = exp(-exp(ν) + i exp(θ)) is complex, and ν, θ and γ are real"


@initializer
def mamba_a_log(
    spec: Spec, axis: Annotated[int, normalize] = -1, dtype: DTypeLike | None = None
) -> Draw:
    """W_n = log n for n = 1, …, N along an axis: with A = -exp(W) the states decay as e^(-nt).

    Args:
        axis: of the N states of a channel.
        dtype: default dtype of the weights.

    Returns:
        An initializer for shapes (channels, N), the same for each channel.

    Raises:
        TypeError: when called, if the dtype is an integer one.
        ValueError: when called, if axis is out of range.

    >>> import jax
    >>> print(jax.numpy.exp(mamba_a_log()(None, (2, 3))).round())
    [[1. 2. 3.]
     [1. 2. 3.]]

    Peers:
        mamba: A_log

    Reference:
        Gu, Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023,
        arXiv:2312.00752, section 3.6.
    """
    (place,) = positions("axis", axis, spec.shape)
    return along(spec, np.log(np.arange(1, spec.shape[place] + 1)), place)


@initializer
def mamba2_a_log(
    spec: Spec,
    min: Annotated[ArrayLike, positive] = 1.0,
    max: Annotated[ArrayLike, positive] = 16.0,
    dtype: DTypeLike | None = None,
) -> Draw:
    """W = log a with a ~ U[min, max): with A = -exp(W) a head decays as e^(-at).

    Args:
        min: the lowest rate a.
        max: the highest.
        dtype: default dtype of the weights, a real one.

    Returns:
        An initializer for shapes (heads,).

    Raises:
        TypeError: when called, if the dtype is complex.
        ValueError: if a rate is not above 0; when called, if min is not below max.

    >>> import jax
    >>> rates = jax.numpy.exp(mamba2_a_log()(jax.random.key(0), (1000,)))
    >>> print(f"{rates.min():.1f} to {rates.max():.1f}")
    1.0 to 16.0

    Peers:
        mamba: A_log

    Reference:
        Dao, Gu, "Transformers are SSMs: Generalized Models and Efficient Algorithms Through
        Structured State Space Duality", 2024, arXiv:2405.21060, and its repository.
    """
    spec.require_real("mamba2_a_log", "its decay rates are real")
    ordered("min", min, "max", max)
    return sample(_log_of_uniform, min, max)


def _log_of_uniform(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], low: Array, high: Array
) -> Array:
    return jnp.log(random.uniform(key, shape, dtype, low, high))


def _modulus(name: str, value: ArrayLike) -> ArrayLike:
    value = finite(name, value)
    array = np.asarray(0.0 if isinstance(value, jax.core.Tracer) else value)
    if not np.all((array >= 0) & (array <= 1)):
        raise ValueError(f"{name}={value!r} is outside [0, 1]: it is the modulus of an eigenvalue")
    return value


@initializer
def lru_nu(
    spec: Spec,
    r_min: Annotated[ArrayLike, _modulus] = 0.0,
    r_max: Annotated[ArrayLike, _modulus] = 1.0,
    dtype: DTypeLike | None = None,
) -> Draw:
    """ν = log(-½ log r²) with r² ~ U(r_min², r_max²), so that |λ| = exp(-exp(ν)) = r.

    With the phases of `lru_theta` the eigenvalues λ are uniform in the ring r_min < |λ| < r_max.

    Args:
        r_min: inner radius of the ring.
        r_max: outer radius.
        dtype: default dtype of the weights, a real one.

    Returns:
        An initializer for shapes (states,).

    Raises:
        TypeError: when called, if the dtype is complex.
        ValueError: if a radius is outside [0, 1]; when called, if r_min is not below r_max.

    >>> import jax
    >>> r = jax.numpy.exp(-jax.numpy.exp(lru_nu(0.9, 0.99)(jax.random.key(0), (1000,))))
    >>> print(f"{r.min():.2f} to {r.max():.2f}")
    0.90 to 0.99

    Peers:
        minimal-LRU: nu_init

    Reference:
        Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", 2023,
        arXiv:2303.06349, lemma 3.2 and section 3.3.
    """
    return _ring(spec, "lru_nu", r_min, r_max, normalizer=False)


@initializer
def lru_gamma(
    spec: Spec,
    r_min: Annotated[ArrayLike, _modulus] = 0.0,
    r_max: Annotated[ArrayLike, _modulus] = 1.0,
    dtype: DTypeLike | None = None,
    *,
    nu: ArrayLike | None = None,
) -> Draw:
    """γ = ½ log(1 - |λ|²) for the λ of `lru_nu`: inputs times exp(γ) give states of unit variance.

    From the key and the radii of a `lru_nu` the two fit. Where each weight gets a key of its own,
    as in Flax, pass the ν that were drawn.

    Args:
        r_min: inner radius of the ring.
        r_max: outer radius.
        dtype: default dtype of the weights, a real one.
        nu: the ν of the λ, in place of a key and the radii.

    Returns:
        An initializer for shapes (states,).

    Raises:
        TypeError: when called, if the dtype is complex.
        ValueError: if a radius is outside [0, 1]; when called, if r_min is not below r_max, or nu
            has another shape than the weights.

    >>> import jax
    >>> key = jax.random.key(0)
    >>> nu, gamma = lru_nu(0.5, 0.9)(key, (8,)), lru_gamma(0.5, 0.9)(key, (8,))
    >>> bool(jax.numpy.allclose(gamma, lru_gamma(nu=nu)(None, (8,)), atol=1e-5))
    True

    Peers:
        minimal-LRU: gamma_log_init

    Reference:
        Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", 2023,
        arXiv:2303.06349, section 3.4.
    """
    if nu is None:
        return _ring(spec, "lru_gamma", r_min, r_max, normalizer=True)
    spec.require_real("lru_gamma", _REAL)
    if np.shape(finite("nu", nu)) != spec.shape:
        raise ValueError(f"nu has shape {np.shape(nu)}, and the weights have shape {spec.shape}")
    return fill(_normalizer, nu)


def _normalizer(shape: tuple[int, ...], dtype: np.dtype[Any], nu: Array) -> Array:
    return jnp.log(-jnp.expm1(-2 * jnp.exp(nu))) / 2


def _ring(spec: Spec, law: str, r_min: Any, r_max: Any, normalizer: bool) -> Draw:
    spec.require_real(law, _REAL)
    ordered("r_min", r_min, "r_max", r_max)
    r_min, r_max = as_array(r_min), as_array(r_max)
    least, spread = (1 - r_max) * (1 + r_max), (r_max - r_min) * (r_max + r_min)
    return sample(_in_ring, least, spread, normalizer=normalizer)


def _in_ring(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    least: Array,
    spread: Array,
    *,
    normalizer: bool,
) -> Array:
    # 1 - |λ|² is what has digits where |λ| is near 1; it must not round to 1.
    rest = jnp.minimum(least + spread * _inner(key, shape, dtype), 1 - np.finfo(dtype).epsneg)
    return jnp.log(rest) / 2 if normalizer else jnp.log(-jnp.log1p(-rest) / 2)


def _inner(key: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Samples of U(0, 1) without either end, whose logarithms are infinite or zero."""
    return random.uniform(key, shape, dtype, np.finfo(dtype).epsneg, 1)


@initializer
def lru_theta(
    spec: Spec,
    max_phase: Annotated[ArrayLike, positive] = 2 * math.pi,
    dtype: DTypeLike | None = None,
) -> Draw:
    """θ = log φ with φ ~ U(0, max_phase), the phase of λ = exp(-exp(ν) + i exp(θ)).

    Args:
        max_phase: largest phase, in radians; a small one suits long inputs.
        dtype: default dtype of the weights, a real one.

    Returns:
        An initializer for shapes (states,).

    Raises:
        TypeError: when called, if the dtype is complex.
        ValueError: if max_phase is not above 0.

    >>> import jax
    >>> phases = jax.numpy.exp(lru_theta(0.5)(jax.random.key(0), (1000,)))
    >>> print(f"{phases.min():.1f} to {phases.max():.1f}")
    0.0 to 0.5

    Peers:
        minimal-LRU: theta_init

    Reference:
        Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", 2023,
        arXiv:2303.06349, lemma 3.2 and section 3.4.
    """
    spec.require_real("lru_theta", _REAL)
    return sample(_phase, max_phase)


def _phase(key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], max_phase: Array) -> Array:
    return jnp.log(max_phase * _inner(key, shape, dtype))


@initializer
def rwkv_decay(
    spec: Spec,
    version: Literal[4, 5, 6, 7],
    layer: Annotated[int, integer],
    layers: Annotated[int, whole],
    head_size: Annotated[int, whole] = 64,
    dtype: DTypeLike | None = None,
) -> Draw:
    """A ramp w over the C channels: with decays exp(-exp(w)) the first remember, the last forget.

    With t = c/(C-1) for the channel c, and ρ = layer/(layers-1),

    - 4: -5 + 8 t^(0.7+1.3ρ)
    - 5 and 6: -6 + 5 t^(0.7+1.3ρ)
    - 7: -5.5 + 6 t^(1+ρ^0.3) + 2.5 z|z|, with z from -1 to 1 over the channels of each head. Here
      the model clamps w softly below -½ before it makes decays of it.

    Args:
        version: of RWKV, 4 to 7; 5 is 5.2.
        layer: index of the layer, from 0.
        layers: number of layers.
        head_size: channels of a head, for version 7.
        dtype: default dtype of the weights.

    Returns:
        An initializer for shapes such as (C,), (1, 1, C) or (heads, head_size): the channels are
        all entries, in order.

    Raises:
        TypeError: when called, if the dtype is an integer one.
        ValueError: for an unknown version; when called, if layer is not one of the layers, or, for
            version 7, head_size does not divide the channels.

    >>> print(*(f"{w:.2f}" for w in rwkv_decay(6, layer=0, layers=12)(None, (4,))))
    -6.00 -3.68 -2.24 -1.00

    Peers:
        RWKV-LM: time_decay

    Reference:
        Peng et al., "RWKV: Reinventing RNNs for the Transformer Era", 2023, arXiv:2305.13048; 2024,
        arXiv:2404.05892 (5 and 6); 2025, arXiv:2503.14456 (7); the formulas are those of the
        RWKV-LM repository.
    """
    if not 0 <= layer < layers:
        raise ValueError(f"layer={layer} is none of layers={layers}: pass an index from 0")
    channels = math.prod(spec.shape)
    if version == 7 and channels % head_size:
        raise ValueError(
            f"head_size={head_size} does not divide the {channels} channels of shape {spec.shape}"
        )
    c = np.arange(channels)
    t, depth = c / max(channels - 1, 1), layer / max(layers - 1, 1)
    if version == 7:
        z = (2 * (c % head_size) - (head_size - 1)) / max(head_size - 1, 1)
        ramp = -5.5 + 6 * t ** (1 + depth**0.3) + 2.5 * z * abs(z)
    else:
        start, rise = (-5, 8) if version == 4 else (-6, 5)
        ramp = start + rise * t ** (0.7 + 1.3 * depth)
    return repeated(spec, ramp.reshape(spec.shape))
