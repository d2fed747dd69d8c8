"""The largest eigenvalue of a Hessian, by Lanczos's iteration on products with it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

# Two digits of the largest eigenvalue, of spectra as wide as those of networks are.
ITERATIONS = 16


def start(params: Sequence[Any]) -> Any:
    """A fixed random direction in the space of some parameters, of length 1."""
    normal = np.random.default_rng(0).standard_normal(sum(np.size(x) for x in params))
    return (normal / np.linalg.norm(normal)).astype(np.float32)


def tridiagonal(loss: Callable[[Any], Any], params: Sequence[Any], start: Any) -> tuple[Any, Any]:
    """Lanczos's tridiagonal matrix, whose largest eigenvalue is that of the Hessian, or less.

    A product with the Hessian is the derivative of the gradient along a direction. The iteration
    holds three vectors as long as the parameters.

    Args:
        loss: from real arrays to a scalar, twice differentiable.
        params: where to take it.
        start: a direction of length 1.

    Returns:
        The diagonal, and the off-diagonal with one more.

    >>> at = [1.0, 1.0]
    >>> found = jax.jit(lambda p, v: tridiagonal(lambda p: 3 * p[0] ** 2 + p[1] ** 2, p, v))
    >>> round(largest(*found(at, start(at))), 4)
    6.0
    """
    at, unravel = ravel_pytree(params)
    slope = jax.grad(lambda w: loss(unravel(w)))

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        before, now, beta = carry
        after = jax.jvp(slope, (at,), (now.astype(at.dtype),))[1].astype(jnp.float32)
        alpha = jnp.vdot(now, after)
        after = after - alpha * now - beta * before
        beta = jnp.linalg.norm(after)
        return (now, after / jnp.where(beta > 0, beta, 1), beta), (alpha, beta)

    carry = (jnp.zeros_like(start), start, jnp.float32(0))
    return jax.lax.scan(step, carry, None, length=ITERATIONS)[1]


def largest(alphas: Any, betas: Any) -> float:
    """The largest eigenvalue of a tridiagonal matrix, until the iteration broke off.

    Args:
        alphas: the diagonal.
        betas: the off-diagonal, and one more.

    >>> round(largest([2.0, 2.0], [1.0, 0.5]), 6)
    3.0
    """
    a, b = np.asarray(alphas, np.float64), np.asarray(betas, np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("nan")
    ended = np.flatnonzero(b < 1e-6 * np.abs(a).max())
    n = int(ended[0]) + 1 if len(ended) else len(a)
    matrix = np.diag(a[:n]) + np.diag(b[: n - 1], 1) + np.diag(b[: n - 1], -1)
    return float(np.linalg.eigvalsh(matrix)[-1])
