"""Keys derived from keys by numpy, at once, where JAX compiles a program for each derivation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinit import _threefry


def derived(name: str, params: Mapping[str, Any], values: Sequence[Any]) -> list[Any] | None:
    """What a primitive makes of keys and of the counts that they are folded with.

    Args:
        name: of the primitive.
        params: of it.
        values: its operands.

    Returns:
        Its results, or None if JAX has to find them: if a value is traced or committed to a device,
        or the primitive or the keys are of another kind.

    >>> key = jax.random.key(0)
    >>> (found,) = derived("random_fold_in", {}, [key, np.uint32(7)])
    >>> bool(found == jax.random.fold_in(key, 7))
    True
    """
    if any(isinstance(value, jax.core.Tracer) for value in values):
        return None
    if name == "add":
        counts = all(isinstance(x, np.ndarray | np.generic) and not x.ndim for x in values)
        return [np.add(*values)] if counts and np.result_type(*values) == np.uint32 else None
    if name not in _KINDS:
        return None
    key, *operands = values
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        return None
    data = jax.random.key_data(key)
    if data.committed or (name in _HASHED and not fusible(key)):
        return None
    found = _KINDS[name](np.asarray(data), params, *operands)
    implementation = jax.random.key_impl(key)
    return [jax.random.wrap_key_data(words, impl=implementation) for words in found]


def fusible(key: Any) -> bool:
    """Whether the words of a key are hashed position by position, each by itself."""
    config: Any = jax.config
    threefry = jax.random.key_impl(key) == "threefry2x32"
    return bool(key.ndim == 0 and threefry and config.jax_threefry_partitionable)


def _folded(words: Any, params: Mapping[str, Any], count: Any) -> list[Any]:
    return [_hashed(words, np.asarray(count).astype(np.uint32))]


def _split(words: Any, params: Mapping[str, Any]) -> list[Any]:
    shape = params["shape"]
    return [_hashed(words, np.arange(math.prod(shape), dtype=np.uint32).reshape(shape))]


def _hashed(words: Any, positions: Any) -> Any:
    return np.stack(_threefry.words_at_once(words, positions), axis=-1)


def _sliced(words: Any, params: Mapping[str, Any]) -> list[Any]:
    starts, limits = params["start_indices"], params["limit_indices"]
    strides = params["strides"] or (1,) * len(starts)
    return [words[tuple(map(slice, starts, limits, strides))]]


def _squeezed(words: Any, params: Mapping[str, Any]) -> list[Any]:
    return [words.squeeze(tuple(params["dimensions"]))]


def _unstacked(words: Any, params: Mapping[str, Any]) -> list[Any]:
    return list(np.moveaxis(words, params["axis"], 0))


_HASHED: dict[str, Callable[..., list[Any]]] = {
    "random_fold_in": _folded,
    "random_split": _split,
}
_KINDS = {**_HASHED, "slice": _sliced, "squeeze": _squeezed, "unstack": _unstacked}
