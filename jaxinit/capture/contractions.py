"""What matrix products, convolutions and look-ups contract, and what their outputs' axes are."""

import math
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from jaxinit.axes import Axes
from jaxinit.capture.labels import EXAMPLE, UNIT, Labels, positions, unlabelled
from jaxinit.capture.program import Slot, Step
from jaxinit.capture.sites import WHOLE, Kernel, Kind, Slice
from jaxinit.paths import Leaf

CONTRACTIONS: dict[str, Kind] = {
    "dot_general": "matmul",
    "conv_general_dilated": "conv",
    "gather": "embedding",
}


class Weight(NamedTuple):
    """A leaf behind an operand: its position in the parameters, and what of it is there."""

    leaf: int
    whole: bool
    slice: Slice = WHOLE

    def scanned(self, scan: int, axis: int) -> "Weight":
        """The slice of each step of a scan over an axis of the leaf."""
        return self._replace(slice=Slice((*self.slice.scans, (scan, axis)), self.slice.fixed))

    def at(self, axis: int, position: int) -> "Weight":
        """The slice at a position of an axis of the leaf."""
        return self._replace(slice=Slice(self.slice.scans, (*self.slice.fixed, (axis, position))))


def roles(step: Step, operand: int) -> list[str]:
    """The role of each axis of an operand: in, out, batch or tap."""
    rank = len(step.inputs[operand].shape)
    found = ["out"] * rank
    if step.name == "dot_general":
        contracted, batch = step.params["dimension_numbers"]
        for axis in contracted[operand]:
            found[axis] = "in"
        for axis in batch[operand]:
            found[axis] = "batch"
    elif step.name == "conv_general_dilated":
        outputs, inputs, *_ = step.params["dimension_numbers"].rhs_spec
        found = ["tap"] * rank
        found[outputs], found[inputs] = "out", "in"
    else:
        indexed = step.params["dimension_numbers"].start_index_map
        found = ["in" if axis in indexed else "out" for axis in range(rank)]
    return found


def kernels(
    step: Step, operand: int, weights: Sequence[Weight], labels: Labels, tree: Sequence[Leaf]
) -> Iterator[Kernel]:
    """The leaves that make up an operand, with the roles that their axes play.

    Args:
        step: one of `CONTRACTIONS`.
        operand: position of the kernel.
        weights: behind it.
        labels: of its axes.
        tree: the parameters.
    """
    of_axes = roles(step, operand)
    for weight in weights:
        leaf = tree[weight.leaf]
        shape = tuple(leaf.value.shape)
        found: list[set[str]] = [set() for _ in shape]
        for role, label in zip(of_axes, labels, strict=True):
            for axis in range(len(shape)):
                if (weight.leaf, axis) in label:
                    found[axis].add(role)
        yield Kernel(leaf.path, shape, _axes(step, shape, found), weight.whole, weight.slice)


def _axes(step: Step, shape: tuple[int, ...], found: Sequence[set[str]]) -> Axes | None:
    if any(len(each) > 1 for each in found):
        return None
    known = [next(iter(each), "batch") for each in found]
    # An axis of size 1 leaves no trace: it counts as an input, which does not change a fan.
    known = [
        "in" if not found[axis] and shape[axis] == 1 else role for axis, role in enumerate(known)
    ]
    inputs, outputs, batch = (
        tuple(axis for axis, each in enumerate(known) if each == role)
        for role in ("in", "out", "batch")
    )
    groups = step.params.get("feature_group_count", 1)
    total = math.prod(shape[axis] for axis in outputs)
    return Axes(
        _one(inputs),
        _one(outputs),
        batch,
        groups=groups if total % groups == 0 else 1,
        rank=len(shape),
        in_stride=math.prod(step.params.get("lhs_dilation", (1,))),
        out_stride=math.prod(step.params.get("window_strides", (1,))),
    )


def _one(axes: tuple[int, ...]) -> int | tuple[int, ...]:
    return axes[0] if len(axes) == 1 else axes


def taken(step: Step, result: int) -> dict[int, int]:
    """The axes of a slice along which it is one position of several, and those positions."""
    shape, params = step.inputs[0].shape, step.params
    if step.name == "unstack":
        return {params["axis"]: result}
    kept = step.outputs[result].shape
    if step.name == "slice":
        starts = params["start_indices"]
    elif step.name == "split":
        starts = [0] * len(shape)
        starts[params["axis"]] = sum(params["sizes"][:result])
    else:
        return {}
    return {a: int(starts[a]) for a, n in enumerate(shape) if n > 1 and kept[a] == 1}


def contracted(step: Step, given: Sequence[Labels], kernel: int | None) -> Labels:
    """Labels of the result: which axes number the examples, and which the kernel's units.

    Args:
        step: one of `CONTRACTIONS`.
        given: labels of its operands.
        kernel: position of the kernel, or None if both operands are data.
    """
    (output,) = step.outputs
    if step.name == "conv_general_dilated":
        spec = step.params["dimension_numbers"]
        labels = list(unlabelled(output.shape))
        labels[spec.out_spec[0]] = _examples(given[0][spec.lhs_spec[0]])
        labels[spec.out_spec[1]] = frozenset({UNIT})
        return tuple(labels)
    if step.name == "gather":
        offsets = step.params["dimension_numbers"].offset_dims
        indices = iter(given[1])
        return tuple(
            frozenset({UNIT}) if axis in offsets else _examples(next(indices, frozenset()))
            for axis in range(len(output.shape))
        )
    contracts, batch = step.params["dimension_numbers"]
    found: list[frozenset[Hashable]] = []
    for left, right in zip(*batch, strict=True):
        both = _examples(given[0][left] | given[1][right])
        found.append(both if kernel is None or both else frozenset({UNIT}))
    for operand in (0, 1):
        own = free(output, operand) if kernel is None else frozenset()
        for axis, label in enumerate(given[operand]):
            if axis not in (*contracts[operand], *batch[operand]):
                found.append(frozenset({UNIT}) if operand == kernel else _examples(label) | own)
    return tuple(found)


def free(product: Slot, operand: int) -> frozenset[Hashable]:
    """What an axis of a product of two activations stems from: that of one of them."""
    return frozenset({("free", product.number, operand)})


def _examples(label: frozenset[Hashable]) -> frozenset[Hashable]:
    return label & {EXAMPLE}


def units(labels: Labels) -> tuple[int, ...]:
    """The axes that number units: those of the kernel before, or else the last."""
    return positions(labels, UNIT) or ((len(labels) - 1,) if labels else ())
