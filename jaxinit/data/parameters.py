"""Parameters as paths and arrays, checked before any work, multiplied and put together again."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinit._checks import function_of, wide
from jaxinit.capture import Trace, trace
from jaxinit.paths import leaves


class Parameters:
    """The arrays of a tree of parameters that are real or complex numbers, by path.

    Args:
        params: any pytree; what else it holds is kept as it is.
    """

    def __init__(self, params: Any) -> None:
        self._leaves = leaves(params)
        self._structure: Any = jax.tree.structure(params)
        self.arrays: dict[str, Any] = {
            leaf.path: leaf.value for leaf in self._leaves if leaf.is_array and _inexact(leaf.value)
        }

    def rebuilt(self, arrays: Mapping[str, Any]) -> Any:
        """The tree with some arrays in the place of its own."""
        values = [arrays.get(leaf.path, leaf.value) for leaf in self._leaves]
        return jax.tree.unflatten(self._structure, values)

    def changed(self, arrays: Mapping[str, Any]) -> Any:
        """The tree with arrays cast to the dtype, and put where, those are whose place they take.

        What is equal already stays the same object.
        """
        found = {}
        for path, array in arrays.items():
            own = self.arrays[path]
            array = array.astype(own.dtype)
            sharding = None if _traced(own) else getattr(own, "sharding", None)
            found[path] = array if sharding is None or _traced(array) else _put(array, sharding)
        return self.rebuilt(found)


def multiplied(arrays: Mapping[str, Any], factors: Mapping[str, Any]) -> dict[str, Array]:
    """Arrays times factors that broadcast to them, computed wide and cast once.

    >>> float(multiplied({"w": jnp.ones((), "bfloat16")}, {"w": 0.5})["w"])
    0.5
    """
    return {
        path: (jnp.asarray(arrays[path], wide(arrays[path].dtype)) * factor).astype(
            arrays[path].dtype
        )
        for path, factor in factors.items()
    }


def opened(apply_fn: Any, params: Any, batch: Any) -> tuple[Parameters, Trace]:
    """The parameters and the trace of a function of (params, batch), if they can be worked with.

    What is traced is taken on trust.

    Args:
        apply_fn: of (params, batch).
        params: any pytree.
        batch: likewise.

    Returns:
        The parameters and the trace.

    Raises:
        TypeError: if apply_fn is no function, or the batch holds no array.
        ValueError: if params or the batch hold a NaN or an infinity, or the batch no example:
            naming its path.
    """
    function_of("(params, batch)", "apply_fn", apply_fn)
    found = Parameters(params)
    data = [leaf for leaf in leaves(batch) if leaf.is_array]
    if not data:
        raise TypeError(f"batch={batch!r} holds no array: pass inputs of apply_fn(params, batch)")
    for leaf in data:
        if np.shape(leaf.value)[:1] == (0,):
            where = "/".join(filter(None, ("batch", leaf.path)))
            raise ValueError(
                f"{where} has shape {np.shape(leaf.value)}, which holds no example: pass some "
                "hundred of the data"
            )
    given = [("params", path, value) for path, value in found.arrays.items()]
    given += [("batch", leaf.path, leaf.value) for leaf in data if _inexact(leaf.value)]
    known = [entry for entry in given if isinstance(entry[2], np.ndarray | Array)]
    known = [entry for entry in known if not _traced(entry[2])]
    finite = jax.device_get([jnp.isfinite(value).all() for *_, value in known])
    for (argument, path, _), good in zip(known, finite, strict=True):
        if not good:
            where = "/".join(filter(None, (argument, path)))
            raise ValueError(f"{where} has entries that are NaN or infinite")
    return found, trace(apply_fn, params, batch)


def concrete(*values: Any) -> bool:
    """Whether nothing is traced, so that numbers can be looked at."""
    return not any(map(_traced, jax.tree.leaves(values)))


def listed(paths: Sequence[str], most: int = 5) -> str:
    """Paths for an error message."""
    rest = len(paths) - most
    return ", ".join(map(repr, paths[:most])) + (f" and {rest} more" if rest > 0 else "")


def _put(array: Array, sharding: Any) -> Array:
    return array if array.sharding == sharding else jax.device_put(array, sharding)


def _inexact(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jnp.inexact)


def _traced(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)
