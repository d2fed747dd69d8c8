"""What the kernels at a function's sites do for one another: attention, recurrence, gates."""

from collections.abc import Iterable, Iterator

from jaxinit.advice import low_rank
from jaxinit.advice.flow import SUMS, Flow, anything, direct, linear, moves, slots
from jaxinit.advice.uses import KernelRole
from jaxinit.capture.plan import Place

Roles = dict[int, KernelRole]


def site_roles(flow: Flow) -> Roles:
    """The roles of kernels that follow from what is done with their outputs and inputs.

    Args:
        flow: of a function's values.

    Returns:
        By the output of a site. A site in none of these roles is left out.
    """
    found: Roles = {}
    _attention(flow, found)
    _recurrence(flow, found)
    for site in low_rank.updates(flow):
        found.setdefault(site, "low-rank update")
    _gates(flow, found)
    return found


def _attention(flow: Flow, found: Roles) -> None:
    """Products whose softmax weighs others: query by key, then weights by value."""
    products = {
        output: place
        for output, place in flow.places.items()
        if place.site.kind == "matmul" and not place.site.kernels
    }
    weights = set()
    for softmax in flow.places.values():
        if softmax.site.kind == "softmax":
            for logits in flow.before(softmax.input.number):  # which may be capped
                if logits in products:
                    weights.add(softmax.output.number)
                    _query_and_key(flow, softmax, logits, found)
    for output in products:
        operands = slots(flow.makers[output])
        for weight, other in (operands, operands[::-1]):
            if not weights.isdisjoint(flow.back(weight, through=linear)):
                _mark(found, _source(flow, other), "attention value")
                for site in _after(flow, output):
                    found.setdefault(site, "attention output")


def _query_and_key(flow: Flow, softmax: Place, logits: int, found: Roles) -> None:
    """The softmax runs over the axis that numbers keys."""
    labels = flow.facts[softmax.input.number].labels
    turned = softmax.order or range(len(labels))
    summed = {label for axis in softmax.site.units for label in labels[turned[axis]]}
    for operand, slot in enumerate(slots(flow.makers[logits])):
        key = ("free", logits, operand) in summed
        _mark(found, _source(flow, slot), "attention key" if key else "attention query")


def _source(flow: Flow, slot: int) -> list[int]:
    """The sites, of one input, that a value stems from through sums and norms alone."""
    ends = [
        s
        for s in flow.back(slot, through=linear)
        if s in flow.places and flow.places[s].site.kind in ("matmul", "conv", "embedding")
    ]
    pure = all(flow.places[s].site.kernels for s in ends)
    return ends if pure and len({flow.places[s].input for s in ends}) == 1 else []


def _mark(found: Roles, sites: Iterable[int], role: KernelRole) -> None:
    for site in sites:
        found[site] = role if found.get(site, role) == role else "packed attention"


def _after(flow: Flow, product: int) -> Iterator[int]:
    """The kernels that take a product as it is."""
    for output, place in flow.places.items():
        multiplies = place.site.kernels and place.site.kind in ("matmul", "conv")
        if multiplies and product in flow.back(place.input.number, through=direct):
            yield output


def _recurrence(flow: Flow, found: Roles) -> None:
    """Kernels that step after step takes its state to, and those whose outputs are added."""
    for output, place in flow.places.items():
        if place.site.kernels and place.site.kind != "embedding":
            behind = flow.back(place.input.number, through=direct)
            states = {s for s in behind if s in flow.loops and _repeats(flow, place, s)}
            states |= _earlier(flow, place)
            if states and _joins(flow, behind, states):
                found[output] = "recurrent input and kernel"
            elif states:
                found[output] = "recurrent kernel"
    for step in flow.steps:
        terms = slots(step)
        if step.name in SUMS and len(terms) == 2 and all(map(flow.is_data, terms)):
            left, right = map(flow.kernels, terms)
            for one, other in ((left, right), (right, left)):
                if any(found.get(s) == "recurrent kernel" for s in one):
                    for site in other:
                        found.setdefault(site, "recurrent input")


def _repeats(flow: Flow, place: Place, state: int) -> bool:
    """Whether a kernel is the same in all turns of a scan that reads a sequence."""
    scan = flow.entries[state].scan
    weights = (s for s in slots(flow.makers[place.output.number]) if not flow.is_data(s))
    entered = {s for w in weights for s in flow.behind(w) if s in flow.entries}
    sliced = any(flow.entries[s] == (scan, "sliced") for s in entered)
    return scan in flow.scans_with_data and not sliced


def _earlier(flow: Flow, place: Place) -> set[int]:
    """Outputs of the same kernel, at a step before, that come back with no kernel between."""
    own = {kernel.path for kernel in place.site.kernels}
    return {
        s
        for s in flow.back(place.input.number, through=anything)
        if s in flow.places
        and flow.places[s].site.kind != "embedding"
        and own & {kernel.path for kernel in flow.places[s].site.kernels}
    }


def _joins(flow: Flow, behind: Iterable[int], states: set[int]) -> bool:
    """Whether what a kernel takes is a state beside something else."""
    for slot in behind:
        step = flow.makers.get(slot)
        if step is not None and step.name == "concatenate":
            apart = [states.isdisjoint(flow.back(s, through=anything)) for s in slots(step)]
            if any(apart) and not all(apart):
                return True
    return False


def _gates(flow: Flow, found: Roles) -> None:
    """Kernels whose output, through a nonlinearity, multiplies another signal.

    Of two nonlinearities that are multiplied by each other, it is the one that is open by half.
    """
    for gate, signal in flow.pairs:
        for slot in flow.back(gate, through=moves):
            place = flow.places.get(slot)
            if place is None or place.site.kind != "activation":
                continue
            function = place.site.activation
            itself = place.input.number in flow.back(signal, through=moves)
            other = flow.before_functions(signal) if slot in flow.gates else flow.kernels(signal)
            if function.name != "tanh" and not itself and other:
                for site in flow.kernels(place.input.number):
                    found.setdefault(site, "gate")
