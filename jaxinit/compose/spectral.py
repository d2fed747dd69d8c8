"""Draws with the largest singular value that is asked for, found by matrix products alone."""

from __future__ import annotations

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from jaxinit import random
from jaxinit._checks import non_negative
from jaxinit._draw import Draw, Spec, derive
from jaxinit._initializer import Init, initializer, part
from jaxinit.axes import Axes, KernelAxes
from jaxinit.matrices import Unfolding, adjoint, matmul, unfold

STEPS = 256
SQUARINGS = 18


@initializer
def spectral_normalized(
    spec: Spec,
    init: Init,
    norm: Annotated[ArrayLike, non_negative] = 1.0,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """W = norm V / σ(V), with σ the largest singular value: the most a layer stretches an input.

    V's rows are the inputs and taps and its columns the outputs; each index of batch axes and each
    group is a matrix of its own. (Through a convolution's strides and borders an input is stretched
    otherwise, but by at most √taps norm.) A matrix of zeros stays zero.

    Args:
        init: any initializer, of V.
        norm: largest singular value of W, exact to 1e-3 whatever V's others are, and to rounding
            for matrices that are random or have at most 256 rows or columns.
        axes: roles of the axes, an `Axes` or an einsum; None means in -2, out -1.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer.
        ValueError: if norm is negative or not finite; when called, if the axes do not fit the
            shape.

    >>> import jax, jaxinit
    >>> w = spectral_normalized(jaxinit.normal(), 2.0)(jax.random.key(0), (30, 20))
    >>> print(f"{jax.numpy.linalg.norm(w, 2):.4f}")
    2.0000

    Reference:
        Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018,
        arXiv:1802.05957, eq. 8; Kuczyński, Woźniakowski, "Estimating the largest eigenvalue by the
        power and Lanczos algorithms with a random start", SIAM J. Matrix Anal. Appl. 13, 1992.
    """
    return derive(
        _spectral_normalized, part(init, spec), norm, unfolding=unfold(spec, axes or Axes())
    )


def _spectral_normalized(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    v: Any,
    norm: Array,
    *,
    unfolding: Unfolding,
) -> Array:
    if 0 in shape:
        return v(key)
    a = unfolding.stack(lax.optimization_barrier(v(key)))  # drawn once, not once a use
    a = a / _or_one(jnp.max(jnp.abs(a), (-2, -1), keepdims=True))
    return unfolding.fold(norm * (a / _or_one(spectral_norm(a))), shape)


def spectral_norm(a: Array) -> Array:
    """The largest singular values of a stack of matrices.

    √λ, with λ the largest eigenvalue of Aᴴ A; if that has more than 256 rows, of the tridiagonal
    matrix of 256 Lanczos steps, which misses λ by 0.103 (log(255² n) / 255)² of it at most on
    average, for the least favourable spectrum.

    Args:
        a: matrices along the last two axes, with entries of order 1.

    Returns:
        An array with those two axes of size 1.

    >>> print(f"{spectral_norm(jnp.diag(jnp.array([3.0, 2.0])))[0, 0]:.4f}")
    3.0000
    """
    a = a if a.shape[-2] >= a.shape[-1] else adjoint(a)
    small = _lanczos(a) if a.shape[-1] > STEPS else matmul(adjoint(a), a)
    return jnp.sqrt(largest_eigenvalue(small))


def largest_eigenvalue(w: Array) -> Array:
    """Of positive semidefinite matrices: the mean tr(W P) / tr(P) under P = W^p, p = 2^18.

    It falls short by a fraction of (log n) / p at most, and in practice by rounding errors.

    Args:
        w: matrices along the last two axes.

    Returns:
        An array with those two axes of size 1.

    >>> print(f"{largest_eigenvalue(jnp.diag(jnp.array([3.0, 2.0])))[0, 0]:.4f}")
    3.0000
    """

    def square(_: int, p: Array) -> Array:
        p = matmul(p, p)
        return p / _or_one(_trace(p))

    p = lax.fori_loop(0, SQUARINGS, square, w / _or_one(_trace(w)))
    mean = jnp.sum(jnp.real(w * jnp.conj(p)), axis=(-2, -1), keepdims=True)
    return mean / _or_one(_trace(p))


def _lanczos(a: Array) -> Array:
    """The tridiagonal matrices of Aᴴ A on the Krylov space of a fixed Gaussian vector."""
    *batch, _, m = a.shape
    start = random.normal(jax.random.key(STEPS, impl="threefry2x32"), (*batch, m, 1), a.dtype)
    zero = jnp.zeros((*batch, 1, 1), jnp.real(a).dtype)

    def step(carry: Any, _: None) -> tuple[Any, tuple[Array, Array]]:
        before, v, beta, scale = carry
        u = matmul(a, v)
        alpha = _norm(u) ** 2
        # Aᴴ u as a row times A, which no compiler turns into a transposed copy of A.
        after = adjoint(matmul(adjoint(u), a)) - alpha * v - beta * before
        length, scale = _norm(after), jnp.maximum(scale, alpha)
        # What is left once the space is exhausted is rounding errors, and no direction.
        length = jnp.where(length > 64 * jnp.finfo(length.dtype).eps * scale, length, 0)
        after = jnp.where(length > 0, after / _or_one(length), 0)
        return (v, after, length, scale), (alpha, length)

    carry = (jnp.zeros_like(start), start / _norm(start), zero, zero)
    _, (alphas, betas) = lax.scan(step, carry, length=STEPS)
    diagonal, beside = (jnp.moveaxis(x[..., 0, 0], 0, -1)[..., None] for x in (alphas, betas))
    place = np.arange(STEPS)
    lower = jnp.where(place[:, None] == place + 1, beside.swapaxes(-1, -2), 0)
    return jnp.where(place[:, None] == place, diagonal, 0) + lower + lower.swapaxes(-1, -2)


def _norm(v: Array) -> Array:
    return jnp.sqrt(jnp.sum(jnp.real(v * jnp.conj(v)), (-2, -1), keepdims=True))


def _trace(w: Array) -> Array:
    return jnp.real(jnp.trace(w, axis1=-2, axis2=-1))[..., None, None]


def _or_one(x: Array) -> Array:
    return jnp.where(x > 0, x, 1)
