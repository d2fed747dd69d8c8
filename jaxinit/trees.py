"""Trees of parameters, drawn leaf by leaf by the rules that cover them."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from jaxinit._ahead import call_each
from jaxinit._draw import run
from jaxinit._initializer import Bound
from jaxinit.algebra import scaled
from jaxinit.paths import Leaf, at, fold, leaves, shared_once
from jaxinit.rules import Assignment, Joint, Rules
from jaxinit.sharding import label, place, resolve


def initialize(
    tree: Any,
    rules: Rules,
    key: Any,
    shardings: Any = None,
    *,
    allow_unused: bool = False,
) -> Any:
    """A tree of weights: each leaf drawn, straight onto its devices, by the first rule it matches.

    The key of a leaf is the key with a hash of its path folded in, so that adding, removing or
    reordering layers leaves every other leaf as it was. Leaves that differ only in numbers, such
    as scales that depend on depth, share one compilation.

    Args:
        tree: of `jax.ShapeDtypeStruct` or arrays: dicts, lists, dataclasses, `nnx.State`, modules.
        rules: that cover every leaf with an inexact dtype; others that they do not cover, and keys,
            stay as they are, abstract ones too.
        key: a JAX key.
        shardings: a tree of `NamedSharding` or None; None takes the sharding of each leaf's
            `ShapeDtypeStruct`, if it has one.
        allow_unused: whether a rule may cover nothing.

    Returns:
        The tree with its leaves replaced; variables of nnx that are shared stay so.

    Raises:
        TypeError: if rules is no `Rules`.
        ValueError: before anything is drawn, if a leaf is covered by no rule, a rule covers no
            leaf, paths collide, a sharding does not fit, or an initializer does not accept the
            shape or returns another: naming the path.

    >>> import jaxinit
    >>> tree = {"scale": jax.ShapeDtypeStruct((2,), "float32")}
    >>> initialize(tree, Rules({"scale": jaxinit.ones}), jax.random.key(0))["scale"].tolist()
    [1.0, 1.0]
    """
    return _fill(tree, rules, key, shardings, partial=False, allow_unused=allow_unused)


def reinitialize(tree: Any, rules: Rules, key: Any, *, allow_unused: bool = False) -> Any:
    """The tree with those leaves redrawn that the rules match, and the others as they are.

    Args:
        tree: of arrays.
        rules: for some of its paths.
        key: a JAX key.
        allow_unused: whether a rule may cover nothing.

    Returns:
        A tree of the same structure; arrays that no rule matches are the same objects.

    Raises:
        ValueError: as `initialize` does, but for paths that no rule covers.

    >>> import jaxinit
    >>> tree = {"head": jax.numpy.ones(2), "body": jax.numpy.ones(2)}
    >>> reinitialize(tree, Rules({"head": jaxinit.zeros}), jax.random.key(0))["head"].tolist()
    [0.0, 0.0]
    """
    return _fill(tree, rules, key, None, partial=True, allow_unused=allow_unused)


def _fill(
    tree: Any, rules: Rules, key: Any, shardings: Any, *, partial: bool, allow_unused: bool
) -> Any:
    if not isinstance(rules, Rules):
        raise TypeError(f"rules={rules!r} is a {type(rules).__name__}: pass jaxinit.Rules(...)")
    tree, restored = shared_once(tree)
    found = leaves(tree)
    structure = jax.tree.structure(tree)
    assignments = rules.assign(found, partial=partial, allow_unused=allow_unused)
    where = _own(found) if shardings is None else placed(found, structure, shardings)
    _fitting(found, assignments, where)
    calls = [_call(found, assignment, where) for assignment in assignments]
    _check(calls, key)
    values = [leaf.value for leaf in found]
    for assignment, weights in zip(assignments, _drawn(calls, key), strict=True):
        if isinstance(assignment.rule, Joint):
            for i, position in enumerate(assignment.positions):
                values[position] = _member(weights, i, where[position])
        else:
            values[assignment.positions[0]] = label(weights, where[assignment.positions[0]])
    return restored(jax.tree.unflatten(structure, values))


class _Call(NamedTuple):
    path: str
    init: Bound
    shape: tuple[int, ...]
    dtype: Any
    out_sharding: NamedSharding | None


def _call(tree: Sequence[Leaf], assignment: Assignment, shardings: Sequence[Any]) -> _Call:
    first = tree[assignment.positions[0]]
    several = (shardings[position] for position in assignment.positions)
    sharding = next((s for s in several if isinstance(s, NamedSharding)), None)
    shape = tuple(first.value.shape)
    if isinstance(assignment.rule, Joint):
        shape = (len(assignment.positions), *shape)
        if sharding is not None:
            sharding = NamedSharding(sharding.mesh, PartitionSpec(None, *sharding.spec))
    init = assignment.init
    # Any other callable becomes a value whose draws are compiled once for each shape.
    bound = init if isinstance(init, Bound) else scaled(init, 1)
    return _Call(first.path, bound, shape, first.value.dtype, sharding)


def _drawn(calls: Sequence[_Call], key: Any) -> Iterator[Array]:
    implementation = jax.random.key_impl(key)
    planned = [call.init._planned(call.shape, call.dtype, call.out_sharding) for call in calls]
    rows = fold(key, [call.path for call in calls])
    prepared = [
        (program, implementation, row if program.random else None, operands)
        for (program, operands), row in zip(planned, rows, strict=True)
    ]
    for (program, _), weights in zip(planned, call_each(run, 2, prepared), strict=True):
        yield label(weights, program.spec.sharding)


def _check(calls: Sequence[_Call], key: Any) -> None:
    """Refuse, by path, what cannot be drawn, before anything is."""
    seen = set()
    for path, init, shape, dtype, _ in calls:
        with at(path):
            if (init, shape, dtype) in seen:
                continue
            seen.add((init, shape, dtype))
            made = jax.eval_shape(lambda k, i=init, s=shape, d=dtype: i(k, s, d), key)
            if made.dtype != dtype:
                raise ValueError(f"{init!r} returns {made.dtype}, and the leaf is of {dtype}")


def _member(weights: Array, index: int, sharding: Any) -> Array:
    """A part of a joint draw, where it belongs."""
    if isinstance(weights, jax.core.Tracer):
        return place(lambda whole: whole[index], sharding, weights)
    return label(weights[index], sharding)


def _own(tree: Sequence[Leaf]) -> list[Any]:
    """Where leaves are, if they were put there: on a mesh, or on a device of their own."""
    own = [(leaf.value, getattr(leaf.value, "sharding", None)) for leaf in tree]
    return [
        sharding
        if isinstance(sharding, NamedSharding)
        or (isinstance(sharding, Sharding) and getattr(value, "committed", False))
        else None
        for value, sharding in own
    ]


def _fitting(
    tree: Sequence[Leaf], assignments: Sequence[Assignment], shardings: Sequence[Any]
) -> None:
    for position in (p for assignment in assignments for p in assignment.positions):
        leaf, sharding = tree[position], shardings[position]
        with at(leaf.path):
            resolve(sharding if isinstance(sharding, NamedSharding) else None, leaf.value.shape)


def placed(tree: Sequence[Leaf], structure: Any, shardings: Any) -> list[NamedSharding | None]:
    """The shardings of leaves, from a tree of them.

    Args:
        tree: the leaves.
        structure: of their tree.
        shardings: a tree like it, of `NamedSharding` or None.

    Returns:
        One, or None, for each leaf.

    Raises:
        TypeError: if there is something else in the tree, naming the path.
        ValueError: if it is no tree like the leaves'.

    >>> placed([Leaf("a", 1.0)], jax.tree.structure({"a": 1.0}), {"a": None})
    [None]
    """
    try:
        flat = structure.flatten_up_to(shardings)
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"shardings is not a tree like the parameters: {error}") from error
    for leaf, sharding in zip(tree, flat, strict=True):
        if sharding is not None and not isinstance(sharding, NamedSharding):
            raise TypeError(
                f"{leaf.path}: shardings has a {type(sharding).__name__} there: pass a "
                "jax.sharding.NamedSharding or None"
            )
    return flat
