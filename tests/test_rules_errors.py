"""Rules that do not fit are told before the first draw, by argument or path."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from ruled import KEY, P, abstract, model

import jaxinit
from jaxinit import Rules, by_depth, initialize, joint

untyped: Any = Rules


def bad(tree: Any = None, rules: Any = None, shardings: Any = None) -> Any:
    return initialize(
        {"a": {"kernel": abstract(8, 6)}} if tree is None else tree, rules, KEY, shardings
    )


ALL = Rules({"**": jaxinit.he_normal()})
MESH = Mesh(np.array(jax.devices()[:4]), ("x",), axis_types=(AxisType.Auto,))
ERRORS: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: bad(rules=Rules({"a/kernl": jaxinit.zeros})),
        ValueError,
        r"no rule covers these paths.*\n  a/kernel \(nearest pattern: 'a/kernl'\)",
    ),
    (
        lambda: bad(rules=Rules({"a/kernel": jaxinit.zeros, "a/bias": jaxinit.zeros})),
        ValueError,
        r"cover no path.*\n  \('a/bias', zeros_init\(\)\) \(nearest path: 'a/kernel'\)",
    ),
    (
        lambda: bad({"a": {"b": abstract(2)}, "a/b": abstract(2)}, ALL),
        ValueError,
        "two leaves have the path 'a/b'",
    ),
    (lambda: bad({"b": abstract(3)}, ALL), ValueError, "b: shape .* is 1-D"),
    (
        lambda: bad(rules=ALL, shardings={"a": {"kernel": NamedSharding(MESH, P(None, "x"))}}),
        ValueError,
        "a/kernel: out_sharding=.* splits axis 1 .* into 4 shards",
    ),
    (
        lambda: bad(
            rules=ALL, shardings={"a": {"kernel": NamedSharding(MESH, P(None, None, "x"))}}
        ),
        ValueError,
        "a/kernel: out_sharding=.* has 3 entries for shape",
    ),
    (
        lambda: bad(rules=untyped({"**": lambda key, shape, dtype: jnp.zeros(shape, "int32")})),
        ValueError,
        "a/kernel: init=.* returned int32, not the float32 that it was called with",
    ),
    (
        lambda: bad(rules=Rules({"**": jaxinit.with_dtype(jaxinit.normal(), "bfloat16")})),
        ValueError,
        "a/kernel: .* returns bfloat16, and the leaf is of float32",
    ),
    (lambda: bad(rules=ALL, shardings={"a": 3}), ValueError, "shardings is not a tree like"),
    (
        lambda: bad(rules=ALL, shardings={"a": {"kernel": P("x")}}),
        TypeError,
        "a/kernel: shardings has a P.* there",
    ),
    (
        lambda: bad(rules=untyped({"**": lambda key, shape, dtype: jnp.zeros(shape[:1])})),
        ValueError,
        r"a/kernel: init=.* returned shape \(8,\)",
    ),
    (
        lambda: bad(rules=Rules({"**": by_depth(lambda i: jaxinit.zeros)})),
        ValueError,
        "a/kernel: the path has no layer index",
    ),
    (
        lambda: bad(rules=Rules({"**": by_depth(lambda i: jaxinit.zeros, axis=4)})),
        ValueError,
        "a/kernel: axis=4 of by_depth is out of range",
    ),
    (lambda: untyped([3]), TypeError, "3 is no rule"),
    (lambda: untyped([(3, jaxinit.zeros)]), TypeError, "3 is no pattern"),
    (lambda: untyped({"**": jaxinit.he_normal}), TypeError, "he_normal is a factory"),
    (
        lambda: bad(
            model(1), Rules([joint({"q": "**/query/*", "v": "**/v/*"}, jaxinit.zeros), *ALL.rules])
        ),
        ValueError,
        "a joint rule finds no v beside q: h_0/attn/query/kernel",
    ),
    (
        lambda: bad(
            {"q": abstract(2, 3), "k": abstract(3, 2)},
            Rules([joint({"q": "q", "k": "k"}, jaxinit.zeros)]),
        ),
        ValueError,
        "which differ in shape: q .2, 3., k .3, 2.",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    from jaxinit import _draw

    run: Any = _draw.run
    before = run._cache_size()
    with pytest.raises(error, match=message):
        call()
    assert run._cache_size() == before  # nothing was drawn


def test_errors_come_before_the_first_draw() -> None:
    """The last leaf is wrong, and the one before it is neither compiled nor drawn."""
    from jaxinit import _draw

    run: Any = _draw.run
    before = run._cache_size()
    wrong = untyped({"a": jaxinit.normal(), "b": lambda key, shape, dtype: jnp.zeros((9,))})
    with pytest.raises(ValueError, match=r"^b: init=.* returned shape \(9,\)"):
        initialize({"a": abstract(3, 37), "b": abstract(2)}, wrong, KEY)
    assert run._cache_size() == before


def test_unused_rules_may_be_allowed() -> None:
    rules = Rules({"a": jaxinit.ones, "b": jaxinit.zeros})
    assert initialize({"a": abstract(1)}, rules, KEY, allow_unused=True)["a"] == 1


def test_two_leaves_of_a_role_in_one_block_are_refused() -> None:
    tree = {f"h_{i}": {"query": abstract(4, 4), "key": abstract(4, 4)} for i in range(2)}
    roles = {"q": re.compile("query$"), "k": re.compile("key$")}
    with pytest.raises(ValueError, match=r"two of the role 'k' .* h_0/key and h_1/key: .*groups"):
        initialize(tree, Rules([joint(roles, jaxinit.orthogonal())]), KEY)


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: bad(rules={"**": jaxinit.zeros}),
        TypeError,
        r"^rules=.* is a dict: pass jaxinit.Rule",
    ),
    (lambda: untyped(None), TypeError, "^rules=None is no collection of rules"),
    (lambda: joint("ab", jaxinit.zeros), TypeError, "^roles='ab' is no mapping"),  # type: ignore[arg-type]
    (lambda: joint({"a": 3}, jaxinit.zeros), TypeError, "3 is no pattern"),  # type: ignore[dict-item]
    (lambda: joint({}, jaxinit.zeros), ValueError, "^roles={} names no role"),
    (lambda: by_depth(3), TypeError, "^make=3 is no function"),  # type: ignore[arg-type]
    (lambda: by_depth(jaxinit.normal, axis="x"), TypeError, "axis='x'"),  # type: ignore[arg-type]
    (
        lambda: bad({"h_1": abstract(2)}, Rules({"*": by_depth(lambda i: untyped_normal)})),
        TypeError,
        r"^h_1: make\(1\)=normal is a factory",
    ),
    (
        lambda: Rules({"**": jaxinit.lecun_normal()}).explain({"bias": abstract(3)}),
        ValueError,
        "^bias: ",
    ),
]
untyped_normal: Any = jaxinit.normal


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refusals_name_the_argument_or_the_path(
    call: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()
