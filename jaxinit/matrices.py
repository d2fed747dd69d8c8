"""A kernel as a stack of matrices: inputs and taps are its rows, outputs its columns."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxinit._draw import Spec
from jaxinit.axes import Axes, as_axes
from jaxinit.sharding import shards

matmul = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)


class Unfolding(NamedTuple):
    """How a kernel unfolds into matrices; hashable, so that a law can take it as a setting.

    `size` is (matrices, rows, columns) and `split` the shards of rows and of columns.
    """

    size: tuple[int, int, int]
    split: tuple[int, int]
    parted: tuple[int, ...]
    order: tuple[int, ...]

    def fold(self, matrices: Array, shape: tuple[int, ...]) -> Array:
        """The kernel of a stack of matrices.

        Args:
            matrices: of shape `size`.
            shape: of the kernel.

        Returns:
            The same entries, in their places.
        """
        ordered = matrices.reshape(tuple(self.parted[a] for a in self.order))
        return jnp.transpose(ordered, tuple(np.argsort(self.order))).reshape(shape)

    def stack(self, kernel: Array) -> Array:
        """The matrices of a kernel, of shape `size`: what `fold` takes.

        Args:
            kernel: of the shape that was unfolded.

        Returns:
            The same entries, in their places.
        """
        return jnp.transpose(kernel.reshape(self.parted), self.order).reshape(self.size)


def unfold(spec: Spec, axes: Axes | str | None) -> Unfolding:
    """The matrices of a kernel: one for each index of its batch axes and each of its groups.

    Args:
        spec: of the kernel.
        axes: roles of its axes, an `Axes` or an einsum; None means `Axes()`.

    Returns:
        The way there and back.

    Raises:
        ValueError: if the axes do not fit the shape, rows or columns have no axis, or groups do
            not divide the first output axis.

    >>> unfold(Spec((3, 3, 4, 64), np.dtype("float32")), Axes.conv(groups=8)).size
    (8, 36, 8)
    """
    axes = as_axes("axes", axes) or Axes()
    inputs, outputs, batch, taps = axes.resolve(spec.shape)
    rows = tuple(sorted((*inputs, *taps)))
    if not rows or not outputs:
        raise ValueError(
            f"shape {spec.shape} has no axis for the {'columns' if rows else 'rows'} of a matrix "
            f"under axes={axes}: name at least one axis of inputs and one of outputs"
        )
    first, groups = outputs[0], axes.groups
    if spec.shape[first] % groups:
        raise ValueError(
            f"groups={groups} do not divide axis {first} of shape {spec.shape}, the first of the "
            "outputs"
        )

    def sizes(*places: int) -> int:
        return math.prod(spec.shape[a] for a in places)

    size = (sizes(*batch) * groups, sizes(*rows), sizes(*outputs) // groups)
    split = tuple(math.prod(shards(spec.sharding, a) for a in part) for part in (rows, outputs))
    parted = (*spec.shape[:first], groups, spec.shape[first] // groups, *spec.shape[first + 1 :])

    def after(*places: int) -> tuple[int, ...]:
        return tuple(a + (a >= first) for a in places)

    order = (*after(*batch), first, *after(*rows), *after(*outputs))
    return Unfolding(size, (split[0], split[1]), parted, order)


def unfold_square(spec: Spec, axes: Axes | str | None, law: str) -> Unfolding:
    """The matrices of a kernel, for a law of square ones.

    Args:
        spec: of the kernel.
        axes: roles of its axes, an `Axes` or an einsum; None means `Axes()`.
        law: name of the initializer.

    Returns:
        The way there and back.

    Raises:
        ValueError: if the axes do not fit the shape, or the matrices are not square.

    >>> unfold_square(Spec((4, 8, 8), np.dtype("float32")), "bti,bio->bto", "circulant").size
    (4, 8, 8)
    """
    unfolding = unfold(spec, axes)
    _, rows, columns = unfolding.size
    if rows != columns:
        raise ValueError(
            f"shape {spec.shape} unfolds into matrices of {rows} inputs (taps included) by "
            f"{columns} outputs, and {law} needs square ones: name other axes= if it is a stack"
        )
    return unfolding


def adjoint(x: Array) -> Array:
    """Conjugate transposes of a stack of matrices.

    Args:
        x: matrices, along its last two axes.

    Returns:
        xᴴ.
    """
    return jnp.conj(x).swapaxes(-1, -2)
