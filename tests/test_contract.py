"""The contract of an initializer, over every row of the case table."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, CORE, NARROW, PROGRAMS, Case, bits, public_initializers, wide_dtypes
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxinit

each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_program = pytest.mark.parametrize("case", PROGRAMS, ids=str)
KEY = jax.random.key(17)


def test_every_public_initializer_has_a_row() -> None:
    assert set(public_initializers()) == {case.name for case in CASES}


def test_one_row_stands_for_laws_that_differ_in_numbers() -> None:
    names = {case.name for case in PROGRAMS}
    assert {"he_normal", "low_discrepancy", "normal", "sparse", "student_t"} <= names
    assert {case.name for case in CORE} >= {"he_normal", "orthogonal", "truncated_normal"}
    assert not names & {"lecun_normal", "glorot_normal", "ntk", "small"}


def test_every_name_of_jax_exists_with_its_signature() -> None:
    import inspect

    for name, theirs in vars(jax.nn.initializers).items():
        if name.startswith("_") or name == "Initializer":
            continue
        ours = getattr(jaxinit, name)
        if name in ("zeros", "ones"):
            assert isinstance(ours, jaxinit.Initializer)
            continue
        expected = inspect.signature(theirs).parameters
        found = list(inspect.signature(ours).parameters.values())[: len(expected)]
        assert [(p.name, p.default) for p in found] == [
            (p.name, p.default) for p in expected.values()
        ]


@each_case
def test_obeys_the_protocol(case: Case) -> None:
    assert isinstance(case.init, jaxinit.Initializer)
    assert isinstance(case.init, jax.nn.initializers.Initializer)


@each_program
def test_shapes(case: Case) -> None:
    expected = bits(case.init(KEY, case.shape))
    given_shapes: tuple[Any, ...] = (list(case.shape), tuple(np.int64(n) for n in case.shape))
    for shape in given_shapes:
        np.testing.assert_array_equal(bits(case.init(KEY, shape)), expected)
    for axis in range((len(case.shape) if case in CORE else 1) * case.empty):
        empty = tuple(0 if i == axis else n for i, n in enumerate(case.shape))
        if case.name in ("delta_orthogonal", "conv_orthogonal") and axis == len(empty) - 1:
            continue  # n_in > n_out = 0
        chex.assert_shape(case.init(KEY, empty), empty)
    if case.scalar:
        chex.assert_shape(case.init(KEY, ()), ())


@each_program
def test_low_precision_is_one_cast_of_the_wide_sample(case: Case) -> None:
    wide = case.init(KEY, case.shape, jnp.float32)
    chex.assert_tree_all_finite(wide)
    for dtype in NARROW if case in CORE and case.elementwise else NARROW[:1]:
        narrow = case.init(KEY, case.shape, dtype)
        expected = wide.astype(case.dtype or dtype)
        assert narrow.dtype == expected.dtype
        np.testing.assert_array_equal(bits(narrow), bits(expected), str(dtype))


@each_program
def test_default_dtypes(case: Case) -> None:
    for dtype in (None, float, jnp.float32, "float32", np.dtype("float32")):
        chex.assert_type(case.init(KEY, case.shape, dtype), case.dtype or jnp.float32)
    if case.complex:
        for dtype in (complex, jnp.complex64):
            chex.assert_type(case.init(KEY, case.shape, dtype), jnp.complex64)


@each_program
def test_double_precision(case: Case) -> None:
    with jax.enable_x64(True):
        for dtype in [jnp.float64, jnp.complex128][: 1 + (case.complex and case in CORE)]:
            weights = case.init(KEY, case.shape, dtype)
            chex.assert_type(weights, case.dtype or dtype)
            chex.assert_tree_all_finite(weights)
        chex.assert_type(case.init(KEY, case.shape), case.dtype or jnp.float64)
        if case in CORE:
            narrow = case.init(KEY, case.shape, jnp.float32)
    if case in CORE:
        np.testing.assert_array_equal(bits(narrow), bits(case.init(KEY, case.shape)))


@each_program
def test_legacy_keys_give_the_same_numbers(case: Case) -> None:
    expected = bits(case.init(KEY, case.shape))
    legacy = jax.random.key_data(KEY)
    np.testing.assert_array_equal(bits(case.init(legacy, case.shape)), expected)
    np.testing.assert_array_equal(bits(case.init(np.asarray(legacy), case.shape)), expected)
    if case in CORE:
        fused = jaxinit.random.fuse(KEY)
        np.testing.assert_array_equal(bits(case.init(fused, case.shape)), expected)


@each_program
def test_another_generator(case: Case) -> None:
    chex.assert_tree_all_finite(case.init(jax.random.key(3, impl="rbg"), case.shape))


@pytest.mark.parametrize(
    "implementation", ["rbg", "unsafe_rbg", "philox2x32", "philox4x32", "threefry4x32"]
)
def test_every_generator(implementation: str) -> None:
    """One law that is drawn, one that splits its key, one that folds it in a loop."""
    assert_draws(jaxinit.he_normal(), (3, 8, 6), implementation)
    key = jax.random.key(3, impl=implementation)
    for init in (jaxinit.stacked(jaxinit.uniform()), jaxinit.orthogonal()):
        chex.assert_tree_all_finite(init(key, (3, 8, 6)))


def assert_draws(init: jaxinit.Bound, shape: tuple[int, ...], implementation: str) -> None:
    key = jax.random.key(3, impl=implementation)
    eager = init(key, shape)
    jitted = jax.jit(lambda k: init(k, shape))(key)
    chex.assert_tree_all_finite(eager)
    np.testing.assert_array_equal(bits(eager), bits(jitted))


@each_program
def test_jit_is_eager(case: Case) -> None:
    kinds = (*wide_dtypes(case), jnp.bfloat16) if case in CORE else (jnp.float32,)
    for dtype in kinds:  # an exported program is compiled too, and complex
        eager = case.init(KEY, case.shape, dtype)
        jitted = jax.jit(lambda k, dtype=dtype: case.init(k, case.shape, dtype))(KEY)
        np.testing.assert_array_equal(bits(jitted), bits(eager))


@each_program
def test_vmap_is_a_loop(case: Case) -> None:
    typed = jax.random.split(KEY, 3)
    for keys in (typed, jax.random.key_data(typed)) if case in CORE else (typed,):
        together = jax.vmap(lambda k: case.init(k, case.shape))(keys)
        if not case.random:
            together = jnp.broadcast_to(together, (3, *case.shape))
        apart = jnp.stack([case.init(key, case.shape) for key in keys])
        chex.assert_trees_all_close(together, apart, rtol=0, atol=case.tolerance)


@each_case
def test_eval_shape(case: Case) -> None:
    abstract = jax.eval_shape(lambda k: case.init(k, case.shape, jnp.bfloat16), KEY)
    assert (abstract.shape, abstract.dtype) == (case.shape, jnp.bfloat16)


@each_case
def test_is_a_value(case: Case) -> None:
    again = eval(repr(case.init), vars(jaxinit).copy())
    for twin in (
        again,
        pickle.loads(pickle.dumps(case.init)),
        copy.copy(case.init),
        copy.deepcopy(case.init),
    ):
        assert twin == case.init
        assert hash(twin) == hash(case.init)
    assert repr(again) == repr(case.init)
    assert len({case.init, again}) == 1


def test_values_differ_where_arguments_do() -> None:
    assert jaxinit.normal(0.1) != jaxinit.normal(0.2)
    assert jaxinit.he_normal() != jaxinit.lecun_normal()
    assert jaxinit.he_normal() == jaxinit.he_normal(-2, -1)
    assert jaxinit.glorot_normal([0, 1]) == jaxinit.glorot_normal((0, 1))
    array = np.ones(3)
    assert jaxinit.constant(array) == jaxinit.constant(array)
    assert jaxinit.constant(array) != jaxinit.constant(np.ones(3))
    assert jaxinit.normal() != "normal()"


def test_prints_as_the_call_that_made_it() -> None:
    call = "he_normal(in_axis=-2, out_axis=-1)"
    assert repr(jaxinit.he_normal(in_axis=-2, out_axis=-1)) == call
    assert repr(jaxinit.normal(0.02)) == "normal(stddev=0.02)"


def test_factors_share_one_compilation() -> None:
    from jaxinit import _draw

    run: Any = _draw.run
    jaxinit.normal(0.011)(KEY, (5, 7))
    before = run._cache_size()
    for stddev in (0.012, 0.013):
        jaxinit.normal(stddev)(KEY, (5, 7))
    assert run._cache_size() == before
    jaxinit.normal(0.011)(KEY, (5, 8))
    assert run._cache_size() == before + 1


def test_gradient_through_hyper_parameters() -> None:
    def total(stddev: Any, make: Any) -> jax.Array:
        return make(stddev)(KEY, (50, 40)).sum()

    makes = (
        jaxinit.normal,
        jaxinit.truncated_normal,
        jaxinit.orthogonal,
        jaxinit.constant,
        lambda s: jaxinit.variance_scaling(s * s, "fan_in", "normal"),
    )
    for make in makes:
        slope = jax.grad(total)(0.5, make)
        chex.assert_trees_all_close(slope, total(1.0, make), rtol=1e-4)
        chex.assert_trees_all_close(jax.jit(jax.grad(total), static_argnums=1)(0.5, make), slope)
    # d/db of E[z | z < b] > 0: pushing the upper bound out moves samples up.
    slope = jax.grad(lambda b: jaxinit.truncated_normal(1.0, None, -2, b)(KEY, (500,)).sum())(1.0)
    assert slope > 0
    scales = jnp.array([0.1, 0.2])
    stacked = jax.vmap(lambda s: jaxinit.normal(s)(KEY, (4,)))(scales)
    chex.assert_trees_all_close(stacked[1], 2 * stacked[0], rtol=1e-6)


TWO = np.array([0.25, 0.5])
SEQUENCES: list[Callable[[Any], Any]] = [
    jaxinit.normal,
    lambda x: jaxinit.truncated_normal(x, bounds="absolute"),
    lambda x: jaxinit.truncated_normal(0.5, None, -1, x, bounds="absolute"),
    lambda x: jaxinit.truncated_normal(0.5, None, -2.0, x),
    lambda x: jaxinit.variance_scaling(x, "fan_in", "normal"),
    lambda x: jaxinit.variance_scaling(x, "fan_in", "uniform", fan=3),
    lambda x: jaxinit.he_normal(negative_slope=x),
    lambda x: jaxinit.he_uniform(negative_slope=x),
    jaxinit.siren,
    jaxinit.switch,
    jaxinit.mamba_dt_kernel,
    jaxinit.lru_nu,
    lambda x: jaxinit.lru_gamma(0.1, x),
]


@pytest.mark.parametrize("make", SEQUENCES, ids=range(len(SEQUENCES)))
def test_a_sequence_of_numbers_is_a_value_and_stands_for_their_array(make: Any) -> None:
    assert make([0.25, 0.5]) == make((0.25, 0.5))
    chex.assert_trees_all_equal(make([0.25, 0.5])(KEY, (3, 2)), make(TWO)(KEY, (3, 2)))


def test_a_number_may_be_of_a_narrow_dtype() -> None:
    for quarter in (jnp.bfloat16(0.25), np.asarray(0.25, jnp.float8_e4m3fn)):
        for make in (jaxinit.normal, lambda x: jaxinit.clipped(jaxinit.normal(1.0), -x, x)):
            chex.assert_trees_all_equal(make(quarter)(KEY, (3, 2)), make(0.25)(KEY, (3, 2)))


def test_an_array_is_read_at_every_call() -> None:
    array = np.zeros(3)
    init = jaxinit.constant(array)
    both = init + init * 2
    for value in (0, 5):
        array[:] = value
        for dtype in (jnp.float32, jnp.bfloat16):
            assert (init(None, (3,), dtype) == value).all()
            assert (both(None, (3,), dtype) == 3 * value).all()


@settings(deadline=None, max_examples=12, derandomize=True)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    data=st.data(),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16, jnp.float16]),
)
def test_any_axes_of_any_shape(shape: list[int], data: st.DataObject, dtype: Any) -> None:
    rank = len(shape)
    roles = data.draw(st.permutations(range(rank)))
    cut = sorted(data.draw(st.lists(st.integers(1, rank), min_size=2, max_size=2)))
    in_axis, out_axis = tuple(roles[: cut[0]]), tuple(a - rank for a in roles[cut[0] : cut[1]])
    arguments: dict[str, Any] = {"in_axis": in_axis, "out_axis": out_axis}
    if in_axis and out_axis:
        ours = jaxinit.lecun_normal(**arguments)(KEY, shape, dtype)
        theirs = jax.jit(
            lambda key: jax.nn.initializers.lecun_normal(**arguments)(key, tuple(shape))
        )(KEY)
        np.testing.assert_array_equal(bits(ours), bits(theirs.astype(dtype)))


class VariantsTest(chex.TestCase):  # type: ignore[misc]
    """The same numbers however chex runs a function."""

    @chex.variants(with_jit=True, without_jit=True, with_device=True, without_device=True)  # type: ignore[untyped-decorator]
    def test_every_variant_agrees(self) -> None:
        for case in CASES:
            if case.random and case in CORE and not case.tolerance:

                @self.variant  # type: ignore[untyped-decorator]
                def draw(key: jax.Array, case: Case = case) -> jax.Array:
                    return case.init(key, case.shape)

                legacy = jax.random.key_data(KEY)
                chex.assert_trees_all_equal(draw(legacy), case.init(KEY, case.shape))
