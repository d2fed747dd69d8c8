"""The run that a diagnosis rests on: one forward and one backward pass, observed."""

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinit.capture.tracing import Observation, Trace, trace
from jaxinit.diagnosis.curvature import largest, sharpness
from jaxinit.diagnosis.report import Layer, Report
from jaxinit.diagnosis.signs import Reading, Signs, readings
from jaxinit.diagnosis.symptoms import Patient, findings
from jaxinit.paths import leaves

# Labels tell how frequent classes are if there are so many of each.
PER_CLASS = 10


def diagnose(
    apply_fn: Callable[..., Any],
    params: Any,
    *inputs: Any,
    labels: Any = None,
    loss: Callable[[Any, Any], Any] | None = None,
    learning_rate: float | None = None,
) -> Report:
    """Why a network does not train: the signal at each layer, forward and backward, and symptoms.

    One compiled forward and backward pass. At each layer it takes the rms of the signal and of the
    gradient, the mean cosine between the outputs for different examples, the shares of units that
    are dead, flat or equal to others, and the entropy of attention. With a learning rate it also
    takes the largest eigenvalue of the Hessian, by sixteen products with it, and the ratio of an
    update of gradient descent to the weights. A healthy network gets no finding.

    Args:
        apply_fn: any JAX function, such as `model.apply`, of (params, *inputs).
        params: any pytree of arrays, or a module of nnx or Equinox.
        *inputs: a batch of what it is to be trained on; examples along the first axis.
        labels: of the batch. Integers without a loss are classes, of which the output's last axis
            has the logits.
        loss: from the outputs and the labels to a real scalar. None is the mean softmax
            cross-entropy if labels are given, the output itself if it is a scalar, and otherwise
            its product with fixed normal noise, which tells all but loss and steps.
        learning_rate: of gradient descent, to tell whether it is slow or diverges.

    Returns:
        A report.

    Raises:
        TypeError: if apply_fn or loss is not callable, params are abstract, or learning_rate is no
            number.
        ValueError: if nothing in apply_fn multiplies its inputs by params, it has no derivative,
            the loss is no real scalar, labels do not fit the outputs, or learning_rate is not
            positive or has no loss to go with.

    >>> weights = {"hidden": jnp.full((3, 8), 0.5), "out": jnp.ones((8, 2))}
    >>> def fn(p, x):
    ...     return jnp.tanh(x @ p["hidden"]) @ p["out"]
    >>> x = jax.random.normal(jax.random.key(0), (16, 3))
    >>> [(found.symptom, found.where) for found in diagnose(fn, weights, x).findings]
    [('symmetric', ('hidden',))]
    """
    _check(params, loss, learning_rate)
    traced = trace(apply_fn, params, *inputs)
    if not any(site.kernels for site in traced.sites):
        raise ValueError(_no_kernels(traced))
    objective = _objective(labels, loss)
    found, slopes = _run(traced, params, inputs, labels, objective)
    scalar = objective is not None or _is_scalar(found.outputs)
    if learning_rate is not None and not scalar:
        raise ValueError(
            f"learning_rate={learning_rate} has no loss to go with: pass labels, or loss and labels"
        )
    layers = readings(traced.sites, found.statistics)
    value = float(found.loss) if scalar else None
    patient = Patient(
        layers,
        value,
        _broken(params, inputs, found),
        _zeros(params, layers),
        {} if learning_rate is None else {p: learning_rate * x for p, x in slopes.items()},
        _chance(found.outputs, labels) if loss is None else None,
        learning_rate,
        None
        if learning_rate is None
        else _sharpness(apply_fn, params, inputs, labels, objective),
        lambda where: "",
    )
    return Report(
        tuple(_layer(reading, patient) for reading in layers), tuple(findings(patient)), value
    )


