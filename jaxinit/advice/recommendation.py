"""A model's rules, from what its parameters do."""

import functools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp

from jaxinit._checks import function_of
from jaxinit._initializer import Bound
from jaxinit.advice.globs import grouped
from jaxinit.advice.laws import Choice, choose
from jaxinit.advice.roles import roles
from jaxinit.advice.uses import KernelRole, Use
from jaxinit.capture.sites import Unobserved
from jaxinit.capture.tracing import Trace, trace
from jaxinit.constant import zeros
from jaxinit.paths import leaves
from jaxinit.rules import Rules
from jaxinit.table import Table, cell

_KERNELS = frozenset(get_args(KernelRole))
_CALLED = re.compile(r"\b([A-Za-z_]\w*)\(")


class Row(NamedTuple):
    """A parameter, what it does, and the initializer to give it."""

    path: str
    shape: tuple[int, ...]
    role: str
    activation: str | None
    initializer: Bound
    reason: str


@dataclass(frozen=True)
class Recommendation(Table):
    """What `recommend` finds; printed, a table, and under it the rules to paste.

    Args:
        rows: one for each parameter.
        kept: paths of arrays of whole numbers and keys, which no rule covers.
        unobserved: operations of the function that were not looked into.
    """

    rows: tuple[Row, ...]
    kept: tuple[str, ...] = ()
    unobserved: tuple[Unobserved, ...] = ()

    @functools.cached_property
    def rules(self) -> Rules:
        """Rules that cover every parameter, for `jaxinit.initialize`."""
        return Rules(grouped({row.path: row.initializer for row in self.rows}, self.kept))

    @property
    def unused(self) -> tuple[str, ...]:
        """Paths of parameters that the function never reads."""
        return tuple(row.path for row in self.rows if row.role == "unused")

    def code(self) -> str:
        """Python that makes the rules.

        >>> params = {"w": jnp.ones((4, 2))}
        >>> print(recommend(lambda p, x: x @ p["w"], params, jnp.ones((8, 4))).code())
        from jaxinit import Rules, lecun_normal
        <BLANKLINE>
        rules = Rules(
            [
                ("w", lecun_normal()),
            ]
        )
        """
        rules = (rule for rule in self.rules.rules if isinstance(rule, tuple))
        pairs = [(json.dumps(rule[0], ensure_ascii=False), repr(rule[1])) for rule in rules]
        names = {name for _, init in pairs for name in _CALLED.findall(init)} | {"Rules"}
        lines = [f"        ({pattern}, {init})," for pattern, init in pairs]
        return "\n".join(
            [
                f"from jaxinit import {', '.join(sorted(names))}",
                "",
                "rules = Rules(",
                "    [",
                *lines,
                "    ]",
                ")",
            ]
        )

    def cells(self) -> Sequence[Sequence[str]]:
        """The headings, then the rows."""
        return [Row._fields, *(tuple(map(cell, row)) for row in self.rows)]

    def notes(self) -> Sequence[str]:
        """What the function does not read, what was not looked into, and the rules."""
        unused = [f"never read: {path}" for path in self.unused]
        closed = [
            f"not looked into: {u.primitive} at {u.scope or 'the top'}, which {u.reason}"
            for u in self.unobserved
        ]
        kept = [f"left as it is, as it holds no real numbers: {path}" for path in self.kept]
        return ["", *unused, *kept, *closed, *self.code().split("\n")]

    def to_dict(self) -> dict[str, Any]:
        """Rows, rules and notes for JSON."""
        rows = [{**row._asdict(), "initializer": repr(row.initializer)} for row in self.rows]
        return {
            "rows": rows,
            "code": self.code(),
            "unused": list(self.unused),
            "kept": list(self.kept),
            "unobserved": [u._asdict() for u in self.unobserved],
        }


