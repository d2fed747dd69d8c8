"""A function examined: what its run shows, as a report."""

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxinit._checks import function_of
from jaxinit.capture.tracing import Trace, trace
from jaxinit.diagnosis.objective import Objective
from jaxinit.diagnosis.programs import Programs, Size
from jaxinit.diagnosis.remedies import Remedies
from jaxinit.diagnosis.report import Layer, Report
from jaxinit.diagnosis.signs import Reading, readings
from jaxinit.diagnosis.symptoms import Patient, findings
from jaxinit.paths import leaves


def diagnose(
    apply_fn: Callable[..., Any],
    params: Any,
    *inputs: Any,
    labels: Any = None,
    loss: Callable[[Any, Any], Any] | None = None,
    learning_rate: ArrayLike | None = None,
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
        learning_rate: of gradient descent, to tell whether it is slow or diverges; a number, or an
            array of one.

    Returns:
        A report.

    Raises:
        TypeError: if apply_fn or loss is not callable, params are abstract, or learning_rate is no
            number.
        ValueError: if nothing in apply_fn multiplies its inputs by params, it has no derivative,
            the batch is empty, the loss is no real scalar, labels do not fit the outputs, or
            learning_rate is not positive or has no loss to go with.

    >>> import jax.numpy as jnp
    >>> weights = {"hidden": jnp.full((3, 8), 0.5), "out": jnp.ones((8, 2))}
    >>> def fn(p, x):
    ...     return jnp.tanh(x @ p["hidden"]) @ p["out"]
    >>> x = jax.random.normal(jax.random.key(0), (16, 3))
    >>> [(found.symptom, found.where) for found in diagnose(fn, weights, x).findings]
    [('symmetric', ('hidden',))]
    """
    _check(params, inputs, learning_rate)
    examination = Examination(apply_fn, params, *inputs, labels=labels, loss=loss)
    return examination(params, *inputs, labels=labels, learning_rate=learning_rate)


class Examination:
    """`diagnose` of one function for several parameters, its programs compiled once.

    Args:
        apply_fn: as in `diagnose`.
        params: of the shapes that are to come.
        *inputs: likewise.
        labels: likewise.
        loss: as in `diagnose`.

    Raises:
        TypeError: if apply_fn or loss is not callable.
        ValueError: if nothing in apply_fn multiplies its inputs by params.
    """

    def __init__(
        self,
        apply_fn: Callable[..., Any],
        params: Any,
        *inputs: Any,
        labels: Any = None,
        loss: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        function_of("(params, *inputs), such as model.apply", "apply_fn", apply_fn)
        self.objective = Objective(labels, loss)
        self.traced = trace(apply_fn, params, *inputs)
        if not any(site.kernels for site in self.traced.sites):
            raise ValueError(_no_kernels(self.traced))
        self.programs = Programs(apply_fn, self.traced, self.objective, params, inputs)

    def __call__(
        self, params: Any, *inputs: Any, labels: Any = None, learning_rate: ArrayLike | None = None
    ) -> Report:
        """The report of some parameters.

        Args:
            params: to diagnose.
            *inputs: a batch.
            labels: of the batch.
            learning_rate: of gradient descent, or None.

        Returns:
            A report.

        Raises:
            TypeError: as `diagnose` does.
            ValueError: likewise.
        """
        _check(params, inputs, learning_rate)
        rate = None if learning_rate is None else float(np.asarray(learning_rate))
        labels = self.objective.checked(labels)
        found, sizes = self.programs.observe(params, inputs, labels)
        scalar = self.objective.is_loss(found.outputs)
        sharpness = None
        if rate is not None:
            if not scalar:
                raise ValueError(
                    f"learning_rate={rate} has no loss to go with: pass labels, or loss and labels"
                )
            sharpness = self.programs.sharpness(params, inputs, labels)
        layers = readings(self.traced.sites, found.statistics)
        loss = float(found.loss) if scalar else None
        patient = Patient(
            layers,
            loss,
            _broken(sizes),
            frozenset(path for path, size in sizes["params"].items() if size.norm == 0),
            {} if rate is None else _updates(sizes, rate),
            self.objective.chance(found.outputs, labels),
            rate,
            sharpness,
            Remedies(self.traced, params, layers),
        )
        told = tuple(findings(patient))
        rows = tuple(_layer(reading, patient) for reading in layers)
        return Report(rows, told, loss, patient.remedies.rules() if told else "")


def _check(params: Any, inputs: Sequence[Any], learning_rate: Any) -> None:
    batch = leaves({"inputs": tuple(inputs)})
    for leaf in leaves({"params": params}) + batch + leaves({"learning_rate": learning_rate}):
        if leaf.is_abstract:
            raise TypeError(f"{leaf.path} is abstract: a diagnosis needs values")
        if isinstance(leaf.value, jax.core.Tracer):
            raise TypeError(f"{leaf.path} is traced: call diagnose outside jit")
    for leaf in batch:
        if np.shape(leaf.value)[:1] == (0,):
            raise ValueError(
                f"{leaf.path} has shape {np.shape(leaf.value)}, which holds no example: pass a "
                "batch of some, such as the first of the data"
            )
    if learning_rate is None:
        return
    if not _is_number(learning_rate):
        raise TypeError(
            f"learning_rate={learning_rate!r} is a {type(learning_rate).__name__}: pass a number, "
            "that of a schedule's first step"
        )
    if not 0 < float(learning_rate) < math.inf:
        raise ValueError(f"learning_rate={learning_rate!r} must be positive and finite")


def _is_number(value: Any) -> bool:
    if hasattr(value, "dtype"):
        real = jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer)
        return bool(real) and np.shape(value) == ()
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _no_kernels(traced: Trace) -> str:
    opaque = dict.fromkeys(f"{x.primitive} {x.reason}" for x in traced.unobserved)
    because = f" ({'; '.join(opaque)})" if opaque else ""
    return (
        f"nothing is seen in apply_fn that multiplies its inputs by a leaf of params{because}: "
        "pass the parameters first, then the inputs, and a model with kernels"
    )


def _updates(sizes: Mapping[str, Mapping[str, Size]], learning_rate: float) -> dict[str, float]:
    weights = {path: size.norm for path, size in sizes["params"].items()}
    moved = {path: learning_rate * size.norm for path, size in sizes["gradients"].items()}
    return {path: x / weights[path] for path, x in moved.items() if weights[path] > 0}


def _broken(sizes: Mapping[str, Mapping[str, Size]]) -> list[str]:
    """Paths of what is not finite: of what is given, or else of what comes out.

    A mask may be -inf where nothing becomes infinite or NaN of it.
    """
    given, made = {**sizes["params"], **sizes["inputs"]}, sizes["outputs"]
    lost = "loss" in made and not math.isfinite(made["loss"].low)
    masks = not lost and all(size.high < math.inf for size in made.values())

    def broken(known: Mapping[str, Size]) -> list[str]:
        least = -math.inf if masks else np.finfo(np.float32).min
        return [p for p, size in known.items() if not (size.low >= least and size.high < math.inf)]

    return broken(given) or broken(made)


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
