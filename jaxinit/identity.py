"""Kernels that pass their input on: the identity, and what stands for it when sizes differ."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike

from jaxinit._checks import finite, integer, whole
from jaxinit._draw import Draw, Spec, fill
from jaxinit._initializer import initializer
from jaxinit.axes import Axes, Axis, KernelAxes, as_axes, choose


class Places(NamedTuple):
    """Where each entry of a kernel is, in arrays that broadcast to its shape.

    `row` and `column` count inputs and outputs of one group, of which there are `size`, or 1 where
    there is none; `centre` says which entries are at the centre tap. With patches the taps count
    among the rows instead.
    """

    row: Array
    column: Array
    centre: Array
    size: tuple[int, int]

    @classmethod
    def of(cls, shape: tuple[int, ...], axes: Axes, patches: bool = False) -> Places:
        """The places of a kernel's entries.

        Args:
            shape: of the kernel.
            axes: roles of its axes.
            patches: whether a row is an input at a tap, the taps of an input side by side.

        Returns:
            Integers and booleans.

        >>> Places.of((3, 2, 4), Axes()).centre.ravel().tolist()
        [False, True, False]
        """
        inputs, outputs, _, taps = axes.resolve(shape)
        index = jnp.indices(shape, jnp.int32, sparse=True)

        def flat(places: tuple[int, ...]) -> Array:
            count = jnp.zeros((1,) * len(shape), jnp.int32)
            for axis in places:
                count = count * shape[axis] + index[axis]
            return count

        rows, columns = (max(n, 1) for n in sizes(shape, axes, patches))
        centre = jnp.ones((1,) * len(shape), bool)
        for axis in () if patches else taps:
            centre &= index[axis] == (shape[axis] - 1) // 2
        row = flat((*inputs, *taps) if patches else inputs)
        return cls(row, flat(outputs) % columns, centre, (rows, columns))


def sizes(shape: tuple[int, ...], axes: Axes, patches: bool = False) -> tuple[int, int]:
    """Inputs and outputs of one group.

    Args:
        shape: of the kernel.
        axes: roles of its axes.
        patches: whether an input counts at each tap.

    Returns:
        Rows and columns of the group's matrix.

    Raises:
        ValueError: if the axes do not fit the shape.

    >>> sizes((3, 2, 4), Axes(), patches=True)
    (6, 4)
    """
    inputs, outputs, _, taps = axes.resolve(shape)
    rows = math.prod(shape[a] for a in ((*inputs, *taps) if patches else inputs))
    return rows, math.prod(shape[a] for a in outputs) // axes.groups


def _roles(axes: Axes | str | None) -> Axes:
    return as_axes("axes", axes) or Axes()


def _where(here: Array, value: ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return jnp.broadcast_to(jnp.where(here, jnp.asarray(value, dtype), 0), shape)


@initializer
def identity(
    spec: Spec,
    gain: Annotated[ArrayLike, finite] = 1.0,
    in_axis: Axis = -2,
    out_axis: Axis = -1,
    batch_axis: Axis = (),
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Gain on the diagonal of in by out, zero elsewhere: W x = gain x.

    A kernel that is not square is padded with zeros, and a convolution kernel holds the matrix at
    its centre tap, so that it passes its input on. Each batch slice and each group has its own.

    Args:
        gain: value of the diagonal.
        in_axis: axes of the inputs.
        out_axis: axes of the outputs.
        batch_axis: axes of independent kernels.
        dtype: default dtype of the weights.
        axes: all roles at once, an `Axes` or an einsum.

    Returns:
        An initializer.

    Raises:
        ValueError: when called, if the shape has fewer than two axes or the axes do not fit it.

    >>> identity()(None, (2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]

    Peers:
        torch: eye_
        keras: Identity
        haiku: Identity
        flux: identity_init

    Reference:
        Le, Jaitly, Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear
        Units", 2015, arXiv:1504.00941.
    """
    axes = choose(axes, in_axis, out_axis, batch_axis)
    axes.resolve(spec.shape)
    return fill(_identity, gain, axes=axes)


def _identity(shape: tuple[int, ...], dtype: np.dtype[Any], gain: Array, *, axes: Axes) -> Array:
    at = Places.of(shape, axes)
    return _where(at.centre & (at.row == at.column), gain, shape, dtype)


