"""The sampling core: the bits are JAX's, the fused generator is threefry."""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.extend.random as extend
import jax.numpy as jnp
import numpy as np
import pytest
from cases import bits
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxinit
from jaxinit import random
from jaxinit._erfinv import MIDDLE, erf_inv
from jaxinit._rounding import cast

KEY = jax.random.key(42)
SHAPES = [(), (1,), (7,), (3, 5), (2, 3, 4), (33, 65), (0, 3), (1025,)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.uint16, jnp.uint32, jnp.uint64], ids=str)
def test_bits_are_those_of_jax(shape: tuple[int, ...], dtype: Any) -> None:
    with jax.enable_x64(dtype == jnp.uint64):
        expected = jax.random.bits(KEY, shape, dtype)
        others = (jax.random.key_data(KEY), random.fuse(KEY))
        for key in (KEY, *(others if shape == (33, 65) else ())):
            found = jax.jit(lambda k: random.bits(k, shape, dtype))(key)
            chex.assert_trees_all_equal(found, expected)
            assert found.dtype == dtype


@pytest.mark.parametrize("implementation", ["rbg", "unsafe_rbg"])
def test_bits_of_other_generators_are_those_of_jax(implementation: str) -> None:
    key = jax.random.key(1, impl=implementation)
    chex.assert_trees_all_equal(random.bits(key, (5, 3)), jax.random.bits(key, (5, 3)))


@settings(deadline=None, max_examples=6, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), shape=st.lists(st.integers(1, 9), min_size=0, max_size=4))
def test_bits_of_any_key_and_shape(seed: int, shape: list[int]) -> None:
    key = jax.random.key(seed)
    chex.assert_trees_all_equal(random.bits(key, shape), jax.random.bits(key, tuple(shape)))


@pytest.mark.parametrize(
    "shape", [(2**17, 2**16), (3, 2**16 + 1, 2**17 - 3), (2**31 - 1, 5)], ids=str
)
def test_counters_past_32_bits(shape: tuple[int, ...]) -> None:
    """The last entries of an array that no machine need hold."""

    @jax.jit
    def corner(key: jax.Array) -> jax.Array:
        tail = random.bits(key, shape)[tuple(slice(n - 2, n) for n in shape)]
        return tail.ravel()

    index = np.ravel_multi_index(
        tuple(np.array(np.meshgrid(*[[n - 2, n - 1] for n in shape], indexing="ij"))), shape
    ).ravel()
    assert index.max() >= 2**32
    count = jnp.asarray(np.concatenate([index >> 32, index & 0xFFFFFFFF]).astype(np.uint32))
    high, low = jnp.split(extend.threefry_2x32(jax.random.key_data(KEY), count), 2)
    chex.assert_trees_all_equal(corner(KEY), high ^ low)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=str)
@pytest.mark.parametrize("shape", [(2, 3, 4), (7,), (256, 256)], ids=str)
def test_numbers_are_those_of_the_newest_jax(shape: tuple[int, ...], dtype: Any) -> None:
    """Against the newest formulas in public operations, so that every JAX version checks them."""
    with jax.enable_x64(dtype == jnp.float64):

        def uniform(key: jax.Array, low: Any, high: Any) -> jax.Array:
            return jax.random.uniform(key, shape, dtype, low, high)

        def normal(key: jax.Array, stddev: Any) -> jax.Array:
            lowest = np.nextafter(np.asarray(-1, dtype), np.asarray(0, dtype), dtype=dtype)
            scale = jnp.asarray(np.sqrt(2), dtype) * stddev
            return scale * jax.lax.erf_inv(uniform(key, lowest, 1))

        def truncated(key: jax.Array, low: float, high: float) -> jax.Array:
            return jax.random.truncated_normal(key, low, high, shape, dtype)

        def fan_in(variance: float) -> jax.Array:
            return jnp.asarray(variance / np.prod(shape[:-1]), dtype)

        constant = jnp.asarray(0.87962566103423978, dtype)
        pairs: list[tuple[Any, Any]] = [
            (jaxinit.uniform(0.3), lambda k: uniform(k, 0, 1) * jnp.asarray(0.3, dtype)),
            (jaxinit.normal(0.02), lambda k: normal(k, jnp.asarray(0.02, dtype))),
            (
                jaxinit.truncated_normal(0.7, None, -1.3, 2.2),
                lambda k: truncated(k, -1.3, 2.2) * jnp.asarray(0.7, dtype),
            ),
        ]
        if len(shape) > 1:
            pairs += [
                (
                    jaxinit.he_normal(range(len(shape) - 1)),
                    lambda k: truncated(k, -2, 2) * (jnp.sqrt(fan_in(2.0)) / constant),
                ),
                (
                    jaxinit.lecun_uniform(tuple(range(len(shape) - 1))),
                    lambda k: uniform(k, -1, 1) * jnp.sqrt(3 * fan_in(1.0)),
                ),
                (
                    jaxinit.variance_scaling(0.4, "fan_in", "normal", tuple(range(len(shape) - 1))),
                    lambda k: normal(k, jnp.sqrt(fan_in(0.4))),
                ),
            ]
        for init, reference in pairs:
            expected = jax.jit(reference)(KEY)
            np.testing.assert_array_equal(bits(init(KEY, shape, dtype)), bits(expected), repr(init))


def test_numbers_are_those_of_this_jax() -> None:
    """jax.nn.initializers itself, where its formulas have not changed since 0.10.2."""
    for name in ("uniform", "truncated_normal", "he_normal", "glorot_uniform", "lecun_normal"):
        ours, theirs = getattr(jaxinit, name)(), getattr(jax.nn.initializers, name)()
        expected = jax.jit(lambda k, theirs=theirs: theirs(k, (48, 31)))(KEY)
        np.testing.assert_array_equal(bits(ours(KEY, (48, 31))), bits(expected), name)


