"""A planned function run step by step, its sites observed, their cotangents on the way back."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxinit.capture import program
from jaxinit.capture.plan import Place, Plan
from jaxinit.capture.program import Block, Slot, Step
from jaxinit.capture.sites import Observer, Site

Statistics = dict[str, Any]
Replacement = Callable[[Site, Any], Any]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _probe(observe: Callable[[Any], Any], value: Any, statistics: Any) -> Any:
    """The value, whose cotangent leaves its statistics as the cotangent of a dummy operand."""
    return value


def _forth(observe: Callable[[Any], Any], value: Any, statistics: Any) -> tuple[Any, None]:
    return value, None


def _back(observe: Callable[[Any], Any], _: None, cotangent: Any) -> tuple[Any, Any]:
    return cotangent, observe(cotangent)


_probe.defvjp(_forth, _back)


class Instrument:
    """An interpreter of a plan.

    Args:
        plan: of the function.
        observer: what to compute at each site.
        replace: from a site and its output to the output to go on with, or None.
    """

    def __init__(self, plan: Plan, observer: Observer, replace: Replacement | None) -> None:
        self.plan, self.observer, self.replace = plan, observer, replace
        self.places: dict[int, Place] = {place.output.number: place for place in plan.places}

    def dummies(self) -> Statistics:
        """Zeros in the place of each cotangent's statistics."""
        found: Statistics = {}
        for site, _, output, _ in self.plan.places:
            value = jax.ShapeDtypeStruct(output.shape, output.aval.dtype)
            shapes = jax.eval_shape(functools.partial(self._cotangent, site), value)
            found[site.name] = jax.tree.map(
                lambda s, steps=site.steps: jnp.zeros((*steps, *s.shape), s.dtype), shapes
            )
        return found

    def _cotangent(self, site: Site, cotangent: Any) -> Any:
        seen = self.observer(site, "cotangent", cotangent)
        return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), {} if seen is None else seen)

    def run(self, inputs: Sequence[Any], dummies: Statistics) -> tuple[list[Any], Statistics]:
        """The results of the function, and the statistics of inputs and outputs."""
        return self._block(self.plan.block, inputs, dummies)

    def _block(
        self, block: Block, inputs: Sequence[Any], dummies: Statistics
    ) -> tuple[list[Any], Statistics]:
        values: dict[int, Any] = {
            slot.number: value for slot, value in zip(block.inputs, inputs, strict=True)
        }
        values.update((slot.number, value) for slot, value in block.constants)
        statistics: Statistics = {}

        def read(atom: Any) -> Any:
            return values[atom.number] if isinstance(atom, Slot) else atom

        for step in block.steps:
            given = [read(atom) for atom in step.inputs]
            found = self._step(step, given, dummies, statistics)
            for slot, value in zip(step.outputs, found, strict=True):
                place = self.places.get(slot.number)
                if place is not None:
                    value = self._observed(place, read(place.input), value, dummies, statistics)
                values[slot.number] = value
        return [read(atom) for atom in block.results], statistics

    def _observed(
        self, place: Place, source: Any, value: Any, dummies: Statistics, statistics: Statistics
    ) -> Any:
        site = place.site
        source = source if place.order is None else jnp.transpose(source, place.order)
        seen = {
            "input": self.observer(site, "input", jax.lax.stop_gradient(source)),
            "output": self.observer(site, "output", jax.lax.stop_gradient(value)),
        }
        statistics[site.name] = {side: x for side, x in seen.items() if x is not None}
        if self.replace is not None:
            changed = jnp.asarray(self.replace(site, value))
            if changed.shape != value.shape:
                raise ValueError(
                    f"replace gives shape {changed.shape} for the output of {site.name!r}, which "
                    f"has shape {value.shape}"
                )
            value = changed.astype(value.dtype)
        if site.name not in dummies or not jax.tree.leaves(dummies[site.name]):
            return value
        return _probe(functools.partial(self._cotangent, site), value, dummies[site.name])

    def _step(
        self, step: Step, given: Sequence[Any], dummies: Statistics, statistics: Statistics
    ) -> Sequence[Any]:
        inner = step.inner
        names = [] if inner is None or step.name in program.CUSTOM else self._within(inner)
        if inner is None or not names:
            return step.evaluate(given)
        own = {name: dummies[name] for name in names if name in dummies}
        if step.name in program.REMAT:
            again = jax.checkpoint(
                lambda values, own: self._block(inner, values, own),
                prevent_cse=step.params["prevent_cse"],
                policy=step.params["policy"],
            )
            found, seen = again(list(given), own)
        else:
            found, seen = self._scan(step, inner, given, own)
        statistics.update(seen)
        return found

    def _scan(
        self, step: Step, inner: Block, given: Sequence[Any], dummies: Statistics
    ) -> tuple[Sequence[Any], Statistics]:
        parts = program.carried(step.params)
        start = parts.constants + parts.carried
        first = inner.inputs[parts.constants : start]
        constants, carry, stacked = (
            list(given[: parts.constants]),
            list(given[parts.constants : start]),
            list(given[start:]),
        )

        def body(carry: list[Any], slices: tuple[list[Any], Statistics]) -> tuple[list[Any], Any]:
            values, own = slices
            found, seen = self._block(inner, [*constants, *carry, *values], own)
            return found[: parts.carried], (found[parts.carried :], seen)

        last, (results, seen) = jax.lax.scan(
            body,
            [jnp.asarray(x, slot.aval.dtype) for x, slot in zip(carry, first, strict=True)],
            (stacked, dummies),
            length=step.params["length"],
            reverse=step.params["reverse"],
            unroll=step.params["unroll"],
        )
        return [*last, *results], seen

    def _within(self, block: Block) -> list[str]:
        """Names of the sites in a block and those within."""
        found: list[str] = []
        for step in block.steps:
            found += [
                self.places[s.number].site.name for s in step.outputs if s.number in self.places
            ]
            found += (
                self._within(step.inner) if step.inner and step.name not in program.CUSTOM else []
            )
        return found
