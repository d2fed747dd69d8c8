"""The leaves of a traced function's result, each computed on its own, equal ones by one program."""

import functools
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.interpreters import partial_eval
from jax.sharding import NamedSharding

from jaxinit import random
from jaxinit._ahead import call_each
from jaxinit._erfinv import erf_inv
from jaxinit._keys import derived, fusible
from jaxinit.sharding import label, place

# Entries that numpy fills sooner than XLA compiles.
_FEW = 2**16
# Their scalar operands are data, not law: a path's hash, a factor that `run` hides.
_LIFTED = ("random_fold_in", "optimization_barrier")


def results(
    closed: Any, inputs: Sequence[Any], shardings: Sequence[NamedSharding | None]
) -> list[Any]:
    """The results of a traced function, each by a computation of its own.

    Args:
        closed: the trace, as `jax.make_jaxpr` gives it.
        inputs: arguments of the function, arrays or `jax.ShapeDtypeStruct`.
        shardings: of the results.

    Returns:
        Arrays.

    Raises:
        ValueError: if a result needs the values of a `ShapeDtypeStruct`.
    """
    # Inside scans too, what no leaf needs goes.
    wanted = [True] * len(closed.jaxpr.outvars)
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, wanted, instantiate=True)
    trace = _Trace()
    arguments = [trace.given(value) for value in inputs]
    constants = [trace.given(value) for value in closed.consts]
    return trace.results(trace.inline(jaxpr, constants, arguments), shardings)


class Slot(NamedTuple):
    """The place of a value in a list of them."""

    number: int


class Equation(NamedTuple):
    """A primitive, where it reads, either slots or constants, and the slots that it writes."""

    source: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Slot, ...]

    @property
    def makes_keys(self) -> bool:
        """Whether it derives keys from keys."""
        avals = (var.aval for var in self.source.outvars)
        return any(jnp.issubdtype(aval.dtype, jax.dtypes.prng_key) for aval in avals)

    def evaluate(self, values: Sequence[Any]) -> Sequence[Any]:
        """Its results."""
        primitive, params = self.source.primitive, self.source.params
        if primitive.name == "random_bits" and fusible(values[0]):
            width, shape = params["bit_width"], params["shape"]
            return [random.bits(values[0], shape, f"uint{width}")]
        if primitive.name == "erf_inv" and values[0].dtype == jnp.float32:
            return [erf_inv(values[0])]
        if primitive.name == "max" and values[0].dtype == jnp.float32:
            # The same number. JAX 0.12 compiles a maximum, and a draw after it, in twice the time.
            return [lax.neg(lax.min(*map(lax.neg, values)))]
        at_once = derived(primitive.name, params, values)
        if at_once is not None:
            return at_once
        found = primitive.bind(*values, **primitive.get_bind_params(params))
        return found if primitive.multiple_results else [found]


class Computation:
    """Equations that make one value from operands; equal to another that does the same.

    Args:
        equations: in order, over the slots of a whole trace.
        operands: slots that are given.
        result: the slot to return.
    """

    def __init__(
        self, equations: Iterable[Equation], operands: Sequence[Slot], result: Slot
    ) -> None:
        place = {slot: Slot(i) for i, slot in enumerate(operands)}
        self.equations: list[Equation] = []
        signature: list[Hashable] = []
        for source, inputs, outputs in equations:
            for slot in outputs:
                place[slot] = Slot(len(place))
            reads = tuple(place.get(x, x) if isinstance(x, Slot) else x for x in inputs)
            writes = tuple(place[slot] for slot in outputs)
            self.equations.append(Equation(source, reads, writes))
            params = tuple((name, _canonical(v)) for name, v in sorted(source.params.items()))
            signature.append((source.primitive, params, tuple(map(_canonical, reads)), writes))
        self.result = place[result]
        self._signature = (tuple(signature), self.result)
        self._hash = hash(self._signature)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Computation) and self._signature == other._signature

    def __hash__(self) -> int:
        return self._hash

    def __call__(self, *operands: Any) -> Any:
        """The value, from its operands."""
        values = dict(enumerate(operands))
        for equation in self.equations:
            _step(equation, values)
        return values[self.result.number]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _compute(
    computation: Computation, sharding: NamedSharding | None, operands: tuple[Any, ...]
) -> Any:
    return place(computation, sharding, *operands)


def _filled(equations: Sequence[Equation]) -> jax.Array | None:
    """One number over and over, if that is all and it is not worth compiling a program."""
    names = [equation.source.primitive.name for equation in equations]
    made = names[:1] == ["broadcast_in_dim"] and set(names[1:]) <= {"reshape"}
    if not made or isinstance(equations[0].inputs[0], Slot):
        return None
    aval = equations[-1].source.outvars[0].aval
    if aval.weak_type:
        return None
    number = np.asarray(equations[0].inputs[0], aval.dtype)
    if number.ndim or aval.size > _FEW:
        return None
    return jax.device_put(np.full(aval.shape, number))  # jnp.asarray compiles a program a shape


class Draw(NamedTuple):
    """A computation of a leaf, its sharding and its operands; None returns the one operand."""

    computation: Computation | None
    sharding: NamedSharding | None
    operands: tuple[Any, ...]


def _step(equation: Equation, values: dict[int, Any]) -> None:
    read = [values[x.number] if isinstance(x, Slot) else x for x in equation.inputs]
    for slot, value in zip(equation.outputs, equation.evaluate(read), strict=True):
        values[slot.number] = value