def recommend(apply_fn: Callable[..., Any], params: Any, *inputs: Any) -> Recommendation:
    """Which initializer each parameter of a model should have, and why, as rules to paste.

    What a parameter does is read off the data flow of the function, which is traced and not run:
    which axes a kernel contracts, what activation follows, which products a softmax turns into
    attention, what a scan carries, where a branch is added to its skip. Names play no part.

    Where papers do not agree it takes the plain default: a norm's scale starts at 1 at the end of a
    branch too, the output layer at 1/n_in and not at 0, attention at Glorot's law.

    Args:
        apply_fn: any JAX function of (params, *inputs), such as `model.apply`.
        params: any pytree of arrays or `jax.ShapeDtypeStruct`.
        *inputs: likewise, of the shapes that the model is to see.

    Returns:
        A recommendation, which prints as a table; its `.rules` go to `jaxinit.initialize`.

    Raises:
        TypeError: if apply_fn is not callable, or params hold no arrays of real numbers.
        ValueError: if the function has no kernels.

    >>> params = {"hidden": jnp.ones((4, 8)), "out": jnp.ones((8, 2))}
    >>> def fn(p, x):
    ...     return jax.nn.relu(x @ p["hidden"]) @ p["out"]
    >>> for row in recommend(fn, params, jnp.ones((16, 4))).rows:
    ...     print(row.path, row.role, row.activation, row.initializer)
    hidden dense relu he_normal()
    out head None lecun_normal()

    Reference:
        He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015, arXiv:1502.01852; Radford et al.,
        "Language Models are Unsupervised Multitask Learners", 2019, section 2.3; Jozefowicz,
        Zaremba, Sutskever, "An Empirical Exploration of Recurrent Network Architectures", 2015;
        Touvron et al., "Going deeper with Image Transformers", 2021, arXiv:2103.17239; Bachlechner
        et al., "ReZero is All You Need", 2020, arXiv:2003.04887; Hu et al., "LoRA: Low-Rank
        Adaptation of Large Language Models", 2021, arXiv:2106.09685.
    """
    function_of("(params, *inputs), such as model.apply", "apply_fn", apply_fn)
    _check(params)
    traced = trace(_fixed(apply_fn), jax.tree.map(_fix, params), *inputs)
    uses = roles(traced, params)
    if not any(use.role in _KERNELS for use in uses):
        raise ValueError(
            "apply_fn multiplies its inputs by no parameter, so there is no kernel to recommend an "
            "initializer for: pass the function of (params, *inputs), not one closed over its "
            "parameters" + _inside(traced)
        )
    rows = {use.path: _row(use) for use in uses}
    kept = []
    for leaf in leaves(params):
        if leaf.is_array and leaf.path not in rows:
            if leaf.is_abstract and jnp.issubdtype(leaf.value.dtype, jnp.number):
                why = "A whole number, such as a count of steps, starts at 0."
                shape = tuple(leaf.value.shape)
                rows[leaf.path] = Row(leaf.path, shape, "count", None, zeros, why)
            else:
                kept.append(leaf.path)
    return Recommendation(tuple(rows.values()), tuple(kept), traced.unobserved)


def recommended(traced: Trace, params: Any) -> dict[str, Choice]:
    """The initializer and the reason for every parameter of a traced function, by path.

    Args:
        traced: from `jaxinit.capture.trace`.
        params: that it was traced with.

    Returns:
        A choice for each leaf with a dtype of real or complex numbers.

    >>> params = {"out": jnp.ones((8, 2))}
    >>> traced = trace(lambda p, x: x @ p["out"], params, jnp.ones((16, 8)))
    >>> recommended(traced, params)["out"].init
    lecun_normal()
    """
    return {use.path: choose(use) for use in roles(traced, params)}


class _Fixed:
    """What is no array in the parameters, such as the rate of a dropout: a constant."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _fix(leaf: Any) -> Any:
    return leaf if hasattr(leaf, "shape") else _Fixed(leaf)


def _fixed(apply_fn: Callable[..., Any]) -> Callable[..., Any]:
    def applied(params: Any, *inputs: Any) -> Any:
        given = jax.tree.map(lambda x: x.value if isinstance(x, _Fixed) else x, params)
        return apply_fn(given, *inputs)

    return applied


def _row(use: Use) -> Row:
    choice = choose(use)
    names = [a.name or "unnamed" for a in use.activations] if use.role in _KERNELS else []
    after = ", ".join(dict.fromkeys(names)) or None
    return Row(use.path, use.shape, use.role, after, choice.init, choice.reason)


def _check(params: Any) -> None:
    found = leaves(params)
    if not any(leaf.is_array and jnp.issubdtype(leaf.value.dtype, jnp.inexact) for leaf in found):
        kinds = sorted({type(leaf.value).__name__ for leaf in found})
        what = f"leaves of {', '.join(kinds)}" if kinds else "no leaves"
        raise TypeError(
            f"params has {what}: pass a tree of arrays or jax.ShapeDtypeStruct of real numbers"
        )
    for leaf in found:
        if isinstance(leaf.value, jax.core.Tracer):
            raise TypeError(f"{leaf.path} is traced: call recommend outside jit")


def _inside(traced: Trace) -> str:
    hidden = sorted({u.primitive for u in traced.unobserved})
    return f"; not looked into: {', '.join(hidden)}" if hidden else ""
