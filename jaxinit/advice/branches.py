"""Residual branches: the sums of a signal and of what was computed from it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jaxinit.advice import low_rank
from jaxinit.advice.flow import PRODUCTS, SUMS, Flow, added, direct, linear, moves, slots


class Branch(NamedTuple):
    """The kernels whose outputs a residual branch adds to its skip.

    Args:
        ends: outputs of their sites.
        total: branches along the whole stream, those of each turn of a scan counted.
        value: what is added.
        scaled: whether parameters scale it after these kernels, as LayerScale does.
        normalized: whether the branch is normalized after these kernels, or each sum of the stream.
        attention: whether any branch of the stream ends an attention.
    """

    ends: tuple[int, ...]
    total: int
    value: int
    scaled: bool
    normalized: bool
    attention: bool


class _Sum(NamedTuple):
    output: int
    skip: int
    value: int
    ends: tuple[int, ...]
    normalized: bool
    renormalized: bool
    terms: int


def branches(flow: Flow) -> list[Branch]:
    """The residual branches of a function.

    Args:
        flow: of its values.
    """
    sums = list(_sums(flow))
    streams = _streams(flow, sums)
    found = []
    for each in sums:
        stream = [s for s in sums if streams[s.output] == streams[each.output]]
        normalized = each.normalized or all(_is_kept(flow, s, stream) for s in stream)
        attention = any(_attends(flow, end) for s in stream for end in s.ends)
        total, scaled = sum(s.terms for s in stream), any(_factors(flow, each.value, each.ends))
        found.append(Branch(each.ends, total, each.value, scaled, normalized, attention))
    return found


def _is_kept(flow: Flow, each: _Sum, stream: list[_Sum]) -> bool:
    """Whether a sum is normalized, at once or after others are added."""
    users = set(flow.users[each.output])
    return each.renormalized or any(s.skip == each.output and users == {s.output} for s in stream)


def _factors(flow: Flow, value: int, ends: tuple[int, ...]) -> Iterator[int]:
    """Products with parameters between kernels and the value that they end in."""
    inside = flow.inside
    for slot in flow.before(value):
        step = flow.makers.get(slot)
        if step is None or step.name not in PRODUCTS or slot in inside or slot in flow.slopes:
            continue
        data = [s for s in slots(step) if flow.is_data(s)]
        leaves = [s for s in slots(step) if not flow.is_data(s) and flow.leaves.get(s)]
        if data and leaves and not flow.before(data[0]).keys().isdisjoint(ends):
            yield slot


def _attends(flow: Flow, end: int) -> bool:
    """Whether a kernel takes the product of two activations."""
    behind = flow.back(_input(flow, end), through=direct)
    sites = (flow.places[s].site for s in behind if s in flow.places)
    return any(site.kind == "matmul" and not site.kernels for site in sites)


def _sums(flow: Flow) -> Iterator[_Sum]:
    updates = low_rank.updates(flow)
    for step in flow.steps:
        atoms = [s for s in slots(step) if flow.is_data(s)]
        if step.name not in SUMS or len(set(atoms)) != 2:
            continue
        for skip, branch in (atoms, atoms[::-1]):
            ends = tuple(end for end in _ends(flow, skip, branch) if end not in updates)
            if ends:
                output = step.outputs[0].number
                count = flow.lengths[output] * len(ends)
                normal = _normalized(flow, branch, ends), _renormalized(flow, output)
                yield _Sum(output, skip, branch, ends, *normal, count)
                break


def _ends(flow: Flow, skip: int, branch: int) -> tuple[int, ...]:
    """Kernels that end the branch, if the other operand is a skip around them.

    A branch may end in a function of what they give.
    """
    kernels = flow.kernels(branch)
    return _around(flow, skip, kernels) or _around(flow, skip, flow.before_functions(branch))


def _around(flow: Flow, skip: int, ends: Sequence[int]) -> tuple[int, ...]:
    if any(s in flow.products for s in flow.back(skip, through=moves)):
        return ()  # of a recurrence, whose state data multiplies, or of a mix
    stream = flow.back(skip, through=added).keys() - flow.constants
    around = tuple(e for e in ends if not stream.isdisjoint(flow.behind(_input(flow, e))))
    if around:
        return around
    shortcuts = flow.kernels(skip)
    # A shortcut with a kernel of its own: its input lies behind the whole branch.
    return tuple(
        end
        for end in ends
        if any(
            _input(flow, other) != _input(flow, end)
            and _input(flow, other) in flow.behind(_input(flow, end))
            for other in shortcuts
        )
    )


def _input(flow: Flow, output: int) -> int:
    return flow.places[output].input.number


def _normalized(flow: Flow, branch: int, ends: tuple[int, ...]) -> bool:
    """Whether a normalization lies between the kernels and the sum."""
    between = flow.before(branch)
    return any(
        not set(ends).isdisjoint(flow.before(before))
        for slot, before in flow.normalizations.items()
        if slot in between
    )


def _renormalized(flow: Flow, output: int) -> bool:
    """Whether all that is used of the sum is its normalization."""
    inside: set[int] = set()
    for place in flow.places.values():
        if place.site.kind == "normalization" and place.input.number == output:
            inside |= flow.ahead(output) & flow.behind(place.output.number)
    return bool(inside) and all(user in inside for user in flow.users[output])


def _streams(flow: Flow, sums: list[_Sum]) -> dict[int, int]:
    """Sums of one stream: each but the first is added to the one before."""
    stream = {each.output: each.output for each in sums}

    def first(output: int) -> int:
        while stream[output] != output:
            output = stream[output]
        return output

    ends = {end for each in sums for end in each.ends}
    for each in sums:
        for before in _before(flow, each.skip, ends):
            if before in stream:
                stream[first(before)] = first(each.output)
    return {output: first(output) for output in stream}


def _before(flow: Flow, skip: int, ends: set[int]) -> set[int]:
    """Values that come to a skip by no branch, through kernels of shortcuts and functions too."""
    seen, todo = set(), [skip]
    while todo:
        slot = todo.pop()
        if slot in seen:
            continue
        seen.add(slot)
        todo += flow.back(slot, through=linear)
        if slot in flow.loops:
            todo.append(flow.loops[slot])
        place = flow.places.get(slot)
        passes = place is not None and place.site.kind in ("activation", "matmul", "conv")
        if place is not None and passes and slot not in ends:
            todo.append(place.input.number)
    return seen
