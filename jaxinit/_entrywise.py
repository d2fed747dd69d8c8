"""The primitives of JAX that make each entry of the entries in its place, by name."""

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
