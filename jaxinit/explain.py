"""What rules do to a tree: a table of paths, initializers, fans and standard deviations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxinit._checks import wide
from jaxinit._draw import Spec
from jaxinit._initializer import Bound, Initializer
from jaxinit.axes import Axes, Fans, choose
from jaxinit.expected import expected_stddev
from jaxinit.paths import Leaf, at
from jaxinit.rules import Assignment, Joint
from jaxinit.table import Table, cell


class Row(NamedTuple):
    """A leaf, the rule that draws it, and what to expect; None where a thing is not known."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    rule: str
    initializer: str
    fans: Fans | None
    expected: float | None
    measured: float | None


@dataclass(frozen=True)
class Explanation(Table):
    """Rows, one a leaf; printed, a table."""

    rows: tuple[Row, ...]

    def cells(self) -> Sequence[Sequence[str]]:
        """The headings, then the rows."""
        return [Row._fields, *(tuple(map(_cell, row)) for row in self.rows)]

    def to_dict(self) -> list[dict[str, Any]]:
        """Rows as dictionaries, for JSON."""
        return [row._asdict() for row in self.rows]


def explain(tree: Sequence[Leaf], assignments: Sequence[Assignment]) -> Explanation:
    """The table of a tree's leaves and the rules assigned to them.

    Args:
        tree: the leaves.
        assignments: of some or all of them.

    Returns:
        A row for each leaf with a shape; its expected standard deviation is the law's, in closed
        form, its measured one that of the leaf, if it is an array.
    """
    drawn = {position: a for a in assignments for position in a.positions}
    rows = (_row(leaf, drawn.get(i)) for i, leaf in enumerate(tree) if leaf.is_array)
    return Explanation(tuple(rows))


def _row(leaf: Leaf, assignment: Assignment | None) -> Row:
    shape, dtype = tuple(leaf.value.shape), leaf.value.dtype
    inexact = jnp.issubdtype(dtype, jnp.inexact)
    measured = None
    if inexact and not leaf.is_abstract and leaf.value.size:
        measured = float(jnp.std(leaf.value.astype(wide(np.dtype(dtype)))))
    if assignment is None:
        return Row(leaf.path, shape, str(dtype), "", "", None, None, measured)
    rule, init = assignment.rule, assignment.init
    expected = None
    if inexact and not isinstance(rule, Joint):
        with at(leaf.path):
            expected = expected_stddev(init, Spec(shape, wide(np.dtype(dtype))))
    pattern = "joint" if isinstance(rule, Joint) else str(getattr(rule[0], "pattern", rule[0]))
    return Row(
        leaf.path, shape, str(dtype), pattern, repr(init), _fans(init, shape), expected, measured
    )


def _fans(init: Initializer, shape: tuple[int, ...]) -> Fans | None:
    """By the axes of the initializer; None where it has none or they do not fit."""
    arguments = init._arguments if isinstance(init, Bound) else {}
    if "axes" not in arguments or len(shape) < 2:
        return None
    axes = arguments["axes"]
    roles = (
        arguments.get(r, d) for r, d in (("in_axis", -2), ("out_axis", -1), ("batch_axis", ()))
    )
    return (choose(None, *roles) if axes is None else axes or Axes()).fans(shape)


def _cell(value: Any) -> str:
    return f"{value.fan_in:g}, {value.fan_out:g}" if isinstance(value, Fans) else cell(value)
