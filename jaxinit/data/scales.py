"""Scales of tensors found by gradient descent on any objective of them."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinit._checks import function_of
from jaxinit.capture import Trace
from jaxinit.data.parameters import Parameters, concrete, multiplied

# From the arrays of the parameters, the batch and a key to what is minimized.
Objective: TypeAlias = Callable[[Mapping[str, Any], Any, Any], Array]
Loss: TypeAlias = Callable[[Any, Any], Any]

# How often the progress bar moves.
_CHUNKS = 20


class Minimized(NamedTuple):
    """Factors of the arrays, and the objective before each step."""

    factors: dict[str, Array]
    history: Array


def slices(trace: Trace) -> dict[str, tuple[int, ...]]:
    """By path of a leaf, its shape where an axis numbers the slices that sites use, and 1s."""
    analysis = trace.plan.analysis
    axes: dict[str, set[int]] = {}
    for fact in analysis.facts.values():
        for weight in fact.weights:
            own = axes.setdefault(analysis.tree[weight.leaf].path, set())
            own.update(axis for _, axis in weight.slice.scans)
            own.update(axis for axis, _ in weight.slice.fixed)
    shapes = {leaf.path: leaf.value.shape for leaf in analysis.tree if leaf.is_array}
    return {
        path: tuple(n if axis in axes.get(path, ()) else 1 for axis, n in enumerate(shape))
        for path, shape in shapes.items()
    }


def value_of(apply_fn: Callable[[Any, Any], Any], loss: Loss, parameters: Parameters) -> Any:
    """The loss as a function of (arrays, batch)."""

    def value(arrays: Mapping[str, Any], batch: Any) -> Array:
        return loss(apply_fn(parameters.rebuilt(arrays), batch), batch)

    return value


def check_loss(
    apply_fn: Callable[[Any, Any], Any], loss: Any, parameters: Parameters, batch: Any
) -> None:
    """Refuse what is no real, differentiable scalar of the parameters, before any work.

    Raises:
        TypeError: if loss is no function.
        ValueError: if it gives no real scalar, or has no derivative.
    """
    function_of("(outputs, batch)", "loss", loss)
    value = value_of(apply_fn, loss, parameters)
    found = jax.eval_shape(value, parameters.arrays, batch)
    dtype, shape = getattr(found, "dtype", None), getattr(found, "shape", None)
    if dtype is None or shape != () or not jnp.issubdtype(dtype, jnp.floating):
        kind = f"{dtype}{list(shape or ())}" if dtype is not None else f"a {type(found).__name__}"
        raise ValueError(f"loss gives {kind}, not a real scalar: take its mean")
    try:
        jax.eval_shape(jax.grad(value), parameters.arrays, batch)
    except Exception as error:
        first = str(error).strip().split("\n")[0].rstrip(".")
        raise ValueError(f"loss of apply_fn has no derivative ({first})") from error


def minimized(
    objective: Objective,
    shapes: Mapping[str, tuple[int, ...]],
    arrays: Mapping[str, Any],
    batch: Any,
    key: Any,
    optimizer: Any,
    *,
    steps: int,
    smallest: float,
    progress: bool,
    what: str,
) -> Minimized:
    """Factors of arrays, 1 at the start, that minimize an objective of the arrays.

    Args:
        objective: of (arrays, batch, key).
        shapes: of the factors, by path.
        arrays: of the parameters.
        batch: what the objective is given.
        key: split for the steps.
        optimizer: an `optax.GradientTransformation` for the factors.
        steps: how many.
        smallest: factor.
        progress: whether to show a bar, with rich.
        what: is done, for the bar and for errors.

    Returns:
        The factors and the objective before each step.

    Raises:
        ImportError: if rich is not installed, and progress is to be shown.
        ValueError: if the objective is not finite.
    """
    import optax

    def step(state: Any, key: Any, arrays: Mapping[str, Any], batch: Any) -> tuple[Any, Array]:
        factors, moments = state

        def scaled(factors: Mapping[str, Any]) -> Array:
            return objective({**arrays, **multiplied(arrays, factors)}, batch, key)

        value, slopes = jax.value_and_grad(scaled)(factors)
        updates, moments = optimizer.update(slopes, moments, factors)
        factors = optax.apply_updates(factors, updates)
        factors = jax.tree.map(lambda x: jnp.maximum(x, smallest), factors)
        return (factors, moments), value

    @jax.jit
    def run(state: Any, keys: Any, arrays: Mapping[str, Any], batch: Any) -> Any:
        return jax.lax.scan(lambda s, k: step(s, k, arrays, batch), state, keys)

    factors = {path: jnp.ones(shape) for path, shape in shapes.items()}
    state = (factors, optimizer.init(factors))
    keys = jax.random.split(key, steps)
    size = -(-steps // _CHUNKS) if progress else steps
    history = []
    with _bar(what, steps, progress) as advance:
        for start in range(0, steps, size):
            state, values = run(state, keys[start : start + size], arrays, batch)
            history.append(values)
            advance(len(values), values)
    found = jnp.concatenate(history)
    if concrete(found) and not np.isfinite(np.asarray(found)).all():
        first = int(np.argmax(~np.isfinite(np.asarray(found))))
        raise ValueError(
            f"the objective of {what} is {float(found[first])} at step {first}: lower its rates, "
            "or start from weights for which the loss is finite"
        )
    return Minimized(state[0], found)


@contextlib.contextmanager
def _bar(what: str, steps: int, shown: bool) -> Iterator[Callable[[int, Any], None]]:
    if not shown:
        yield lambda count, values: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    except ModuleNotFoundError as error:
        raise ImportError(
            'progress=True needs rich: pip install "jaxinit[tour]", or pass progress=False'
        ) from error
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    value = TextColumn("{task.fields[value]}")
    with Progress(*columns, value, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=steps, value="")

        def advance(count: int, values: Any) -> None:
            now = f"{float(values[-1]):.4g}" if concrete(values) else ""
            bar.update(task, advance=count, value=now)

        yield advance
