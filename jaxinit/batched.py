"""Any init function, compiled once for each distinct law and shape instead of once a parameter."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from jaxinit.sharding import resolve

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
        TypeError: when called, if shardings holds something else, naming the path.
        ValueError: when called, if a leaf needs the values of a `ShapeDtypeStruct`, shardings is no
            tree like the result, or one does not fit.

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

        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((args, kwargs))):
            return init_fn(*args, **kwargs)
        of, inputs = of_arrays(init_fn, args, kwargs)
        built: list[Any] = []

        def leaves_of(*values: Any) -> list[Any]:
            leaves, tree = jax.tree.flatten(of(*values))
            built[:] = leaves, tree
            return [leaf for leaf in leaves if _is_array(leaf)]

        traced = jax.make_jaxpr(leaves_of)(*inputs)
        leaves, tree = built

        def result(arrays: Iterable[Any]) -> Any:
            given = iter(arrays)
            return jax.tree.unflatten(tree, [next(given) if _is_array(x) else x for x in leaves])

        abstract = result(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in traced.out_avals)
        where = shardings(abstract) if callable(shardings) else shardings
        places: list[Any] = [None] * len(leaves)
        if where is not None:
            # Rules and paths, which other calls do without.
            from jaxinit.paths import at, flattened
            from jaxinit.trees import placed

            paths = flattened(abstract)
            places = placed(paths, tree, where)
            for leaf, place in zip(paths, places, strict=True):
                with at(leaf.path):
                    resolve(place, getattr(leaf.value, "shape", ()))
        places = [place for place, leaf in zip(places, leaves, strict=True) if _is_array(leaf)]
        return result(results(traced, inputs, places))

    return initialize


def of_arrays(
    function: Callable[..., R], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Callable[..., R], list[Any]]:
    """A function of the arrays among arguments alone, the others as they are; and the arrays.

    Args:
        function: of the arguments.
        args: any trees.
        kwargs: likewise.

    Returns:
        The function, and its arguments, abstract ones too.

    >>> double, arrays = of_arrays(lambda x, n: x * n, (np.ones(2), 2), {})
    >>> double(*arrays).tolist()
    [2.0, 2.0]
    """
    flat, structure = jax.tree.flatten((tuple(args), dict(kwargs)))
    places = [i for i, leaf in enumerate(flat) if _is_array(leaf)]

    def of(*arrays: Any) -> R:
        filled = list(flat)
        for i, array in zip(places, arrays, strict=True):
            filled[i] = array
        args, kwargs = jax.tree.unflatten(structure, filled)
        return function(*args, **kwargs)

    return of, [flat[i] for i in places]


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct)
