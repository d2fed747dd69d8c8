"""Scales of kernels for which the gradient changes the least along itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxinit._checks import non_negative, positive, whole
from jaxinit.data.calibration import Calibration, calibrated
from jaxinit.data.parameters import opened
from jaxinit.data.scales import Loss, check_loss, minimized, slices, value_of
from jaxinit.data.uses import layers
from jaxinit.paths import Pattern


def metainit(
    apply_fn: Callable[[Any, Any], Any],
    params: Any,
    batch: Any,
    key: Any = None,
    *,
    loss: Loss,
    steps: int = 100,
    rate: float = 0.01,
    momentum: float = 0.0,
    smallest: float = 0.01,
    epsilon: float = 1e-5,
    keep: Sequence[Pattern] = (),
    progress: bool = False,
    with_report: bool = False,
) -> Any:
    """Scales of kernels that minimize the gradient quotient, 1/N Σ |(H g)_i / (g_i ± ε)|.

    g is the gradient of the loss by the kernels, H its Hessian and N their number of entries: the
    quotient is by how much a step of gradient descent changes the gradient, 0 for a linear
    function. Each kernel, and each slice of one that is stacked along a scan or indexed, has a
    factor, which follows the signs of its slope at a rate that falls to 0. The paper gives the
    function noise in place of data, and the factors a momentum of 0.9, with which those of a deep
    network without normalization overshoot: there the quotient also falls as the signal vanishes,
    so that many steps end at a function that is constant.

    Args:
        apply_fn: any JAX function of (params, batch), such as `lambda p, b: model.apply(p, b[0])`.
        params: any pytree of its parameters.
        batch: what apply_fn and loss are given.
        key: none is needed.
        loss: from (outputs, batch) to a scalar.
        steps: of the search.
        rate: by which a factor changes in the first step.
        momentum: of the factors, at least 0.
        smallest: factor.
        epsilon: ε, of the sign of g_i.
        keep: patterns of the paths of kernels to leave as they are.
        progress: whether to show a bar; needs rich.
        with_report: whether to return (params, `Calibration`), whose history is the quotient.

    Returns:
        New parameters, in the dtypes and the shardings of params.

    Raises:
        TypeError: if apply_fn or loss is no function, or batch holds no array.
        ValueError: before any work if params or batch hold a NaN, no kernel is found, or loss gives
            no real scalar or has no derivative; and if the quotient becomes infinite.

    >>> def apply(params, x):
    ...     return jnp.tanh(x @ params["a"]) @ params["b"]
    >>> x = jax.random.normal(jax.random.key(0), (60, 8))
    >>> start = {"a": 5 * jnp.eye(8), "b": 5 * jnp.ones((8, 1))}
    >>> found, report = metainit(
    ...     apply, start, x, loss=lambda y, x: jnp.mean((y[:, 0] - x[:, 0]) ** 2), with_report=True
    ... )
    >>> bool(report.history[-1] < report.history[0])
    True

    Reference:
        Dauphin, Schoenholz, "MetaInit: Initializing learning by learning to initialize", NeurIPS
        2019, definition 1 and algorithm 1.
    """
    import optax

    for name, value in {"rate": rate, "smallest": smallest, "epsilon": epsilon}.items():
        positive(name, value)
    non_negative("momentum", momentum)
    whole("steps", steps)
    parameters, traced = opened(apply_fn, params, batch)
    check_loss(apply_fn, loss, parameters, batch)
    sites, left = layers(traced, parameters, keep, "metainit")
    found_shapes = slices(traced)
    shapes = {k.path: found_shapes[k.path] for site in sites for k in site.kernels}
    of = value_of(apply_fn, loss, parameters)

    def objective(arrays: Mapping[str, Any], batch: Any, key: Any) -> Array:
        scaled = {path: arrays[path] for path in shapes}
        return quotient(lambda own: of({**arrays, **own}, batch), scaled, epsilon)

    schedule = optax.linear_schedule(rate, 0.0, steps)
    optimizer = optax.chain(
        optax.scale_by_sign(), optax.trace(momentum), optax.scale_by_learning_rate(schedule)
    )
    found = minimized(
        objective,
        shapes,
        parameters.arrays,
        batch,
        jax.random.key(0),
        optimizer,
        steps=steps,
        smallest=smallest,
        progress=progress,
        what="metainit",
    )
    report = Calibration(found.factors, passes=steps, history=found.history, left=left)
    return calibrated(parameters, report, with_report)


def quotient(value: Callable[[Any], Any], arrays: Mapping[str, Any], epsilon: float) -> Array:
    """1/N Σ |(H g)_i / (g_i + ε sign g_i)|, g and H the derivatives of a value by arrays.

    >>> from jax import numpy as jnp
    >>> half = quotient(lambda w: (w["w"] ** 2).sum() / 4, {"w": jnp.ones(3)}, 1e-8)
    >>> print(f"{half:.3f}")  # H is half of the identity
    0.500
    """
    slope = jax.grad(value)
    slopes, changes = jax.jvp(slope, (arrays,), (slope(arrays),))
    total, count = jnp.zeros(()), 0
    for path, g in slopes.items():
        g = g.astype(jnp.float32)
        sign = jnp.where(g < 0, -1.0, 1.0)
        total += jnp.sum(jnp.abs(changes[path].astype(jnp.float32) / (g + epsilon * sign)))
        count += g.size
    return total / count
