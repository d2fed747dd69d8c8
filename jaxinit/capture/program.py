"""A traced function as blocks of steps over numbered slots, what it calls inlined."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core


class Slot(NamedTuple):
    """The place of a value, and its shape and dtype."""

    number: int
    aval: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the value."""
        return tuple(self.aval.shape)


class Step(NamedTuple):
    """A primitive, where it reads, slots or constants, what it writes, and the block within."""

    source: Any
    scope: str
    inputs: tuple[Any, ...]
    outputs: tuple[Slot, ...]
    inner: "Block | None" = None

    @property
    def name(self) -> str:
        """Of the primitive."""
        return self.source.primitive.name

    @property
    def params(self) -> dict[str, Any]:
        """Of the primitive."""
        return self.source.params

    def evaluate(self, values: Sequence[Any]) -> Sequence[Any]:
        """Its results, as JAX gives them."""
        primitive = self.source.primitive
        found = primitive.bind(*values, **primitive.get_bind_params(self.params))
        return found if primitive.multiple_results else [found]


class Block(NamedTuple):
    """Steps in order, the slots they are given, those that hold constants, and the results."""

    inputs: tuple[Slot, ...]
    constants: tuple[tuple[Slot, Any], ...]
    steps: tuple[Step, ...]
    results: tuple[Any, ...]


class Carried(NamedTuple):
    """How many operands of a scan are constant and how many are carried."""

    constants: int
    carried: int


# The primitives whose body becomes a block of its own, and where it is.
BODIES = {
    "scan": "jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}
REMAT = ("checkpoint", "remat2")
CUSTOM = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
_TRANSFORMED = re.compile(r"\b\w+\(([^()]*)\)")
_STATISTICS = ("square", "integer_pow", "mul", "abs", "sub", "convert_element_type", "copy")
_INLINED = ("jit", "pjit", "closed_call", "core_call", "core_closed_call")


def carried(params: dict[str, Any]) -> Carried:
    """The parts of a scan's operands, as each version of JAX names them."""
    if "ft_in" in params:
        constants, carry, _ = params["ft_in"].unpack()
        return Carried(len(constants), len(carry))
    return Carried(params["num_consts"], params["num_carry"])


def flatten(closed: Any) -> Block:
    """The block of a trace.

    Args:
        closed: the trace, as `jax.make_jaxpr` gives it.

    Returns:
        Its block.

    >>> block = flatten(jax.make_jaxpr(jax.jit(jax.nn.silu))(1.0))
    >>> [step.name for step in block.steps]
    ['logistic', 'mul']
    """
    return _Flattening().block(closed, "")


def summed(block: Block) -> set[int]:
    """Slots of which a block takes sums, and sums of squares and of distances, and nothing else."""
    readers: dict[int, list[Step]] = {}
    for step in block.steps:
        for atom in step.inputs:
            if isinstance(atom, Slot):
                readers.setdefault(atom.number, []).append(step)
    results = {atom.number for atom in block.results if isinstance(atom, Slot)}
    found: set[int] = set()
    for step in reversed(block.steps):
        for number in (slot.number for slot in step.outputs if slot.number not in results):
            if all(
                after.name == "reduce_sum"
                or (after.name in _STATISTICS and after.outputs[0].number in found)
                for after in readers.get(number, ())
            ):
                found.add(number)
    return found


def nested(params: dict[str, Any]) -> Iterator[Any]:
    """The traces among the parameters of a primitive."""
    for value in params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, core.Jaxpr | core.ClosedJaxpr):
                yield each


class _Flattening:
    """Numbers slots across all blocks."""

    def __init__(self) -> None:
        self.slots = 0

    def new(self, aval: Any) -> Slot:
        self.slots += 1
        return Slot(self.slots - 1, aval)

    def block(self, closed: Any, scope: str) -> Block:
        jaxpr = getattr(closed, "jaxpr", closed)
        inputs = tuple(self.new(var.aval) for var in jaxpr.invars)
        steps: list[Step] = []
        constants: list[tuple[Slot, Any]] = []
        results = self.inline(closed, inputs, scope, steps, constants)
        return Block(inputs, tuple(constants), tuple(steps), tuple(results))

    def inline(
        self,
        closed: Any,
        arguments: Sequence[Any],
        scope: str,
        steps: list[Step],
        constants: list[tuple[Slot, Any]],
    ) -> list[Any]:
        jaxpr = getattr(closed, "jaxpr", closed)
        held = [self.new(var.aval) for var in jaxpr.constvars]
        constants.extend(zip(held, getattr(closed, "consts", ()), strict=True))
        places: dict[Any, Any] = dict(
            zip((*jaxpr.constvars, *jaxpr.invars), (*held, *arguments), strict=True)
        )

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, core.Literal) else places[atom]

        for source in jaxpr.eqns:
            inputs = tuple(map(read, source.invars))
            name = source.primitive.name
            here = _scope(scope, str(source.source_info.name_stack))
            if name in _INLINED and not places_arrays(source.params):
                (inner,) = nested(source.params)
                outputs = self.inline(inner, inputs, here, steps, constants)
            else:
                body = source.params.get(BODIES.get(name, ""))
                block = None if body is None else self.block(body, here)
                outputs = [self.new(var.aval) for var in source.outvars]
                steps.append(Step(source, here, inputs, tuple(outputs), block))
            places.update(zip(source.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]


def _scope(outer: str, names: str) -> str:
    """Names joined by slashes, those of transformations, such as vmap(layer), without them."""
    while (bare := _TRANSFORMED.sub(r"\1", names)) != names:
        names = bare
    return "/".join(filter(None, (outer, *names.split("/"))))


def places_arrays(params: dict[str, Any]) -> bool:
    """Whether a compiled function asks for a sharding, which inlining would lose."""
    asked = (*params.get("in_shardings", ()), *params.get("out_shardings", ()))
    return any(isinstance(s, jax.sharding.Sharding) for s in asked)


def contracts(closed: Any) -> bool:
    """Whether a trace, or one within it, has a matrix product or a convolution."""
    return any(
        source.primitive.name in ("dot_general", "conv_general_dilated")
        or any(map(contracts, nested(source.params)))
        for source in getattr(closed, "jaxpr", closed).eqns
    )
