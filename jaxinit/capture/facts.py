"""What is known of the values of a function, and the sites that are being found in it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxinit.capture import labels
from jaxinit.capture.activations import Expression
from jaxinit.capture.contractions import Weight
from jaxinit.capture.labels import Labels
from jaxinit.capture.program import Slot, Step
from jaxinit.capture.sites import Kernel, Kind


class Fact(NamedTuple):
    """What is known of a value: whether it hangs on the inputs, and what its axes stem from."""

    data: bool
    labels: Labels
    weights: tuple[Weight, ...] = ()
    expression: Expression | None = None


@dataclass
class Draft:
    """A site that is being found."""

    kind: Kind
    step: Step
    output: Slot
    input: Slot
    steps: tuple[int, ...]
    labels: Labels
    kernels: tuple[Kernel, ...] = ()
    expression: Expression | None = None


@dataclass
class Uses:
    """How a value is used outside the expressions that its root starts."""

    hard: bool = False
    soft: bool = False


def constant(slot: Slot, value: Any) -> Fact:
    """Of a constant of the trace: a number, or an array that may be part of the data."""
    if not slot.shape:
        return Fact(False, (), (), Expression(value=value))
    data = jnp.issubdtype(slot.aval.dtype, jnp.inexact)
    return Fact(data, labels.unlabelled(slot.shape))


def apart(fact: Fact) -> Fact:
    """Of a value inside a body: expressions of data start anew there."""
    return fact._replace(expression=None) if fact.data else fact


def covered(atom: Any, fact: Fact) -> int:
    """How many of its entries stem from parameters."""
    size = 1
    for axis, label in enumerate(fact.labels):
        size *= atom.shape[axis] if label else 1
    return size
