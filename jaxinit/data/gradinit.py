"""Scales of all tensors for which one step of the optimizer lowers the loss the most."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from jaxinit._checks import check_key, one_of, positive, whole
from jaxinit.data.calibration import Calibration, calibrated
from jaxinit.data.parameters import opened
from jaxinit.data.scales import Loss, check_loss, minimized, slices, value_of
from jaxinit.data.uses import matches
from jaxinit.paths import Pattern


def gradinit(
    apply_fn: Callable[[Any, Any], Any],
    params: Any,
    batch: Any,
    key: Any,
    *,
    loss: Loss,
    learning_rate: float = 0.1,
    optimizer: Literal["sgd", "adam"] = "sgd",
    bound: float = 1.0,
    steps: int = 200,
    rate: float = 0.01,
    smallest: float = 0.01,
    keep: Sequence[Pattern] = (),
    progress: bool = False,
    with_report: bool = False,
) -> Any:
    """Scales α of all tensors that minimize L(S̃; θ - η A(g)), where |g| ≤ γ, for g = ∇L(S; θ).

    θ = α θ₀ with a factor for each tensor, and for each slice of one that is stacked along a scan
    or indexed. A(g) is the step of the optimizer: g for SGD, sign g for Adam, and |g| the 2-norm
    or the 1-norm. Where |g| > γ a step lowers |g| instead. Each step takes a random two thirds of
    the batch as S, and a half of them with all others as S̃. The factors follow Adam.

    Args:
        apply_fn: any JAX function of (params, batch), such as `lambda p, b: model.apply(p, b[0])`.
        params: any pytree of its parameters.
        batch: what apply_fn and loss are given: arrays whose first axes number the examples.
        key: of the choice of examples.
        loss: from (outputs, batch) to a scalar.
        learning_rate: η, of the training to come.
        optimizer: "sgd" or "adam", likewise.
        bound: γ.
        steps: of the search.
        rate: learning rate of the factors.
        smallest: factor.
        keep: patterns of the paths of parameters to leave as they are.
        progress: whether to show a bar; needs rich.
        with_report: whether to return (params, `Calibration`), whose history is |g| or the loss.

    Returns:
        New parameters, in the dtypes and the shardings of params.

    Raises:
        TypeError: if apply_fn or loss is no function, batch holds no array, or the key is none.
        ValueError: before any work if params or batch hold a NaN, loss gives no real scalar or has
            no derivative, arrays of the batch differ in length, or every parameter is kept; and if
            the objective becomes infinite.

    >>> def apply(params, x):
    ...     return jnp.tanh(x @ params["a"]) @ params["b"]
    >>> x = jax.random.normal(jax.random.key(0), (60, 8))
    >>> start = {"a": 5 * jnp.eye(8), "b": 5 * jnp.ones((8, 1))}
    >>> found = gradinit(
    ...     apply, start, x, jax.random.key(1), loss=lambda y, x: jnp.mean((y[:, 0] - x[:, 0]) ** 2)
    ... )
    >>> bool(found["b"][0, 0] < 3)
    True

    Reference:
        Zhu, Ni, Xu, Kong, Huang, Goldstein, "GradInit: Learning to Initialize Neural Networks for
        Stable and Efficient Training", 2021, arXiv:2102.08098, algorithm 1.
    """
    import optax

    numbers = {"learning_rate": learning_rate, "bound": bound, "rate": rate, "smallest": smallest}
    for name, value in numbers.items():
        positive(name, value)
    whole("steps", steps)
    one_of("optimizer", optimizer, ("sgd", "adam"))
    check_key(key)
    parameters, traced = opened(apply_fn, params, batch)
    check_loss(apply_fn, loss, parameters, batch)
    rows = _rows(batch)
    shapes = {
        path: shape
        for path, shape in slices(traced).items()
        if path in parameters.arrays and not matches(keep, path, parameters)
    }
    if not shapes:
        raise ValueError("gradinit has no parameter to scale: keep= names all of them")
    value = value_of(apply_fn, loss, parameters)
    signed = optimizer == "adam"

    def objective(arrays: Mapping[str, Any], batch: Any, key: Any) -> Array:
        order = jax.random.permutation(key, rows)
        size = max(1, rows * 2 // 3)
        first, second = (
            jax.tree.map(lambda x, at=at: x[at], batch) for at in (order[:size], order[-size:])
        )
        slopes = jax.grad(value)(arrays, first)
        norm = _norm(slopes, signed)

        def after(_: None) -> Array:
            stepped = {
                path: array - learning_rate * (jnp.sign(slopes[path]) if signed else slopes[path])
                for path, array in arrays.items()
            }
            return value(stepped, second).astype(jnp.float32)

        return jax.lax.cond(norm > bound, lambda _: norm, after, None)

    found = minimized(
        objective,
        shapes,
        parameters.arrays,
        batch,
        key,
        optax.adam(rate),
        steps=steps,
        smallest=smallest,
        progress=progress,
        what="gradinit",
    )
    left = {path: "kept" for path in parameters.arrays if path not in shapes}
    report = Calibration(found.factors, passes=steps, history=found.history, left=left)
    return calibrated(parameters, report, with_report)


def _norm(slopes: Mapping[str, Array], signed: bool) -> Array:
    wide = [jnp.abs(x).astype(jnp.float32) for x in slopes.values()]
    if signed:
        return sum((jnp.sum(x) for x in wide), jnp.zeros(()))
    # The root has no derivative at zero, where there is nothing left to lower.
    square = sum((jnp.sum(x * x) for x in wide), jnp.zeros(()))
    return jnp.sqrt(jnp.maximum(square, 1e-30))


def _rows(batch: Any) -> int:
    sizes = {x.shape[0] if x.ndim else 0 for x in map(jnp.asarray, jax.tree.leaves(batch))}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            f"the arrays of batch have {sorted(sizes)} rows: their first axes number the examples, "
            "and half of the examples are taken anew in each step"
        )
    return sizes.pop()
