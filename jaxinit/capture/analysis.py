"""Where a function's sites are, and which parameters and activations belong to each."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp

from jaxinit.capture import contractions, labels, program
from jaxinit.capture.activations import ELEMENTWISE, SHAPING, Expression
from jaxinit.capture.contractions import CONTRACTIONS, Weight
from jaxinit.capture.facts import Draft, Fact, Uses, apart, constant, covered, signalled
from jaxinit.capture.labels import EXAMPLE
from jaxinit.capture.program import Block, Slot, Step
from jaxinit.capture.sites import Unobserved
from jaxinit.paths import Leaf

# They make or move numbers, and there is nothing in them to observe.
_PLAIN = frozenset(
    {
        *("iota", "gather", "scatter", "scatter-add", "scatter_add", "select_and_scatter_add"),
        *("random_bits", "random_wrap", "random_unwrap", "random_fold_in", "random_split"),
        *("random_seed", "threefry2x32", "top_k", "random_gamma", "random_clone"),
        *("bitcast_convert_type", "shift_right_logical", "shift_left", "population_count", "clz"),
        *("shift_right_arithmetic", "empty", "imag", "complex", "conj", "pvary", "pcast"),
        *("debug_callback", "debug_print", "dot_general", "conv_general_dilated"),
    }
)


@dataclass
class Analysis:
    """What is found in a block and the blocks within.

    Args:
        tree: the parameters.
    """

    tree: Sequence[Leaf]
    drafts: list[Draft] = field(default_factory=list)
    unobserved: list[Unobserved] = field(default_factory=list)
    facts: dict[int, Fact] = field(default_factory=dict)
    # Where a signal goes without meeting a nonlinearity, a sum or a product with another.
    flows: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    biases: dict[int, Weight] = field(default_factory=dict)
    sums: dict[int, list[int]] = field(default_factory=dict)
    uses: dict[int, Uses] = field(default_factory=lambda: defaultdict(Uses))
    makers: dict[int, tuple[Step, tuple[int, ...]]] = field(default_factory=dict)
    summed: set[int] = field(default_factory=set)
    members: dict[int, list[Slot]] = field(default_factory=lambda: defaultdict(list))

    def run(self, block: Block, given: Sequence[Fact], steps: tuple[int, ...] = ()) -> list[Fact]:
        """Find what is in a block, whose inputs are as given, inside scans of some lengths."""
        self.facts.update((s.number, f) for s, f in zip(block.inputs, given, strict=True))
        for slot, value in block.constants:
            self.facts[slot.number] = constant(slot, value)
        self.summed |= program.summed(block)
        for step in block.steps:
            self._visit(step, steps)
        for result in block.results:
            self._use(result)
        return [self.fact(result) for result in block.results]

    def fact(self, atom: Any) -> Fact:
        """What is known of a slot or a literal."""
        if isinstance(atom, Slot):
            return self.facts[atom.number]
        return Fact(False, (), (), Expression(value=atom))

    def expression(self, atom: Any) -> Expression | None:
        """Of a value; one that starts at it, if it is data."""
        fact = self.fact(atom)
        if fact.expression is None and fact.data and jnp.issubdtype(atom.aval.dtype, jnp.inexact):
            return Expression(root=atom)
        return fact.expression

    def _use(self, *atoms: Any, soft: bool = False) -> None:
        for atom in atoms:
            if isinstance(atom, Slot):
                use = self.uses[atom.number]
                use.soft, use.hard = use.soft or soft, use.hard or not soft

    def _set(self, slot: Slot, fact: Fact) -> None:
        self.facts[slot.number] = fact
        expression = fact.expression
        if expression is not None and expression.root is not None and expression.direct:
            self.members[expression.root.number].append(slot)
            if not expression.nonlinear:
                self.flows[expression.root.number].append(slot.number)

    def _visit(self, step: Step, steps: tuple[int, ...]) -> None:
        self.makers.update((slot.number, (step, steps)) for slot in step.outputs)
        if step.name in program.CUSTOM:
            self._custom(step)
        elif step.inner is not None:
            self._body(step, step.inner, steps)
        elif step.name in CONTRACTIONS and self._contraction(step, steps):
            pass
        elif step.name in ELEMENTWISE or (
            step.name in (*SHAPING, "transpose") and self._inside(step)
        ):
            self._set(step.outputs[0], self._elementwise(step))
        elif step.name in labels.REDUCTIONS and self._inside(step):
            self._use(step.inputs[0], soft=True)
            self._set(step.outputs[0], self._reduced(step))
        else:
            self._other(step)

    def _inside(self, step: Step) -> bool:
        """Whether a shape changes, or a sum is taken, within an expression."""
        expression = self.expression(step.inputs[0])
        if expression is None or len(step.outputs) > 1 or expression.normalized:
            return False
        if step.name == "transpose":
            return not expression.reduced
        # Of groups of units a normalization takes statistics, in a shape that is theirs alone.
        grouped = step.name == "reshape" and step.outputs[0].number in self.summed
        return step.name in labels.REDUCTIONS or not expression.direct or grouped

    def _elementwise(self, step: Step) -> Fact:
        (output,) = step.outputs
        facts = [self.fact(atom) for atom in step.inputs]
        data = [i for i, fact in enumerate(facts) if fact.data]
        if not data:
            return self._of_weights(step, facts)
        axes = labels.united(output.shape, [facts[i].labels for i in data])
        if step.name in labels.MOVES:
            (axes,) = labels.moved(step, [facts[0].labels])
        joined = self._joined(step, data)
        sources = [step.inputs[i] for i in data]
        if joined is not None:
            return Fact(True, axes, (), joined)
        self._use(*sources)
        if len({atom.number for atom in sources}) == 1:
            self.flows[sources[0].number].append(output.number)
            added = [w for f in facts for w in f.weights] if step.name in ("add", "add_any") else []
            if added:
                self.biases[output.number] = added[0]
        elif step.name in ("add", "sub", "add_any"):
            for atom in sources:
                self.sums.setdefault(atom.number, []).append(output.number)
        return Fact(True, axes)

    def _joined(self, step: Step, data: Sequence[int]) -> Expression | None:
        """The expression that a step extends, if all its operands are functions of one root."""
        found = [self.expression(atom) for atom in step.inputs]
        own = [found[i] for i in data]
        roots = {x.root.number for x in own if x is not None and x.root is not None}
        if len(roots) != 1 or any(x is None for x in own):
            return None
        root = next(x.root for x in own if x is not None)
        if len({x.order for x in own if x is not None and x.direct}) > 1:
            return None
        others = [x for i, x in enumerate(found) if i not in data]
        if any(x is None for x in others) and any(x is not None and x.direct for x in own):
            return None
        operands = tuple(x if x is not None else Expression(value=1.0) for x in found)
        joined = Expression(step, operands, root)
        if step.name == "reshape" and joined.nonlinear:
            self._use(step.inputs[0])  # an activation, and statistics of it in groups
        normalized = [x is not None and x.normalized for x in found]
        if not (any(normalized) and joined.nonlinear):
            return self._after_an_activation(joined)
        if not all(normalized[i] for i in data):
            return None
        # A normalization ends where a nonlinearity begins, of which it is the root.
        self._use(*(step.inputs[i] for i in data))
        (first, *more) = {step.inputs[i].number: step.inputs[i] for i in data}.values()
        starts = tuple(
            Expression(root=first) if ends else x
            for x, ends in zip(operands, normalized, strict=True)
        )
        return None if more else Expression(step, starts, first)

    def _after_an_activation(self, joined: Expression) -> Expression:
        """It; where it is a normalization of an activation of its root, the normalization alone."""
        assert joined.root is not None
        for slot in reversed(self.members[joined.root.number] if joined.standardizes else ()):
            activation = self.facts[slot.number].expression
            if activation is not None and activation.is_activation:
                alone = joined.of(activation, slot)
                if alone is not None and not alone.nonlinear:
                    self._use(slot)
                    return alone
        return joined

    def _of_weights(self, step: Step, facts: Sequence[Fact]) -> Fact:
        """Of parameters and constants alone: the leaves that make up most of the result."""
        (output,) = step.outputs
        found = [self.fact(atom).expression for atom in step.inputs]
        known = [x for x in found if x is not None]
        constant = len(known) == len(found) and not any(f.weights for f in facts)
        sizes = [covered(atom, fact) for atom, fact in zip(step.inputs, facts, strict=True)]
        most = [f for f, n in zip(facts, sizes, strict=True) if f.weights and n == max(sizes)]
        axes = labels.united(output.shape, [f.labels for f in most])
        weights = tuple(dict.fromkeys(w for f in most for w in f.weights))
        return Fact(False, axes, weights, Expression(step, tuple(known)) if constant else None)

    def _reduced(self, step: Step) -> Fact:
        operand = self.expression(step.inputs[0])
        assert operand is not None
        (axes,) = labels.moved(step, [self.fact(step.inputs[0]).labels])
        return Fact(True, axes, (), Expression(step, (operand,), operand.root, reduces=True))

    def _contraction(self, step: Step, steps: tuple[int, ...]) -> bool:
        facts = signalled(step, [self.fact(atom) for atom in step.inputs[:2]])
        kernel = next((i for i in (1, 0) if facts[i].weights and facts[1 - i].data), None)
        looked_up = step.name == "gather"
        if (looked_up and kernel != 0) or not any(f.data for f in facts):
            return False
        self._use(*step.inputs)
        (output,) = step.outputs
        axes = contractions.contracted(step, [f.labels for f in facts], kernel)
        self._set(output, Fact(True, axes))
        if not jnp.issubdtype(output.aval.dtype, jnp.inexact):
            return True
        source = step.inputs[0] if kernel is None else step.inputs[1 - kernel]
        draft = Draft(CONTRACTIONS[step.name], step, output, source, steps, axes)
        if kernel is not None:
            fact = facts[kernel]
            draft.kernels = tuple(
                contractions.kernels(step, kernel, fact.weights, fact.labels, self.tree)
            )
        self.drafts.append(draft)
        return True

    def _custom(self, step: Step) -> None:
        """A function with a derivative rule of its own: one expression, if it is elementwise."""
        assert step.inner is not None
        if program.contracts(step.params[program.BODIES[step.name]]):
            self._pass(step, "has a derivative rule of its own, which rewriting would lose")
            self._opaque(step)
            return
        inner = Analysis(self.tree, facts=self.facts)
        given = [self.fact(atom)._replace(expression=self._start(atom)) for atom in step.inputs]
        found = inner.run(step.inner, given)
        self.unobserved += inner.unobserved
        outer = {s.number for s in step.inputs if isinstance(s, Slot)}
        roots = {e.root.number for fact in given if (e := fact.expression) and e.root}
        for slot, fact in zip(step.outputs, found, strict=True):
            root = fact.expression.root if fact.expression is not None else None
            kept = root is None or root.number in outer | roots
            self._set(slot, fact if kept else fact._replace(expression=None))
            if not kept or fact.expression is None:
                self._use(*step.inputs)

    def _start(self, atom: Any) -> Expression | None:
        expression = self.expression(atom)
        if expression is not None and expression.normalized:
            self._use(atom)
            return Expression(root=atom)
        return expression

    def _body(self, step: Step, inner: Block, steps: tuple[int, ...]) -> None:
        self._use(*step.inputs)
        facts = [apart(self.fact(atom)) for atom in step.inputs]
        if step.name == "scan":
            self._scan(step, inner, facts, steps)
            return
        found = self.run(inner, facts, steps)
        self._enter(step.inputs, inner.inputs)
        self._leave(inner.results, step.outputs, found)

    def _scan(
        self, step: Step, inner: Block, facts: Sequence[Fact], steps: tuple[int, ...]
    ) -> None:
        parts = program.carried(step.params)
        start = parts.constants + parts.carried
        alive = any(fact.data for fact in facts)
        given = list(facts)
        for i in range(parts.constants, len(given)):
            slot, fact = inner.inputs[i], facts[i]
            if i >= start:
                weights = tuple(
                    w if axis is None else w.scanned(len(steps), axis)
                    for w in fact.weights
                    for axis in [self._axis(w, fact, 0, step.inputs[i].shape)]
                )
                given[i] = Fact(fact.data, fact.labels[1:], weights, fact.expression)
            elif inner.results[i - parts.constants] != slot:
                data = fact.data or (alive and jnp.issubdtype(slot.aval.dtype, jnp.inexact))
                kept = tuple(label & {EXAMPLE} for label in fact.labels)
                given[i] = Fact(data, kept)
        found = self.run(inner, given, (*steps, step.params["length"]))
        self._enter(step.inputs, inner.inputs)
        self._enter(inner.results[: parts.carried], inner.inputs[parts.constants : start])
        stacked = [
            f if i < parts.carried else f._replace(labels=(frozenset(), *f.labels))
            for i, f in enumerate(found)
        ]
        self._leave(inner.results, step.outputs, stacked)

    def _enter(self, outside: Sequence[Any], inside: Sequence[Slot]) -> None:
        for atom, slot in zip(outside, inside, strict=True):
            if isinstance(atom, Slot):
                self.flows[atom.number].append(slot.number)

    def _leave(self, inside: Sequence[Any], outside: Sequence[Slot], facts: Sequence[Fact]) -> None:
        for atom, slot, fact in zip(inside, outside, facts, strict=True):
            self.facts[slot.number] = fact._replace(expression=None)
            if isinstance(atom, Slot):
                self.flows[atom.number].append(slot.number)

    def _other(self, step: Step) -> None:
        self._use(*step.inputs)
        if step.name not in labels.MOVES | labels.REDUCTIONS:
            if step.name not in _PLAIN and any(self.fact(atom).data for atom in step.inputs):
                self._pass(step, _REASONS.get(step.name, "is not known"))
            self._opaque(step)
            return
        facts = [self.fact(atom) for atom in step.inputs]
        found = labels.moved(step, [fact.labels for fact in facts])
        data = any(fact.data for fact in facts)
        moves = step.name in labels.MOVES
        weights = () if data or not moves else tuple(w for f in facts for w in f.weights)
        constant = facts[0].expression if step.name in SHAPING and not data else None
        for i, (slot, axes) in enumerate(zip(step.outputs, found, strict=True)):
            own = weights
            if step.name in ("slice", "dynamic_slice", "split", "unstack"):
                taken = contractions.taken(step, i)
                own = tuple(self._sliced(w, facts[0], step.inputs[0].shape, taken) for w in weights)
            self._set(slot, Fact(data, axes, tuple(dict.fromkeys(own)), constant))
            if moves:
                sources = {
                    a.number for a in step.inputs if isinstance(a, Slot) and self.fact(a).data
                }
                for number in sources if len(sources) == 1 else ():
                    self.flows[number].append(slot.number)

    def _axis(self, weight: Weight, fact: Fact, axis: int, shape: Sequence[int]) -> int | None:
        """The axis of a leaf that all of an axis of a value of that shape is."""
        pairs = [label for label in fact.labels[axis] if isinstance(label, tuple)]
        own = [a for owner, a in pairs if owner == weight.leaf]
        leaf = self.tree[weight.leaf].value
        return own[0] if len(own) == 1 and leaf.shape[own[0]] == shape[axis] else None

    def _sliced(
        self, weight: Weight, fact: Fact, shape: Sequence[int], taken: dict[int, int]
    ) -> Weight:
        for axis, position in taken.items():
            own = self._axis(weight, fact, axis, shape)
            weight = weight if own is None else weight.at(own, position)
        return weight._replace(whole=False)

    def _opaque(self, step: Step) -> None:
        data = any(self.fact(atom).data for atom in step.inputs)
        for slot in step.outputs:
            self.facts[slot.number] = Fact(data, labels.unlabelled(slot.shape))

    def _pass(self, step: Step, reason: str) -> None:
        self.unobserved.append(Unobserved(step.scope, step.name, reason))


_REASONS = {
    "while": "runs a number of steps that is not known before, and has no reverse derivative",
    "cond": "has branches of which one runs",
    "shard_map": "runs on each device by itself",
    "jit": "asks for shardings of its own",
    "pjit": "asks for shardings of its own",
}