@initializer
def dirac(spec: Spec, groups: Annotated[int, whole] = 1, dtype: DTypeLike | None = None) -> Draw:
    """A kernel δ whose convolution is the identity: (δ ⋆ x)[c] = x[c], with "SAME" padding.

    In each group so on its first channels, as many as there are both inputs and outputs; the
    outputs left over are zero. It is `identity` with the axes of a convolution.

    Args:
        groups: of the convolution, Flax's `feature_group_count`.
        dtype: default dtype of the weights.

    Returns:
        An initializer for shapes of three to five axes: one to three spatial ones, inputs of a
        group, outputs.

    Raises:
        ValueError: if groups is less than 1; when called, if the rank is another or groups do not
            divide the outputs.

    >>> dirac(groups=2)(None, (1, 2, 4))[0].tolist()
    [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]

    Peers:
        torch: dirac_

    Reference:
        Zagoruyko, Komodakis, "DiracNets: Training Very Deep Neural Networks Without
        Skip-Connections", 2017, arXiv:1706.00388.
    """
    shape = spec.shape
    if not 3 <= len(shape) <= 5:
        raise ValueError(
            f"shape {shape} has {len(shape)} axes; a convolution kernel has 3 to 5: one to three "
            "spatial axes, then in and out; for other kernels use identity(axes=...)"
        )
    axes = Axes(groups=groups)
    axes.resolve(shape)
    return fill(_identity, 1, axes=axes)


