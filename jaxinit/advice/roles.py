"""What each parameter does in a function, by the way its values meet the data."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from jaxinit.advice.branches import Branch, branches
from jaxinit.advice.flow import PRODUCTS, SUMS, Flow, Meeting, anything, direct, linear, moves
from jaxinit.advice.parts import parts
from jaxinit.axes import Axes
from jaxinit.capture.labels import REDUCTIONS, UNIT
from jaxinit.capture.plan import Place
from jaxinit.capture.program import Slot, Step
from jaxinit.capture.sites import Activation, Kernel
from jaxinit.capture.tracing import Trace
from jaxinit.paths import leaves

Role: TypeAlias = Literal[
    *("dense", "conv", "transposed conv", "depthwise", "embedding", "tied embedding"),
    *("attention query", "attention key", "attention value", "packed attention"),
    *("attention output", "recurrent kernel", "recurrent input", "gate", "residual output"),
    *("head", "bias", "norm scale", "norm bias", "running mean", "running variance", "scale"),
    "layer scale",
    "forget bias",
    *("positional table", "token", "other", "unused"),
]
KERNELS = frozenset(
    {
        *("dense", "conv", "transposed conv", "depthwise", "embedding", "tied embedding"),
        *("attention query", "attention key", "attention value", "packed attention"),
        *("attention output", "recurrent kernel", "recurrent input", "gate", "residual output"),
        "head",
    }
)


@dataclass(frozen=True)
class Use:
    """What a parameter does.

    Args:
        path: of the leaf.
        shape: of the leaf.
        role: what it does.
        activations: that its output goes through next, in the order of its parts.
        axes: of a kernel, if each has one role.
        branch: that it ends, if it does.
        gates: parts of one size that lie side by side in it.
        gate_axis: along which they do.
        forget: which of them is the forget gate's, or None.
        joined: of a recurrent kernel, whether it takes the input besides the state.
    """

    path: str
    shape: tuple[int, ...]
    role: Role
    activations: tuple[Activation, ...] = ()
    axes: Axes | None = None
    branch: Branch | None = None
    gates: int = 1
    gate_axis: int = -1
    forget: int | None = None
    joined: bool = False

    @property
    def activation(self) -> Activation | None:
        """The first that is found, if any."""
        return self.activations[0] if self.activations else None


def roles(trace: Trace, params: Any) -> list[Use]:
    """The role of each leaf of the parameters with a dtype of real or complex numbers.

    Args:
        trace: of a function of the parameters.
        params: that it was traced with.

    Returns:
        A use for each leaf, in the order of the tree.
    """
    return _Roles(trace, params).found()


class _Roles:
    def __init__(self, trace: Trace, params: Any) -> None:
        self.flow = Flow(trace.plan)
        self.tree = leaves(params)
        self.given = sorted(i for i in trace.plan.given if i is not None)
        self.normal = self.flow.normalizations
        self.stored = [
            before for output, before in self.normal.items() if output not in self.flow.places
        ]
        self.inside = self.flow.inside
        self.branches = branches(self.flow)
        self.forgotten: set[int] = set()  # outputs of forget gates whose bias is found
        self.kernels: dict[str, list[tuple[Place, Kernel]]] = {}
        for place in self.flow.places.values():
            for kernel in place.site.kernels:
                self.kernels.setdefault(kernel.path, []).append((place, kernel))
        self.meetings: dict[int, list[Meeting]] = {i: [] for i in self.given}
        for leaf, meeting in self.flow.meetings():
            self.meetings[leaf].append(meeting)
        self.of_sites: dict[int, Role] = {}
        self._attention()
        self._recurrence()
        self._gates()
        recurrent = [s for s, role in self.of_sites.items() if role == "recurrent kernel"]
        self.parts = parts(self.flow, recurrent)

    def found(self) -> list[Use]:
        return [self._use(i) for i in self.given]

    def _use(self, position: int) -> Use:
        leaf = self.tree[position]
        bare = self._with_parts(Use(leaf.path, np.shape(leaf.value), "unused"), position)
        if leaf.path in self.kernels:
            return self._kernel(bare, self.kernels[leaf.path])
        use = replace(bare, role=self._other(position))
        if use.role == "bias" and use.forget is not None:
            return replace(use, role="forget bias")
        if use.role == "layer scale":
            outputs = [m.step.outputs[0].number for m in self.meetings[position]]
            use = replace(use, branch=next(filter(None, map(self._ending, outputs)), None))
        return use

    def _with_parts(self, use: Use, position: int) -> Use:
        """With the functions that its parts go through, where they go apart."""
        found = self.parts.get(position, [])
        if len({part.axis for part in found}) != 1:
            return use
        axis = found[0].axis
        size = math.gcd(use.shape[axis], *(n for p in found for n in (p.start, p.stop)))
        forgets = [
            p
            for p in found
            if p.forgets and p.output not in self.forgotten and p.stop - p.start == size
        ]
        whole = size == use.shape[axis]
        several = any(len(p.site.kernels) > 1 for p, _ in self.kernels.get(use.path, ()))
        if len(use.shape) == 1:
            self.forgotten.update(p.output for p in forgets)
        return replace(
            use,
            activations=tuple(p.activation for p in found) if not whole or several else (),
            gates=use.shape[axis] // size,
            gate_axis=axis,
            forget=forgets[0].start // size if forgets else None,
        )

    # Kernels.

    def _kernel(self, use: Use, sites: Sequence[tuple[Place, Kernel]]) -> Use:
        outputs = [place.output.number for place, _ in sites]
        axes = next((kernel.axes for _, kernel in sites if kernel.axes is not None), None)
        kinds = {place.site.kind for place, _ in sites}
        branch = next((b for b in self.branches if not set(b.ends).isdisjoint(outputs)), None)
        own = use.activations or _activations(sites)
        joined = not self.joined.isdisjoint(outputs)
        use = replace(use, axes=axes, branch=branch, activations=own, joined=joined)
        if "embedding" in kinds:
            return replace(use, role="embedding" if len(kinds) == 1 else "tied embedding")
        known: list[Role] = [self.of_sites[s] for s in outputs if s in self.of_sites]
        if len(set(known)) > 1 and all(role.startswith("attention") for role in known):
            return replace(use, role="packed attention")
        if known and known[0] != "gate":
            return replace(use, role=known[0])
        if branch is not None:
            return replace(use, role="residual output")
        if all(self._ends(slot) for slot in outputs):
            return replace(use, role="head")
        return replace(use, role=known[0] if known else _plain(kinds, use))

    def _ends(self, output: int) -> bool:
        """Whether the output of a site is, up to functions without kernels, the function's."""
        ahead = self.flow.ahead(output) - {output}
        kernels = (s for s in ahead if s in self.flow.places)
        return bool(ahead & self.flow.results or output in self.flow.results) and not any(
            self.flow.places[s].site.kernels for s in kernels
        )

    def _site(self, slot: int) -> list[int]:
        """The one kernel that a value stems from, through sums and norms; its site's output."""
        found = self.flow.back(slot, through=linear)
        ends = [s for s in found if s in self.flow.places and self._contracts(s)]
        inputs = {self.flow.places[s].input for s in ends}
        pure = all(self.flow.places[s].site.kernels for s in ends)
        return ends if pure and len(inputs) == 1 else []

    def _contracts(self, slot: int) -> bool:
        return self.flow.places[slot].site.kind in ("matmul", "conv", "embedding")

    def _mark(self, slots: Iterable[int], role: Role) -> None:
        for slot in slots:
            given = self.of_sites.get(slot)
            if given is not None and given != role and role.startswith("attention"):
                role = "packed attention"
            self.of_sites[slot] = role

    def _attention(self) -> None:
        """Products whose softmax weighs others: query by key, then weights by value."""
        flow = self.flow
        products = {
            s: place
            for s, place in flow.places.items()
            if place.site.kind == "matmul" and not place.site.kernels
        }
        weights: dict[int, int] = {}
        for softmax in flow.places.values():
            if softmax.site.kind != "softmax":
                continue
            for logits in flow.back(softmax.input.number, through=linear):
                if logits in products:
                    weights[softmax.output.number] = logits
                    self._query_and_key(softmax, logits)
        for output in products:
            operands = _slots(flow.makers[output].inputs)
            for weight, other in (operands, operands[::-1]):
                if not weights.keys().isdisjoint(flow.back(weight, through=linear)):
                    self._mark(self._site(other), "attention value")
                    self._mark(self._after(output), "attention output")

    def _query_and_key(self, softmax: Place, logits: int) -> None:
        operands = _slots(self.flow.makers[logits].inputs)
        labels = self.flow.facts[softmax.input.number].labels
        summed = {label for axis in softmax.site.units for label in labels[axis]}
        for operand, slot in enumerate(operands):
            key = ("free", logits, operand) in summed
            self._mark(self._site(slot), "attention key" if key else "attention query")

    def _after(self, product: int) -> list[int]:
        """The kernels that take a product as it is."""
        return [
            s
            for s, place in self.flow.places.items()
            if place.site.kernels
            and place.site.kind in ("matmul", "conv")
            and product in self.flow.back(place.input.number, through=direct)
        ]

    def _recurrence(self) -> None:
        """Kernels that step after step applies to its state, and those added to them."""
        flow = self.flow
        self.joined: set[int] = set()
        for output, place in flow.places.items():
            if not place.site.kernels or place.site.kind == "embedding":
                continue
            behind = flow.back(place.input.number, through=direct)
            states = {s for s in behind if s in flow.loops and self._repeats(place, s)}
            states |= self._unrolled(place)
            if states:
                self.of_sites[output] = "recurrent kernel"
                if self._joins(behind, states):
                    self.joined.add(output)
        for step in flow.steps:
            atoms = _slots(step.inputs)
            if step.name in SUMS and len(atoms) == 2 and all(map(flow.is_data, atoms)):
                left, right = map(self._linear_sites, atoms)
                for one, other in ((left, right), (right, left)):
                    if any(self.of_sites.get(s) == "recurrent kernel" for s in one):
                        for site in other:
                            self.of_sites.setdefault(site, "recurrent input")

    def _unrolled(self, place: Place) -> set[int]:
        """Outputs of the same kernel, at a step before, that come back with no kernel between."""
        before = self.flow.back(place.input.number, through=anything)
        own = {kernel.path for kernel in place.site.kernels}
        return {
            s
            for s in before
            if s in self.flow.places
            and self.flow.places[s].site.kind != "embedding"
            and own & {kernel.path for kernel in self.flow.places[s].site.kernels}
        }

    def _joins(self, behind: Iterable[int], states: set[int]) -> bool:
        """Whether what a kernel takes is a state beside something else."""
        for slot in behind:
            step = self.flow.makers.get(slot)
            if step is not None and step.name == "concatenate":
                found = [
                    states.isdisjoint(self.flow.back(s, through=anything))
                    for s in _slots(step.inputs)
                ]
                if any(found) and not all(found):
                    return True
        return False

    def _repeats(self, place: Place, state: int) -> bool:
        """Whether a kernel is the same in all turns of a scan that reads a sequence."""
        scan = self.flow.entries[state].scan
        step = self.flow.makers[place.output.number]
        weights = [a.number for a in step.inputs if isinstance(a, Slot)]
        weights = [s for s in weights if not self.flow.is_data(s)]
        entered = {
            self.flow.entries[s]
            for w in weights
            for s in self.flow.behind(w) & self.flow.entries.keys()
        }
        sliced = any(e.scan == scan and e.passage == "sliced" for e in entered)
        return scan in self.flow.scans_with_data and not sliced

    def _linear_sites(self, slot: int) -> list[int]:
        found = self.flow.back(slot, through=linear)
        return [
            s
            for s in found
            if s in self.flow.places
            and self.flow.places[s].site.kernels
            and self.flow.places[s].site.kind != "embedding"
        ]

    def _gates(self) -> None:
        """Kernels whose output, through a nonlinearity, multiplies another signal."""
        flow = self.flow
        for gate, signal in flow.pairs:
            for slot in flow.back(gate, through=moves):
                place = flow.places.get(slot)
                if place is None or place.site.kind != "activation":
                    continue
                itself = place.input.number in flow.back(signal, through=moves)
                if place.site.activation.name == "tanh" or itself:
                    continue
                if self._linear_sites(signal):
                    for site in self._linear_sites(place.input.number):
                        self.of_sites.setdefault(site, "gate")

    # All other parameters.

    def _other(self, position: int) -> Role:
        found = {self._met(position, meeting) for meeting in self.meetings[position]}
        order: tuple[Role, ...] = (
            *("running variance", "norm scale", "norm bias", "running mean", "positional table"),
            *("bias", "layer scale", "scale", "token", "other"),
        )
        if not found:
            reached = self.flow.leaves
            read = any(position in reached[s] for s in self.flow.results if s in reached)
            return "other" if read else "unused"
        return next(role for role in order if role in found)

    def _met(self, position: int, meeting: Meeting) -> Role:
        step, _, slot = meeting
        flow = self.flow
        data = next(a.number for a in step.inputs if isinstance(a, Slot) and flow.is_data(a.number))
        output = step.outputs[0].number
        if position in flow.rooted.get(slot.number, ()):
            return "running variance"
        if step.name in SUMS:
            statistic = self._statistic(meeting, data)
            if statistic is not None:
                return statistic
            if any(output in flow.back(s, through=direct) for s in self.stored):
                return "running mean"
            if data in self.inside or self._after_norm(data):
                return "norm bias"
            return "positional table" if self._positional(meeting, data) else "bias"
        if step.name in PRODUCTS:
            if output in self.normal or output in self.inside or self._after_norm(data):
                return "norm scale"
            return "layer scale" if self._ending(output) is not None else "scale"
        return "token" if step.name in ("concatenate", "select_n") else "other"

    def _statistic(self, meeting: Meeting, data: int) -> Role | None:
        """A running mean, or a running variance if there are squares in what is blended in."""
        flow = self.flow
        behind = flow.back(data, through=_blended)
        makers = [flow.makers[s] for s in behind if s in flow.makers]
        ends = [step for step in makers if step.inner is None and not list(_blended(step))]
        means = all(step.name in REDUCTIONS for step in ends) and len(makers) == len(behind)
        if not (ends and means) or meeting.step.outputs[0].shape != meeting.slot.shape:
            return None
        deep = flow.back(data, through=_statistics)
        steps = [flow.makers[s] for s in deep if s in flow.makers]
        return "running variance" if any(map(_squares, steps)) else "running mean"

    def _ending(self, output: int) -> Branch | None:
        """The branch whose value a product is, up to what follows linearly."""
        flow = self.flow
        return next(
            (
                b
                for b in self.branches
                if output in flow.back(b.value, through=linear)
                and not set(b.ends).isdisjoint(flow.back(output, through=linear))
            ),
            None,
        )

    def _after_norm(self, slot: int) -> bool:
        return not self.normal.keys().isdisjoint(self.flow.back(slot, through=direct))

    def _positional(self, meeting: Meeting, data: int) -> bool:
        """Whether it varies along an axis that does not number units."""
        weights, labels = self.flow.facts[meeting.slot.number], self.flow.facts[data].labels
        if not weights.weights:  # looked up by numbers that do not hang on the data
            return len(meeting.slot.shape) > 1
        if len(weights.labels) != len(labels):
            return False
        return any(
            own and UNIT not in label for own, label in zip(weights.labels, labels, strict=True)
        ) and any(UNIT in label for label in labels)


