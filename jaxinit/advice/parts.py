"""Parameters that hold several kernels or biases side by side, and what each part goes through."""

import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from jaxinit.advice.flow import PRODUCTS, SUMS, Flow, direct, linear, moves, slots
from jaxinit.capture.activations import CASTS
from jaxinit.capture.contractions import CONTRACTIONS
from jaxinit.capture.labels import UNIT, positions
from jaxinit.capture.plan import Place
from jaxinit.capture.program import Slot, Step
from jaxinit.capture.sites import Activation


class Stretch(NamedTuple):
    """A stretch of a value's axis."""

    slot: int
    axis: int
    start: int
    stop: int


class Part(NamedTuple):
    """A stretch of a leaf's axis, and the function that what is made of it goes through.

    Args:
        axis: of the leaf.
        start: of the stretch.
        stop: of the stretch.
        output: of the function.
        activation: the function.
        forgets: whether its output multiplies a state that no kernel takes, as the forget gate of
            an LSTM does.
    """

    axis: int
    start: int
    stop: int
    output: int
    activation: Activation
    forgets: bool


def parts(flow: Flow, recurrent: Collection[int]) -> dict[int, list[Part]]:
    """The parts of leaves, by position.

    Args:
        flow: of a function's values.
        recurrent: outputs of the sites of recurrent kernels.

    Returns:
        The parts in the order of their axis.
    """
    found: dict[int, set[Part]] = defaultdict(set)
    for place in flow.places.values():
        if place.site.kind != "activation":
            continue
        forgets = _forgets(flow, place, recurrent)
        output, function = place.output.number, place.site.activation
        for leaf, axis, start, stop in _origins(flow, place.input):
            found[leaf].add(Part(axis, start, stop, output, function, forgets))
    return {leaf: list(_first(sorted(each, key=lambda p: p[:4]))) for leaf, each in found.items()}


def _first(found: Sequence[Part]) -> Iterator[Part]:
    """The first function of each stretch: a gate z, say, and not the 1 - z made of it."""
    for _, same in itertools.groupby(found, key=lambda part: part[:3]):
        first, *more = same
        yield first._replace(forgets=first.forgets or any(part.forgets for part in more))


def _forgets(flow: Flow, place: Place, recurrent: Collection[int]) -> bool:
    """Whether a gate, open by half at 0, multiplies what steps hand on and no kernel takes."""
    if flow.back(place.input.number, through=linear).keys().isdisjoint(recurrent):
        return False
    for gate, state in flow.pairs:
        if place.output.number in flow.back(gate, through=moves):
            kept = [s for s in flow.back(state, through=moves) if _kept(flow, s)]
            half = place.output.number in flow.gates
            if kept and half and not any(_recurs(flow, slot) for slot in kept):
                return True
    return False


def _kept(flow: Flow, slot: int) -> bool:
    """Whether a value is what a scan carries, or what a step without a scan makes of it: a sum in
    which a gate multiplies another."""
    step = flow.makers.get(slot)
    if step is None or step.name not in SUMS:
        return slot in flow.loops
    terms = slots(step)
    return len(terms) == 2 and any(
        s in flow.products for term in terms for s in flow.back(term, through=moves)
    )


def _recurs(flow: Flow, state: int) -> bool:
    """Whether a kernel takes a state as it is."""
    return any(
        state in flow.back(place.input.number, through=direct)
        for place in flow.places.values()
        if place.site.kernels
    )


def _origins(flow: Flow, root: Slot) -> Iterator[tuple[int, int, int, int]]:
    """Leaves, with a stretch of an axis, of which a value's units are made."""
    axes = positions(flow.facts[root.number].labels, UNIT)
    if len(axes) != 1:
        return
    todo, seen = [Stretch(root.number, axes[0], 0, root.shape[axes[0]])], set()
    while todo:
        stretch = todo.pop()
        if stretch in seen:
            continue
        seen.add(stretch)
        if stretch.slot in flow.params:
            yield flow.params[stretch.slot], *stretch[1:]
        todo += _before(flow, stretch)


def _before(flow: Flow, stretch: Stretch) -> Iterator[Stretch]:
    slot, axis, start, stop = stretch
    step = flow.makers.get(slot)
    if step is None or step.inner is not None:
        entry = flow.entries.get(slot)
        for source in flow.sources.get(slot, ()) if not entry or entry.passage != "carried" else ():
            # A scan slices its operands and stacks its results along a leading axis.
            shift = len(flow.shapes[source]) - len(flow.shapes[slot])
            yield Stretch(source, axis + shift, start, stop)
        return
    for operand, place, offset in _operands(step, slot, axis, start, stop):
        atom = step.inputs[operand]
        contracted = step.name in CONTRACTIONS and flow.is_data(getattr(atom, "number", -1))
        if isinstance(atom, Slot) and not contracted:
            yield Stretch(atom.number, place, start + offset, stop + offset)


def _operands(
    step: Step, slot: int, axis: int, start: int, stop: int
) -> Iterator[tuple[int, int, int]]:
    """Operands that an axis of a step's output stems from, their axis, and its offset there."""
    params, shape = step.params, step.outputs[0].shape
    shapes = [tuple(getattr(atom, "shape", ())) for atom in step.inputs]
    match step.name:
        case "transpose":
            yield 0, params["permutation"][axis], 0
        case "broadcast_in_dim" if axis in params["broadcast_dimensions"]:
            yield 0, params["broadcast_dimensions"].index(axis), 0
        case "squeeze" | "expand_dims" | "reshape":
            for place in _same_axis(shapes[0], shape, axis):
                yield 0, place, 0
        case "slice" if not params["strides"] or params["strides"][axis] == 1:
            yield 0, axis, params["start_indices"][axis]
        case "split":
            index = [s.number for s in step.outputs].index(slot)
            yield 0, axis, sum(params["sizes"][:index]) if params["axis"] == axis else 0
        case "concatenate":
            yield from _pieces(shapes, params["dimension"], axis, start, stop)
        case "dot_general" | "conv_general_dilated":
            yield from _kernel(step, shapes, axis)
        case name if name in CASTS | {"select_n", *SUMS, *PRODUCTS}:
            for operand, own in enumerate(shapes):
                if len(own) == len(shape) and own[axis] == shape[axis]:
                    yield operand, axis, 0


def _same_axis(old: Sequence[int], new: Sequence[int], axis: int) -> list[int]:
    """The axis of the operand of a reshape that an axis of its result is."""
    before, size = math.prod(new[:axis]), new[axis]
    return [i for i, n in enumerate(old) if n == size and math.prod(old[:i]) == before][:1]


def _pieces(
    shapes: Sequence[Sequence[int]], dimension: int, axis: int, start: int, stop: int
) -> Iterator[tuple[int, int, int]]:
    begin = 0
    for operand, shape in enumerate(shapes):
        if dimension != axis:
            yield operand, axis, 0
        elif begin <= start and stop <= begin + shape[axis]:
            yield operand, axis, -begin
        begin += shape[dimension]


def _kernel(step: Step, shapes: Sequence[Any], axis: int) -> Iterator[tuple[int, int, int]]:
    numbers = step.params["dimension_numbers"]
    if step.name == "conv_general_dilated":
        if axis == numbers.out_spec[1]:
            yield 1, numbers.rhs_spec[0], 0
        return
    contracted, batch = numbers
    place = len(batch[0])
    for operand in (0, 1):
        for own in range(len(shapes[operand])):
            if own not in (*contracted[operand], *batch[operand]):
                if place == axis:
                    yield operand, own, 0
                place += 1
