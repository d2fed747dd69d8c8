"""The values of a traced function: what each is made from, and which parameters are behind it."""

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from jaxinit.capture import program
from jaxinit.capture.activations import CASTS, ROOTS
from jaxinit.capture.contractions import CONTRACTIONS
from jaxinit.capture.labels import MOVES
from jaxinit.capture.plan import Place, Plan
from jaxinit.capture.program import Block, Slot, Step

SUMS = ("add", "sub", "add_any")
PRODUCTS = ("mul", "div")
CHOICES = ("select_n", "max", "min")
Passes: TypeAlias = Callable[[Step], Iterable[int]]
Passage: TypeAlias = Literal["constant", "carried", "sliced"]


class Entry(NamedTuple):
    """How a value enters the body of a scan: the scan, by its first output, and as what."""

    scan: int
    passage: Passage


class Meeting(NamedTuple):
    """A step in which parameters meet data, and the operand that holds the parameters."""

    step: Step
    operand: int
    slot: Slot


class Flow:
    """What a plan's values are made from.

    Args:
        plan: of a trace.
    """

    def __init__(self, plan: Plan) -> None:
        self.facts = plan.analysis.facts
        self.sources: dict[int, tuple[int, ...]] = {}
        self.users: dict[int, list[int]] = defaultdict(list)
        self.makers: dict[int, Step] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.constants: set[int] = set()
        self.entries: dict[int, Entry] = {}
        self.loops: dict[int, int] = {}
        self.steps: list[Step] = []
        self.lengths: dict[int, int] = {}  # of an output: how often the scans around compute it
        self.leaves: dict[int, frozenset[int]] = {}
        self.rooted: dict[int, frozenset[int]] = {}  # leaves behind a root, as of a variance
        self.unrooted: dict[int, frozenset[int]] = {}  # leaves behind a value by a way without one
        self.scans_with_data: set[int] = set()
        self.params = {
            slot.number: leaf
            for slot, leaf in zip(plan.block.inputs, plan.given, strict=True)
            if leaf is not None
        }
        self.results = {a.number for a in plan.block.results if isinstance(a, Slot)}
        for slot in plan.block.inputs:
            own = {self.params[slot.number]} if slot.number in self.params else ()
            self.leaves[slot.number] = self.unrooted[slot.number] = frozenset(own)
            self.shapes[slot.number] = slot.shape
        self._backs: dict[tuple[int, Passes], dict[int, None]] = {}
        self._befores: dict[int, dict[int, None]] = {}
        self._aheads: dict[int, set[int]] = {}
        self._behinds: dict[int, set[int]] = {}
        self._block(plan.block, 1)
        self.places: dict[int, Place] = {place.output.number: place for place in plan.places}
        for number, before in self.sources.items():
            for source in before:
                self.users[source].append(number)
        for carried, result in self.loops.items():
            self.users[result].append(carried)

    def is_data(self, slot: int) -> bool:
        """Whether a value hangs on the inputs."""
        return slot in self.facts and self.facts[slot].data

    def meetings(self) -> Iterator[tuple[int, Meeting]]:
        """Leaves, by position, and the steps in which they meet data, or are a kernel's input."""
        for step in self.steps:
            meets = any(map(self.is_data, slots(step)))
            place = self.places.get(step.outputs[0].number) if step.outputs else None
            taken = place.input if place is not None and place.site.kernels else None
            for operand, atom in enumerate(step.inputs):
                if isinstance(atom, Slot) and not self.is_data(atom.number):
                    for leaf in self.leaves.get(atom.number, ()) if meets or atom == taken else ():
                        yield leaf, Meeting(step, operand, atom)

    @functools.cached_property
    def normalizations(self) -> dict[int, int]:
        """Outputs of normalizations, by the signal's or by stored statistics, and their inputs."""
        found = {
            slot: place.input.number
            for slot, place in self.places.items()
            if place.site.kind == "normalization"
        }
        for step in self.steps:
            data = [s for s in slots(step) if self.is_data(s)]
            rooted = any(self.rooted.get(s) for s in slots(step) if s not in data)
            if step.name in PRODUCTS and len(data) == 1 and rooted:
                found.setdefault(step.outputs[0].number, data[0])
        return found

    @functools.cached_property
    def products(self) -> dict[int, tuple[int, int]]:
        """Products of two data, and their operands."""
        found = {}
        for step in self.steps:
            data = [s for s in slots(step) if self.is_data(s)]
            if step.name == "mul" and len(data) == 2:
                found[step.outputs[0].number] = (data[0], data[1])
        return found

    @functools.cached_property
    def slopes(self) -> dict[int, int]:
        """Products of parameters and the negative side of a PReLU, and what that is a side of.

        At a slope of 1 the two sides are a line: one is chosen over the other, or they are added.
        """
        found: dict[int, int] = {}
        for step in self.steps:
            cases = slots(step) if step.name in (*CHOICES, *SUMS) else []
            for case in cases:
                made = self.makers.get(case)
                factors = slots(made) if made is not None and made.name == "mul" else []
                data = [s for s in factors if self.is_data(s)]
                slope = any(self.leaves.get(s) for s in factors if s not in data)
                if len(data) != 1 or not slope:
                    continue
                if step.name in CHOICES and data[0] in cases:
                    found[case] = data[0]
                elif self._is_line(step.name, [data[0] if s == case else s for s in cases]):
                    found[case] = self.places[data[0]].input.number
        return found

    def _is_line(self, name: str, sides: Sequence[int]) -> bool:
        """Whether two functions of one value sum up to it."""
        if name not in SUMS or len(sides) != 2 or not self.activations.issuperset(sides):
            return False
        one, other = (self.places[s] for s in sides)
        f, g = one.site.activation.fn, other.site.activation.fn
        sign = -1 if name == "sub" else 1
        return one.input == other.input and all(
            math.isclose(float(f(t)) + sign * float(g(t)), t, abs_tol=1e-6) for t in (-1.0, 1.0)
        )

    @property
    def pairs(self) -> Iterator[tuple[int, int]]:
        """The operands of those products, in both orders."""
        for one, other in self.products.values():
            yield one, other
            yield other, one

    @functools.cached_property
    def inside(self) -> set[int]:
        """What normalizations compute on their way, their outputs too."""
        found: set[int] = set()
        for place in self.places.values():
            if place.site.kind == "normalization":
                todo = [place.output.number]
                while todo:
                    slot = todo.pop()
                    if slot != place.input.number and slot not in found and self.is_data(slot):
                        found.add(slot)
                        todo += self.sources.get(slot, ())
        return found

    def back(self, start: int, *, through: Passes) -> dict[int, None]:
        """Data behind a value, as far as steps pass it on, nearest first.

        Args:
            start: a slot, which is in the result.
            through: from a step to the positions of the operands to follow.
        """
        key = start, through
        if key not in self._backs:
            seen, todo = {start: None}, [start]
            for slot in todo:
                for source in self._behind(slot, through):
                    if source not in seen and self.is_data(source):
                        seen[source] = None
                        todo.append(source)
            self._backs[key] = seen
        return self._backs[key]

    def _behind(self, slot: int, through: Passes) -> Sequence[int]:
        step = self.makers.get(slot)
        if step is None or step.inner is not None:
            return self.sources.get(slot, ())
        atoms = [step.inputs[i] for i in through(step)]
        return [atom.number for atom in atoms if isinstance(atom, Slot)]

    def kernels(self, slot: int) -> list[int]:
        """Outputs of kernels that a value is the sum of, scaled and moved."""
        return list(filter(self._is_kernel, self.back(slot, through=linear)))

    def before_functions(self, slot: int) -> list[int]:
        """Outputs of kernels that a value is the sum of functions of, but gates."""
        return list(filter(self._is_kernel, self.before(slot)))

    def _is_kernel(self, slot: int) -> bool:
        site = self.places[slot].site if slot in self.places else None
        return site is not None and bool(site.kernels) and site.kind != "embedding"

    def before(self, start: int) -> dict[int, None]:
        """Data behind a value as far as steps, and functions but gates, pass it on linearly."""
        if start not in self._befores:
            found: dict[int, None] = {}
            todo = [start]
            for slot in todo:
                behind = self.back(slot, through=linear)
                found |= behind
                functions = behind.keys() & self.activations - self.gates
                todo += sorted({self.places[s].input.number for s in functions} - set(todo))
            self._befores[start] = found
        return self._befores[start]

    @functools.cached_property
    def activations(self) -> set[int]:
        """Outputs of functions of one number."""
        return {s for s, place in self.places.items() if place.site.kind == "activation"}

    @functools.cached_property
    def gates(self) -> set[int]:
        """Outputs of functions that are open by half at 0."""
        functions = {slot: self.places[slot].site.activation for slot in self.activations}
        at_0 = {id(f): float(f.fn(0.0)) for f in {id(f): f for f in functions.values()}.values()}
        return {s for s, f in functions.items() if math.isclose(at_0[id(f)], 0.5, abs_tol=1e-3)}

    def ahead(self, start: int) -> set[int]:
        """All that a value has an effect on, in later turns of a scan too."""
        return _closure(start, self.users, self._aheads)

    def behind(self, start: int) -> set[int]:
        """All that a value is computed from, within one turn of each scan."""
        return _closure(start, self.sources, self._behinds)

    def _block(self, block: Block, length: int) -> None:
        for slot, _ in block.constants:
            self.constants.add(slot.number)
            self.leaves[slot.number] = frozenset()
            self.shapes[slot.number] = slot.shape
        for step in block.steps:
            known = step.inner is not None and all(
                slot.number in self.facts for slot in step.inner.inputs
            )
            if step.inner is not None and known:
                self._body(step, step.inner, length)
            else:
                plain = step._replace(inner=None)
                self.steps.append(plain)
                before = tuple(slots(step))
                behind = self._of(before, self.leaves)
                root = step.name in ROOTS
                rooted = behind if root else self._of(before, self.rooted)
                unrooted = frozenset() if root else self._of(before, self.unrooted)
                for slot in step.outputs:
                    self.shapes[slot.number] = slot.shape
                    self.rooted[slot.number], self.unrooted[slot.number] = rooted, unrooted
                    self.makers[slot.number], self.sources[slot.number] = plain, before
                    self.lengths[slot.number] = length
                    self.leaves[slot.number] = behind

    def _of(self, slots: Iterable[int], known: Mapping[int, frozenset[int]]) -> frozenset[int]:
        own = (known.get(s, frozenset()) for s in slots if not self.is_data(s))
        return frozenset().union(*own)

    def _body(self, step: Step, inner: Block, length: int) -> None:
        for atom, slot in zip(step.inputs, inner.inputs, strict=True):
            before = (atom.number,) if isinstance(atom, Slot) else ()
            self.shapes[slot.number] = slot.shape
            self.sources[slot.number] = before
            for known in (self.leaves, self.rooted, self.unrooted):
                known[slot.number] = self._of(before, known)
        if step.name == "scan":
            self._loop(step, inner)
            if step.outputs and step.outputs[0].number not in self.scans_with_data:
                length *= step.params["length"]  # of depth, not of time
        self._block(inner, length)
        for result, slot in zip(inner.results, step.outputs, strict=True):
            before = (result.number,) if isinstance(result, Slot) else ()
            self.shapes[slot.number] = slot.shape
            self.sources[slot.number], self.makers[slot.number] = before, step
            self.leaves[slot.number] = self._of(before, self.leaves)

    def _loop(self, step: Step, inner: Block) -> None:
        parts = program.carried(step.params)
        scan = step.outputs[0].number if step.outputs else -1
        for i, slot in enumerate(inner.inputs):
            passage: Passage = "constant"
            if i >= parts.constants + parts.carried:
                passage = "sliced"
                if self.is_data(slot.number):
                    self.scans_with_data.add(scan)
            elif i >= parts.constants:
                result = inner.results[i - parts.constants]
                if isinstance(result, Slot) and result != slot:
                    passage = "carried"
                    self.loops[slot.number] = result.number
            self.entries[slot.number] = Entry(scan, passage)


