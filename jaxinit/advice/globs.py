"""Few patterns that cover many paths, each as its value says."""

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

from jaxinit.paths import Leaf, match

Value = TypeVar("Value", bound=Hashable)
_DIGITS = re.compile(r"\d+")


def grouped(values: Mapping[str, Value]) -> list[tuple[str, Value]]:
    """Patterns and values that give each path its own, whichever is tried first.

    Args:
        values: by path.

    Returns:
        Pairs, in the order of the first path that each covers.

    >>> grouped({"layer_0/bias": 0, "layer_0/kernel": 1, "layer_1/bias": 0, "head/kernel": 2})
    [('**/bias', 0), ('layer_*/kernel', 1), ('head/kernel', 2)]
    """
    leaves = [Leaf(path, None) for path in values]
    reach: dict[str, frozenset[str]] = {}
    for path in values:
        for pattern in _patterns(path):
            if pattern not in reach:
                covered = frozenset(l.path for l in leaves if match(pattern, l) is not None)
                if len({values[p] for p in covered}) == 1:
                    reach[pattern] = covered
    found: dict[str, Value] = {}
    left = dict.fromkeys(values)
    while left:
        first = next(iter(left))
        own = [p for p, covered in reach.items() if first in covered]
        best = max(own, key=lambda p: (len(reach[p] & left.keys()), -_looseness(p), -len(p)))
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


def _looseness(pattern: str) -> int:
    return pattern.count("*")
