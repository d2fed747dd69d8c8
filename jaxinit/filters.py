"""Convolution kernels that filter images: sub-pixel upsampling and Gabor banks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from jaxinit import random
from jaxinit._checks import finite, positive, single, whole
from jaxinit._draw import Draw, Spec, derive, fill, sample
from jaxinit._initializer import Init, initializer, part
from jaxinit.axes import Axes, KernelAxes, as_axes


@initializer
def icnr(
    spec: Spec,
    init: Init,
    upscale: Annotated[int, whole],
    order: Literal["pixel_shuffle", "depth_to_space"] = "pixel_shuffle",
    *,
    axes: KernelAxes = None,
) -> Draw:
    """A kernel W of init for each pixel, the same for all its r^d sub-pixels.

    A convolution by it and a shuffle of channels into sub-pixels is a convolution by W and
    nearest-neighbour upsampling by r, so it starts without a checkerboard.

    Args:
        init: any initializer; it draws W, which has r^d times fewer outputs.
        upscale: factor r of each of the d spatial axes.
        order: where the sub-pixels of a channel lie among the outputs: "pixel_shuffle" side by
            side, as in torch's PixelShuffle and einops' "(c r1 r2)"; "depth_to_space" all channels
            of a sub-pixel side by side, as in TensorFlow, dm_pix and einops' "(r1 r2 c)".
        axes: role of each axis, an `Axes` or an einsum; None means spatial axes, in, out.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer, or upscale no whole number.
        ValueError: if upscale is less than 1 or order unknown; when called, if r^d does not divide
            the outputs, no axis is spatial, or the sub-pixels of a channel are not in one group.

    >>> import jax, jaxinit
    >>> init = icnr(jaxinit.he_normal(), 2)
    >>> kernel = init(jax.random.key(0), (3, 3, 8, 12))
    >>> bool((kernel[..., :4] == kernel[..., :1]).all())
    True

    Peers:
        fastai: icnr_init

    Reference:
        Aitken et al., "Checkerboard artifact free sub-pixel convolution", 2017, arXiv:1707.02937.
    """
    chosen = as_axes("axes", axes) or Axes()
    shape = spec.shape
    _, outputs, _, spatial = chosen.resolve(shape)
    if len(outputs) != 1 or not spatial:
        raise ValueError(
            f"shape {shape} has {len(outputs)} axes of outputs and {len(spatial)} spatial ones: "
            "sub-pixels need one, and at least one"
        )
    (axis,) = outputs
    copies = upscale ** len(spatial)
    channels, rest = divmod(shape[axis], copies)
    if rest:
        raise ValueError(
            f"shape {shape} has {shape[axis]} outputs, which upscale={upscale} cannot share out "
            f"among {upscale}^{len(spatial)} = {copies} sub-pixels: pass a multiple of {copies}"
        )
    if chosen.groups > 1 and (order == "depth_to_space" or channels % chosen.groups):
        raise ValueError(
            f"groups={chosen.groups} part the sub-pixels of a channel under order={order!r} with "
            f"{channels} channels: pass order='pixel_shuffle' and groups that divide the channels"
        )
    base = (*shape[:axis], channels, *shape[axis + 1 :])
    together = order == "pixel_shuffle"
    return derive(_icnr, part(init, spec, base), axis=axis, copies=copies, together=together)


def _icnr(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    weights: Any,
    *,
    axis: int,
    copies: int,
    together: bool,
) -> Array:
    if together:
        return jnp.repeat(weights(key), copies, axis)
    return jnp.tile(weights(key), [copies if a == axis else 1 for a in range(len(shape))])


def _resolvable(name: str, value: Any) -> tuple[float, ...]:
    """Frequencies that a grid of pixels can hold."""
    given = np.ravel(np.asarray(finite(name, value)))
    if not given.size or given.min() <= 0 or given.max() >= 0.5:
        raise ValueError(
            f"{name}={value!r} are not one or more numbers between 0 and 0.5 cycles a pixel, "
            "beyond which a wave cannot be told from a slower one"
        )
    return tuple(given.tolist())


@initializer
def gabor(
    spec: Spec,
    frequencies: Annotated[Sequence[float], _resolvable] = (0.25, 0.125),
    bandwidth: Annotated[float, single(positive)] = 1.0,
    aspect: Annotated[float, single(positive)] = 0.5,
    phase: Literal["quadrature", "random"] = "quadrature",
    dtype: DTypeLike | None = None,
) -> Draw:
    """Waves under a Gaussian: cos(2πfu + φ) exp(-(u² + γ²v²) / 2σ²), of zero mean and unit norm.

    u = x cos θ + y sin θ runs along the wave and v across it; x counts columns and y rows from the
    centre. Each output sees its inputs alike. The outputs run through the phases, then the
    frequencies f, then as many orientations θ as there is room for, evenly over half a turn. The
    even part (φ = 0), less the multiple of the Gaussian that makes its mean zero, and the odd part
    (φ = -π/2) have unit norm each, so that each of their mixtures has. Complex weights are
    (even + i odd) e^iφ / √2.

    Args:
        frequencies: f, in cycles a pixel, each less than 0.5.
        bandwidth: octaves between the two frequencies of half response; it sets
            σ = √(ln 2 / 2) / (πf) · (2^b + 1) / (2^b - 1).
        aspect: γ, the width of the Gaussian along the wave over that across it.
        phase: "quadrature" for pairs of an even and an odd output (complex weights are such a
            pair, so φ = 0), without a key; "random" for φ ~ U[0, 2π) in each output.
        dtype: default dtype of the weights.

    Returns:
        An initializer for shapes (height, width, in, out), height and width odd and at least 3.

    Raises:
        TypeError: when called, if the dtype is an integer's.
        ValueError: if a frequency is not between 0 and 0.5, bandwidth or aspect not above 0, or
            phase unknown; when called, if the shape is another or too small for a wave.

    >>> bank = gabor()(None, (7, 7, 1, 16))
    >>> print(f"{abs(bank.sum((0, 1))).max():.3f} {(bank**2).sum((0, 1, 2)).max():.3f}")
    0.000 1.000

    Reference:
        Daugman, "Uncertainty relation for resolution in space, spatial frequency, and orientation
        optimized by two-dimensional visual cortical filters", J. Opt. Soc. Am. A 2, 1985; Petkov,
        Kruizinga, "Computational models of visual neurons specialised in the detection of periodic
        and aperiodic oriented visual stimuli", Biol. Cybern. 76, 1997.
    """
    shape = spec.shape
    if len(shape) != 4:
        raise ValueError(
            f"shape {shape} has {len(shape)} axes: a Gabor bank has (height, width, in, out)"
        )
    if any(k < 3 or k % 2 == 0 for k in shape[:2]):
        raise ValueError(
            f"shape {shape} has a kernel of {shape[0]} by {shape[1]} taps: a wave about a centre "
            "tap needs an odd height and width of at least 3"
        )
    paired = phase == "quadrature" and np.dtype(spec.real) == spec.dtype
    even, odd = _waves(shape, frequencies, float(bandwidth), float(aspect), 1 + paired)
    if phase == "random":
        return sample(_in_random_phase, even, odd)
    if paired:
        return fill(_alike, np.where(np.arange(shape[-1]) % 2, odd, even))
    return fill(_alike, (even + 1j * odd) / math.sqrt(2))


def _waves(
    shape: tuple[int, ...],
    frequencies: Sequence[float],
    bandwidth: float,
    aspect: float,
    phases: int,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Even and odd parts of each output, (height, width, 1, out)."""
    height, width, n_in, n_out = shape
    band = np.arange(n_out) // phases
    f = np.asarray(frequencies)[band % len(frequencies)]
    orientations = math.ceil(n_out / (phases * len(frequencies)))
    theta = np.pi * (band // len(frequencies)) / max(orientations, 1)
    y, x = np.ogrid[-(height // 2) : height // 2 + 1, -(width // 2) : width // 2 + 1]
    y, x = y[..., None, None], x[..., None, None]
    u = x * np.cos(theta) + y * np.sin(theta)
    v = y * np.cos(theta) - x * np.sin(theta)
    octave = 2**bandwidth
    sigma = math.sqrt(math.log(2) / 2) / (np.pi * f) * (octave + 1) / (octave - 1)
    gaussian = np.exp(-(u**2 + (aspect * v) ** 2) / (2 * sigma**2))

    def total(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return values.sum((0, 1), keepdims=True)

    wave = gaussian * np.exp(2j * np.pi * f * u)
    even = wave.real - gaussian * (total(wave.real) / total(gaussian))
    norms = [np.sqrt(total(part**2)) for part in (even, wave.imag)]
    if np.min(norms, initial=1) < 1e-6:
        raise ValueError(
            f"shape {shape} is too small a kernel for frequencies={frequencies}, "
            f"bandwidth={bandwidth}, aspect={aspect}: a wave is constant on it, or its Gaussian "
            "narrower than a pixel; pass higher frequencies or a lower aspect"
        )
    root = math.sqrt(max(n_in, 1))
    return even / norms[0] / root, wave.imag / norms[1] / root


def _alike(shape: tuple[int, ...], dtype: np.dtype[Any], bank: Array) -> Array:
    return jnp.broadcast_to(bank, shape)


def _in_random_phase(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], even: Array, odd: Array
) -> Array:
    phi = random.uniform(key, shape[-1:], even.dtype, 0, 2 * math.pi)
    weights = jnp.cos(phi) * even - jnp.sin(phi) * odd
    if dtype.kind == "c":
        imaginary = jnp.sin(phi) * even + jnp.cos(phi) * odd
        weights = lax.complex(weights, imaginary) / math.sqrt(2)
    return jnp.broadcast_to(weights, shape)
