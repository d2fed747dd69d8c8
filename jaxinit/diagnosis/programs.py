"""What is compiled: the pass that is observed, and the iteration for the curvature."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxinit.capture.tracing import Observation, Trace
from jaxinit.diagnosis.curvature import largest, start, tridiagonal
from jaxinit.diagnosis.objective import Objective
from jaxinit.diagnosis.signs import Signs
from jaxinit.paths import leaves


class Size(NamedTuple):
    """The least and the largest entry of an array, and its norm, which may overflow."""

    low: Any
    high: Any
    norm: Any


Sizes = dict[str, dict[str, Size]]


class Programs:
    """The compiled programs of one function.

    Args:
        fn: the function.
        traced: its trace.
        objective: what to differentiate.
        params: of the shapes that are to come.
        inputs: likewise.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        traced: Trace,
        objective: Objective,
        params: Any,
        inputs: Sequence[Any],
    ) -> None:
        self.fn, self.traced, self.objective = fn, traced, objective
        self.signs = Signs(traced.sites)
        _, merged = _apart((params, tuple(inputs)), _is_array)

        def observed(dynamic: Any, labels: Any) -> Any:
            params, inputs = merged(dynamic)
            found = self._observed(labels)(params, *inputs)
            made = {"outputs": found.outputs}
            if objective.is_loss(found.outputs):
                made["loss"] = found.loss
            sizes = {
                "params": _sizes(params),
                "gradients": _sizes(found.gradients),
                "inputs": _sizes({"inputs": inputs}),
                "outputs": _sizes(made),
            }
            return found._replace(gradients=None), sizes

        def curvature(weights: Any, rest: Any, labels: Any, start: Any) -> Any:
            def loss(weights: Any) -> Any:
                params, inputs = merged(rest)
                _, filled = _apart(params, _is_float)
                return objective(fn(filled(weights), *inputs), labels)

            return tridiagonal(loss, weights, start)

        self._observe, self._curvature = jax.jit(observed), jax.jit(curvature)

    def _observed(self, labels: Any) -> Callable[..., Observation]:
        loss = None
        if self.objective.loss is not None or self.objective.classes:

            def loss(outputs: Any) -> Any:
                return self.objective(outputs, labels)

        return self.traced.instrument(self.signs, loss=loss, gradients=True)

    def observe(self, params: Any, inputs: Sequence[Any], labels: Any) -> tuple[Observation, Sizes]:
        """What is observed, and sizes by path: of params, gradients, inputs, outputs and loss.

        Raises:
            ValueError: if labels do not fit the outputs, the loss is no real scalar, or there is
                no derivative.
        """
        dynamic, _ = _apart((params, tuple(inputs)), _is_array)
        self.objective.fit(self.traced.outputs, labels)
        try:
            found, sizes = self._observe(dynamic, labels)
        except ValueError as error:
            why, passing, _ = str(error).removeprefix("fn ").rpartition(": pass ")
            if not passing or "no signal flows back" not in why:
                raise
            raise ValueError(
                f"apply_fn {why}: diagnose a function that can be trained, such as one of logits "
                "and not of classes"
            ) from None
        statistics, sizes = jax.device_get((found.statistics, sizes))
        told = {
            part: {path: Size(*map(float, x)) for path, x in each.items()}
            for part, each in sizes.items()
        }
        return found._replace(statistics=statistics), told

    def lower(self, params: Any, inputs: Sequence[Any], labels: Any) -> jax.stages.Lowered:
        """The program that observes, for its size and to run it by itself."""
        dynamic, _ = _apart((params, tuple(inputs)), _is_array)
        return self._observe.lower(dynamic, labels)

    def sharpness(self, params: Any, inputs: Sequence[Any], labels: Any) -> float:
        """The largest eigenvalue of the Hessian of the loss, in the real parameters."""
        weights, _ = _apart(params, _is_float)
        dynamic, _ = _apart((params, tuple(inputs)), _is_array)
        return largest(*self._curvature(weights, dynamic, labels, start(weights)))


def _apart(
    tree: Any, chosen: Callable[[Any], bool]
) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """The leaves that are chosen, and how to put others in their place."""
    values, structure = jax.tree.flatten(tree)
    places = [i for i, x in enumerate(values) if chosen(x)]

    def merged(others: Sequence[Any]) -> Any:
        filled = list(values)
        for i, x in zip(places, others, strict=True):
            filled[i] = x
        return jax.tree.unflatten(structure, filled)

    return [values[i] for i in places], merged


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_float(value: Any) -> bool:
    return _is_array(value) and bool(jnp.issubdtype(value.dtype, jnp.floating))


def _sizes(tree: Any) -> dict[str, Any]:
    return {leaf.path: _size(leaf.value) for leaf in leaves(tree) if _is_inexact(leaf.value)}


def _is_inexact(value: Any) -> bool:
    return _is_array(value) and bool(jnp.issubdtype(value.dtype, jnp.inexact))


def _size(value: Any) -> Size:
    x = jnp.ravel(value)
    x = (jnp.abs(x) if jnp.iscomplexobj(x) else x).astype(jnp.float32)
    low, high = jnp.min(x, initial=0), jnp.max(x, initial=0)
    # A mask of the largest float, or of -1e30, has no square.
    most = jnp.maximum(-low, high)
    unit = x / jnp.where(most > 0, most, 1)
    return Size(low, high, most * jnp.sqrt(jnp.vdot(unit, unit)))
