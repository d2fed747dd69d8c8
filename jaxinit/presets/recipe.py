"""How a recipe's laws by role, and a naming's paths by role, become rules."""

import dataclasses
from collections.abc import Mapping
from typing import TypeAlias

from jaxinit._checks import one_of
from jaxinit._initializer import Initializer
from jaxinit.axes import Axes, as_axes
from jaxinit.compose.context import turned
from jaxinit.paths import Pattern, at
from jaxinit.rules import ByDepth, Rules

Law: TypeAlias = Initializer | ByDepth
Place: TypeAlias = Pattern | tuple[Pattern, Axes | str] | None
Paths: TypeAlias = Mapping[str, Place]


def arrange(model: str, table: Mapping[str, Law], paths: Paths) -> Rules:
    """The rules that draw each role of a model by its law, where a naming says that it is.

    Args:
        model: name of the recipe, for errors.
        table: from role to law; the first rule that matches a path wins, so narrow roles come
            before wide ones.
        paths: from each role to the pattern of its paths; to a pattern and the axes of the kernels
            there, where they are not inputs by outputs; or to None, if the model lacks it.

    Returns:
        The rules, in the order of the table.

    Raises:
        TypeError: if paths is no mapping, or a path is no pattern.
        ValueError: if a role is left out, or is none of the recipe's.

    >>> import jaxinit
    >>> table = {"kernel": jaxinit.lecun_normal(), "bias": jaxinit.zeros}
    >>> arrange("mlp", table, {"kernel": ("**/w", "bi,oi->bo"), "bias": None})
    Rules([('**/w', lecun_normal(axes=Axes(in_axis=(1,), out_axis=(0,), rank=2)))])
    """
    if not isinstance(paths, Mapping):
        raise TypeError(
            f"paths={paths!r} is a {type(paths).__name__}: pass a mapping from role to pattern, "
            "such as one of jaxinit.presets.naming"
        )
    for role in paths:
        one_of(f"role of {model}", role, tuple(table))
    missing = [role for role in table if role not in paths]
    if missing:
        raise ValueError(
            f"paths have no {' and no '.join(map(repr, missing))}, which {model} needs: pass a "
            "pattern, a pattern and the axes of its kernels, or None if the model has no such "
            f"parameter; the roles are {', '.join(map(repr, table))}"
        )
    found = [_rule(role, law, paths[role]) for role, law in table.items()]
    return sum((rules for rules in found if rules is not None), Rules([]))


def _rule(role: str, law: Law, place: Place) -> Rules | None:
    if place is None:
        return None
    with at(role):
        pattern, axes = place if isinstance(place, tuple) else (place, None)
        roles = as_axes("axes", axes)
        return Rules([(pattern, law if roles is None else _on_axes(law, roles))])


def _on_axes(law: Law, axes: Axes) -> Law:
    if isinstance(law, ByDepth):
        make = law.make
        return dataclasses.replace(law, make=lambda index: _kernel(make(index), axes))
    return _kernel(law, axes)


def _kernel(init: Initializer, axes: Axes) -> Initializer:
    return turned(init, axes) or init
