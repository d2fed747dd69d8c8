"""What `out_sharding` means, in each axis mode of a mesh."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

OutSharding: TypeAlias = NamedSharding | PartitionSpec | None


def resolve(out_sharding: OutSharding, shape: tuple[int, ...]) -> NamedSharding | None:
    """The sharding of an array of this shape that `out_sharding` asks for.

    A `PartitionSpec` refers to the mesh in force (`jax.set_mesh`); a `NamedSharding` brings its
    own. Axes may be `Auto` or `Explicit`; inside `shard_map` a device's shape is already local.

    Args:
        out_sharding: what the caller asked for.
        shape: global shape.

    Returns:
        A checked sharding, or None where none is asked for.

    Raises:
        TypeError: if it is no sharding.
        ValueError: if there is no mesh to refer to, the rank does not fit, an axis is manual, or
            a dimension does not divide into its shards.

    >>> import jax
    >>> resolve(None, (8, 8)) is None
    True
    """
    if out_sharding is None:
        return None
    if isinstance(out_sharding, PartitionSpec):
        mesh = current_mesh()
        if mesh is None:
            raise ValueError(
                f"out_sharding={out_sharding} is a PartitionSpec, which names axes of the mesh in "
                "force, and there is none: call under jax.set_mesh(mesh), or pass "
                "NamedSharding(mesh, spec)"
            )
        unknown = [a for part in out_sharding for a in _names(part) if a not in mesh.axis_names]
        if unknown:
            raise ValueError(
                f"out_sharding={out_sharding} names {unknown}, which the mesh in force does not "
                f"have: its axes are {mesh.axis_names}"
            )
        sharding = NamedSharding(mesh, out_sharding)
    elif isinstance(out_sharding, NamedSharding):
        sharding = out_sharding
    else:
        raise TypeError(
            f"out_sharding={out_sharding!r} is a {type(out_sharding).__name__}: pass a "
            "jax.sharding.NamedSharding, a PartitionSpec, or None"
        )
    _check(sharding, shape)
    return sharding


def place(compute: Callable[..., Array], sharding: NamedSharding | None, *arguments: Any) -> Array:
    """compute(*arguments), each device computing the part of the result that it keeps.

    Args:
        compute: a function on global arrays.
        sharding: of the result; None leaves it to the compiler.
        *arguments: replicated operands.

    Returns:
        The result, so sharded.

    >>> import jax.numpy as jnp
    >>> place(jnp.negative, None, jnp.ones(2)).tolist()
    [-1.0, -1.0]
    """
    if sharding is None:
        return compute(*arguments)
    explicit = _axes(sharding, AxisType.Explicit)
    if not explicit:
        return jax.lax.with_sharding_constraint(compute(*arguments), sharding)
    spec = sharding.spec
    if jax.sharding.get_abstract_mesh().empty:
        # Explicit types exist only under a mesh in force; without one, the same devices will do.
        automatic = Mesh(sharding.mesh.devices, sharding.mesh.axis_names)
        return place(compute, NamedSharding(automatic, spec), *arguments)

    def constrained(*arguments: Any) -> Array:
        return jax.lax.with_sharding_constraint(compute(*arguments), spec)

    # A type tells of explicit axes alone: where a mesh has others, the constraint tells of those.
    typed = [tuple(name for name in _names(part) if name in explicit) or None for part in spec]
    abstract = NamedSharding(sharding.mesh.abstract_mesh, PartitionSpec(*typed))
    return jax.sharding.auto_axes(constrained, axes=explicit, out_sharding=abstract)(*arguments)


def label(weights: Array, sharding: NamedSharding | None) -> Array:
    """Concrete weights under the very sharding asked for, where `place` computed in its twin.

    Args:
        weights: as `place` computed them.
        sharding: as asked for.

    Returns:
        The same shards; nothing is copied.

    >>> import jax.numpy as jnp
    >>> label(jnp.ones(2), None).tolist()
    [1.0, 1.0]
    """
    if sharding is None or isinstance(weights, jax.core.Tracer) or weights.sharding == sharding:
        return weights
    return jax.device_put(weights, sharding)


def shards(sharding: NamedSharding | None, axis: int) -> int:
    """Into how many shards an axis of the array is split.

    Args:
        sharding: as `resolve` returns it.
        axis: of the array, not negative.

    Returns:
        1 where the axis is whole.

    >>> shards(None, 0)
    1
    """
    if sharding is None or axis >= len(sharding.spec):
        return 1
    return math.prod(sharding.mesh.shape[name] for name in _names(sharding.spec[axis]))


def current_mesh() -> Any:
    """The mesh in force, or None.

    Returns:
        A mesh, abstract under `jit`.

    >>> current_mesh() is None
    True
    """
    abstract = jax.sharding.get_abstract_mesh()
    if not abstract.empty:
        # Eager code needs the devices, which only the concrete mesh knows.
        try:
            concrete = jax.sharding.get_mesh()
        except ValueError:  # under jit, where the abstract mesh is all there is
            return abstract
        return abstract if concrete.empty else concrete
    return None


def _check(sharding: NamedSharding, shape: tuple[int, ...]) -> None:
    spec = sharding.spec
    if len(spec) > len(shape):
        raise ValueError(
            f"out_sharding={spec} has {len(spec)} entries for shape {shape}, which has "
            f"{len(shape)} axes: give at most one entry an axis"
        )
    manual = set(_axes(sharding, AxisType.Manual))
    for axis, part in enumerate(spec):
        if manual.intersection(_names(part)):
            raise ValueError(
                f"out_sharding={spec} names {part!r}, a manual axis: inside shard_map a shape is "
                "local to the device, so leave out_sharding to the unmapped code"
            )
        parts = shards(sharding, axis)
        if shape[axis] % parts:
            raise ValueError(
                f"out_sharding={spec} splits axis {axis} of shape {shape} into {parts} shards, "
                f"which do not divide {shape[axis]}: pad the shape or leave that axis whole"
            )


def _axes(sharding: NamedSharding, kind: AxisType) -> tuple[str, ...]:
    mesh = sharding.mesh
    types = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return tuple(name for name, its in types if its == kind)


def _names(part: Any) -> tuple[str, ...]:
    if part is None or part is PartitionSpec.UNCONSTRAINED:
        return ()
    return (part,) if isinstance(part, str) else tuple(part)
