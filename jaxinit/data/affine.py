"""The leaves that multiply each unit and those that are added to it, found in the trace."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

from jaxinit.capture import Kernel, Site, Trace
from jaxinit.capture.activations import CASTS
from jaxinit.capture.analysis import Analysis
from jaxinit.capture.facts import Fact
from jaxinit.capture.labels import MOVES, Labels
from jaxinit.capture.plan import Place
from jaxinit.capture.program import Slot, Step
from jaxinit.data.uses import Use, units

Form: TypeAlias = Literal["linear", "exp"]


class Target(NamedTuple):
    """The scale and the shift of the units of a place.

    Args:
        place: whose output's units are to be normalized.
        scale: the leaf that multiplies them.
        form: of the factor that it gives: itself, or its exponential.
        bias: the leaf that is added to them, or None.
        before: whether that is added to the input of the place.
    """

    place: Place
    scale: Use
    form: Form = "linear"
    bias: Use | None = None
    before: bool = False

    @property
    def site(self) -> str:
        """The name of the place."""
        return self.place.site.name


def of_kernels(trace: Trace, sites: list[Site]) -> Iterator[Target]:
    """Targets of matrix products and convolutions: their kernels, or scales within, and biases.

    Args:
        trace: of the function.
        sites: whose kernels each have units.

    Raises:
        ValueError: if the units of one are not known.
    """
    named = {site.name for site in sites}
    for place in trace.plan.places:
        site = place.site
        if site.name in named:
            (kernel, *_) = site.kernels
            own = units(site, kernel)
            scale, form = _within(trace.plan.analysis, place, kernel, own)
            yield Target(place, scale, form, _bias(trace, site))


def of_layers(trace: Trace) -> Iterator[Target]:
    """Targets where a signal is multiplied by one leaf and another is added: y = s ⊙ x + b.

    Args:
        trace: of the function.
    """
    analysis = trace.plan.analysis
    found = dict(_elementwise(analysis))
    muls = {slot: entry for slot, entry in found.items() if entry.step.name == "mul"}
    adds = {slot: entry for slot, entry in found.items() if entry.step.name != "mul"}
    seen: Counter[str] = Counter()
    for slot, (step, data, scale, form, positions, steps) in muls.items():
        shift = next((a for a in adds.values() if _back(analysis, a.data)[0].number == slot), None)
        source = _back(analysis, data)[0]
        before = adds.get(source.number) if shift is None else None
        pair = shift or before
        if pair is None or pair.form != "linear":
            continue
        name = step.scope or scale.path
        seen[name] += 1
        name = name if seen[name] == 1 else f"{name}#{seen[name]}"
        output = step.outputs[0]
        shape = output.shape
        site = Site(
            name,
            "activation",
            step.scope,
            shape,
            output.aval.dtype,
            shape,
            positions,
            None,
            steps=steps,
        )
        inputs = pair.data if before else data
        place = Place(site, inputs, output, None)
        yield Target(
            place,
            scale._replace(site=name),
            form,
            pair.leaf._replace(site=name),
            before is not None,
        )


class _Entry(NamedTuple):
    """A product or a sum of a signal and one leaf."""

    step: Step
    data: Slot
    leaf: Use
    form: Form
    positions: tuple[int, ...]
    steps: tuple[int, ...]


def _elementwise(analysis: Analysis) -> Iterator[tuple[int, _Entry]]:
    for slot, (step, steps) in analysis.makers.items():
        if step.name not in ("mul", "add", "add_any") or len(step.inputs) != 2:
            continue
        facts = [analysis.fact(atom) for atom in step.inputs]
        for own, other in ((0, 1), (1, 0)):
            fact, data = facts[own], step.inputs[other]
            if len(fact.weights) == 1 and facts[other].data and isinstance(data, Slot):
                _, form = _back(analysis, step.inputs[own])
                positions, axes = _numbered(fact.labels, fact)
                if form is not None and axes:
                    use = _use(analysis, fact, axes, steps)
                    yield slot, _Entry(step, data, use, form, positions, steps)


def _within(
    analysis: Analysis, place: Place, kernel: Kernel, own: tuple[int, ...]
) -> tuple[Use, Form]:
    """The leaf g where the kernel is g v / |v|, or else the kernel."""
    site = place.site
    plain = Use(site.name, kernel.path, kernel.slice, site.steps, own)
    step, _ = analysis.makers[place.output.number]
    for atom in step.inputs[:2]:
        if analysis.fact(atom).data or not isinstance(atom, Slot):
            continue
        origin, _ = _back(analysis, atom)
        maker, _ = analysis.makers.get(origin.number, (None, ()))
        if maker is None or maker.name != "mul":
            continue
        facts = [analysis.fact(x) for x in maker.inputs]
        for g, v in ((0, 1), (1, 0)):
            one = [w for w in facts[g].weights if analysis.tree[w.leaf].path != kernel.path]
            _, form = _back(analysis, maker.inputs[g])
            if len(one) != 1 or len(facts[g].weights) != 1 or form is None:
                continue
            leaves = {analysis.tree[w.leaf].path: w.leaf for w in facts[v].weights}
            if kernel.path not in leaves:
                continue
            at = [_position(facts[v].labels, (leaves[kernel.path], axis)) for axis in own]
            axes = [_axis(facts[g].labels, i, one[0].leaf) for i in at]
            if None not in axes:
                return _use(
                    analysis,
                    facts[g],
                    tuple(a for a in axes if a is not None),
                    site.steps,
                    site.name,
                ), form
    return plain, "linear"


def _bias(trace: Trace, site: Site) -> Use | None:
    """The bias of a site, if it has an entry a unit."""
    if site.bias is None:
        return None
    (shape,) = {
        tuple(leaf.value.shape) for leaf in trace.plan.analysis.tree if leaf.path == site.bias
    }
    gone = {axis for _, axis in site.bias_slice.scans} | {axis for axis, _ in site.bias_slice.fixed}
    axes = tuple(axis for axis, n in enumerate(shape) if axis not in gone and n > 1)
    sizes = [shape[axis] for axis in axes]
    wanted = [site.shape[axis] for axis in site.units if site.shape[axis] > 1]
    if sizes != wanted:
        return None
    return Use(site.name, site.bias, site.bias_slice, site.steps, axes)


def _use(
    analysis: Analysis, fact: Fact, axes: tuple[int, ...], steps: tuple[int, ...], site: str = ""
) -> Use:
    weight = fact.weights[0]
    return Use(site, analysis.tree[weight.leaf].path, weight.slice, steps, axes)


def _numbered(labels: Labels, fact: Fact) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of a value that are axes of its leaf, and those."""
    leaf = fact.weights[0].leaf
    found = [(i, _axis(labels, i, leaf)) for i in range(len(labels))]
    known = [(i, axis) for i, axis in found if axis is not None]
    return tuple(i for i, _ in known), tuple(axis for _, axis in known)


def _axis(labels: Labels, position: int | None, leaf: int) -> int | None:
    if position is None:
        return None
    pairs: list[Any] = [label for label in labels[position] if isinstance(label, tuple)]
    axes = [axis for owner, axis in pairs if owner == leaf]
    return axes[0] if len(axes) == 1 else None


def _position(labels: Labels, wanted: tuple[int, int]) -> int | None:
    return next((i for i, label in enumerate(labels) if wanted in label), None)


def _back(analysis: Analysis, slot: Any) -> tuple[Any, Form | None]:
    """Where a value comes from but for moves, casts and an exponential, and whether that is all."""
    form: Form = "linear"
    while isinstance(slot, Slot) and slot.number in analysis.makers:
        step, _ = analysis.makers[slot.number]
        if step.name == "exp" and form == "linear":
            form = "exp"
        elif step.name not in MOVES | CASTS:
            return slot, None
        slot = step.inputs[0]
    return slot, form
