"""What the parameters do that are no kernels: biases, scales, statistics, tables, tokens."""

import itertools
from collections.abc import Iterable, Sequence

from jaxinit.advice.branches import Branch
from jaxinit.advice.flow import PRODUCTS, SUMS, Flow, Meeting, direct, linear, slots
from jaxinit.advice.uses import OtherRole
from jaxinit.capture.labels import REDUCTIONS, UNIT
from jaxinit.capture.program import Step

# Of a parameter with several, the first.
_ORDER: tuple[OtherRole, ...] = (
    *("running variance", "norm scale", "norm bias", "running mean", "positional table", "bias"),
    *("slope", "layer scale", "scale", "kernel scale", "token", "other"),
)
_POWERS = ("max", "square", "integer_pow", "stop_gradient")


def other_role(
    flow: Flow, branches: Sequence[Branch], leaf: int, meetings: Sequence[Meeting]
) -> OtherRole:
    """The role of a parameter that no site has for its kernel.

    Args:
        flow: of a function's values.
        branches: of it.
        leaf: position of the parameter.
        meetings: where it meets data.

    Returns:
        The role; "unused" if the function's results do not hang on it.
    """
    found = {_met(flow, branches, leaf, meeting) for meeting in meetings}
    if not found:
        read = any(leaf in flow.leaves.get(s, ()) for s in flow.results)
        return "other" if read else "unused"
    return next(role for role in _ORDER if role in found)


def ending(flow: Flow, branches: Sequence[Branch], product: int) -> Branch | None:
    """The branch whose value a product is, up to functions and what follows linearly.

    Args:
        flow: of a function's values.
        branches: of it.
        product: a value.

    Returns:
        The branch, if there is one.
    """
    within = flow.before(product).keys()
    return next(
        (
            branch
            for branch in branches
            if product in flow.before(branch.value) and not within.isdisjoint(branch.ends)
        ),
        None,
    )


def _met(flow: Flow, branches: Sequence[Branch], leaf: int, meeting: Meeting) -> OtherRole:
    step, weights = meeting.step, meeting.slot.number
    output = step.outputs[0].number
    data = next((s for s in slots(step) if flow.is_data(s)), None)
    if data is None:
        return _of_a_normalized_parameter(flow, leaf, weights) or "token"
    if leaf in flow.rooted.get(weights, ()):
        if leaf not in flow.unrooted[weights]:
            return "running variance"
        if step.name in SUMS:
            return "positional table"  # which is normalized
    if step.name in SUMS:
        part = _of_a_normalized_parameter(flow, leaf, weights) or _statistic(flow, meeting, data)
        return part or _added(flow, meeting, data, output)
    if step.name in PRODUCTS:
        normal = output in flow.normalizations or output in flow.inside
        if output in flow.slopes:
            return "slope"
        if normal or _after_norm(flow, data):
            return "norm scale"
        return "scale" if ending(flow, branches, output) is None else "layer scale"
    if step.name in ("concatenate", "select_n"):
        return "token"
    return "kernel scale" if _scales(flow, leaf, weights) else "other"


def _of_a_normalized_parameter(flow: Flow, leaf: int, weights: int) -> OtherRole | None:
    """A scale or a bias of another parameter's normalization, as of a table of learned queries."""
    normalized = flow.rooted.get(weights, frozenset()) & flow.unrooted.get(weights, frozenset())
    for slot in flow.behind(weights) if normalized else ():
        step = flow.makers.get(slot)
        factors = slots(step) if step is not None and step.name in {*PRODUCTS, *SUMS} else []
        for own, other in itertools.permutations(factors, 2):
            roots = flow.rooted.get(other, frozenset()) & normalized
            if roots and leaf in flow.leaves.get(own, ()) and leaf not in flow.leaves[other]:
                return "norm scale" if step is not None and step.name in PRODUCTS else "norm bias"
    return None


def _added(flow: Flow, meeting: Meeting, data: int, output: int) -> OtherRole:
    stored = (s for slot, s in flow.normalizations.items() if slot not in flow.places)
    if any(output in flow.back(s, through=direct) for s in stored):
        return "running mean"
    if data in flow.inside or _after_norm(flow, data):
        return "norm bias"
    return "positional table" if _positional(flow, meeting, data) else "bias"


def _statistic(flow: Flow, meeting: Meeting, data: int) -> OtherRole | None:
    """A running mean, or a running variance if there are squares in what is blended in."""
    behind = flow.back(data, through=_blended)
    steps = [flow.makers[s] for s in behind if s in flow.makers]
    ends = [step for step in steps if step.inner is None and not list(_blended(step))]
    reduced = all(step.name in REDUCTIONS for step in ends) and len(steps) == len(behind)
    if not (ends and reduced) or meeting.step.outputs[0].shape != meeting.slot.shape:
        return None
    deep = flow.back(data, through=_to_signal)
    squared = any(_squares(flow.makers[s]) for s in deep if s in flow.makers)
    return "running variance" if squared else "running mean"


def _blended(step: Step) -> Iterable[int]:
    """Operands of a step on the way from a statistic to its running one."""
    return range(len(step.inputs)) if step.name in _POWERS else linear(step)


def _to_signal(step: Step) -> Iterable[int]:
    """Operands of a step on the way from a signal to its mean and variance."""
    return range(len(step.inputs)) if step.name in REDUCTIONS else _blended(step)


def _squares(step: Step) -> bool:
    factors = slots(step)
    same = step.name == "mul" and len(factors) == 2 and len(set(factors)) == 1
    return same or step.name in ("square", "integer_pow")


def _after_norm(flow: Flow, slot: int) -> bool:
    return not flow.normalizations.keys().isdisjoint(flow.back(slot, through=direct))


def _positional(flow: Flow, meeting: Meeting, data: int) -> bool:
    """Whether it varies along an axis that does not number units."""
    weights, labels = flow.facts[meeting.slot.number], flow.facts[data].labels
    if not weights.weights:  # looked up by numbers that do not hang on the data
        return len(meeting.slot.shape) > 1
    pairs = list(zip(weights.labels, labels, strict=False))
    units = any(UNIT in label for label in labels)
    return units and any(own and UNIT not in label for own, label in pairs)


def _scales(flow: Flow, leaf: int, weights: int) -> bool:
    """Whether it multiplies other parameters, as the lengths of a weight normalization do."""
    for slot in flow.behind(weights):
        step = flow.makers.get(slot)
        if step is not None and step.inner is None and step.name in PRODUCTS:
            behind = [flow.leaves.get(s, frozenset()) for s in slots(step)]
            if len(behind) == 2 and {leaf} in behind and behind[0] != behind[1]:
                return True
    return False
