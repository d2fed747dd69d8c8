"""Elementwise expressions of one value: as scalar functions, and by the names they have."""

import functools
import math
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinit._entrywise import ENTRYWISE
from jaxinit.capture.program import Slot, Step
from jaxinit.capture.sites import Activation

# In a normalization, of the sums that it divides by.
ROOTS = frozenset({"rsqrt", "sqrt", "pow"})
_LINEAR = ("add", "sub", "mul", "div", "add_any")
CASTS = frozenset(
    {"neg", "copy", "copy_p", "convert_element_type", "reduce_precision", "stop_gradient", "real"}
    | {"optimization_barrier", "name"}
)
# They change the shape alone, of constants and of reductions that go back to the whole.
SHAPING = frozenset({"broadcast_in_dim", "reshape", "squeeze", "expand_dims"})
ELEMENTWISE = CASTS | ENTRYWISE
_SAME = CASTS - {"neg"} | SHAPING | {"transpose"}


class Expression:
    """What a value is of one root: a tree of elementwise steps and reductions over it.

    Args:
        step: the primitive; None of the root itself and of a constant.
        operands: expressions.
        root: the value that it is a function of; None of a constant.
        value: of a constant.
        reduces: whether the step is a reduction.
    """

    def __init__(
        self,
        step: Step | None = None,
        operands: tuple["Expression", ...] = (),
        root: Slot | None = None,
        value: Any = None,
        *,
        reduces: bool = False,
    ) -> None:
        self.step, self.operands, self.root, self.value = step, operands, root, value
        name = step.name if step else ""
        inherited = (x.primitives for x in operands)
        self.primitives: frozenset[str] = frozenset().union(*inherited) | {name} - {""}
        # Of the coarsest dtype in it, in which constants are rounded.
        own = step.outputs[0].aval.dtype if step else np.dtype(bool)
        self.eps: float = max(
            float(jnp.finfo(own).eps) if jnp.issubdtype(own, jnp.floating) else 0.0,
            *(x.eps for x in operands),
            0.0,
        )
        # Whether each element of it hangs on the same element of the root, not on sums alone.
        direct = [x for x in operands if x.direct]
        self.direct: bool = root is not None and not reduces and (step is None or bool(direct))
        # The axis of the root that each axis of it is; None: the same.
        self.order = _order(step, direct)
        self.reduces = reduces
        self.reduced: bool = reduces or any(x.reduced for x in operands)
        sums = [x for x in operands if x.root is not None and not x.direct]
        products = name in ("mul", "div")
        self.normalized: bool = self.direct and (
            any(x.normalized for x in direct) or (products and bool(sums))
        )
        self.nonlinear: bool = self.direct and (
            any(x.nonlinear for x in direct) or (step is not None and not _is_linear(self, direct))
        )

    @property
    def is_constant(self) -> bool:
        """Whether it is a number."""
        return self.root is None

    @property
    def is_activation(self) -> bool:
        """Whether it is a nonlinear function of one number."""
        return self.nonlinear and not self.reduced

    @property
    def source(self) -> "Expression":
        """What holds the same numbers before they are cast and laid out anew."""
        found = self
        while found.step is not None and found.step.name in _SAME:
            (found,) = found.operands
        return found

    @property
    def standardizes(self) -> bool:
        """Whether it divides a nonlinear function of the root by a root of its own sums."""
        return self.normalized and self.nonlinear and bool(self.primitives & ROOTS)

    def of(self, part: "Expression", slot: Slot) -> "Expression | None":
        """The same as a function of a part of it, whose value is in a slot; None if it is none."""
        known: dict[int, Expression | None] = {id(part): Expression(root=slot)}

        def built(x: Expression) -> Expression | None:
            if id(x) not in known:
                operands = tuple(y for y in map(built, x.operands) if y is not None)
                complete = len(operands) == len(x.operands) and (x.step or x.is_constant)
                root = next((y.root for y in operands if y.root is not None), None)
                known[id(x)] = (
                    Expression(x.step, operands, root, x.value, reduces=x.reduces)
                    if complete
                    else None
                )
            return known[id(x)]

        return built(self)

    def __call__(self, z: Any) -> Any:
        """Its value where the root is z, elementwise, in the dtype of z."""
        z = jnp.asarray(z)
        return _evaluate(self, z, {})

    def signature(self) -> Hashable:
        """Equal for equal functions that are written alike."""
        if self.step is None:
            return None if self.value is None else float(np.asarray(self.value))
        params = tuple(sorted((k, str(v)) for k, v in self.step.params.items()))
        if self.step.name in SHAPING or self.step.name == "transpose":
            return self.operands[0].signature()
        return (self.step.name, params, *(x.signature() for x in self.operands))


def _order(step: Step | None, direct: list[Expression]) -> tuple[int, ...] | None:
    before = direct[0].order if direct else None
    if step is None or step.name != "transpose" or not direct:
        return before
    turned = tuple(step.params["permutation"])
    order = turned if before is None else tuple(before[axis] for axis in turned)
    return None if order == tuple(range(len(order))) else order


def _is_linear(expression: Expression, direct: list[Expression]) -> bool:
    step = expression.step
    assert step is not None
    if step.name in CASTS:
        return jnp.issubdtype(step.outputs[0].aval.dtype, jnp.inexact)
    if step.name == "mul":
        return len(direct) == 1
    if step.name == "div":
        return not expression.operands[1].direct
    return step.name in (*_LINEAR, *SHAPING, "transpose")


