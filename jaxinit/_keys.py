"""Keys derived from keys by numpy, at once, where JAX compiles a program for each derivation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    if data.committed:
        return None
    found = _KINDS[name](key, np.asarray(data), params, operands)
    implementation = jax.random.key_impl(key)
    return found and [jax.random.wrap_key_data(row, impl=implementation) for row in found]


def fusible(key: Any) -> bool:
    """Whether the words of a key are hashed position by position, each by itself."""
    config: Any = jax.config
    threefry = jax.random.key_impl(key) == "threefry2x32"
    return bool(key.ndim == 0 and threefry and config.jax_threefry_partitionable)


def _folded(key: Any, words: Any, params: Any, operands: Sequence[Any]) -> list[Any] | None:
    count = np.asarray(operands[0]).astype(np.uint32)
    return [_hashed(words, count)] if fusible(key) and not count.ndim else None


def _split(key: Any, words: Any, params: Any, operands: Sequence[Any]) -> list[Any] | None:
    shape = params["shape"]
    positions = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
    return [_hashed(words, positions)] if fusible(key) else None


def _hashed(words: Any, positions: Any) -> Any:
    made = _threefry.words_at_once(words, np.zeros_like(positions), positions)
    return np.stack(made, axis=-1)


def _sliced(key: Any, words: Any, params: Any, operands: Sequence[Any]) -> list[Any]:
    strides = params["strides"] or (1,) * key.ndim
    limits = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    return [words[tuple(slice(*limit) for limit in limits)]]


def _squeezed(key: Any, words: Any, params: Any, operands: Sequence[Any]) -> list[Any]:
    return [words.squeeze(tuple(params["dimensions"]))]


def _unstacked(key: Any, words: Any, params: Any, operands: Sequence[Any]) -> list[Any]:
    return list(np.moveaxis(words, params["axis"], 0))


_KINDS = {
    "random_fold_in": _folded,
    "random_split": _split,
    "slice": _sliced,
    "squeeze": _squeezed,
    "unstack": _unstacked,
}
