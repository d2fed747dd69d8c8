"""An array computed entry by entry in another shape, so that a mesh may cut that one."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxinit._entrywise import BITWISE, ENTRYWISE, interpret

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
    layout = _Layout(aval.shape, shape)
    (found,) = interpret(closed, (), layout.step, layout.hold)
    return found


class _Layout:
    """Steps of an interpreter that holds arrays of one shape in another of as many entries."""

    def __init__(self, old: tuple[int, ...], new: tuple[int, ...]) -> None:
        self.old, self.new = old, new

    def step(self, equation: Any, given: list[Any]) -> Sequence[Any]:
        """The results of an equation, from operands as they are held."""
        primitive, params = equation.primitive, equation.params
        name, made = primitive.name, equation.outvars[0].aval
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
        return list(map(self.hold, equation.outvars, found))

    def hold(self, variable: Any, value: Any) -> Any:
        """A value of JAX's as it is held."""
        return jnp.reshape(value, self.new) if variable.aval.shape == self.old else value

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
