"""Few patterns that cover many paths, each as its value says."""

import itertools
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

from jaxinit.paths import Leaf, match

Value = TypeVar("Value", bound=Hashable)
_DIGITS = re.compile(r"\d+")


def grouped(values: Mapping[str, Value], others: Sequence[str] = ()) -> list[tuple[str, Value]]:
    """Patterns and values that give each path its own, whichever is tried first.

    Args:
        values: by path.
        others: paths that no pattern may match.

    Returns:
        Pairs, in the order of the first path that each covers.

    >>> grouped({"layer_0/bias": 0, "layer_0/kernel": 1, "layer_1/bias": 0, "head/kernel": 2})
    [('**/bias', 0), ('layer_0/kernel', 1), ('head/kernel', 2)]
    """
    leaves = [Leaf(path, None) for path in (*values, *others)]
    reach: dict[str, frozenset[str]] = {}
    tried: set[str] = set()
    for path, value in values.items():
        for pattern in (*_patterns(path), *_shared(path, values)):
            if pattern not in tried:
                tried.add(pattern)
                covered = frozenset(x.path for x in leaves if match(pattern, x) is not None)
                if all(p in values and values[p] == value for p in covered):
                    reach[pattern] = covered
    found: dict[str, Value] = {}
    left = dict.fromkeys(values)
    while left:
        first = next(iter(left))
        own = [p for p, covered in reach.items() if first in covered]
        best = max(own, key=lambda p: (len(reach[p] & left.keys()), p == first, *_plainness(p)))
        found[best] = values[first]
        for path in reach[best]:
            left.pop(path, None)
    return list(found.items())


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
