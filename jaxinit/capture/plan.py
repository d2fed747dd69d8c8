"""Sites from what the analysis of a trace has found."""

import posixpath
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from jaxinit.capture import contractions
from jaxinit.capture.activations import CASTS, ROOTS, Expression, recognized
from jaxinit.capture.analysis import Analysis
from jaxinit.capture.contractions import Weight
from jaxinit.capture.facts import Draft, Fact
from jaxinit.capture.labels import EXAMPLE, MOVES, REDUCTIONS, moved, positions, unlabelled
from jaxinit.capture.program import Block, Slot
from jaxinit.capture.sites import WHOLE, Activation, Kind, Site, Unobserved
from jaxinit.paths import Leaf

# Of a value that is only summed, they are steps of a norm or a loss.
_STEPS = ("square", "exp", "abs", None)


class Place(NamedTuple):
    """A site, the slots of its input and output, and how to turn the input to the output's axes."""

    site: Site
    input: Slot
    output: Slot
    order: tuple[int, ...] | None


class Plan(NamedTuple):
    """A block, the places in it by output, in order, what is not observed, and what is known.

    Args:
        block: of the whole function.
        places: of its sites.
        unobserved: what is passed through.
        analysis: of the values in it.
        given: of each input of the block, its position among the parameters, or None.
    """

    block: Block
    places: tuple[Place, ...]
    unobserved: tuple[Unobserved, ...]
    analysis: Analysis
    given: tuple[int | None, ...]


def plan(block: Block, tree: Sequence[Leaf], given: Sequence[int | None]) -> Plan:
    """The places of a block.

    Args:
        block: of the whole function.
        tree: leaves of the parameters.
        given: of each input of the block, its position in the tree, or None if it is data.

    Returns:
        The plan.
    """
    analysis = Analysis(tree)
    facts = [_given(slot, leaf) for slot, leaf in zip(block.inputs, given, strict=True)]
    analysis.run(block, facts)
    known: dict[Hashable, Activation] = {}
    found: dict[int, list[tuple[int, Activation]]] = {}
    drafts = list(analysis.drafts)
    functions: dict[int, Activation] = {}
    for draft, function in _expressions(analysis, known):
        drafts.append(draft)
        if function is not None:
            functions[draft.output.number] = function
            found.setdefault(draft.input.number, []).append((draft.output.number, function))
    drafts.sort(key=lambda draft: draft.output.number)
    places = []
    scans = dict(_scans(block))
    for draft, name in zip(drafts, _names(drafts, functions), strict=True):
        reached = list(_reached(analysis, draft.output.number))
        beyond = _reached(analysis, *(sum_ for s in reached for sum_ in analysis.sums.get(s, ())))
        after, later = (
            [f for s in slots for _, f in found.get(s, ())] for slots in (reached, beyond)
        )
        own = functions.get(draft.output.number)
        order = None if draft.expression is None else draft.expression.order
        given_shape = draft.input.shape
        bias = _bias(analysis, draft) if draft.kernels else None
        site = Site(
            name,
            draft.kind,
            draft.step.scope,
            draft.output.shape,
            draft.output.aval.dtype,
            given_shape if order is None else tuple(given_shape[axis] for axis in order),
            _units(draft),
            next(iter(positions(draft.labels, EXAMPLE)), None),
            draft.kernels,
            None if bias is None else analysis.tree[bias.leaf].path,
            (own,) if own else tuple(dict.fromkeys(after)) if draft.kernels else (),
            bool(draft.kernels) and not analysis.sums.keys().isdisjoint(reached),
            tuple(dict.fromkeys(later)) if draft.kernels else (),
            draft.steps,
            WHOLE if bias is None else bias.slice,
            scans[draft.output.number],
        )
        places.append(Place(site, draft.input, draft.output, order))
    unobserved = tuple(dict.fromkeys(analysis.unobserved))
    return Plan(block, tuple(places), unobserved, analysis, tuple(given))


def _given(slot: Slot, leaf: int | None) -> Fact:
    if leaf is None:
        axes = unlabelled(slot.shape)
        return Fact(True, (frozenset({EXAMPLE}), *axes[1:]) if axes else axes)
    own = tuple(
        frozenset({(leaf, axis)}) if n > 1 else frozenset() for axis, n in enumerate(slot.shape)
    )
    return Fact(False, own, (contractions.Weight(leaf, True),))


