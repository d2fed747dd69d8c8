"""Whole trees of parameters, initialized by rules from paths to initializers."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax.numpy as jnp

from jaxinit._checks import integer
from jaxinit._initializer import Initializer, initializer_argument
from jaxinit.compose.layered import layered
from jaxinit.paths import Leaf, Pattern, at, leaves, match, nearest, shared_once

if TYPE_CHECKING:
    from jaxinit.explain import Explanation

_INDEX = re.compile(r"(\d+)$")


@dataclass(frozen=True)
class ByDepth:
    """An initializer for each layer; see `by_depth`."""

    make: Callable[[int], Initializer]
    axis: int | None = None

    def at(self, leaf: Leaf) -> Initializer:
        """The initializer of a leaf.

        Args:
            leaf: whose path or shape tells the layer.

        Returns:
            An initializer of the whole leaf.

        Raises:
            ValueError: if the path has no layer index, or the leaf no such axis.
        """
        if self.axis is not None:
            shape = leaf.value.shape
            if not -len(shape) <= self.axis < len(shape):
                raise ValueError(f"axis={self.axis} of by_depth is out of range for shape {shape}")
            return layered(*map(self._made, range(shape[self.axis])), axis=self.axis)
        found = [int(m[1]) for m in map(_INDEX.search, leaf.path.split("/")) if m]
        if not found:
            raise ValueError(
                "the path has no layer index, a part that ends in a number: pass axis= to by_depth "
                "if the layers are stacked along an axis"
            )
        return self._made(found[0])

    def _made(self, index: int) -> Initializer:
        made: Initializer = initializer_argument(f"make({index})", self.make(index))
        return made


def by_depth(make: Callable[[int], Initializer], axis: int | None = None) -> ByDepth:
    """A rule's initializer that depends on the layer.

    Args:
        make: from the index of a layer to its initializer.
        axis: along which a leaf stacks its layers, as those of a scanned block do; None takes the
            index from the first part of the path that ends in a number.

    Returns:
        What a rule takes in place of an initializer.

    Raises:
        TypeError: if make is no function, or axis no whole number.

    >>> import jax, jaxinit
    >>> rule = by_depth(lambda i: jaxinit.layer_scaled(jaxinit.normal(0.02), i))
    >>> rule.at(Leaf("h_3/mlp/kernel", jax.ShapeDtypeStruct((4, 4), "float32")))
    layer_scaled(init=normal(stddev=0.02), index=3)
    """
    if not callable(make):
        raise TypeError(
            f"make={make!r} is no function: pass one from the index of a layer to its initializer"
        )
    return ByDepth(make, None if axis is None else integer("axis", axis))


@dataclass(frozen=True)
class Joint:
    """Several parameters of a block, drawn at once; see `joint`."""

    roles: tuple[tuple[str, Pattern], ...]
    law: Initializer


def joint(roles: Mapping[str, Pattern], law: Initializer) -> Joint:
    """A rule that draws several parameters of each block as one array.

    The parameters of one block are those for whose paths the wildcards of the patterns stand for
    the same.

    Args:
        roles: from the name of a role to the pattern of its paths, in the order of the law.
        law: of an array with the roles along its first axis, such as `mimetic`.

    Returns:
        A rule.

    Raises:
        TypeError: if law is no initializer, roles no mapping, or a pattern of it none.
        ValueError: if there are no roles.

    >>> import jax, jaxinit
    >>> pair = joint({"query": "**/query/kernel", "key": "**/key/kernel"}, jaxinit.orthogonal())
    >>> [name for name, _ in pair.roles]
    ['query', 'key']
    """
    if not isinstance(roles, Mapping):
        raise TypeError(f"roles={roles!r} is no mapping: pass a dictionary from names to patterns")
    if not roles:
        raise ValueError("roles={} names no role: pass a pattern for each part of the law's array")
    checked = tuple((role, _pattern(pattern)) for role, pattern in roles.items())
    return Joint(checked, initializer_argument("law", law))


Rule: TypeAlias = tuple[Pattern, Initializer | ByDepth] | Joint


class Assignment(NamedTuple):
    """The leaves, by position, that one draw of an initializer fills, and the rule that says so."""

    positions: tuple[int, ...]
    rule: Rule
    init: Initializer


class Rules:
    """An ordered mapping from path patterns to initializers, of which the first match wins.

    Args:
        rules: pairs of a pattern and an initializer or `by_depth`, or `joint` rules; or a mapping.

    Raises:
        TypeError: if something is neither.

    >>> import jax, jaxinit
    >>> rules = Rules({"**/bias": jaxinit.zeros, "**": jaxinit.he_normal()})
    >>> tree = {"dense": {"kernel": jax.ShapeDtypeStruct((8, 4), "float32")}}
    >>> new = jaxinit.initialize(tree, rules, jax.random.key(0), allow_unused=True)
    >>> new["dense"]["kernel"].shape
    (8, 4)
    """

    def __init__(self, rules: Mapping[Any, Initializer | ByDepth] | Iterable[Rule]) -> None:
        items = rules.items() if isinstance(rules, Mapping) else rules
        if not isinstance(items, Iterable):
            raise TypeError(
                f"rules={rules!r} is no collection of rules: pass a mapping from patterns to "
                "initializers, or pairs of them"
            )
        self.rules: tuple[Rule, ...] = tuple(map(_checked, items))

    def __add__(self, other: "Rules") -> "Rules":
        """These rules first, then the others."""
        return Rules((*self.rules, *other.rules))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rules) and self.rules == other.rules

    def __hash__(self) -> int:
        return hash(self.rules)

    def __repr__(self) -> str:
        return f"Rules([{', '.join(map(_shown, self.rules))}])"

    def assign(
        self, tree: Sequence[Leaf], *, partial: bool = False, allow_unused: bool = False
    ) -> list[Assignment]:
        """Which rule draws which leaves.

        Args:
            tree: the leaves.
            partial: whether leaves that no rule covers are left as they are.
            allow_unused: whether a rule may cover nothing.

        Returns:
            An assignment for each draw.

        Raises:
            ValueError: if an inexact leaf is covered by no rule, a rule covers no leaf, or a joint
                rule lacks a role in a block, or has two leaves for it.
        """
        found: list[Assignment] = []
        blocks: dict[tuple[int, tuple[str | None, ...]], dict[str, int]] = {}
        uncovered, used = [], set()
        for position, leaf in enumerate(tree):
            if not leaf.is_array or leaf.is_key:
                continue
            for i, role, pattern in self._patterns():
                captured = match(pattern, leaf)
                if captured is None:
                    continue
                used.add(i)
                rule = self.rules[i]
                if isinstance(rule, Joint):
                    block = blocks.setdefault((i, captured), {})
                    if role in block:
                        raise ValueError(
                            f"a joint rule finds two of the role {role!r} in one block, "
                            f"{tree[block[role]].path} and {leaf.path}: blocks are told apart by "
                            "what wildcards and groups stand for; put one, such as **/ or (.*), "
                            "where their paths differ"
                        )
                    block[role] = position
                    if len(block) == 1:
                        found.append(Assignment((position,), rule, rule.law))
                else:
                    init = rule[1]
                    with at(leaf.path):
                        init = init.at(leaf) if isinstance(init, ByDepth) else init
                    found.append(Assignment((position,), rule, init))
                break
            else:
                if jnp.issubdtype(leaf.value.dtype, jnp.inexact):
                    uncovered.append(leaf.path)
        paths = [leaf.path for leaf in tree if leaf.is_array and not leaf.is_key]
        if uncovered and not partial:
            raise ValueError(self._uncovered(uncovered))
        unused = [rule for i, rule in enumerate(self.rules) if i not in used]
        if unused and not allow_unused:
            raise ValueError(_unused(unused, paths))
        return [self._whole(a, blocks, tree) for a in found]

    def explain(self, tree: Any) -> "Explanation":
        """What these rules do to a tree: a table that prints.

        Args:
            tree: as `initialize` takes it.

        Returns:
            Path, shape, dtype, rule, initializer, fans, the standard deviation that the law
            promises and, of arrays, the one they have. Leaves without a rule are in it too.

        >>> import jax, jaxinit
        >>> tree = {"kernel": jax.ShapeDtypeStruct((50, 8), "float32")}
        >>> Rules({"kernel": jaxinit.lecun_normal()}).explain(tree).rows[0].expected
        0.141421
        """
        from jaxinit.explain import explain

        found = leaves(shared_once(tree)[0])
        return explain(found, self.assign(found, partial=True, allow_unused=True))

    def _patterns(self) -> Iterable[tuple[int, str, Pattern]]:
        for i, rule in enumerate(self.rules):
            if isinstance(rule, Joint):
                yield from ((i, role, pattern) for role, pattern in rule.roles)
            else:
                yield i, "", rule[0]

    def _whole(
        self,
        assignment: Assignment,
        blocks: Mapping[Any, Mapping[str, int]],
        tree: Sequence[Leaf],
    ) -> Assignment:
        rule = assignment.rule
        if not isinstance(rule, Joint):
            return assignment
        (block,) = (b for b in blocks.values() if assignment.positions[0] in b.values())
        missing = [role for role, _ in rule.roles if role not in block]
        members = {role: tree[block[role]] for role, _ in rule.roles if role in block}
        if missing:
            have = ", ".join(f"{role}: {leaf.path}" for role, leaf in members.items())
            raise ValueError(f"a joint rule finds no {' and no '.join(missing)} beside {have}")
        kinds = {(leaf.value.shape, str(leaf.value.dtype)) for leaf in members.values()}
        if len(kinds) > 1:
            have = ", ".join(f"{leaf.path} {leaf.value.shape}" for leaf in members.values())
            raise ValueError(f"a joint rule stacks its roles, which differ in shape: {have}")
        return assignment._replace(positions=tuple(block[role] for role, _ in rule.roles))

    def _uncovered(self, paths: Sequence[str]) -> str:
        globs = [p for _, _, p in self._patterns() if isinstance(p, str)]
        lines = [f"  {path} (nearest pattern: {nearest(path, globs, 1)})" for path in paths[:20]]
        more = [f"  and {len(paths) - 20} more"] if len(paths) > 20 else []
        return "\n".join(
            ["no rule covers these paths; add a rule, or a last one for **:", *lines, *more]
        )


def _checked(rule: Any) -> Rule:
    if isinstance(rule, Joint):
        return rule
    try:
        pattern, init = rule
    except (TypeError, ValueError):
        raise TypeError(
            f"{rule!r} is no rule: pass pairs of a pattern and an initializer, or joint(...)"
        ) from None
    _pattern(pattern)
    return pattern, init if isinstance(init, ByDepth) else initializer_argument(str(pattern), init)


def _pattern(pattern: Any) -> Pattern:
    if not (isinstance(pattern, str | re.Pattern) or callable(pattern)):
        raise TypeError(
            f"{pattern!r} is no pattern: pass a glob, a compiled expression or a function"
        )
    return pattern


def _shown(rule: Rule) -> str:
    return repr(rule) if isinstance(rule, Joint) else f"({rule[0]!r}, {rule[1]!r})"


def _unused(rules: Sequence[Rule], paths: Sequence[str]) -> str:
    lines = []
    for rule in rules:
        pattern = rule.roles[0][1] if isinstance(rule, Joint) else rule[0]
        near = f" (nearest path: {nearest(pattern, paths, 1)})" if isinstance(pattern, str) else ""
        lines.append(f"  {_shown(rule)}{near}")
    return "\n".join(
        ["these rules cover no path; correct or remove them, or pass allow_unused=True:", *lines]
    )