def _canonical(value: Any) -> Hashable:
    """What tells a parameter or a constant of an equation from others."""
    if isinstance(value, Slot):
        return value
    if isinstance(value, core.Jaxpr | core.ClosedJaxpr):
        consts = getattr(value, "consts", ())
        return str(value), tuple(map(id, consts))
    if isinstance(value, np.ndarray | np.generic | jax.Array | bool | int | float | complex):
        array = np.asarray(value)
        return array.tobytes(), array.dtype, array.shape
    if isinstance(value, tuple | list):
        return tuple(map(_canonical, value))
    try:
        hash(value)
    except TypeError:
        return str(value)
    return value


class _Trace:
    """The equations of a function and all that it calls, in order, over numbered slots."""

    def __init__(self) -> None:
        self.equations: list[Equation] = []
        self.makers: dict[Slot, int] = {}
        self.values: dict[int, Any] = {}
        self.slots = 0

    def given(self, value: Any) -> Slot:
        """A slot that holds a value."""
        slot = self._new()
        self.values[slot.number] = value
        return slot

    def _new(self) -> Slot:
        self.slots += 1
        return Slot(self.slots - 1)

    def inline(self, jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        """Append the equations of a jaxpr, those of the functions it calls in their place."""
        variables = [*jaxpr.constvars, *jaxpr.invars]
        places: dict[Any, Any] = dict(zip(variables, (*constants, *arguments), strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, core.Literal) else places[atom]

        for source in jaxpr.eqns:
            inputs = tuple(map(read, source.invars))
            name = source.primitive.name
            if name in ("jit", "pjit") and not _places(source.params):
                inner = source.params["jaxpr"]
                held = [self.given(value) for value in inner.consts]
                outputs = self.inline(inner.jaxpr, held, inputs)
            else:
                if name in _LIFTED:
                    inputs = tuple(x if isinstance(x, Slot) else self.given(x) for x in inputs)
                outputs = [self._new() for _ in source.outvars]
                self.makers.update(dict.fromkeys(outputs, len(self.equations)))
                self.equations.append(Equation(source, inputs, tuple(outputs)))
            places.update(zip(source.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def results(
        self, wanted: Sequence[Any], shardings: Sequence[NamedSharding | None]
    ) -> list[Any]:
        """The values of slots, keys evaluated at once, all else by shared computations."""
        cuts = {slot: self._cut(slot) for slot in wanted if isinstance(slot, Slot)}
        keys = (slot for _, operands in cuts.values() for slot in operands)
        for i in self._ancestors(keys):
            _step(self.equations[i], self.values)
        draws = {
            (slot, sharding): self._draw(slot, *cuts[slot], sharding)
            for slot, sharding in zip(wanted, shardings, strict=True)
            if isinstance(slot, Slot)
        }
        computed = [draw for draw in draws.values() if draw.computation is not None]
        weights = iter(call_each(_compute, 2, computed))
        made = {
            place: label(
                jnp.asarray(draw.operands[0]) if draw.computation is None else next(weights),
                draw.sharding,
            )
            for place, draw in draws.items()
        }
        return [
            made[x, sharding] if isinstance(x, Slot) else label(jnp.asarray(x), sharding)
            for x, sharding in zip(wanted, shardings, strict=True)
        ]

    def _draw(
        self, slot: Slot, steps: list[int], operands: list[Slot], sharding: NamedSharding | None
    ) -> Draw:
        values = tuple(self.values[x.number] for x in operands)
        if any(isinstance(value, jax.ShapeDtypeStruct) for value in values):
            raise ValueError(
                "a leaf of the result depends on the values of an argument that was given as a "
                "ShapeDtypeStruct: pass an array"
            )
        equations = [self.equations[i] for i in steps]
        filled = None if sharding else _filled(equations)
        if filled is not None:
            return Draw(None, None, (filled,))
        return Draw(Computation(equations, operands, slot) if steps else None, sharding, values)

    def _cut(self, slot: Slot) -> tuple[list[int], list[Slot]]:
        """The equations that make a slot from keys and given values, and those operands."""
        steps: set[int] = set()
        operands: dict[Slot, None] = {}
        todo = [slot]
        while todo:
            slot = todo.pop()
            maker = self.makers.get(slot)
            if maker is None or self.equations[maker].makes_keys:
                operands[slot] = None
            elif maker not in steps:
                steps.add(maker)
                todo += [x for x in self.equations[maker].inputs if isinstance(x, Slot)]
        order = sorted(steps)
        reads = (x for i in order for x in self.equations[i].inputs if isinstance(x, Slot))
        used = {x: None for x in reads if x in operands}
        return order, list(used or operands)

    def _ancestors(self, slots: Iterable[Slot]) -> list[int]:
        """The equations behind some slots, in order."""
        found: set[int] = set()
        todo = list(slots)
        while todo:
            maker = self.makers.get(todo.pop())
            if maker is not None and maker not in found:
                found.add(maker)
                todo += [x for x in self.equations[maker].inputs if isinstance(x, Slot)]
        return sorted(found)


def _places(params: dict[str, Any]) -> bool:
    """Whether a compiled function asks for a sharding, which inlining would lose."""
    asked = (*params.get("in_shardings", ()), *params.get("out_shardings", ()))
    return any(isinstance(s, jax.sharding.Sharding) for s in asked)
