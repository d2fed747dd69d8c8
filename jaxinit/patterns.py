"""Matrices that repeat their entries: circulant, Toeplitz, symmetric, antisymmetric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxinit._draw import Draw, Spec, derive
from jaxinit._initializer import Init, initializer, part
from jaxinit.axes import KernelAxes
from jaxinit.matrices import Unfolding, unfold, unfold_square


@initializer
def circulant(spec: Spec, init: Init, *, axes: KernelAxes = None) -> Draw:
    """W[i, j] = V[i - j mod n, 0]: a column is the one before it, turned down by one.

    An entry has the law that it has in V, and the n entries of a column are independent if V's are.

    Args:
        init: draws V, of the shape of W, so the fans are W's.
        axes: role of each axis, an `Axes` or an einsum; inputs and taps are the rows, outputs the
            columns. Each group and each index of the batch axes has a matrix of its own.

    Returns:
        An initializer of square matrices.

    Raises:
        TypeError: if init is no initializer.
        ValueError: when called, if the matrices are not square or the axes do not fit the shape.

    >>> import jax, jaxinit
    >>> w = circulant(jaxinit.normal())(jax.random.key(0), (3, 3))
    >>> bool((w[1:, 1:] == w[:-1, :-1]).all()), bool((w[0, 1:] == w[:0:-1, 0]).all())
    (True, True)

    Reference:
        Cheng et al., "An exploration of parameter redundancy in deep networks with circulant
        projections", 2015, arXiv:1502.03436.
    """
    unfolding = unfold_square(spec, axes, "circulant")
    return derive(_patterned, part(init, spec), pattern=_circulant, unfolding=unfolding)


@initializer
def toeplitz(spec: Spec, init: Init, *, axes: KernelAxes = None) -> Draw:
    """W[i, j] = V[i - j, 0] below the diagonal and on it, V[0, j - i] above: constant diagonals.

    An entry has the law that it has in V, and the diagonals are independent if V's entries are.

    Args:
        init: draws V, of the shape of W, so the fans are W's.
        axes: role of each axis, an `Axes` or an einsum; inputs and taps are the rows, outputs the
            columns. Each group and each index of the batch axes has a matrix of its own.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer.
        ValueError: when called, if the axes do not fit the shape.

    >>> import jax, jaxinit
    >>> w = toeplitz(jaxinit.normal())(jax.random.key(0), (4, 6))
    >>> bool((w[1:, 1:] == w[:-1, :-1]).all())
    True

    Reference:
        Sindhwani, Sainath, Kumar, "Structured transforms for small-footprint deep learning", 2015,
        arXiv:1510.01722.
    """
    unfolding = unfold(spec, axes)
    return derive(_patterned, part(init, spec), pattern=_toeplitz, unfolding=unfolding)


@initializer
def symmetric(spec: Spec, init: Init, *, axes: KernelAxes = None) -> Draw:
    """W[i, j] = V[min(i, j), max(i, j)]: W = Wᵀ, the upper triangle of V mirrored.

    So every entry has the law that it has in V, on the diagonal too; (V + Vᵀ)/√2 keeps the
    variance alone, and doubles it on the diagonal. Complex entries are not conjugated.

    Args:
        init: draws V.
        axes: role of each axis, an `Axes` or an einsum; inputs and taps are the rows, outputs the
            columns. Each group and each index of the batch axes has a matrix of its own.

    Returns:
        An initializer of square matrices.

    Raises:
        TypeError: if init is no initializer.
        ValueError: when called, if the matrices are not square or the axes do not fit the shape.

    >>> import jax, jaxinit
    >>> w = symmetric(jaxinit.normal())(jax.random.key(0), (3, 3))
    >>> bool((w == w.T).all())
    True

    Reference:
        Wigner, "Characteristic vectors of bordered matrices with infinite dimensions", 1955.
    """
    unfolding = unfold_square(spec, axes, "symmetric")
    return derive(_patterned, part(init, spec), pattern=_symmetric, unfolding=unfolding)


@initializer
def antisymmetric(spec: Spec, init: Init, *, axes: KernelAxes = None) -> Draw:
    """W[i, j] = V[i, j] above the diagonal, -V[j, i] below it, 0 on it: W = -Wᵀ.

    Above the diagonal an entry has the law that it has in V. The eigenvalues are imaginary.
    Complex entries are not conjugated.

    Args:
        init: draws V.
        axes: role of each axis, an `Axes` or an einsum; inputs and taps are the rows, outputs the
            columns. Each group and each index of the batch axes has a matrix of its own.

    Returns:
        An initializer of square matrices.

    Raises:
        TypeError: if init is no initializer.
        ValueError: when called, if the matrices are not square or the axes do not fit the shape.

    >>> import jax, jaxinit
    >>> w = antisymmetric(jaxinit.normal())(jax.random.key(0), (3, 3))
    >>> bool((w == -w.T).all())
    True

    Reference:
        Chang, Chen, Haber, Chi, "AntisymmetricRNN: A Dynamical System View on Recurrent Neural
        Networks", 2019, arXiv:1902.09689.
    """
    unfolding = unfold_square(spec, axes, "antisymmetric")
    return derive(_patterned, part(init, spec), pattern=_antisymmetric, unfolding=unfolding)


def _patterned(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    weights: Any,
    *,
    pattern: Callable[[Array], Array],
    unfolding: Unfolding,
) -> Array:
    v = weights(key)
    return unfolding.fold(pattern(unfolding.stack(v)), shape) if v.size else v


def _circulant(v: Array) -> Array:
    row, column = _places(v)
    return v[:, :, 0][:, (row - column) % v.shape[1]]


def _toeplitz(v: Array) -> Array:
    row, column = _places(v)
    diagonals = jnp.concatenate([v[:, 0, :0:-1], v[:, :, 0]], axis=1)
    return diagonals[:, row - column + v.shape[2] - 1]


def _symmetric(v: Array) -> Array:
    row, column = _places(v)
    return jnp.where(row <= column, v, v.swapaxes(1, 2))


def _antisymmetric(v: Array) -> Array:
    row, column = _places(v)
    above = jnp.where(row < column, v, 0)
    return above - above.swapaxes(1, 2)


def _places(v: Array) -> tuple[Array, Array]:
    rows, columns = (lax.broadcasted_iota(jnp.int32, v.shape[1:], axis) for axis in (0, 1))
    return rows, columns
