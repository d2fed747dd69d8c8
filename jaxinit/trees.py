"""Trees of parameters, drawn leaf by leaf by the rules that cover them."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from jaxinit._ahead import call_each
from jaxinit._draw import run
from jaxinit._initializer import Bound
from jaxinit.algebra import scaled
from jaxinit.paths import Leaf, at, fold, leaves
from jaxinit.rules import Assignment, Joint, Rules
from jaxinit.sharding import label, resolve


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
        rules: that cover every leaf with an inexact dtype.
        key: a JAX key.
        shardings: a tree of `NamedSharding` or None; None takes the sharding of each leaf's
            `ShapeDtypeStruct`, if it has one.
        allow_unused: whether a rule may cover nothing.

    Returns:
        The tree with its leaves replaced.

    Raises:
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
    found = leaves(tree)
    structure = jax.tree.structure(tree)
    assignments = rules.assign(found, partial=partial, allow_unused=allow_unused)
    where = _shardings(found, structure, shardings)
    calls = [_call(found, assignment, where) for assignment in assignments]
    _check(calls, key)
    values = [leaf.value for leaf in found]
    for assignment, weights in zip(assignments, _drawn(calls, key), strict=True):
        if isinstance(assignment.rule, Joint):
            for i, position in enumerate(assignment.positions):
                values[position] = weights[i]
        else:
            values[assignment.positions[0]] = weights
    return jax.tree.unflatten(structure, values)


class _Call(NamedTuple):
    path: str
    init: Bound
    shape: tuple[int, ...]
    dtype: Any
    out_sharding: NamedSharding | None


def _call(
    tree: Sequence[Leaf], assignment: Assignment, shardings: Sequence[NamedSharding | None]
) -> _Call:
    first = tree[assignment.positions[0]]
    sharding = shardings[assignment.positions[0]]
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
    for path, init, shape, dtype, sharding in calls:
        with at(path):
            resolve(sharding, shape)
            if (init, shape, dtype) in seen:
                continue
            seen.add((init, shape, dtype))
            made = jax.eval_shape(lambda k, i=init, s=shape, d=dtype: i(k, s, d), key)
            if made.dtype != dtype:
                raise ValueError(f"{init!r} returns {made.dtype}, and the leaf is of {dtype}")


def _shardings(tree: Sequence[Leaf], structure: Any, given: Any) -> list[NamedSharding | None]:
    if given is None:
        own = (getattr(leaf.value, "sharding", None) for leaf in tree)
        return [s if isinstance(s, NamedSharding) else None for s in own]
    try:
        flat = structure.flatten_up_to(given)
    except ValueError as error:
        raise ValueError(f"shardings is not a tree like the parameters: {error}") from error
    for leaf, sharding in zip(tree, flat, strict=True):
        if sharding is not None and not isinstance(sharding, NamedSharding):
            raise TypeError(
                f"{leaf.path}: shardings has a {type(sharding).__name__} there: pass a "
                "jax.sharding.NamedSharding or None"
            )
    return flat
