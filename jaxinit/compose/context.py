"""Initializers with a dtype, a sharding or kernel axes of their own."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, get_args

import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import DTypeLike

from jaxinit._checks import check_dtype, wide
from jaxinit._draw import Draw, Spec, derive
from jaxinit._initializer import Bound, Init, initializer, initializer_argument, part
from jaxinit.axes import Axes, as_axes
from jaxinit.compose.entries import each_initializer
from jaxinit.sharding import OutSharding, resolve

_ROLES = ("in_axis", "out_axis", "batch_axis", "column_axis")


def _dtype_name(name: str, value: DTypeLike) -> str:
    if value is None:
        raise TypeError(f"{name}=None forces no dtype: leave out with_dtype, or pass one")
    return check_dtype(value).name


@initializer
def with_dtype(spec: Spec, init: Init, dtype: Annotated[DTypeLike, _dtype_name]) -> Draw:
    """W = V in a dtype of its own, whatever the call asks for.

    It keeps a router or a state-space layer in float32 in a model of bfloat16, say. An initializer
    composed of it has its dtype too.

    Args:
        init: any initializer, of V.
        dtype: of the weights.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer, or dtype is none that can hold weights.

    >>> import jax, jaxinit
    >>> init = with_dtype(jaxinit.he_normal(), "float32")
    >>> init(jax.random.key(0), (2, 3), "bfloat16").dtype
    dtype('float32')
    """
    kind = check_dtype(dtype)
    draw = derive(_same, part(init, spec._replace(dtype=wide(kind))))
    return draw._replace(dtype=kind)


def _sharding(name: str, value: OutSharding) -> OutSharding:
    if not isinstance(value, NamedSharding | PartitionSpec | None):
        raise TypeError(
            f"{name}={value!r} is a {type(value).__name__}: pass a jax.sharding.NamedSharding, a "
            "PartitionSpec, or None"
        )
    return value


@initializer
def with_sharding(spec: Spec, init: Init, sharding: Annotated[OutSharding, _sharding]) -> Draw:
    """W = V, in a sharding of its own where the call gives none.

    An initializer composed of it has its sharding too, if it keeps the shape.

    Args:
        init: any initializer, of V.
        sharding: `NamedSharding`, or `PartitionSpec` of the mesh in force, or None.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer, or sharding is none.
        ValueError: when called, if the sharding does not fit the shape, or no mesh is in force.

    >>> import jax, jaxinit
    >>> from jax.sharding import NamedSharding, PartitionSpec
    >>> columns = NamedSharding(jax.make_mesh((1,), ("model",)), PartitionSpec(None, "model"))
    >>> init = with_sharding(jaxinit.he_normal(), columns)
    >>> init(jax.random.key(0), (2, 3)).sharding == columns
    True
    """
    own = spec.sharding or resolve(sharding, spec.shape)
    return derive(_same, part(init, spec._replace(sharding=own)))


def _same(key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], v: Any) -> Array:
    return v(key)


def with_axes(init: Bound, axes: Axes | str) -> Bound:
    """The initializer with other kernel axes, those inside a composed one included.

    Each gets the same axes, so where a composed one draws in another shape than its own, as
    `stacked` does, they are those of that shape.

    Args:
        init: an initializer of jaxinit that takes `axes=`, or is composed of such.
        axes: roles of the kernel's axes, an `Axes` or an einsum.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is none of jaxinit's, or takes no axes, or axes are none.

    >>> import jaxinit
    >>> with_axes(jaxinit.he_normal(in_axis=0) * 0.5, "btd,dhk->bthk")
    scaled(init=he_normal(axes=Axes(in_axis=(0,), out_axis=(1, 2), rank=3)), factor=0.5)
    """
    if as_axes("axes", axes) is None:
        raise TypeError("axes=None gives no axes: pass an Axes, or an einsum")
    changed = turned(init, axes)
    if changed is None:
        raise TypeError(f"init={init!r} takes no axes=: nothing in it depends on a kernel's axes")
    return changed


def turned(init: Any, axes: Axes | str) -> Bound | None:
    """The initializer with other axes, as `with_axes` has it, or None where it depends on none."""
    if not isinstance(init, Bound):
        raise TypeError(
            f"init={init!r} is no initializer of jaxinit, so its axes are out of reach: give them "
            "where it is made"
        )
    parameters = inspect.signature(init._factory).parameters
    kinds = {name: get_args(p.annotation) for name, p in parameters.items()}
    changes: dict[str, Any] = {name: axes for name, kind in kinds.items() if as_axes in kind}
    dropped = _ROLES if changes else ()
    if not changes and (named := [name for name in _ROLES if name in parameters]):
        raise TypeError(f"{init!r} takes no axes=: give it {', '.join(named)} where it is made")
    for name, kind in kinds.items():
        if initializer_argument in kind or each_initializer in kind:
            value = init._arguments[name]
            held = value if isinstance(value, tuple) else (value,)
            inside = [turned(each, axes) for each in held]
            if any(inside):
                new = tuple(a or b for a, b in zip(inside, held, strict=True))
                changes[name] = new if isinstance(value, tuple) else new[0]
    if not changes:
        return None
    args, kwargs = init._call((name for name in init._given if name not in dropped), changes)
    return init._factory(*args, **kwargs)