def _scans(block: Block, around: tuple[int, ...] = ()) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Slots that steps write, and the scans around each, by their first outputs."""
    for step in block.steps:
        yield from ((slot.number, around) for slot in step.outputs)
        if step.inner is not None and step.outputs:
            own = (step.outputs[0].number,) if step.name == "scan" else ()
            yield from _scans(step.inner, around + own)


def _expressions(
    analysis: Analysis, known: dict[Hashable, Activation]
) -> Iterator[tuple[Draft, Activation | None]]:
    """Activations, softmaxes and normalizations: what is used of the functions of one root."""
    for slots in analysis.members.values():
        within = [m for s in slots for m in (s, *analysis.members.get(s.number, ()))]
        whole = any(_expression(analysis, s).normalized and _used(analysis, s) for s in within)
        drafted: set[Expression] = set()
        for slot in slots:
            expression = _expression(analysis, slot)
            if not _used(analysis, slot, soft=not whole) or expression.root is None:
                continue
            if expression.source in drafted:
                continue
            kind, function = _kind(expression), None
            if kind == "activation":
                function = recognized(expression, known)
                summed = not analysis.uses[slot.number].hard
                if function.name == "identity" or (summed and function.name in _STEPS):
                    continue
            if kind is not None and jnp.issubdtype(slot.aval.dtype, jnp.inexact):
                step, steps = analysis.makers[slot.number]
                labels = analysis.facts[slot.number].labels
                drafted.add(expression.source)
                draft = Draft(kind, step, slot, expression.root, steps, labels)
                draft.expression = expression
                yield draft, function


def _expression(analysis: Analysis, slot: Slot) -> Expression:
    expression = analysis.facts[slot.number].expression
    assert expression is not None
    return expression


def _used(analysis: Analysis, slot: Slot, *, soft: bool = True) -> bool:
    use = analysis.uses.get(slot.number)
    return use is not None and (use.hard or (soft and use.soft))


def _kind(expression: Expression) -> Kind | None:
    if expression.is_activation:
        return "activation"
    if not expression.normalized:
        return None
    if expression.nonlinear:
        return "softmax" if expression.primitives & {"exp", "exp2"} else None
    return "normalization" if expression.primitives & (ROOTS | {"div"}) else None


def _units(draft: Draft) -> tuple[int, ...]:
    if draft.expression is not None and draft.expression.reduced:
        return _reduced_axes(draft.expression)
    if draft.kind in ("matmul", "conv") and not draft.kernels:
        return ()
    return contractions.units(draft.labels)


def _reduced_axes(expression: Expression) -> tuple[int, ...]:
    step = expression.step
    if step is not None and step.name in REDUCTIONS and expression.operands[0].direct:
        gone = step.params.get("axes", step.params.get("dimensions", ()))
        return _ungrouped(expression.operands[0], tuple(map(int, gone)))
    return next((axes for x in expression.operands if (axes := _reduced_axes(x))), ())


def _ungrouped(expression: Expression, axes: tuple[int, ...]) -> tuple[int, ...]:
    """Axes of an expression as those, whole or in part, of what it was before it was reshaped."""
    while (step := expression.step) is not None:
        expression = next(x for x in expression.operands if x.direct)
        if step.name == "reshape":
            own = tuple(frozenset({axis}) for axis in range(len(step.inputs[0].shape)))
            (groups,) = moved(step, [own])
            axes = tuple(old for old in range(len(own)) if any(old in groups[new] for new in axes))
    return axes


def _reached(analysis: Analysis, *start: int, moves: bool = False) -> Iterator[int]:
    """Slots where a signal arrives as it is, but for scale, shift and shape."""
    seen, todo = set(start), list(start)
    while todo:
        slot = todo.pop(0)
        yield slot
        for after in analysis.flows.get(slot, ()):
            if after not in seen and (not moves or _moves(analysis, after)):
                seen.add(after)
                todo.append(after)


def _moves(analysis: Analysis, slot: int) -> bool:
    step, _ = analysis.makers.get(slot, (None, ()))
    return step is not None and (step.name in MOVES | CASTS or slot in analysis.biases)


def _bias(analysis: Analysis, draft: Draft) -> Weight | None:
    reached = _reached(analysis, draft.output.number, moves=True)
    return next((analysis.biases[s] for s in reached if s in analysis.biases), None)


def _names(drafts: Sequence[Draft], functions: dict[int, Activation]) -> Iterator[str]:
    """The scope; where it is empty or of several kernels, the module of the kernel."""
    owners = Counter(draft.step.scope for draft in drafts if draft.kernels)
    seen: Counter[str] = Counter()
    for draft in drafts:
        scope = draft.step.scope
        if draft.kernels:
            path = draft.kernels[0].path
            alone = scope and owners[scope] == 1
            name = scope if alone else posixpath.dirname(path) or path or draft.kind
        else:
            function = functions.get(draft.output.number)
            own = (function and function.name) or draft.kind
            name = "/".join(filter(None, (scope, own)))
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"