def test_erf_inv_is_that_of_xla_for_every_uniform() -> None:
    numerators = jnp.arange(2**23, dtype=jnp.int32)
    u = numerators.astype(jnp.float32) * np.float32(2**-22) + np.float32(2**-24 - 1)
    chex.assert_trees_all_equal(jax.jit(erf_inv)(u), jax.jit(jax.lax.erf_inv)(u))


@pytest.mark.parametrize(
    "init", [jaxinit.normal(1.0), jaxinit.he_normal(), jaxinit.laplace(1.0)], ids=repr
)
def test_a_draw_is_the_same_in_any_program(init: jaxinit.Bound) -> None:
    """Where it is read twice, and where a branch reads it, it is compiled apart, and otherwise."""

    @jax.jit
    def read(key: jax.Array) -> Any:
        w = init(key, (256, 256))
        chosen = jax.lax.cond(w[0, 0] > -9, lambda: w, lambda: w + 1)
        return w, chosen, w / abs(w).max()

    expected = bits(init(KEY, (256, 256)))
    for found in read(KEY)[:2]:
        np.testing.assert_array_equal(bits(found), expected)


def test_the_middle_of_erf_inv_is_that_of_the_whole() -> None:
    """Between the bounds of every usual truncation, and as far as it is said to go."""
    u = jnp.linspace(-MIDDLE, MIDDLE, 2**20 + 1)
    middle = jax.jit(lambda u: erf_inv(u, middle=True))
    chex.assert_trees_all_equal(middle(u), jax.jit(erf_inv)(u))
    further = jnp.float32(MIDDLE + 1e-4)
    assert middle(further) != jax.jit(erf_inv)(further)


def test_erf_inv_inverts_erf_and_its_slope_is_right() -> None:
    u = jnp.linspace(-0.999, 0.999, 501)
    chex.assert_trees_all_close(jax.lax.erf(erf_inv(u)), u, atol=1e-6)
    slope = jax.vmap(jax.grad(erf_inv))(u)
    chex.assert_trees_all_close(slope, jax.vmap(jax.grad(jax.lax.erf_inv))(u), rtol=1e-4)


def test_the_cast_to_bfloat16_is_that_of_xla_for_every_kind_of_float32() -> None:
    """All exponents and signs, all that decides the rounding, infinities and quiet NaNs."""
    upper, lower = np.arange(2**16, dtype=np.uint32), [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF]
    words = (upper[:, None] << np.uint32(16) | np.array(lower, np.uint32)).ravel()
    signaling = np.isnan(words.view(np.float32)) & (words & 0x400000 == 0)
    x = words[~signaling].view(np.float32)
    ours, xla = jax.jit(lambda x: (cast(x, jnp.bfloat16), x.astype(jnp.bfloat16)))(x)
    np.testing.assert_array_equal(ours.astype(jnp.float32), xla.astype(jnp.float32))
    assert jax.grad(lambda x: cast(3 * x, jnp.bfloat16).astype(jnp.float32))(1.0) == 3


def test_fused_keys_split_fold_and_draw_alike() -> None:
    fused = random.fuse(KEY)
    assert fused.dtype != KEY.dtype
    data = jax.random.key_data
    chex.assert_trees_all_equal(data(random.key(42)), data(KEY))
    chex.assert_trees_all_equal(
        data(jax.random.split(fused, (3, 2))), data(jax.random.split(KEY, (3, 2)))
    )
    chex.assert_trees_all_equal(
        data(jax.random.fold_in(fused, 9)), data(jax.random.fold_in(KEY, 9))
    )
    for draw in (jax.random.normal, jax.random.gumbel, jax.random.exponential):
        chex.assert_trees_all_equal(
            jax.jit(lambda k, draw=draw: draw(k, (9, 4)))(fused),
            jax.jit(lambda k, draw=draw: draw(k, (9, 4)))(KEY),
        )
    batch = random.fuse(jax.random.split(KEY, 4))
    assert batch.shape == (4,)
    chex.assert_trees_all_equal(
        jax.vmap(lambda k: jax.random.bits(k, (3,)))(batch),
        jax.vmap(lambda k: jax.random.bits(k, (3,)))(jax.random.split(KEY, 4)),
    )


def test_other_dtypes_are_refused() -> None:
    for draw in (random.normal, random.uniform, random.symmetric_uniform, random.truncated_normal):
        with pytest.raises(TypeError, match="dtype=bfloat16 is not drawn: draw float32, and cast"):
            draw(KEY, (4,), "bfloat16")
        with pytest.raises(ValueError, match="dtype=float64 needs 64-bit"):
            draw(KEY, (4,), "float64")
    with pytest.raises(TypeError, match="dtype=int8 is not drawn: draw uint32"):
        random.bits(KEY, (4,), "int8")
    with pytest.raises(ValueError, match="dtype=uint64 needs 64-bit"):
        random.bits(KEY, (4,), "uint64")


def test_fuse_refuses_other_generators() -> None:
    with pytest.raises(ValueError, match="rbg key: fuse takes a threefry2x32 key"):
        random.fuse(jax.random.key(0, impl="rbg"))


def test_a_fused_key_initializes_an_unmodified_flax_model() -> None:
    model = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(10)])
    x = jnp.ones((1, 32))
    init = jax.jit(model.init)
    chex.assert_trees_all_equal(init(random.key(0), x), init(jax.random.key(0), x))
