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


def signalled(step: Step, facts: list[Fact]) -> list[Fact]:
    """Of the operands of a product; a parameter that is a signal, such as learned queries, is data.

    It has an axis that numbers examples, of size 1 or laid out by broadcasting. A product of two
    matrices, as in a low-rank update of a third, has none.
    """
    if (
        step.name != "dot_general"
        or any(f.data for f in facts)
        or not all(f.weights for f in facts)
    ):
        return facts
    contracts, batch = step.params["dimension_numbers"]
    loose = [
        any(not label and axis not in (*own, *shared) for axis, label in enumerate(fact.labels))
        for fact, own, shared in zip(facts, contracts, batch, strict=True)
    ]
    if sum(loose) != 1:
        return facts
    return [
        Fact(True, labels.unlabelled(atom.shape)) if is_signal else fact
        for fact, atom, is_signal in zip(facts, step.inputs, loose, strict=True)
    ]
