"""Any init function, compiled once for each distinct law and shape instead of once a parameter."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


def batched(init_fn: Callable[P, R], shardings: Any = None) -> Callable[P, R]:
    """The same function of the same arguments, which draws each parameter on its own.

    The function is traced, not run: the computation of each leaf of its result is cut out, equal
    computations are compiled once and called for each leaf, and what no leaf needs, such as the
    forward pass of a Flax module, is neither compiled nor run. Threefry bits are drawn by the fused
    generator, which gives the same ones. A leaf that depends on data is computed as it stands.

    Args:
        init_fn: such as a linen module's `init`, a function that builds an nnx or an Equinox module
            from a key, or the `init` of a Haiku transform. Arguments that are no arrays are taken
            as they are; an array of which only the shape matters may be a `jax.ShapeDtypeStruct`.
        shardings: a tree like the result, of `NamedSharding` or None, or a function from the
            abstract result to one; each leaf is drawn straight onto its devices.

    Returns:
        A function whose result is that of `jax.jit(init_fn)`, bit for bit; but for the last bits
        of normals in rows of 3 to 12, which JAX 0.12 may round in several ways with AVX-512.

    Raises:
        ValueError: when called, if a leaf needs the values of a `ShapeDtypeStruct`, or shardings is
            no tree like the result.

    >>> import flax.linen as nn
    >>> model, key = nn.Dense(4), jax.random.key(0)
    >>> x = jax.ShapeDtypeStruct((1, 3), "float32")
    >>> params = batched(model.init)(key, x)
    >>> expected = jax.jit(model.init)(key, jax.numpy.ones((1, 3)))
    >>> bool((params["params"]["kernel"] == expected["params"]["kernel"]).all())
    True
    """

    @functools.wraps(init_fn)
    def initialize(*args: P.args, **kwargs: P.kwargs) -> R:
        from jaxinit._trace import results  # loads jax.extend, which is slow to import

        flat, structure = jax.tree.flatten((args, kwargs))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in flat):
            return init_fn(*args, **kwargs)
        arrays = [i for i, leaf in enumerate(flat) if _is_array(leaf)]
        built: list[Any] = []

        def leaves_of(*values: Any) -> list[Any]:
            filled = list(flat)
            for i, value in zip(arrays, values, strict=True):
                filled[i] = value
            args, kwargs = jax.tree.unflatten(structure, filled)
            leaves, tree = jax.tree.flatten(init_fn(*args, **kwargs))
            built[:] = leaves, tree
            return [leaf for leaf in leaves if _is_array(leaf)]

        inputs = [flat[i] for i in arrays]
        traced = jax.make_jaxpr(leaves_of)(*inputs)
        leaves, tree = built

        def result(arrays: Iterable[Any]) -> Any:
            given = iter(arrays)
            return jax.tree.unflatten(tree, [next(given) if _is_array(x) else x for x in leaves])

        where = shardings
        if callable(shardings):
            avals = traced.out_avals
            where = shardings(result(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals))
        places = [None] * len(leaves) if where is None else tree.flatten_up_to(where)
        places = [place for place, leaf in zip(places, leaves, strict=True) if _is_array(leaf)]
        return result(results(traced, inputs, places))

    return initialize


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct)
