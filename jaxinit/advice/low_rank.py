"""Low-rank updates: two kernels in a row, a narrow one first, beside a kernel of the same input."""

from jaxinit.advice.flow import SUMS, Flow, linear, slots


def updates(flow: Flow) -> set[int]:
    """Outputs of the second kernels of low-rank updates.

    Args:
        flow: of a function's values.

    Returns:
        Slots.
    """
    found = set()
    for step in flow.steps:
        terms = slots(step)
        if step.name in SUMS and len(terms) == 2 and all(map(flow.is_data, terms)):
            for one, other in (terms, terms[::-1]):
                given = {flow.places[s].input.number for s in flow.kernels(other)}
                found |= {end for end in flow.kernels(one) if _updates(flow, end, given)}
    return found


def _updates(flow: Flow, end: int, given: set[int]) -> bool:
    """Whether a kernel takes what a narrower one makes of one of some values, and nothing else."""
    outer = flow.places[end]
    for narrow in flow.kernels(outer.input.number):
        inner = flow.places[narrow].input
        rank = flow.shapes[narrow][-1]
        behind = flow.back(inner.number, through=linear).keys()
        if rank < min(inner.shape[-1], outer.output.shape[-1]) and not behind.isdisjoint(given):
            return True
    return False