def _evaluate(expression: Expression, z: Any, known: dict[int, Any]) -> Any:
    step = expression.step
    if step is None:
        return z if expression.value is None else _constant(expression.value, z)
    if id(expression) not in known:
        values = [_evaluate(x, z, known) for x in expression.operands]
        known[id(expression)] = _applied(step, values, z)
    return known[id(expression)]


def _applied(step: Step, values: list[Any], z: Any) -> Any:
    if step.name in SHAPING or step.name in ("transpose", "optimization_barrier", "name"):
        return values[0]
    if step.name in ("convert_element_type", "reduce_precision"):
        wanted = step.outputs[0].aval.dtype
        return values[0].astype(z.dtype if jnp.issubdtype(wanted, jnp.floating) else wanted)
    params = {k: v for k, v in step.params.items() if k not in ("out_dtype", "sharding")}
    if "out_dtype" in step.params:
        params["out_dtype"] = None
    primitive = step.source.primitive
    return primitive.bind(*values, **primitive.get_bind_params(params))


def _constant(value: Any, z: Any) -> Any:
    array = jnp.asarray(value)
    dtype = z.dtype if jnp.issubdtype(array.dtype, jnp.floating) else array.dtype
    return jnp.broadcast_to(array.astype(dtype), z.shape)


def recognized(expression: Expression, known: dict[Hashable, Activation]) -> Activation:
    """The activation that an expression is.

    Args:
        expression: of one number.
        known: those found before, by signature; this one is added.

    Returns:
        The function, with its name if it agrees with a named one on [-8, 8].
    """
    signature = expression.signature()
    if signature not in known:
        with jax.ensure_compile_time_eval():
            values = np.asarray(jax.jit(expression)(jnp.asarray(_GRID, jnp.float32)))
        name, params = _named(values.astype(np.float64), min(expression.eps, _COARSEST))
        known[signature] = Activation(name, expression, params)
    return known[signature]


_GRID = np.linspace(-8, 8, 129)
_RIGHT = 1e-5
# bfloat16's. In coarser dtypes one function may pass for another.
_COARSEST = 2.0**-7


def _named(y: np.ndarray[Any, Any], eps: float) -> tuple[str | None, tuple[tuple[str, float], ...]]:
    slope, alpha = float(y[0] / _GRID[0]), float(y[0] / np.expm1(_GRID[0]))
    functions = (
        *_table(),
        (
            "leaky_relu",
            (("negative_slope", _rounded(slope)),),
            lambda z: np.where(z > 0, z, slope * z),
        ),
        ("elu", (("alpha", _rounded(alpha)),), lambda z: np.where(z > 0, z, alpha * np.expm1(z))),
    )
    with np.errstate(invalid="ignore"):  # of what is infinite
        errors = [np.max(abs(fn(_GRID) - y) / (2 + abs(y))) for _, _, fn in functions]
    # The first that is right in float32; else the nearest, as both GELU are alike once rounded.
    nearest = int(np.argmin(np.maximum(errors, _RIGHT)))
    return functions[nearest][:2] if errors[nearest] <= max(_RIGHT, eps) else (None, ())


def _rounded(number: float) -> float:
    return float(f"{number:.6g}")


@functools.cache
def _table() -> tuple[tuple[str, tuple[tuple[str, float], ...], Callable[[Any], Any]], ...]:
    erf = np.vectorize(math.erf)
    scale, alpha = 1.0507009873554805, 1.6732632423543772

    def sigmoid(z: Any) -> Any:
        return 1 / (1 + np.exp(-z))

    def cubic(z: Any) -> Any:
        return math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)

    exact = (("approximate", False),)
    return (
        ("identity", (), lambda z: z),
        ("relu", (), lambda z: np.maximum(z, 0)),
        ("gelu", (), lambda z: z / 2 * (1 + np.tanh(cubic(z)))),
        ("gelu", exact, lambda z: z / 2 * (1 + erf(z / math.sqrt(2)))),
        ("silu", (), lambda z: z * sigmoid(z)),
        ("tanh", (), np.tanh),
        ("sigmoid", (), sigmoid),
        ("softplus", (), lambda z: np.logaddexp(z, 0)),
        ("log_sigmoid", (), lambda z: -np.logaddexp(-z, 0)),
        ("selu", (), lambda z: scale * np.where(z > 0, z, alpha * np.expm1(z))),
        ("elu", (), lambda z: np.where(z > 0, z, np.expm1(z))),
        ("relu6", (), lambda z: np.clip(z, 0, 6)),
        ("hard_tanh", (), lambda z: np.clip(z, -1, 1)),
        ("hard_sigmoid", (), lambda z: np.clip(z + 3, 0, 6) / 6),
        ("hard_silu", (), lambda z: z * np.clip(z + 3, 0, 6) / 6),
        ("soft_sign", (), lambda z: z / (1 + np.abs(z))),
        ("mish", (), lambda z: z * np.tanh(np.logaddexp(z, 0))),
        ("squareplus", (), lambda z: (z + np.sqrt(z**2 + 4)) / 2),
        ("sin", (), np.sin),
        ("cos", (), np.cos),
        ("exp", (), np.exp),
        ("abs", (), np.abs),
        ("square", (), np.square),
    )
