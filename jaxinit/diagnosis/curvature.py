"""The largest eigenvalue of a Hessian, by Lanczos's iteration on products with it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Two digits of the largest eigenvalue, of spectra as wide as those of networks are.
ITERATIONS = 16


def sharpness(
    loss: Callable[[Any], Any], iterations: int = ITERATIONS
) -> Callable[[Any], tuple[Any, Any]]:
    """The function of parameters whose result `largest` turns into an eigenvalue; to be jitted.

    A product with the Hessian is the derivative of the gradient along a direction: two passes
    forward and two backward, and no more memory than a few times the parameters.

    Args:
        loss: from a list of real arrays to a scalar, twice differentiable.
        iterations: how many products are taken.

    Returns:
        From the list to the diagonal and the off-diagonal of Lanczos's tridiagonal matrix.
    """

    def tridiagonal(params: Any) -> tuple[Any, Any]:
        def product(v: Any) -> Any:
            return jax.jvp(jax.grad(loss), (params,), (v,))[1]

        keys = jax.random.split(jax.random.key(0), len(params))
        start = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, params, strict=True)]
        length = jnp.sqrt(_inner(start, start))

        def step(carry: Any, _: None) -> tuple[Any, Any]:
            before, now, beta = carry
            after = product(now)
            alpha = _inner(now, after)
            after = [w - alpha * v - beta * u for w, v, u in zip(after, now, before, strict=True)]
            beta = jnp.sqrt(_inner(after, after))
            safe = jnp.where(beta > 0, beta, 1)
            return (now, [(w / safe).astype(w.dtype) for w in after], beta), (alpha, beta)

        first = [(v / length).astype(v.dtype) for v in start]
        zero = [jnp.zeros_like(v) for v in start]
        _, found = jax.lax.scan(
            step, (zero, first, jnp.float32(0)), None, length=iterations
        )
        return found

    return tridiagonal


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


def _inner(left: Any, right: Any) -> Any:
    return sum(
        jnp.vdot(x.astype(jnp.float32), y.astype(jnp.float32)) for x, y in zip(left, right, strict=True)
    )