def _check(params: Any, loss: Any, learning_rate: Any) -> None:
    abstract = next((leaf.path for leaf in leaves(params) if leaf.is_abstract), None)
    if abstract is not None:
        raise TypeError(f"{abstract} of params is abstract: a diagnosis needs values")
    if loss is not None and not callable(loss):
        raise TypeError(
            f"loss={loss!r} is a {type(loss).__name__}: pass a function of (outputs, labels)"
        )
    if learning_rate is None:
        return
    if not isinstance(learning_rate, numbers.Real) or isinstance(learning_rate, bool):
        raise TypeError(
            f"learning_rate={learning_rate!r} is a {type(learning_rate).__name__}: pass a number, "
            "that of a schedule's first step"
        )
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate={learning_rate!r} must be positive and finite")


def _no_kernels(traced: Trace) -> str:
    opaque = dict.fromkeys(f"{x.primitive} {x.reason}" for x in traced.unobserved)
    because = f" ({'; '.join(opaque)})" if opaque else ""
    return (
        f"nothing is seen in apply_fn that multiplies its inputs by a leaf of params{because}: "
        "pass the parameters first, then the inputs, and a model with kernels"
    )


def _objective(
    labels: Any, loss: Callable[[Any, Any], Any] | None
) -> Callable[[Any, Any], Any] | None:
    if loss is not None:
        return loss
    if labels is None:
        return None
    given = jnp.asarray(labels)
    if not jnp.issubdtype(given.dtype, jnp.integer):
        raise ValueError(
            f"labels are {given.dtype}{list(given.shape)}, and without a loss they are classes, "
            "whole numbers: pass loss="
        )
    return _cross_entropy


def _cross_entropy(outputs: Any, labels: Any) -> Any:
    import optax

    logits = _first(outputs)
    return jnp.mean(
        optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
    )


def _first(outputs: Any) -> Any:
    """Of a tuple the first: the second is often a state."""
    return outputs[0] if isinstance(outputs, tuple) and outputs else outputs


def _fit(outputs: Any, labels: Any) -> None:
    """Whether labels number the classes of the logits."""
    logits = _first(outputs)
    if not hasattr(logits, "shape") or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError("labels are classes, and the output is no array of logits: pass loss=")
    shape = tuple(jnp.shape(labels))
    if not logits.shape or shape != logits.shape[:-1]:
        raise ValueError(
            f"labels have shape {shape} and the logits {tuple(logits.shape)}: labels need the "
            f"shape {tuple(logits.shape[:-1])}, or pass loss="
        )
    values = np.asarray(labels)
    if values.size and not 0 <= values.min() <= values.max() < logits.shape[-1]:
        raise ValueError(
            f"labels go from {values.min()} to {values.max()}, and the logits number "
            f"{logits.shape[-1]} classes, from 0: pass loss= if some are to be masked"
        )


def _run(
    traced: Trace,
    params: Any,
    inputs: Sequence[Any],
    labels: Any,
    objective: Callable[[Any, Any], Any] | None,
) -> tuple[Observation, dict[str, float]]:
    """What is observed, and by the path of a leaf rms of its gradient over its rms."""
    signs = Signs(traced.sites)
    dynamic, merged = _apart((params, tuple(inputs)))

    def program(dynamic: Any, labels: Any) -> Any:
        params, inputs = merged(dynamic)

        def loss(outputs: Any) -> Any:
            if objective is _cross_entropy:
                _fit(outputs, given)
            assert objective is not None
            return objective(outputs, labels)

        run = traced.instrument(signs, loss=None if objective is None else loss, gradients=True)
        found = run(params, *inputs)
        sizes = {
            leaf.path: _over(leaf.value, weights.value)
            for leaf, weights in zip(
                leaves(found.gradients), leaves(_real_leaves(params)), strict=True
            )
        }
        return found._replace(gradients=None), sizes

    given = labels
    try:
        found, sizes = jax.jit(program)(dynamic, labels)
    except ValueError as error:
        if "has no derivative" not in str(error):
            raise
        raise ValueError(
            str(error).partition(": pass backward")[0] + ": diagnose a function that can be trained"
        ) from None
    return found, {path: float(x) for path, x in sizes.items()}


def _over(gradient: Any, weights: Any) -> Any:
    """Of norms; 0 if the weights are, which are then no measure."""
    g, w = (jnp.linalg.norm(jnp.ravel(x).astype(jnp.float32)) for x in (gradient, weights))
    return jnp.where(w > 0, g / jnp.where(w > 0, w, 1), 0)


