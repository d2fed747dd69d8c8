"""An array computed entry by entry in another shape, so that a mesh may cut that one."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend import core

from jaxinit._entrywise import BITWISE, CALLS, ENTRYWISE

_BY_ENTRY = ENTRYWISE | BITWISE
_WORD = 1 << 32


def relaid(compute: Callable[[], Array], shape: tuple[int, ...]) -> Array:
    """compute().reshape(shape), with what is done entry by entry done in the new shape.

    The compiler does not split a reshape across the axes that a mesh cuts. What is no function of
    an entry and its place, such as a sort, is computed as it is, and its result reshaped.

    Args:
        compute: what gives the array.
        shape: of as many entries.

    Returns:
        The same numbers.

    >>> relaid(lambda: lax.iota(jnp.int32, 6) * 2, (2, 3)).tolist()
    [[0, 2, 4], [6, 8, 10]]
    """
    closed = jax.make_jaxpr(compute)()
    (aval,) = closed.out_avals
    if aval.shape in ((), shape) or aval.size >= _WORD:
        return jnp.reshape(compute(), shape)
    (found,) = _Layout(aval.shape, shape).run(closed.jaxpr, closed.consts, ())
    return found


class _Layout:
    """An interpreter that holds each array of one shape in another of as many entries."""

    def __init__(self, old: tuple[int, ...], new: tuple[int, ...]) -> None:
        self.old, self.new = old, new

    def run(self, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """The results of a jaxpr, from constants as they are and inputs as they are held."""
        held: dict[Any, Any] = dict(zip(jaxpr.invars, inputs, strict=True))
        held.update(self._hold(jaxpr.constvars, constants))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, core.Literal) else held[atom]

        for equation in jaxpr.eqns:
            found = self._step(equation, [read(atom) for atom in equation.invars])
            held.update(zip(equation.outvars, found, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _step(self, equation: Any, given: list[Any]) -> Sequence[Any]:
        primitive, params = equation.primitive, equation.params
        name, made = primitive.name, equation.outvars[0].aval
        if name in CALLS:
            inner = params[CALLS[name]]
            return self.run(inner.jaxpr, inner.consts, given)
        if made.shape == self.old:
            if name == "iota":
                return [self._index(params["dimension"]).astype(made.dtype)]
            if name == "broadcast_in_dim":
                return [self._spread(given[0], params["broadcast_dimensions"])]
            if name in _BY_ENTRY:
                axes = range(len(self.old))
                given = [
                    x if v.aval.shape in ((), self.old) else self._spread(x, axes)
                    for v, x in zip(equation.invars, given, strict=True)
                ]
        if name not in _BY_ENTRY:
            given = [self._plain(*pair) for pair in zip(equation.invars, given, strict=True)]
        found = primitive.bind(*given, **primitive.get_bind_params(params))
        found = found if primitive.multiple_results else [found]
        if name in _BY_ENTRY:
            return found
        return list(self._hold(equation.outvars, found).values())

    def _hold(self, variables: Sequence[Any], values: Sequence[Any]) -> dict[Any, Any]:
        pairs = zip(variables, values, strict=True)
        return {v: jnp.reshape(x, self.new) if v.aval.shape == self.old else x for v, x in pairs}

    def _plain(self, variable: Any, value: Any) -> Any:
        return jnp.reshape(value, self.old) if variable.aval.shape == self.old else value

    def _spread(self, x: Any, axes: Sequence[int]) -> Array:
        """A smaller array along some axes of the old shape."""
        x = jnp.asarray(x)
        along = [axis for axis, size in zip(axes, x.shape, strict=True) if size > 1]
        if not along:
            return jnp.broadcast_to(x.reshape(()), self.new)
        places = tuple(map(self._index, along))
        return x.reshape([self.old[axis] for axis in along]).at[places].get(mode="clip")

    def _index(self, axis: int) -> Array:
        """Along an axis of the old shape, from the row-major place in the new one."""
        place, stride = jnp.zeros(self.new, jnp.uint32), 1
        for i in reversed(range(len(self.new))):
            place = place + lax.broadcasted_iota(jnp.uint32, self.new, i) * jnp.uint32(stride)
            stride *= self.new[i]
        return place // math.prod(self.old[axis + 1 :]) % self.old[axis]