def _slots(atoms: Sequence[Any]) -> list[int]:
    return [atom.number for atom in atoms if isinstance(atom, Slot)]


def _squares(step: Step) -> bool:
    same = step.name == "mul" and len(_slots(step.inputs)) == 2
    return step.name in ("square", "integer_pow") or (same and len(set(_slots(step.inputs))) == 1)


def _blended(step: Step) -> Iterable[int]:
    """Operands of a step on the way from a statistic to its running one."""
    known = step.name in ("max", "square", "integer_pow", "stop_gradient")
    return range(len(step.inputs)) if known else linear(step)


def _statistics(step: Step) -> Iterable[int]:
    """Operands of a step on the way from a signal to its mean and variance."""
    known = step.name in REDUCTIONS | {"square", "integer_pow", "max", "stop_gradient"}
    return range(len(step.inputs)) if known else linear(step)


def _activations(sites: Sequence[tuple[Place, Kernel]]) -> tuple[Activation, ...]:
    found = (place.site.activations or place.site.after_sum for place, _ in sites)
    return next((each[:1] for each in found if each), ())


def _plain(kinds: set[str], use: Use) -> Role:
    if "conv" not in kinds:
        return "dense"
    if use.axes is None:
        return "conv"
    inputs, *_ = use.axes.resolve(use.shape)
    if use.axes.groups > 1 and all(use.shape[axis] == 1 for axis in inputs):
        return "depthwise"
    return "transposed conv" if use.axes.in_stride > 1 else "conv"
