"""What holds for every combinator: dtypes, keys, shardings, memory and errors."""

import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from composed import HE, KEY, NORMAL, equal, foreign, given
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import jaxinit
from jaxinit import Axes
from jaxinit._initializer import Factory
from jaxinit.compose.relaid import relaid

untyped: Any = jaxinit
P = PartitionSpec


# Context


def test_a_forced_dtype() -> None:
    init = jaxinit.with_dtype(HE, jnp.bfloat16)
    assert init == jaxinit.with_dtype(HE, "bfloat16")
    for dtype in (None, jnp.float32, jnp.float16):
        equal(init(KEY, (4, 6), dtype), HE(KEY, (4, 6), jnp.bfloat16))
    equal((init * 3)(KEY, (4, 6), jnp.float32), (HE * 3)(KEY, (4, 6), jnp.bfloat16))
    assert jaxinit.with_dtype(init, "float32")(KEY, (4, 6)).dtype == jnp.float32
    equal(jaxinit.with_dtype(NORMAL, complex)(KEY, (9,), float), NORMAL(KEY, (9,), complex))
    assert jaxinit.with_dtype(jaxinit.ones, "int8")(None, (2,), "float32").dtype == jnp.int8


def mesh(kind: AxisType, *sizes: int) -> Mesh:
    names = ("a", "b")[: len(sizes)]
    devices = np.array(jax.devices()[: math.prod(sizes)]).reshape(sizes)
    return Mesh(devices, names, axis_types=(kind,) * len(sizes))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_a_sharding_of_its_own(kind: AxisType) -> None:
    expected = np.asarray(HE(KEY, (16, 8)))
    whole = mesh(kind, 4, 2)
    rows, columns = NamedSharding(whole, P("a")), NamedSharding(whole, P(None, "b"))
    init = jaxinit.with_sharding(HE, rows)
    for composed in (init, init * 1.0, jaxinit.masked(init, True)):
        found = composed(KEY, (16, 8))
        assert found.sharding.is_equivalent_to(rows, 2)
        np.testing.assert_array_equal(found, expected)
        asked = composed(KEY, (16, 8), None, columns)
        assert asked.sharding.is_equivalent_to(columns, 2)  # the call's comes first
        np.testing.assert_array_equal(asked, expected)
    named = jaxinit.with_sharding(HE, P("a"))
    for sizes in ((4, 2), (2, 4)):  # the mesh in force, whatever it was before
        with jax.set_mesh(mesh(kind, *sizes)):
            assert named(KEY, (16, 8)).sharding.shard_shape((16, 8)) == (16 // sizes[0], 8)
            under_jit = jax.jit(lambda key: named(key, (16, 8)))(KEY)
            np.testing.assert_array_equal(under_jit, expected)
            assert under_jit.sharding.shard_shape((16, 8)) == (16 // sizes[0], 8)
    assert pickle.loads(pickle.dumps(named)) == named


def test_axes_reach_the_initializers_inside() -> None:
    einsum = Axes.einsum("btd,dhk->bthk")
    inner = jaxinit.he_normal(axes=einsum)
    pairs: tuple[tuple[Any, Any], ...] = (
        (jaxinit.he_normal(0, (1, 2)), inner),
        (jaxinit.he_normal(dtype="bfloat16"), jaxinit.he_normal(dtype="bfloat16", axes=einsum)),
        (jaxinit.orthogonal(2.0, column_axis=0), jaxinit.orthogonal(2.0, axes=einsum)),
        (HE * 0.5, inner * 0.5),
        (HE + jaxinit.zeros, inner + jaxinit.zeros),
        (jaxinit.blocks(HE, NORMAL, axis=1), jaxinit.blocks(inner, NORMAL, axis=1)),
        (jaxinit.mixture((HE, NORMAL), (0, 1)), jaxinit.mixture((inner, NORMAL), (0, 1))),
        (jaxinit.transposed(HE, (0, 1, 2)), jaxinit.transposed(inner, (0, 1, 2))),
        (
            jaxinit.spectral_normalized(HE, 2.0),
            jaxinit.spectral_normalized(inner, 2.0, axes=einsum),
        ),
    )
    for init, expected in pairs:
        found = jaxinit.with_axes(init, "btd,dhk->bthk")
        assert found == expected
        assert found(KEY, (8, 2, 4)).shape == (8, 2, 4)


# All of them

COMBINATORS: tuple[Callable[[Any], jaxinit.Bound], ...] = (
    lambda init: jaxinit.scaled(init, 2.0),
    lambda init: jaxinit.added(init, init),
    lambda init: jaxinit.blocks(init, n=2),
    lambda init: jaxinit.blocks(init, jaxinit.zeros, axis=0),
    lambda init: jaxinit.block_diagonal(init, 2),
    lambda init: jaxinit.stacked(init, -1),
    lambda init: jaxinit.layered(*(8 * [init]), axis=1),
    lambda init: jaxinit.tiled(init, 2),
    lambda init: jaxinit.mirrored(init),
    lambda init: jaxinit.transposed(init),
    lambda init: jaxinit.reshaped(init, (-1,)),
    lambda init: jaxinit.masked(init, True),
    lambda init: jaxinit.clipped(init, -1.0, 4.0),
    lambda init: jaxinit.dale(init),
    lambda init: jaxinit.centered(init),
    lambda init: jaxinit.standardized(init),
    lambda init: jaxinit.normalized(init),
    lambda init: jaxinit.spectral_normalized(init),
    lambda init: jaxinit.with_dtype(init, "float32"),
    lambda init: jaxinit.with_sharding(init, None),
)
RANDOM: tuple[Callable[[Any], jaxinit.Bound], ...] = (
    lambda init: jaxinit.sparsified(init, 0.5),
    lambda init: jaxinit.mixture((init, jaxinit.zeros), (0.5, 0.5)),
)


def test_the_list_is_complete() -> None:
    from jaxinit import compose

    names = {make(NORMAL)._factory.__name__ for make in COMBINATORS + RANDOM}
    factories = {n for n, f in vars(compose).items() if isinstance(f, Factory)} - {"with_axes"}
    assert names == factories | {"scaled", "added"}


@pytest.mark.parametrize("make", COMBINATORS, ids=lambda make: repr(make(jaxinit.ones)))
def test_constants_never_touch_the_key(make: Any) -> None:
    init, random = make(jaxinit.ones), make(jax.nn.initializers.ones)
    expected = init(KEY, (8, 8))
    np.testing.assert_allclose(expected, random(KEY, (8, 8)), rtol=0, atol=1e-6)
    for key in (None, object(), "stream"):
        equal(init(key, (8, 8)), expected)


@pytest.mark.parametrize("make", COMBINATORS + RANDOM, ids=lambda make: repr(make(jaxinit.ones)))
def test_any_callable_will_do(make: Any) -> None:
    sharding = NamedSharding(mesh(AxisType.Auto, 4, 2), P("a", "b"))
    found = make(foreign)(KEY, (8, 8), jnp.float32)
    sharded = make(foreign)(KEY, (8, 8), jnp.float32, sharding)
    assert sharded.sharding == sharding
    np.testing.assert_allclose(sharded, found, rtol=0, atol=1e-5)
    assert make(foreign) == make(foreign)


@pytest.mark.parametrize("make", (COMBINATORS + RANDOM)[::3], ids=lambda m: repr(m(jaxinit.ones)))
def test_what_jax_draws_is_what_jaxinit_draws(make: Any) -> None:
    theirs = jax.jit(jax.nn.initializers.normal(1.0), static_argnums=(1, 2))
    ours = make(NORMAL)(KEY, (8, 8))
    np.testing.assert_allclose(make(theirs)(KEY, (8, 8)), ours, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "inits",
    [
        (HE * 0.5, HE * 1.5, HE * 2.0),
        (HE, NORMAL, jaxinit.zeros),
        (HE * 2.0, HE * np.array([1.0, 2.0, 3.0, 4.0]), HE * np.ones((8, 1))),
    ],
    ids=repr,
)
def test_each_layer_draws_from_a_key_of_its_own(inits: Any) -> None:
    found = jaxinit.layered(*inits, axis=1)(KEY, (8, 3, 4))
    for i, key in enumerate(jax.random.split(KEY, 3)):
        np.testing.assert_allclose(found[:, i], inits[i](key, (8, 4)), rtol=1e-6, atol=0)


def test_whole_numbers_keep_what_is_whole() -> None:
    four = jaxinit.constant(4)
    assert (four * 3)(None, (2,), jnp.int32).tolist() == [12, 12]
    assert (jaxinit.with_dtype(jaxinit.ones, "float32") * 0.5)(None, (1,), jnp.int32)[0] == 0.5
    assert jaxinit.with_dtype(HE, "float32")(KEY, (2, 3), jnp.int32).dtype == jnp.float32
    for init in (
        four * 0.5,
        jaxinit.depth_scaled(jaxinit.constant(8), 8),
        jaxinit.identity(jnp.float32(0.5)),
        jaxinit.clipped(four, 0.5, 0.9),
        jaxinit.masked(four, 0, jnp.bfloat16(0.5)),
    ):
        with pytest.raises(TypeError, match="dtype=int32 would cut off the fraction of"):
            init(None, (2, 2), jnp.int32)
    with pytest.raises(TypeError, match=r"cut off the fraction of 0\.5 "):
        (jaxinit.with_dtype(four, "int32") * 0.5)(None, (2,))


def test_a_row_of_initializers_is_a_value() -> None:
    init = jaxinit.blocks(HE, jaxinit.zeros, axis=0, sizes=[4, 2]) * 0.5
    assert repr(init) == (
        "scaled(init=blocks(he_normal(), zeros_init(), axis=0, sizes=(4, 2)), factor=0.5)"
    )
    for twin in (eval(repr(init), vars(jaxinit).copy()), pickle.loads(pickle.dumps(init))):
        assert twin == init
        assert hash(twin) == hash(init)
    assert jaxinit.blocks(HE, NORMAL) != jaxinit.blocks(NORMAL, HE)


COLLECTIVES = re.compile(r"all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter")
KEPT = (jaxinit.blocks(NORMAL, jaxinit.zeros, axis=0), jaxinit.layered(*(8 * [NORMAL]), axis=1))
FUSED = [make for make in COMBINATORS[:14] if make(NORMAL) not in KEPT]


def compiled(init: Any, shape: tuple[int, ...], sharding: Any) -> tuple[Any, str]:
    """Memory figures of the drawing program, and its text."""
    drawn = jax.jit(lambda key: init(key, shape, jnp.float32, sharding)).lower(KEY).compile()
    return drawn.memory_analysis(), drawn.as_text() or ""


@pytest.mark.parametrize("spec", [None, P(None, ("a", "b"))], ids=str)
@pytest.mark.parametrize("make", FUSED, ids=lambda make: repr(make(jaxinit.ones)))
def test_nothing_is_kept_but_the_result(make: Any, spec: Any) -> None:
    """One kernel, no temporary, and no device works for another: 3 blocks on 8 devices too."""
    shape = (384, 1536)
    sharding = None if spec is None else NamedSharding(mesh(AxisType.Auto, 4, 2), spec)
    init = make(NORMAL)
    if init._factory is jaxinit.blocks:
        init = init.replace(n=3)
    memory, text = compiled(init, shape, sharding)
    assert memory.temp_size_in_bytes <= 0.06 * memory.output_size_in_bytes
    assert not COLLECTIVES.search(text)


def test_unequal_blocks_are_kept_once() -> None:
    memory, _ = compiled(jaxinit.blocks(HE, n=3, sizes=(512, 128, 128)), (256, 768), None)
    assert memory.temp_size_in_bytes <= 1.01 * memory.output_size_in_bytes


@pytest.mark.parametrize(
    ("init", "shape", "spec"),
    [
        (jaxinit.stacked(jaxinit.orthogonal()), (4, 512, 512), P(None, None, "a")),
        (jaxinit.transposed(jaxinit.orthogonal()), (512, 512), P("a")),
        (jaxinit.blocks(jaxinit.orthogonal(), n=3), (512, 1536), P("a")),
        (jaxinit.mirrored(jaxinit.orthogonal()), (512, 1024), P("a")),
    ],
    ids=range(4),
)
def test_matrices_inside_know_their_sharding(init: Any, shape: Any, spec: Any) -> None:
    memory, text = compiled(init, shape, NamedSharding(mesh(AxisType.Auto, 8), spec))
    assert memory.temp_size_in_bytes <= 6 * memory.output_size_in_bytes
    assert not COLLECTIVES.search(text)


FACTORY: list[tuple[Any, type[Exception], str]] = [
    (lambda: untyped.blocks(3), TypeError, "inits=3 is not an initializer"),
    (lambda: untyped.blocks(jaxinit.he_normal), TypeError, "a factory of initializers: call it"),
    (lambda: jaxinit.blocks(HE, n=0), ValueError, "n=0 is less than 1"),
    (lambda: untyped.blocks(HE, axis=(0, 1)), TypeError, r"axis=\(0, 1\) is not a whole number"),
    (lambda: jaxinit.blocks(HE, sizes=(3, 0)), ValueError, r"sizes\[1\]=0 is less than 1"),
    (lambda: untyped.blocks(HE, sizes=3), TypeError, "sizes=3 is not a sequence of integers"),
    (lambda: jaxinit.block_diagonal(HE, 0), ValueError, "n=0 is less than 1"),
    (lambda: untyped.stacked(HE, "b"), TypeError, "axis='b' is neither an integer"),
    (lambda: untyped.transposed(HE, 1), TypeError, "axes=1 is not a sequence of integers"),
    (lambda: untyped.reshaped(HE, (2, 0.5)), TypeError, r"to\[1\]=0.5 is not a whole number"),
    (lambda: jaxinit.masked(HE, [0, 2]), ValueError, r"mask=\[0, 2\] has entries other than 0"),
    (lambda: jaxinit.masked(HE, True, np.inf), ValueError, "fill=inf is not finite"),
    (lambda: jaxinit.sparsified(HE, 1.5), ValueError, r"fraction=1.5 is outside \[0, 1\]"),
    (lambda: untyped.sparsified(HE, "x"), TypeError, "fraction='x' is not a real number"),
    (lambda: jaxinit.clipped(HE, 0, np.nan), ValueError, "high=nan is not finite"),
    (lambda: untyped.mixture(HE, (1,)), TypeError, "is not a sequence of initializers"),
    (lambda: untyped.mixture((HE, 2), (0, 1)), TypeError, r"inits\[1\]=2 is not an initializer"),
    (lambda: untyped.mixture((HE,), 1.0), TypeError, "probs=1.0 is not a sequence of numbers"),
    (lambda: jaxinit.mixture((HE, HE), (0.5, 0.6)), ValueError, "add up to 1.1, not 1"),
    (lambda: jaxinit.mixture((HE, HE), (1.5, -0.5)), ValueError, r"probs\[0\]=1.5 is outside"),
    (lambda: jaxinit.dale(HE, -0.1), ValueError, r"excitatory=-0.1 is outside \[0, 1\]"),
    (lambda: jaxinit.spectral_normalized(HE, -1.0), ValueError, "norm=-1.0 is negative"),
    (lambda: untyped.spectral_normalized(HE, axes=3), TypeError, "axes=3 is a int"),
    (lambda: jaxinit.with_dtype(HE, "float33"), TypeError, "dtype='float33' is not a dtype"),
    (lambda: untyped.with_dtype(HE, None), TypeError, "dtype=None forces no dtype"),
    (lambda: untyped.with_sharding(HE, "a"), TypeError, "sharding='a' is a str"),
    (lambda: jaxinit.with_axes(NORMAL, Axes()), TypeError, "takes no axes="),
    (lambda: jaxinit.with_axes(NORMAL * 2, Axes()), TypeError, "takes no axes="),
    (lambda: untyped.with_axes(foreign, Axes()), TypeError, "no initializer of jaxinit"),
    (lambda: jaxinit.with_axes(HE + foreign, Axes()), TypeError, "no initializer of jaxinit"),
    (lambda: untyped.with_axes(HE, None), TypeError, "axes=None gives no axes"),
    (lambda: jaxinit.with_axes(HE, "ab"), ValueError, "axes='ab' is not an einsum"),
]


@pytest.mark.parametrize(("make", "error", "message"), FACTORY, ids=range(len(FACTORY)))
def test_factories_refuse(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


CALL: list[tuple[Any, Any, type[Exception], str]] = [
    (jaxinit.blocks(), (4,), ValueError, r"blocks\(\) has no initializer"),
    (jaxinit.blocks(HE, n=3), (4, 8), ValueError, "3 equal blocks do not divide axis 1 .*sizes="),
    (jaxinit.blocks(HE, axis=2), (4, 8), ValueError, "axis=2 is out of range"),
    (jaxinit.blocks(HE, n=2, sizes=(4,)), (4, 8), ValueError, "of 1 blocks and there are 2"),
    (jaxinit.blocks(HE, n=2, sizes=(4, 3)), (4, 8), ValueError, "add up to 7 and axis 1 .* has 8"),
    (jaxinit.block_diagonal(HE, 3), (6, 8), ValueError, "do not divide axis 1"),
    (jaxinit.block_diagonal(HE, 3), (6,), ValueError, "is 1-D"),
    (jaxinit.stacked(HE, (0, -2)), (6, 8), ValueError, r"axis=\(0, -2\) names an axis .* twice"),
    (jaxinit.stacked(HE), (6, 8), ValueError, r"shape \(8,\) is 1-D: a bias has no fan-in"),
    (jaxinit.tiled(HE, 3), (6, 8), ValueError, "3 equal blocks do not divide axis 1"),
    (jaxinit.mirrored(HE), (6, 7), ValueError, "2 equal blocks .* a mirrored axis is even"),
    (jaxinit.transposed(HE, (0, 0)), (6, 7), ValueError, "no permutation of the 2 axes"),
    (jaxinit.transposed(HE, (0, 1, 2)), (6, 7), ValueError, "out of range"),
    (jaxinit.reshaped(HE, (6, 8)), (6, 7), ValueError, r"to=\(6, 8\) has not the 42 entries"),
    (jaxinit.reshaped(HE, (5, -1)), (6, 7), ValueError, "has not the 42 entries"),
    (jaxinit.reshaped(HE, (-1, -1)), (6, 7), ValueError, "has not the 42 entries"),
    (jaxinit.masked(HE, [1, 0]), (6, 7), ValueError, r"mask of shape \(2,\) does not broadcast"),
    (jaxinit.masked(HE, True, [1, 0]), (6, 7), ValueError, "fill of shape"),
    (jaxinit.sparsified(HE, 0.5, 2), (6, 7), ValueError, "axis=2 is out of range"),
    (jaxinit.clipped(NORMAL, 1, 1), (6, 7), ValueError, "low=1 is not below high=1"),
    (jaxinit.mixture((HE,), (0.5, 0.5)), (6, 7), ValueError, "probs=.* are 2 and inits are 1"),
    (jaxinit.dale(NORMAL), (6,), ValueError, "axis=-2 is out of range"),
    (jaxinit.centered(NORMAL, (0, 0)), (6, 7), ValueError, "twice"),
    (jaxinit.standardized(NORMAL, 0), (1, 7), ValueError, "slices of one entry"),
    (jaxinit.spectral_normalized(NORMAL), (6,), ValueError, "is 1-D"),
    (jaxinit.with_sharding(NORMAL, P("a")), (6,), ValueError, "under jax.set_mesh"),
    (jaxinit.stacked(given(1.0)), (2, 3), ValueError, r"returned shape \(\), not the shape \(3,\)"),
]


@pytest.mark.parametrize(("init", "shape", "error", "message"), CALL, ids=range(len(CALL)))
def test_calls_refuse(init: Any, shape: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        init(KEY, shape)
    with pytest.raises(error, match=message):  # and so while tracing
        jax.eval_shape(lambda: init(KEY, shape))


@pytest.mark.parametrize("init", [jaxinit.clipped(NORMAL, 0, 1), jaxinit.dale(NORMAL)], ids=repr)
def test_laws_on_the_real_line(init: Any) -> None:
    with pytest.raises(TypeError, match="is a law on the real line"):
        init(KEY, (6, 7), jnp.complex64)


def test_an_array_held_by_a_law_is_relaid_with_it() -> None:
    table = np.arange(6.0, dtype=np.float32).reshape(3, 2)

    def compute() -> Any:
        return jnp.sin(jnp.asarray(table)) + jax.lax.iota(np.float32, 6).reshape(3, 2)

    expected = (np.sin(table) + np.arange(6).reshape(3, 2)).reshape(2, 3)
    np.testing.assert_allclose(relaid(compute, (2, 3)), expected, rtol=1e-6)
