"""Recurrent kernels, and kernels and biases that hold all gates of a cell side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from jaxinit import random
from jaxinit._checks import as_array, finite, require_broadcast, whole
from jaxinit._draw import Draw, Spec, derive, fill, sample
from jaxinit._initializer import Init, initializer, part
from jaxinit.axes import Axes, KernelAxes, normalize, positions
from jaxinit.compose import blocks
from jaxinit.matrices import Unfolding, adjoint, matmul, unfold_square
from jaxinit.reservoir import largest_modulus


@initializer
def np_rnn(
    spec: Spec,
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """W = (A + I) / λ with A = Rᵀ R / n, r ~ N(0, 1) and λ the largest eigenvalue of A + I.

    So W is positive definite, its largest eigenvalue is 1 and all the others, some 1/5 at least,
    shrink: a rectified recurrence neither explodes nor forgets at once. Complex W are Hermitian.

    Args:
        dtype: default dtype of the weights.
        axes: roles of the axes, an `Axes` or an einsum; each batch index is a matrix of its own.

    Returns:
        An initializer of square matrices.

    Raises:
        ValueError: when called, if the matrices are not square or the axes do not fit the shape.

    >>> import jax, numpy
    >>> w = np_rnn()(jax.random.key(0), (50, 50))
    >>> print(f"{numpy.linalg.eigvalsh(w).max():.4f}")
    1.0000

    Reference:
        Talathi, Vartak, "Improving performance of recurrent neural network with relu
        nonlinearity", 2015, arXiv:1511.03771.
    """
    return sample(_np_rnn, unfolding=unfold_square(spec, axes or Axes(), "np_rnn"))


def _np_rnn(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], *, unfolding: Unfolding
) -> Array:
    if 0 in shape:
        return jnp.zeros(shape, dtype)
    n = unfolding.size[-1]
    r = random.normal(key, unfolding.size, dtype)
    a = matmul(adjoint(r), r)
    # Summed before it is scaled: a product contracted into the sum would round its two sides apart.
    w = (a + adjoint(a)) / (2 * n) + np.eye(n, dtype=dtype)
    return unfolding.fold(w / largest_modulus(w)[:, None, None], shape)


@initializer
def gates(
    spec: Spec, init: Init, n: Annotated[int, whole], axis: Annotated[int, normalize] = -1
) -> Draw:
    """W = [W₁, …, W_n] along an axis, with each gate's kernel W_i drawn by init on its own.

    So fans, orthogonality and whatever else init promises are those of one gate, not of a kernel
    n times as wide. It is `blocks` in the words of recurrent cells.

    Args:
        init: any initializer.
        n: number of gates: 4 for an LSTM, 3 for a GRU.
        axis: along which the gates lie side by side.

    Returns:
        An initializer, for the packed kernels of `nnx.OptimizedLSTMCell` or `nnx.GRUCell`, say.

    Raises:
        TypeError: if init is no initializer.
        ValueError: when called, if n does not divide the axis.

    >>> import jax, jaxinit
    >>> w = gates(jaxinit.orthogonal(), 4)(jax.random.key(0), (8, 32))
    >>> bool(abs(w[:, 8:16].T @ w[:, 8:16] - jax.numpy.eye(8)).max() < 1e-5)
    True

    Peers:
        allennlp: block_orthogonal
    """
    return derive(_same, part(blocks(init, n=n, axis=axis), spec))


def _same(key: Any, shape: tuple[int, ...], dtype: np.dtype[Any], weights: Any) -> Array:
    return weights(key)


@initializer
def gate_bias(
    spec: Spec,
    values: Annotated[ArrayLike | Sequence[float], finite],
    axis: Annotated[int, normalize] = -1,
    dtype: DTypeLike | None = None,
) -> Draw:
    """b = [v₁, …, v₁, v₂, …, v₂, …]: one value for each gate of a packed bias.

    A forget gate that starts at 1 lets an LSTM keep what it has seen.

    Args:
        values: one for each gate in the order of the cell, such as (0, 1, 0, 0) for the i, f, g,
            o of `nnx.OptimizedLSTMCell`.
        axis: along which the gates lie side by side.
        dtype: default dtype of the weights.

    Returns:
        An initializer.

    Raises:
        ValueError: if a value is not finite; when called, if the number of values does not divide
            the axis.

    >>> gate_bias((0, 1, 0, 0))(None, (8,)).tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]

    Peers:
        keras: LSTM(unit_forget_bias=True)

    Reference:
        Gers, Schmidhuber, Cummins, "Learning to Forget", Neural Computation 12, 2000; Jozefowicz,
        Zaremba, Sutskever, "An Empirical Exploration of Recurrent Network Architectures", ICML
        2015.
    """
    if np.ndim(values) != 1:
        raise ValueError(f"values={values!r} is not a sequence of numbers, one for each gate")
    place = _gates_axis(spec.shape, axis, np.size(values))
    return fill(_gate_bias, as_array(values), axis=place)


def _gate_bias(shape: tuple[int, ...], dtype: np.dtype[Any], values: Array, *, axis: int) -> Array:
    return _by_gate(jnp.ones((), dtype), values, shape, axis)


def _horizon(name: str, value: ArrayLike) -> ArrayLike:
    value = finite(name, value)
    if not isinstance(value, jax.core.Tracer) and np.min(np.asarray(value), initial=3) <= 2:
        raise ValueError(
            f"{name}={value!r} is not above 2: the time scales of the gates are drawn between 1 "
            f"and {name} - 1 steps"
        )
    return value


def _letters(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r} is not a string: write a letter for each gate: 'ifgo'")
    if not set("if") & set(value) or max(map(value.count, "if")) > 1:
        raise ValueError(
            f"{name}={value!r}: write a letter for each gate in the order of the cell, such as "
            "'ifgo', with one f for the gate that keeps the state, one i for that of the input, "
            "or both"
        )
    return value


@initializer
def chrono_bias(
    spec: Spec,
    max_steps: Annotated[ArrayLike, _horizon],
    gates: Annotated[str, _letters] = "ifgo",
    axis: Annotated[int, normalize] = -1,
    dtype: DTypeLike | None = None,
) -> Draw:
    """b_f = log u with u ~ U[1, T - 1), b_i = -b_f, and 0 for the other gates.

    A unit whose forget gate is σ(log u) forgets in about u steps, so the cell starts with memories
    of every length up to T.

    Args:
        max_steps: the longest dependence T to expect, in steps.
        gates: a letter for each gate of the bias, in the order of the cell: f keeps the state, i
            lets the input in, any other letter is a gate with zero bias. "ifgo" is the order of
            `nnx.OptimizedLSTMCell`; "f" and "i" are the biases of gates that a cell holds apart,
            and from the same key they fit; the z of Flax's `GRUCell` keeps the state: "rfn".
        axis: along which the gates lie side by side.
        dtype: default dtype of the weights, a real one.

    Returns:
        An initializer.

    Raises:
        TypeError: when called, if the dtype is complex.
        ValueError: if max_steps is not above 2, or gates has neither f nor i; when called, if the
            number of gates does not divide the axis.

    >>> import jax
    >>> i, f, g, o = chrono_bias(100)(jax.random.key(0), (32,)).reshape(4, 8)
    >>> bool((i == -f).all()), bool((f >= 0).all() & (f < jax.numpy.log(99)).all())
    (True, True)

    Reference:
        Tallec, Ollivier, "Can recurrent neural networks warp time?", 2018, arXiv:1804.11188.
    """
    spec.require_real("chrono_bias", "draw the biases of the gates in a real dtype")
    place = _gates_axis(spec.shape, axis, len(gates))
    require_broadcast("max_steps", max_steps, _of_one_gate(spec.shape, place, len(gates)))
    return sample(_chrono_bias, max_steps, gates=gates, axis=place)


def _chrono_bias(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    max_steps: Array,
    *,
    gates: str,
    axis: int,
) -> Array:
    signs = np.array([{"f": 1, "i": -1}.get(gate, 0) for gate in gates], dtype)
    one = _of_one_gate(shape, axis, len(gates))
    forget = jnp.log(random.uniform(key, one, dtype, 1, max_steps - 1))
    return _by_gate(jnp.expand_dims(forget, axis), signs, shape, axis)


def _gates_axis(shape: tuple[int, ...], axis: int, n: int) -> int:
    """The axis along which n gates lie, counted from zero."""
    (place,) = positions("axis", axis, shape)
    if n == 0 or shape[place] % n:
        raise ValueError(
            f"axis {place} of shape {shape} has {shape[place]} entries, which are not {n} gates of "
            "one size"
        )
    return place


def _of_one_gate(shape: tuple[int, ...], axis: int, n: int) -> tuple[int, ...]:
    return (*shape[:axis], shape[axis] // n, *shape[axis + 1 :])


def _by_gate(
    weights: Array, factors: Array | np.ndarray[Any, Any], shape: tuple[int, ...], axis: int
) -> Array:
    """The weights of one gate, with the axis of the gates in front of its own, times factors."""
    n = factors.size
    factors = factors.reshape(n, *(1,) * (len(shape) - axis))
    parted = (*shape[:axis], n, shape[axis] // n, *shape[axis + 1 :])
    return jnp.broadcast_to(factors * weights, parted).reshape(shape)