def _closure(
    start: int, edges: Mapping[int, Sequence[int]], known: dict[int, set[int]]
) -> set[int]:
    if start not in known:
        seen, todo = {start}, [start]
        while todo:
            for slot in edges.get(todo.pop(), ()):
                if slot not in seen:
                    seen.add(slot)
                    todo.append(slot)
        known[start] = seen
    return known[start]


def slots(step: Step) -> list[int]:
    """What a step reads, but for literals."""
    return [atom.number for atom in step.inputs if isinstance(atom, Slot)]


def linear(step: Step) -> Iterable[int]:
    """Operands of a step whose sum, scaled and moved, is its output."""
    if step.name == "select_n":
        return range(1, len(step.inputs))
    return range(len(step.inputs)) if step.name in MOVES | CASTS | {*SUMS, *PRODUCTS} else ()


def added(step: Step) -> Iterable[int]:
    """Operands of a step that its output is the sum of."""
    return () if step.name in PRODUCTS else linear(step)


def direct(step: Step) -> Iterable[int]:
    """Operands of a step of which its output is a part or a multiple."""
    return () if step.name in SUMS else linear(step)


def anything(step: Step) -> Iterable[int]:
    """Operands of a step that is no product with a kernel and no look-up."""
    return () if step.name in CONTRACTIONS else range(len(step.inputs))


def moves(step: Step) -> Iterable[int]:
    """Operands of a step that its output is, moved or cast."""
    return range(len(step.inputs)) if step.name in MOVES | CASTS - {"neg"} else ()
