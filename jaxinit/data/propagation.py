"""The moments of a signal on its way through a traced function."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxinit.capture import program
from jaxinit.capture.plan import Place, Plan
from jaxinit.capture.program import Block, Slot, Step
from jaxinit.data import moments
from jaxinit.data.moments import Known, Signal, State, Unknown

FUNCTIONS = ("activation", "softmax", "normalization")


class Propagation:
    """An interpreter of a plan whose values are moments.

    Args:
        plan: of the function.
        layers: names of the sites whose variances are wanted.
        alone: names of those whose outputs go on with variance 1.
    """

    def __init__(self, plan: Plan, layers: set[str], alone: set[str]) -> None:
        self.plan, self.layers, self.alone = plan, layers, alone
        self.places = {place.output.number: place for place in plan.places}
        # By site, the variances in each step of the scans around; or why there is none.
        self.found: dict[str, Any] = {}
        self.missing: dict[str, str] = {}
        self._at: tuple[int, ...] = ()

    def run(self, given: Sequence[State]) -> list[State]:
        """The states of the results."""
        return self._block(self.plan.block, given)

    def _block(self, block: Block, given: Sequence[State]) -> list[State]:
        states: dict[int, State] = {
            slot.number: state for slot, state in zip(block.inputs, given, strict=True)
        }
        states.update((slot.number, Known(value)) for slot, value in block.constants)
        makers = {slot.number: step for step in block.steps for slot in step.outputs}
        needed = self._needed(block, states)

        def read(atom: Any) -> State:
            return states[atom.number] if isinstance(atom, Slot) else Known(atom)

        for step in block.steps:
            if step.outputs and step.outputs[0].number not in needed:
                states.update((s.number, Unknown("nothing needs it")) for s in step.outputs)
                continue
            inputs = [read(atom) for atom in step.inputs]
            here = [self.places.get(slot.number) for slot in step.outputs]
            if all(isinstance(x, Known) for x in inputs):
                values = step.evaluate([x.value for x in inputs if isinstance(x, Known)])
                results: list[State] = [Known(value) for value in values]
            elif any(p is not None and p.site.kind in FUNCTIONS for p in here):
                results = [
                    Unknown(step.name)
                    if p is None
                    else self._function(p, read(p.input), states, makers)
                    for p in here
                ]
            else:
                results = self._results(step, inputs)
                results = [
                    x if p is None else self._layer(p, x)
                    for p, x in zip(here, results, strict=True)
                ]
            states.update((s.number, x) for s, x in zip(step.outputs, results, strict=True))
        return [read(atom) for atom in block.results]

    def _needed(self, block: Block, given: dict[int, State]) -> set[int]:
        """The slots whose states lead to a layer, or to a result of the block."""
        data = {number for number, state in given.items() if not isinstance(state, Known)}
        for step in block.steps:
            if any(isinstance(atom, Slot) and atom.number in data for atom in step.inputs):
                data.update(slot.number for slot in step.outputs)
        found = {atom.number for atom in block.results if isinstance(atom, Slot)}
        for step in reversed(block.steps):
            own = {slot.number for slot in step.outputs}
            places = [self.places[number] for number in own if number in self.places]
            constant = own.isdisjoint(data)  # of no cost, and a function may be drawn with it
            if constant or step.inner or any(p.site.kernels for p in places) or own & found:
                found |= own
                inputs: list[Any] = list(step.inputs)
                if not constant and any(p.site.kind in FUNCTIONS for p in places):
                    inputs = [p.input for p in places]
                found.update(atom.number for atom in inputs if isinstance(atom, Slot))
        return found

    def _results(self, step: Step, inputs: Sequence[State]) -> list[State]:
        if step.name == "scan":
            assert step.inner is not None
            return self._scan(step, step.inner, inputs)
        if step.inner is not None:
            return self._block(step.inner, inputs)
        if step.name == "gather" and isinstance(inputs[0], Known):
            return [inputs[0].signal]
        return [moments.stepped(step, inputs)] * len(step.outputs)

    def _layer(self, place: Place, state: State) -> State:
        """A product with a kernel, noted, and normalized if it is to be."""
        site = place.site
        if site.name not in self.layers:
            return state
        if not isinstance(state, Signal):
            self.missing[site.name] = state.reason if isinstance(state, Unknown) else "no data"
            return state
        noted = self.found.setdefault(site.name, np.zeros(site.steps))
        noted[self._at] = state.variance
        if site.name not in self.alone or not state.variance > 0:
            return state
        return Signal(state.mean / state.variance**0.5, 1.0)

    def _function(
        self, place: Place, given: State, states: dict[int, State], makers: dict[int, Step]
    ) -> State:
        """An activation by quadrature; a normalization or a softmax from draws."""
        if isinstance(given, Known):
            given = given.signal
        if isinstance(given, Unknown):
            return given
        if place.site.kind == "activation":
            return moments.activated(place.site.activation, given)
        strange: list[str] = []

        def evaluate(x: Any) -> Any:
            known: dict[int, Any] = {place.input.number: x}

            def value(atom: Any) -> Any:
                if not isinstance(atom, Slot):
                    return atom
                if atom.number not in known:
                    state = states.get(atom.number)
                    step = makers.get(atom.number)
                    if isinstance(state, Known):
                        known[atom.number] = state.value
                    elif step is None:
                        strange.append("a value from elsewhere")
                        return jnp.zeros(atom.shape, atom.aval.dtype)
                    else:
                        results = step.evaluate([value(a) for a in step.inputs])
                        known.update(
                            (s.number, r) for s, r in zip(step.outputs, results, strict=True)
                        )
                return known[atom.number]

            return value(place.output)

        source = place.input
        found = moments.sampled(evaluate, source.shape, source.aval.dtype, given)
        if strange:
            return Unknown(f"{place.site.name} of {strange[0]}")
        return found

    def _scan(self, step: Step, inner: Block, given: Sequence[State]) -> list[State]:
        parts = program.carried(step.params)
        start = parts.constants + parts.carried
        constants, carry, stacked = (
            list(given[: parts.constants]),
            list(given[parts.constants : start]),
            list(given[start:]),
        )
        length = step.params["length"]
        rows: list[list[State]] = []
        outer = self._at
        for i in range(length)[:: -1 if step.params["reverse"] else 1]:
            self._at = (*outer, i)
            slices = [Known(s.value[i]) if isinstance(s, Known) else s for s in stacked]
            found = self._block(inner, [*constants, *carry, *slices])
            carry = found[: parts.carried]
            rows.append(found[parts.carried :])
        self._at = outer
        results = [_together(list(column)) for column in zip(*rows, strict=True)]
        return [*carry, *results]


def _together(states: list[State]) -> State:
    """Of values that are stacked; in no order, so that known ones are so in their moments alone."""
    unknown = next((s for s in states if isinstance(s, Unknown)), None)
    if unknown is not None:
        return unknown
    return moments.mixed(moments.signals(states))
