"""Sparse matrices of a given spectral radius."""

from __future__ import annotations

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike

from jaxinit import random
from jaxinit._checks import finite, non_negative, single
from jaxinit._draw import Draw, Spec, sample
from jaxinit._initializer import initializer
from jaxinit.axes import KernelAxes
from jaxinit.matrices import Unfolding, matmul, unfold_square

SQUARINGS = 16


def _density(name: str, value: Any) -> float:
    density = float(np.asarray(single(finite)(name, value)))
    if not 0 < density <= 1:
        raise ValueError(f"{name}={value!r} is outside (0, 1]: it is the fraction of connections")
    return density


@initializer
def reservoir(
    spec: Spec,
    spectral_radius: Annotated[ArrayLike, non_negative] = 0.9,
    density: Annotated[float, _density] = 0.1,
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """W = spectral_radius A / ρ(A), A with normal entries, each zero with probability 1 - density.

    ρ(A), the largest modulus of an eigenvalue, is computed from products of matrices alone, to
    1e-4 or so. An A without cycles has ρ(A) = 0 and no multiple of it will do: it is drawn again.

    Args:
        spectral_radius: largest modulus of an eigenvalue of W.
        density: expected fraction of entries that are not zero, in (0, 1].
        dtype: default dtype of the weights; complex entries are circular.
        axes: role of each axis, an `Axes` or an einsum; inputs and taps are the rows, outputs the
            columns. Each group and each index of the batch axes has an A of its own.

    Returns:
        An initializer of square matrices.

    Raises:
        ValueError: if spectral_radius is negative or not finite, or density outside (0, 1]; when
            called, if the matrices are not square, density gives a unit fewer than one input on
            average, or the axes do not fit the shape.

    >>> import jax, numpy as np
    >>> w = reservoir(0.9)(jax.random.key(0), (100, 100))
    >>> print(f"{abs(np.linalg.eigvals(w)).max():.3f} {(w != 0).mean():.1f}")
    0.900 0.1

    Peers:
        ReservoirComputing.jl: rand_sparse

    Reference:
        Jaeger, "The 'echo state' approach to analysing and training recurrent neural networks",
        GMD Report 148, 2001; Gelfand's formula ρ(A) = lim ‖Aᵐ‖^(1/m).
    """
    unfolding = unfold_square(spec, axes, "reservoir")
    n = unfolding.size[-1]
    if 0 < n * density < 1 - 1e-6:
        raise ValueError(
            f"density={density} gives each of {n} units {n * density:.2g} inputs on average, too "
            f"few for a recurrence: pass a density of at least 1 / {n}"
        )
    return sample(_reservoir, spectral_radius, density, unfolding=unfolding)


def _reservoir(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    spectral_radius: Array,
    density: Array,
    *,
    unfolding: Unfolding,
) -> Array:
    if 0 in shape:
        return jnp.zeros(shape, dtype)
    size = unfolding.size

    def redraw(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        key, a, rho = state
        key, key_a, key_there = jax.random.split(key, 3)
        there = random.uniform(key_there, size, density.dtype) < density
        fresh = jnp.where(there, random.normal(key_a, size, dtype), 0)
        a = jnp.where(rho[:, None, None] > 0, a, fresh)
        return key, a, largest_modulus(a)

    def acyclic(state: tuple[Array, Array, Array]) -> Array:
        return jnp.any(state[2] == 0)

    start = key, jnp.zeros(size, dtype), jnp.zeros(size[0], density.dtype)
    _, a, rho = lax.while_loop(acyclic, redraw, start)
    return spectral_radius * unfolding.fold(a / rho[:, None, None], shape)


def largest_modulus(a: Array) -> Array:
    """Spectral radii ρ(A), as ‖A^2m‖^(1/m) ‖Aᵐ‖^(-1/m) with m = 2^16, by repeated squaring.

    The error is log(c) / m, c the ratio of ‖Aᵐ‖ / ρᵐ at two large m: 1 if one eigenvalue leads. It
    is below 1e-3 but for nearly defective matrices, whose eigenvalues a rounding moves as much.

    Args:
        a: square matrices, along the last two axes.

    Returns:
        One number a matrix; exactly 0 if A is the matrix of an acyclic graph.

    >>> print(f"{largest_modulus(jnp.array([[0.0, 2.0], [-8.0, 0.0]])):.4f}")
    4.0000
    """

    def norm(a: Array) -> Array:
        return jnp.max(jnp.abs(a), axis=(-2, -1), initial=0)

    def normalized(a: Array) -> tuple[Array, Array]:
        size = norm(a)
        size = jnp.where(size > 0, size, 1)
        return a / size[..., None, None], jnp.log(size)

    def square(_: Any, state: tuple[Array, Array, Array, Array]) -> tuple[Array, ...]:
        power, log_rho, exponent, _ = state
        power, grown = normalized(matmul(power, power))
        return power, log_rho + grown * exponent, exponent / 2, grown * exponent

    a, log_rho = normalized(a)
    half = jnp.asarray(0.5, log_rho.dtype)
    state = (a, log_rho, half, jnp.zeros_like(log_rho))
    power, log_rho, _, last = lax.fori_loop(0, SQUARINGS, square, state)
    # Were the growth to stay what it was last, the sum would go on with as much again.
    return jnp.where(norm(power) > 0, jnp.exp(log_rho + last), 0)
