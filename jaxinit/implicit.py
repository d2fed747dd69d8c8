"""Networks that are a function of coordinates: implicit neural representations."""

from __future__ import annotations

import math
from typing import Annotated

from jax.typing import ArrayLike, DTypeLike

from jaxinit import random
from jaxinit._checks import as_array, non_negative, positive
from jaxinit._draw import Draw, Spec, sample
from jaxinit._initializer import initializer
from jaxinit.axes import Axes, KernelAxes, as_axes


def _uniform_within(spec: Spec, bound: ArrayLike) -> Draw:
    """U[-b, b), or for complex weights the disk of the same variance, b²/3."""
    if spec.dtype.kind == "c":
        return sample(random.disk, bound / math.sqrt(3))
    return sample(random.symmetric_uniform, bound)


@initializer
def siren(
    spec: Spec,
    omega: Annotated[ArrayLike, positive] = 30.0,
    first: bool = False,
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Weights w ~ U[-b, b) with b = √(6 / n_in) / ω, or 1 / n_in in the first layer.

    For layers sin(ω (W x + b)): in every hidden one the argument of the sine has a variance near 1,
    at any depth and width, and in the first ω sets the frequencies that the network starts from.

    Args:
        omega: frequency ω of the sines; it has no effect in the first layer.
        first: whether the inputs are the coordinates, in [-1, 1].
        dtype: default dtype of the weights; complex ones are of a uniform disk, E|w|² = b²/3.
        axes: roles of the kernel's axes, an `Axes` or an einsum; None means in -2, out -1.

    Returns:
        An initializer.

    Raises:
        ValueError: if omega is not above 0; when called, if the axes do not fit the shape.

    >>> import jax
    >>> print(f"{siren()(jax.random.key(0), (256, 256)).max():.4f}")
    0.0051

    Reference:
        Sitzmann, Martel, Bergman, Lindell, Wetzstein, "Implicit Neural Representations with
        Periodic Activation Functions", 2020, arXiv:2006.09661, section 3.2.
    """
    fan_in = (as_axes("axes", axes) or Axes()).fans(spec.shape).fan_in or 1
    return _uniform_within(spec, 1 / fan_in if first else math.sqrt(6 / fan_in) / as_array(omega))


@initializer
def fourier_features(
    spec: Spec, scale: Annotated[ArrayLike, non_negative], dtype: DTypeLike | None = None
) -> Draw:
    """Frequencies w ~ N(0, scale²) of the features cos(2π W x), sin(2π W x).

    The features' inner product, divided by their number, tends to exp(-2 π² scale² |x - y|²): a
    small scale blurs, a large one overfits.

    Args:
        scale: standard deviation of the frequencies, in cycles per unit of the coordinates.
        dtype: default dtype of the weights.

    Returns:
        An initializer.

    Raises:
        ValueError: if scale is negative or not finite.

    >>> import jax
    >>> print(f"{fourier_features(10.0)(jax.random.key(0), (2, 10_000)).std():.0f}")
    10

    Reference:
        Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions in Low
        Dimensional Domains", 2020, arXiv:2006.10739; Rahimi, Recht, NIPS 2007.
    """
    return sample(random.normal, scale)


@initializer
def finer_bias(
    spec: Spec, k: Annotated[ArrayLike, non_negative], dtype: DTypeLike | None = None
) -> Draw:
    """Biases b ~ U[-k, k), for layers sin(ω (|z| + 1) z), z = W x + b, with kernels of `siren`.

    The sine oscillates faster where |z| is larger, so a wider k lets the network start from higher
    frequencies.

    Args:
        k: largest modulus.
        dtype: default dtype of the biases; complex ones are of a uniform disk, E|b|² = k²/3.

    Returns:
        An initializer.

    Raises:
        ValueError: if k is negative or not finite.

    >>> import jax
    >>> print(f"{finer_bias(5.0)(jax.random.key(0), (10_000,)).max():.1f}")
    5.0

    Reference:
        Liu et al., "FINER: Flexible spectral-bias tuning in Implicit NEural Representation by
        Variable-periodic Activation Functions", 2023, arXiv:2312.02434.
    """
    return _uniform_within(spec, k)


@initializer
def hash_grid(
    spec: Spec, scale: Annotated[ArrayLike, non_negative] = 1e-4, dtype: DTypeLike | None = None
) -> Draw:
    """Features w ~ U[-scale, scale) of a multiresolution hash encoding: all near zero.

    Args:
        scale: largest modulus.
        dtype: default dtype of the weights; complex ones are of a uniform disk,
            E|w|² = scale²/3.

    Returns:
        An initializer.

    Raises:
        ValueError: if scale is negative or not finite.

    >>> import jax
    >>> print(f"{hash_grid()(jax.random.key(0), (16, 1000, 2)).max():.1e}")
    1.0e-04

    Reference:
        Müller, Evans, Schied, Keller, "Instant Neural Graphics Primitives with a Multiresolution
        Hash Encoding", 2022, arXiv:2201.05989, section 4.
    """
    return _uniform_within(spec, scale)
