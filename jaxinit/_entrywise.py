"""The primitives of JAX that make each entry of the entries in its place, and traces of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

ENTRYWISE = frozenset(
    {
        *("abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2"),
        *("atanh", "cbrt", "ceil", "clamp", "convert_element_type", "cos", "cosh", "digamma"),
        *("div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt"),
        *("integer_pow", "is_finite", "le", "lgamma", "log", "log1p", "logistic", "lt", "max"),
        *("min", "mul", "ne", "neg", "nextafter", "not", "one_minus_square"),
        *("optimization_barrier", "or", "pow", "real", "rem", "round", "rsqrt", "select_n"),
        *("sign", "sin", "sinh", "sqrt", "square", "sub", "tan", "tanh", "xor"),
    }
)
# Of bits and of components, which are no functions of a real number.
BITWISE = frozenset(
    {
        *("bitcast_convert_type", "complex", "imag"),
        *("shift_left", "shift_right_arithmetic", "shift_right_logical"),
    }
)
# Those that only call a function of arrays, and where that is.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


def interpret(
    traced: Any,
    inputs: Iterable[Any],
    step: Callable[[Any, list[Any]], Sequence[Any]],
    constant: Callable[[Any, Any], Any] = lambda variable, value: value,
) -> list[Any]:
    """The results of a trace, what it calls included, of values of another kind than JAX's.

    Args:
        traced: as `jax.make_jaxpr` gives it.
        inputs: of the trace.
        step: the results of an equation, from it and its operands.
        constant: what a variable holds of its constant.

    Returns:
        The values of its results.
    """
    jaxpr = traced.jaxpr
    held: dict[Any, Any] = dict(zip(jaxpr.invars, inputs, strict=True))
    held.update((v, constant(v, x)) for v, x in zip(jaxpr.constvars, traced.consts, strict=True))

    def read(atom: Any) -> Any:
        # A literal's type is in jax.extend.core, which takes 25 ms to import.
        return atom.val if hasattr(atom, "val") else held[atom]

    for equation in jaxpr.eqns:
        name, given = equation.primitive.name, [read(atom) for atom in equation.invars]
        if name in CALLS:
            found: Any = interpret(equation.params[CALLS[name]], given, step, constant)
        else:
            found = step(equation, given)
        held.update(zip(equation.outvars, found, strict=True))
    return [read(atom) for atom in jaxpr.outvars]
