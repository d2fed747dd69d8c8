"""What each axis of a value stems from, followed through the operations that move axes."""

import math
from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias

from jaxinit.capture.program import Step

Labels: TypeAlias = tuple[frozenset[Hashable], ...]

EXAMPLE = "example"
UNIT = "unit"
_NONE: frozenset[Hashable] = frozenset()
MOVES = frozenset(
    {
        *("broadcast_in_dim", "concatenate", "copy", "copy_p", "dynamic_slice", "expand_dims"),
        *(
            "pad",
            "reshape",
            "rev",
            "sharding_constraint",
            "slice",
            "split",
            "squeeze",
            "transpose",
            "unstack",
        ),
        *("stack", "unstack", "dynamic_update_slice", "optimization_barrier", "name"),
        *("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "sort"),
        *("reduce_window_sum", "reduce_window_max", "reduce_window_min", "reduce_window"),
    }
)
REDUCTIONS = frozenset(
    f"reduce_{kind}" for kind in ("sum", "max", "min", "prod", "and", "or", "xor")
) | {"argmax", "argmin", "reduce"}


def unlabelled(shape: Sequence[int]) -> Labels:
    """No axis stems from anything."""
    return (_NONE,) * len(shape)


def united(shape: Sequence[int], given: Sequence[Labels]) -> Labels:
    """Of an elementwise result: each axis stems from what that of any operand does."""
    fitting = [labels for labels in given if len(labels) == len(shape)]
    return tuple(frozenset().union(*(labels[i] for labels in fitting)) for i in range(len(shape)))


def moved(step: Step, given: Sequence[Labels]) -> list[Labels]:
    """Of the results of a step that moves, reduces or keeps axes.

    Args:
        step: one of `MOVES` or `REDUCTIONS`.
        given: labels of its operands.

    Returns:
        Labels of each result.
    """
    first, params = given[0], step.params
    shapes = [slot.shape for slot in step.outputs]
    match step.name:
        case "transpose":
            return [tuple(first[axis] for axis in params["permutation"])]
        case "broadcast_in_dim":
            labels = list(unlabelled(shapes[0]))
            source = _shape(step.inputs[0])
            for old, new in enumerate(params["broadcast_dimensions"]):
                labels[new] = first[old] if source[old] == shapes[0][new] else _NONE
            return [tuple(labels)]
        case "reshape":
            return [_reshaped(_shape(step.inputs[0]), shapes[0], first)]
        case "squeeze":
            gone = params["dimensions"]
            return [tuple(label for axis, label in enumerate(first) if axis not in gone)]
        case "unstack":
            gone = params["axis"]
            return [first[:gone] + first[gone + 1 :]] * len(shapes)
        case "expand_dims":
            new = iter(first)
            added = params["dimensions"]
            return [tuple(_NONE if i in added else next(new) for i in range(len(shapes[0])))]
        case "stack":
            both, place = united(_shape(step.inputs[0]), given), params["axis"]
            return [(*both[:place], _NONE, *both[place:])]
        case "concatenate":
            return [united(shapes[0], given)]
        case name if name in REDUCTIONS:
            gone = params.get("axes", params.get("dimensions", ()))
            kept = tuple(label for axis, label in enumerate(first) if axis not in gone)
            return [kept] * len(shapes)
    return [first if len(first) == len(shape) else unlabelled(shape) for shape in shapes]


def _shape(atom: Any) -> tuple[int, ...]:
    return tuple(getattr(atom, "shape", ()))


def _reshaped(old: Sequence[int], new: Sequence[int], labels: Labels) -> Labels:
    """Axes that are merged pool what they stem from; the parts of a split one each inherit it."""
    found = list(unlabelled(new))
    i = j = 0
    while i < len(old) and j < len(new):
        start, begin = i, j
        i, j = i + 1, j + 1
        while (here := math.prod(old[start:i])) != (there := math.prod(new[begin:j])):
            if here < there:
                i += 1
            else:
                j += 1
        pooled = frozenset().union(*(labels[k] for k in range(start, i) if old[k] > 1))
        for k in range(begin, j):
            found[k] = pooled if new[k] > 1 else _NONE
    return tuple(found)


def positions(labels: Labels, wanted: Hashable) -> tuple[int, ...]:
    """The axes that stem from something."""
    return tuple(axis for axis, label in enumerate(labels) if wanted in label)
