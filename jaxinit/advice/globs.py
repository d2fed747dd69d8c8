"""Few patterns that cover many paths, each as its value says."""

import itertools
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

from jaxinit.paths import Leaf, match

Value = TypeVar("Value", bound=Hashable)
_DIGITS = re.compile(r"\d+")


def grouped(values: Mapping[str, Value], others: Sequence[str] = ()) -> list[tuple[str, Value]]:
    """Patterns and values, of which the first that matches a path gives it its own.

    Args:
        values: by path.
        others: paths that no pattern may match.

    Returns:
        Pairs: those that hold in any order, then wide ones for what they leave.

    Raises:
        ValueError: if a path that holds a wildcard matches other paths.

    >>> grouped({"layer_0/bias": 0, "layer_0/kernel": 1, "layer_1/bias": 0, "head/kernel": 2})
    [('**/bias', 0), ('layer_0/kernel', 1), ('head/kernel', 2)]
    """
    reach = _reach(values, others)
    exact = {
        pattern: covered
        for pattern, covered in reach.items()
        if len({values[path] for path in covered}) == 1
    }
    found: dict[str, Value] = {}
    left = dict.fromkeys(values)
    while left:
        first = next(iter(left))
        own = [p for p, covered in exact.items() if first in covered]
        if not own:
            raise ValueError(
                f"the path {first!r} has a * or ? of its own, and as a pattern it would match "
                "other paths: rename it"
            )
        best = max(own, key=lambda p: (len(exact[p] & left.keys()), p == first, *_plainness(p)))
        found[best] = values[first]
        for path in exact[best]:
            left.pop(path, None)
    wide = dict(_wide(values, found, reach))
    kept = {
        p: v
        for p, v in found.items()
        if not any(reach[p] <= reach[w] for w in wide if wide[w] == v)
    }
    return [*kept.items(), *wide.items()]


def _wide(
    values: Mapping[str, Value], found: Mapping[str, Value], reach: Mapping[str, frozenset[str]]
) -> Iterator[tuple[str, Value]]:
    """For a value of three patterns and more, one that is right for most of what it matches."""
    several = [v for v, n in Counter(found.values()).items() if n > 2]
    narrow = {p for p, value in values.items() if value not in several}
    for value in several:
        fit = [
            pattern
            for pattern, covered in reach.items()
            if not pattern.endswith("**")
            and {p for p in covered if values[p] != value} <= narrow
            and sum(reach[p] <= covered for p, v in found.items() if v == value) > 2
            and 2 * sum(values[p] == value for p in covered) > len(covered)
        ]
        if fit:
            yield (
                max(fit, key=lambda p: (sum(values[q] == value for q in reach[p]), -len(p))),
                value,
            )


def _reach(values: Mapping[str, Hashable], others: Sequence[str]) -> dict[str, frozenset[str]]:
    """The paths that each pattern matches, of patterns that match none of the others."""
    leaves = [Leaf(path, None) for path in (*values, *others)]
    reach: dict[str, frozenset[str]] = {}
    for path in values:
        for pattern in (*_patterns(path), *_shared(path, values)):
            if pattern not in reach:
                covered = (leaf.path for leaf in leaves if match(pattern, leaf) is not None)
                reach[pattern] = frozenset(covered)
    return {pattern: covered for pattern, covered in reach.items() if covered <= values.keys()}


def _patterns(path: str) -> Iterator[str]:
    yield path
    yield "**"
    parts = path.split("/")
    loose = [_DIGITS.sub("*", part) for part in parts]
    for form in (parts, loose):
        yield "/".join(form)
        for start in range(1, len(form)):
            yield "/".join(["**", *form[start:]])
            yield "/".join([*form[:start], "**", form[-1]])
            yield "/".join([*form[:start], "**"])


def _shared(path: str, values: Mapping[str, Hashable]) -> Iterator[str]:
    """What a path has in common with others of its value and length, part by part."""
    parts = path.split("/")
    forms = {_DIGITS.sub("*", p): p for p, value in values.items() if value == values[path]}
    for other in forms.values():
        others = other.split("/")
        if len(others) == len(parts):
            yield "/".join(map(_common, parts, others))


def _common(one: str, other: str) -> str:
    if one == other:
        return one
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(letter for letter, _ in same) + "*"


def _plainness(pattern: str) -> tuple[bool, int]:
    return not pattern.endswith("**"), -len(pattern)
