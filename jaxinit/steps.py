"""Step sizes of state space models, and the kernel that selects them."""

from __future__ import annotations

from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from jaxinit import random
from jaxinit._checks import as_array, non_negative, ordered, positive
from jaxinit._draw import Draw, Spec, sample
from jaxinit._initializer import initializer
from jaxinit.axes import KernelAxes, choose
from jaxinit.variance import with_variance

# Of log(sinh(x/2) / (x/2)) = x² (1/24 - x²/2880 + …), highest power first.
_LOG_SINHC = (-1 / 9676800, 1 / 181440, -1 / 2880, 1 / 24)


@initializer
def log_step(
    spec: Spec,
    min: Annotated[ArrayLike, positive] = 1e-3,
    max: Annotated[ArrayLike, positive] = 1e-1,
    dtype: DTypeLike | None = None,
) -> Draw:
    """log Δ ~ U[log min, log max): step sizes that are spread evenly over the orders of magnitude.

    Args:
        min: the shortest step Δ.
        max: the longest.
        dtype: default dtype of the weights, a real one.

    Returns:
        An initializer of log Δ.

    Raises:
        TypeError: when called, if the dtype is complex.
        ValueError: if a step is not above 0; when called, if min is not below max.

    >>> import jax
    >>> steps = jax.numpy.exp(log_step()(jax.random.key(0), (1000,)))
    >>> print(f"{steps.min():.3f} to {steps.max():.3f}")
    0.001 to 0.100

    Peers:
        s4: log_dt
        S5: log_step_initializer

    Reference:
        Gu, Goel, Ré, "Efficiently Modeling Long Sequences with Structured State Spaces", 2021,
        arXiv:2111.00396; Gu et al. 2022, arXiv:2206.12037.
    """
    spec.require_real("log_step", "steps are real, also where the states are complex")
    ordered("min", min, "max", max)
    return sample(_log_uniform, min, max)


def _log_uniform(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], low: Array, high: Array
) -> Array:
    return random.uniform(key, shape, dtype, jnp.log(low), jnp.log(high))


@initializer
def inverse_softplus_step(
    spec: Spec,
    min: Annotated[ArrayLike, positive] = 1e-3,
    max: Annotated[ArrayLike, positive] = 1e-1,
    floor: Annotated[ArrayLike, positive] = 1e-4,
    dtype: DTypeLike | None = None,
) -> Draw:
    """b = log(e^Δ - 1), so that softplus(b) = Δ, with log Δ ~ U[log min, log max) and Δ ≥ floor.

    Args:
        min: the shortest step Δ.
        max: the longest.
        floor: what shorter steps are raised to.
        dtype: default dtype of the weights, a real one.

    Returns:
        An initializer of the biases of Mamba's step sizes.

    Raises:
        TypeError: when called, if the dtype is complex.
        ValueError: if a step is not above 0; when called, if min is not below max.

    >>> import jax
    >>> steps = jax.nn.softplus(inverse_softplus_step()(jax.random.key(0), (1000,)))
    >>> print(f"{steps.min():.3f} to {steps.max():.3f}")
    0.001 to 0.100

    Peers:
        mamba: dt_proj.bias

    Reference:
        Gu, Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023,
        arXiv:2312.00752, section 3.6.
    """
    spec.require_real("inverse_softplus_step", "steps are real, also where the states are complex")
    ordered("min", min, "max", max)
    known = not any(isinstance(x, Array) for x in (max, floor))
    short = known and spec.real == np.float32 and bool(np.all(np.maximum(max, floor) <= 1))
    return sample(_inverse_softplus, min, max, floor, short=short)


def _inverse_softplus(
    key: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    low: Array,
    high: Array,
    floor: Array,
    *,
    short: bool,
) -> Array:
    log_step = jnp.maximum(_log_uniform(key, shape, dtype, low, high), jnp.log(floor))
    step = jnp.exp(log_step)
    if not short:
        return step + jnp.log(-jnp.expm1(-step))
    # log Δ + Δ/2 + log(sinh(Δ/2) / (Δ/2)), whose series of even powers is off by 2e-9 at Δ = 1.
    square = step * step
    series = jnp.polyval(np.asarray(_LOG_SINHC, dtype), square) * square
    return log_step + (step / 2 + series)


@initializer
def mamba_dt_kernel(
    spec: Spec,
    scale: Annotated[ArrayLike, non_negative] = 1.0,
    dtype: DTypeLike | None = None,
    *,
    axes: KernelAxes = None,
) -> Draw:
    """W ~ U[-b, b) with b = scale / √rank: the projection of Mamba's steps from their low rank.

    It keeps the variance of its input up to a factor of scale² / 3. Complex weights come from the
    disk of the same mean square.

    Args:
        scale: factor of the bound.
        dtype: default dtype of the weights.
        axes: roles of the axes, an `Axes` or an einsum; the rank is the fan-in.

    Returns:
        An initializer of kernels (rank, channels).

    Raises:
        ValueError: if scale is negative; when called, if the axes do not fit the shape.

    >>> import jax
    >>> print(f"{abs(mamba_dt_kernel()(jax.random.key(0), (16, 1000))).max():.2f}")
    0.25

    Peers:
        mamba: dt_proj.weight

    Reference:
        Gu, Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023,
        arXiv:2312.00752, and its repository.
    """
    rank = choose(axes, -2, -1, ()).fans(spec.shape).fan_in
    return with_variance(spec, as_array(scale) ** 2 / 3, rank, "uniform")