@initializer
def shift(
    spec: Spec,
    offset: Annotated[int, integer] = 1,
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """A circular shift of the channels: y[j] = x[(j - offset) mod n], a permutation matrix.

    Its powers are the shifts by multiples of offset. A convolution kernel holds it at its centre
    tap; each batch slice and each group has its own.

    Args:
        offset: by how many channels; negative ones shift to the left.
        dtype: default dtype of the weights.
        axes: roles of the kernel's axes, an `Axes` or an einsum; None means in and out are last.

    Returns:
        An initializer.

    Raises:
        TypeError: if offset is not a whole number.
        ValueError: when called, if inputs are not as many as outputs, or the axes do not fit.

    >>> shift()(None, (3, 3)).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]

    Peers:
        flux: identity_init
    """
    axes = _roles(axes)
    rows, columns = sizes(spec.shape, axes)
    if rows != columns:
        raise ValueError(
            f"shape {spec.shape} has {rows} inputs and {columns} outputs a group: a shift permutes "
            "them, so they must be as many; use identity to pad with zeros"
        )
    return fill(_shift, offset=offset % max(rows, 1), axes=axes)


def _shift(shape: tuple[int, ...], dtype: np.dtype[Any], *, offset: int, axes: Axes) -> Array:
    at = Places.of(shape, axes)
    target = (at.row + offset) % at.size[0]
    return _where(at.centre & (target == at.column), 1, shape, dtype)


@initializer
def hadamard_zero(spec: Spec, dtype: DTypeLike | None = None, *, axes: KernelAxes = None) -> Draw:
    """Weights of zeros and ones, and of a Hadamard matrix where a layer widens ("ZerO").

    W is the identity, padded with zeros, if n_out ≤ n_in. Else it is the corner of n_in by n_out
    entries of 2^(-m/2) H with m = ⌈log₂ n_out⌉ and H[i, j] = (-1)^(bits shared by i and j): of
    orthonormal rows if n_out is a power of two. The identity alone would leave the added channels
    at zero, and the network no wider than its input. A convolution kernel holds W at its centre
    tap; each batch slice and each group has its own.

    Args:
        dtype: default dtype of the weights, not an integer one.
        axes: roles of the kernel's axes, an `Axes` or an einsum; None means in and out are last.

    Returns:
        An initializer.

    Raises:
        TypeError: when called, if the dtype is an integer one.
        ValueError: when called, if the axes do not fit the shape.

    >>> hadamard_zero()(None, (2, 4)).tolist()
    [[0.5, 0.5, 0.5, 0.5], [0.5, -0.5, 0.5, -0.5]]

    Reference:
        Zhao, Schäfer, Anandkumar, "ZerO Initialization: Initializing Neural Networks with only
        Zeros and Ones", TMLR 2022, arXiv:2110.12661, algorithm 1; the factor is that of the
        authors' code, which makes the matrix orthonormal.
    """
    axes = _roles(axes)
    rows, columns = sizes(spec.shape, axes)
    if columns <= rows:
        return fill(_identity, 1, axes=axes)
    return fill(_hadamard, np.asarray(2 ** (-(columns - 1).bit_length() / 2), spec.real), axes=axes)


def _hadamard(shape: tuple[int, ...], dtype: np.dtype[Any], unit: Array, *, axes: Axes) -> Array:
    at = Places.of(shape, axes)
    odd = lax.population_count(at.row & at.column) % 2 == 1
    return _where(at.centre, jnp.where(odd, -unit, unit), shape, dtype)


@initializer
def idinit(
    spec: Spec,
    tau: Annotated[ArrayLike, finite] = 1.0,
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Identities side by side: W[i, j] = τ if j ≡ i modulo n, else 0, with n inputs i.

    Where a layer widens, the identity is repeated rather than padded with zeros, so that the added
    outputs are alive. A convolution counts each input at each tap as one of n = n_in k, the taps
    of an input side by side (the "patch-maintain" kernel), so that outputs see shifted copies.
    Each batch slice and each group has its own.

    Args:
        tau: value of the diagonals τ.
        dtype: default dtype of the weights.
        axes: roles of the kernel's axes, an `Axes` or an einsum; None means in and out are last.

    Returns:
        An initializer.

    Raises:
        ValueError: if tau is not finite; when called, if the axes do not fit the shape.

    >>> idinit()(None, (2, 5)).tolist()
    [[1.0, 0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0, 0.0]]

    Reference:
        Pan et al., "IDInit: A Universal and Stable Initialization Method for Neural Network
        Training", 2025, arXiv:2503.04626, eq. 3.
    """
    axes = _roles(axes)
    axes.resolve(spec.shape)
    return fill(_idinit, tau, axes=axes)


def _idinit(shape: tuple[int, ...], dtype: np.dtype[Any], tau: Array, *, axes: Axes) -> Array:
    at = Places.of(shape, axes, patches=True)
    return _where(at.column % at.size[0] == at.row, tau, shape, dtype)


@initializer
def idinit_zero(
    spec: Spec,
    eps: Annotated[ArrayLike, finite] = 1e-6,
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """Nearly zero, but alive: each output is ε times the difference of two inputs.

    For the last layer of a residual branch. W = ε (A - B) with A the ones of `idinit`, and
    B[i, j] = 1 for i = (j + 1) mod n, or i = m + (j mod (n - m)) where the m outputs are fewer
    than the n inputs. A convolution counts each input at each tap as one of n, as in `idinit`.

    Args:
        eps: size ε of the entries.
        dtype: default dtype of the weights.
        axes: roles of the kernel's axes, an `Axes` or an einsum; None means in and out are last.

    Returns:
        An initializer.

    Raises:
        ValueError: if eps is not finite; when called, if there is but one input, or the axes do
            not fit the shape.

    >>> idinit_zero(1)(None, (3, 2)).tolist()
    [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]

    Reference:
        Pan et al., "IDInit: A Universal and Stable Initialization Method for Neural Network
        Training", 2025, arXiv:2503.04626, section 3.
    """
    axes = _roles(axes)
    rows, _ = sizes(spec.shape, axes, patches=True)
    if rows == 1:
        raise ValueError(
            f"shape {spec.shape} has one input a group: idinit_zero takes the difference of two; "
            "use constant(1e-6) or zeros"
        )
    return fill(_idinit_zero, eps, axes=axes)


def _idinit_zero(shape: tuple[int, ...], dtype: np.dtype[Any], eps: Array, *, axes: Axes) -> Array:
    at = Places.of(shape, axes, patches=True)
    rows, columns = at.size
    plus = at.column % rows
    less = columns + at.column % (rows - columns) if columns < rows else (plus + 1) % rows
    return _where(plus == at.row, eps, shape, dtype) - _where(less == at.row, eps, shape, dtype)
