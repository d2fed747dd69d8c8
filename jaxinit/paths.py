"""Trees of parameters as paths, and the patterns that match them."""

import contextlib
import difflib
import functools
import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Pattern: TypeAlias = str | re.Pattern[str] | Callable[[str, Any], bool]
_WILD = re.compile(r"\*\*/|/\*\*|\*\*|\*|\?")
_AS_REGEX = {
    "**/": "(?:(.*)/)?",
    "/**": "(?:/(.*))?",
    "**": "(.*)",
    "*": "([^/]*)",
    "?": "([^/])",
}


class Leaf(NamedTuple):
    """A leaf of a tree and its path, parts joined by slashes."""

    path: str
    value: Any

    @property
    def is_array(self) -> bool:
        """Whether it has a shape and a dtype, abstract or not."""
        return hasattr(self.value, "shape") and hasattr(self.value, "dtype")

    @property
    def is_key(self) -> bool:
        """Whether it holds typed keys, which no initializer draws."""
        return self.is_array and bool(jnp.issubdtype(self.value.dtype, jax.dtypes.prng_key))

    @property
    def is_abstract(self) -> bool:
        """Whether it has a shape and a dtype alone."""
        return self.is_array and not isinstance(self.value, Array | np.ndarray | np.generic)


def leaves(tree: Any) -> list[Leaf]:
    """The leaves of a tree with their paths.

    The box around a value, such as a variable of nnx or a partitioned array of linen, is no part of
    the path.

    Args:
        tree: any pytree: dicts, lists, dataclasses, states and modules of nnx, modules of Equinox.

    Returns:
        Leaves in the tree's order.

    Raises:
        ValueError: if two paths are the same.

    >>> [leaf.path for leaf in leaves({"dense": {"kernel": 1.0, "bias": 2.0}})]
    ['dense/bias', 'dense/kernel']
    """
    found = flattened(tree)
    seen: set[str] = set()
    for leaf in found:
        if leaf.path in seen:
            raise ValueError(
                f"two leaves have the path {leaf.path!r} once its parts are joined by slashes: "
                "rename one"
            )
        seen.add(leaf.path)
    return found


def flattened(tree: Any) -> list[Leaf]:
    """As `leaves`, but paths may be the same.

    Args:
        tree: any pytree.

    Returns:
        Leaves in the tree's order.

    >>> [leaf.path for leaf in flattened({"a": {"b": 1}, "a/b": 2})]
    ['a/b', 'a/b']
    """
    return [Leaf("/".join(map(_part, path)), value) for path, value in _unboxed(tree)]


def _unboxed(tree: Any) -> Iterator[tuple[Sequence[Any], Any]]:
    for path, node in jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_box)[0]:
        if not _is_box(node):
            yield path, node
            continue
        for inner, value in jax.tree_util.tree_flatten_with_path(node)[0]:
            yield (*path, *inner[1:]) or inner, value


def _is_box(node: Any) -> bool:
    # Where there is a box, flax is loaded; where there is none, it need not be.
    nnx, meta = (sys.modules.get(name) for name in ("flax.nnx", "flax.core.meta"))
    return bool(
        (nnx and isinstance(node, nnx.Variable)) or (meta and isinstance(node, meta.AxisMetadata))
    )


def shared_once(tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """A tree in which no variable of nnx occurs twice, and the way back from it.

    Args:
        tree: any pytree; modules of nnx may share variables, such as tied embeddings.

    Returns:
        The tree itself, or its `nnx.State` where variables are shared, each at its first path; and
        a function from a tree like that to one like the argument, which shares the same.

    >>> tree, back = shared_once({"kernel": 1.0})
    >>> back(tree)
    {'kernel': 1.0}
    """
    nnx: Any = sys.modules.get("flax.nnx")
    boxes = [box for box in jax.tree.leaves(tree, is_leaf=_is_box) if _is_box(box)]
    if len({id(box) for box in boxes}) == len(boxes) or nnx is None:
        return tree, lambda like: like
    graph, state = nnx.split(tree)
    return state, lambda like: nnx.merge(graph, like)


def _part(key: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def match(pattern: Pattern, leaf: Leaf) -> tuple[str | None, ...] | None:
    """What the wildcards of a pattern stand for in a leaf's path, or None if it does not match.

    Args:
        pattern: a glob, in which `*` stays within a part and `**` crosses parts, a compiled regular
            expression, searched for, or a predicate of path and leaf.
        leaf: of a tree.

    Returns:
        A string for each wildcard or group.

    >>> match("**/layer_*/kernel", Leaf("net/layer_3/kernel", None))
    ('net', '3')
    """
    if isinstance(pattern, str):
        found = _glob(pattern).fullmatch(leaf.path)
    elif isinstance(pattern, re.Pattern):
        found = pattern.search(leaf.path)
    else:
        return () if pattern(leaf.path, leaf.value) else None
    return None if found is None else found.groups()


@functools.cache
def _glob(pattern: str) -> re.Pattern[str]:
    pieces, end = [], 0
    for wild in _WILD.finditer(pattern):
        pieces += [re.escape(pattern[end : wild.start()]), _AS_REGEX[wild.group()]]
        end = wild.end()
    return re.compile("".join([*pieces, re.escape(pattern[end:])]))


@contextlib.contextmanager
def at(path: str) -> Iterator[None]:
    """Errors raised inside name the path.

    Args:
        path: of a leaf.

    Raises:
        TypeError: with the path before the text of one.
        ValueError: likewise.

    >>> with at("dense/kernel"):
    ...     raise ValueError("no")
    Traceback (most recent call last):
    ValueError: dense/kernel: no
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from error


def nearest(text: str, candidates: Sequence[str], count: int = 3) -> str:
    """The candidates most like a text, for an error message.

    Args:
        text: a path or a pattern.
        candidates: patterns or paths.
        count: at most.

    Returns:
        Their list, quoted, or "none".

    >>> nearest("dense/kernl", ["dense/kernel", "x"], 1)
    "'dense/kernel'"
    """
    near = difflib.get_close_matches(text, candidates, count, cutoff=0.0)
    return ", ".join(map(repr, near)) or "none"


def fold(key: Any, paths: Sequence[str]) -> Any:
    """The data of a key for each path, from a hash of the path folded into the key.

    Args:
        key: a JAX key.
        paths: any strings.

    Returns:
        A row for each key, which depends on the key and on its own path alone.

    >>> key = jax.random.key(0)
    >>> bool((fold(key, ["a", "b"])[1] == fold(key, ["b"])[0]).all())
    True
    """
    if not paths:
        return []
    digests = [hashlib.blake2b(path.encode(), digest_size=8).digest() for path in paths]
    words = np.frombuffer(b"".join(digests), "<u4").reshape(-1, 2)
    data = _fold(key, words)
    return data if isinstance(data, jax.core.Tracer) else np.asarray(data)


@jax.jit
def _fold(key: Any, words: Any) -> Array:
    def one(pair: Array) -> Array:
        folded = jax.random.fold_in(jax.random.fold_in(key, pair[0]), pair[1])
        return jax.random.key_data(folded)

    # What other generators draw under vmap may depend on the rest of the batch.
    each = jax.vmap if jax.random.key_impl(key) == "threefry2x32" else _mapped
    return each(one)(words)


def _mapped(f: Callable[[Any], Array]) -> Callable[[Any], Array]:
    return functools.partial(jax.lax.map, f)