def _real_leaves(params: Any) -> Any:
    return jax.tree.map(lambda x: x if _is_inexact(x) else None, params)


def _is_inexact(value: Any) -> bool:
    dtype = value.dtype if hasattr(value, "dtype") else jnp.result_type(value)
    return bool(jnp.issubdtype(dtype, jnp.inexact))


def _apart(tree: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """The arrays of a tree, and how to put others in their place."""
    values, structure = jax.tree.flatten(tree)
    places = [i for i, x in enumerate(values) if hasattr(x, "dtype") and hasattr(x, "shape")]

    def merged(dynamic: Sequence[Any]) -> Any:
        filled = list(values)
        for i, x in zip(places, dynamic, strict=True):
            filled[i] = x
        return jax.tree.unflatten(structure, filled)

    return [values[i] for i in places], merged


def _is_scalar(outputs: Any) -> bool:
    first = jax.tree.leaves(_first(outputs))
    real = [x for x in first if jnp.issubdtype(x.dtype, jnp.inexact)]
    return len(real) == 1 and not real[0].shape


def _sharpness(
    fn: Callable[..., Any],
    params: Any,
    inputs: Sequence[Any],
    labels: Any,
    objective: Callable[[Any, Any], Any] | None,
) -> float:
    values, structure = jax.tree.flatten(params)
    places = [
        i
        for i, x in enumerate(values)
        if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)
    ]

    def loss(weights: Any) -> Any:
        filled = list(values)
        for i, x in zip(places, weights, strict=True):
            filled[i] = x
        outputs = fn(jax.tree.unflatten(structure, filled), *inputs)
        if objective is None:
            return jax.tree.leaves(_first(outputs))[0]
        return objective(outputs, labels)

    return largest(*jax.jit(sharpness(loss))([values[i] for i in places]))


def _broken(params: Any, inputs: Sequence[Any], found: Observation) -> list[str]:
    """Paths of what is not finite."""
    several = {f"inputs/{i}": x for i, x in enumerate(inputs)}
    parts = {**{x.path: x.value for x in leaves(params)}, **several}
    broken = [name for part, tree in parts.items() for name in [part] if not _all_finite(tree)]
    if not broken:
        broken += [] if _all_finite(found.outputs) else ["outputs"]
        broken += [] if _all_finite(found.loss) else ["loss"]
    return broken


def _all_finite(tree: Any) -> bool:
    found = [x for x in jax.tree.leaves(tree) if hasattr(x, "dtype") and _is_inexact(x)]
    return all(bool(jnp.isfinite(x).all()) for x in found)


def _zeros(params: Any, found: Sequence[Reading]) -> frozenset[str]:
    kernels = {kernel.path for reading in found for kernel in reading.site.kernels}
    return frozenset(
        leaf.path for leaf in leaves(params) if leaf.path in kernels and not jnp.any(leaf.value)
    )


def _chance(outputs: Any, labels: Any) -> float | None:
    """Cross-entropy of the best guess that knows the labels' frequencies, or else no more than
    how many classes there are."""
    if labels is None:
        return None
    values, classes = np.ravel(np.asarray(labels)), _first(outputs).shape[-1]
    if values.size < PER_CLASS * classes:
        return math.log(classes)
    shares = np.bincount(values, minlength=classes) / values.size
    shares = shares[shares > 0]
    return float(-np.sum(shares * np.log(shares)))


def _layer(reading: Reading, patient: Patient) -> Layer:
    site = reading.site
    first = next((x for r in patient.kernels[1:] if (x := r.rms("input"))), None)
    given = reading.rms("input")
    names = [f.name or "a function" for f in (*site.activations, *site.after_sum)]
    return Layer(
        path=reading.path,
        kind=site.kind,
        shape=site.shape,
        activation=", ".join(dict.fromkeys(names)) or None,
        rms=reading.rms("output"),
        ratio=given / first if given is not None and first is not None else None,
        cosine=reading.cosine,
        dead=reading.dead,
        flat=reading.flat,
        entropy=reading.entropy,
        gradient=reading.rms("cotangent"),
        update=patient.updates.get(site.kernel.path) if site.kernel else None,
    )
