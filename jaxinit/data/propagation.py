"""The moments of a signal on its way through a traced function."""

from collections.abc import Hashable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxinit.capture import Activation, program
from jaxinit.capture.activations import recognized
from jaxinit.capture.plan import Plan
from jaxinit.capture.program import Block, Slot, Step
from jaxinit.data import moments
from jaxinit.data.moments import Known, Signal, State, Unknown


class Propagation:
    """An interpreter of a plan whose values are moments.

    Args:
        plan: of the function.
        layers: names of the sites whose variances are wanted.
        alone: names of those whose outputs go on with variance 1.
    """

    def __init__(self, plan: Plan, layers: set[str], alone: set[str]) -> None:
        self.plan, self.alone = plan, alone
        self.places = {p.output.number: p.site for p in plan.places if p.site.name in layers}
        self._known: dict[Hashable, Activation] = {}
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
            if all(isinstance(x, Known) for x in inputs):
                values = step.evaluate([x.value for x in inputs if isinstance(x, Known)])
                known = map(Known, values)
                results = [self._layer(s, x) for s, x in zip(step.outputs, known, strict=True)]
            elif any(self._root(slot) for slot in step.outputs):
                results = [self._function(slot, states, makers) for slot in step.outputs]
            else:
                results = self._results(step, inputs)
                results = [self._layer(s, x) for s, x in zip(step.outputs, results, strict=True)]
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
            constant = own.isdisjoint(data)  # of no cost, and a function may be drawn with it
            if constant or step.inner or own & (found | self.places.keys()):
                found |= own
                roots = [self._root(slot) for slot in step.outputs]
                inputs = step.inputs if constant or not any(roots) else roots
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

    def _layer(self, slot: Slot, state: State) -> State:
        """A product with a kernel, noted, and normalized if it is to be."""
        if slot.number not in self.places:
            return state
        site = self.places[slot.number]
        if isinstance(state, Known):  # of parameters alone, as learned queries are
            state = state.signal
        if not isinstance(state, Signal):
            self.missing[site.name] = state.reason if isinstance(state, Unknown) else "no data"
            return state
        noted = self.found.setdefault(site.name, np.zeros(site.steps))
        noted[self._at] = state.variance
        if site.name not in self.alone or not state.variance > 0:
            return state
        return Signal(state.mean / state.variance**0.5, 1.0)

    def _root(self, slot: Slot) -> Slot | None:
        """The value of which one is a nonlinear function, or a normalization."""
        expression = self.plan.analysis.facts[slot.number].expression
        if expression is None or not (expression.nonlinear or expression.normalized):
            return None
        return expression.root

    def _function(self, slot: Slot, states: dict[int, State], makers: dict[int, Step]) -> State:
        """An activation by quadrature; a normalization or a softmax from draws."""
        root, expression = self._root(slot), self.plan.analysis.facts[slot.number].expression
        if root is None or expression is None:
            return Unknown("one of several results")
        given = states[root.number]
        if isinstance(given, Known):
            given = given.signal
        if isinstance(given, Unknown):
            return given
        if expression.is_activation:
            return moments.activated(recognized(expression, self._known), given)
        strange: list[str] = []

        def evaluate(x: Any) -> Any:
            known: dict[int, Any] = {root.number: x}

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

            return value(slot)

        found = moments.sampled(evaluate, root.shape, root.aval.dtype, given)
        if strange:
            return Unknown(f"a function of {strange[0]}")
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
