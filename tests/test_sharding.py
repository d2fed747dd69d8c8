"""Sharding never changes values, and never builds the whole array."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CORE, PROGRAMS, Case
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import jaxinit

P = PartitionSpec
KEY = jax.random.key(5)
SPECS = [P(), P("a"), P(None, "a"), P("a", "b"), P(("a", "b")), P("b", "a")]
COLLECTIVES = re.compile(r"all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter")


def mesh(kind: AxisType, *sizes: int) -> Mesh:
    names = ("a", "b")[: len(sizes)]
    devices = np.array(jax.devices()[: np.prod(sizes)]).reshape(sizes)
    return Mesh(devices, names, axis_types=(kind,) * len(sizes))


def sharded_shape(case: Case) -> tuple[int, ...]:
    """The case's shape, its last two axes made to divide by eight."""
    return case.sharded or (*case.shape[:-2], *(-(-n // 8) * 8 for n in case.shape[-2:]))


def same(found: jax.Array, expected: Any, case: Case) -> None:
    if case.tolerance:
        np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=case.tolerance)
    else:
        np.testing.assert_array_equal(np.asarray(found), expected)


@pytest.mark.parametrize("case", PROGRAMS, ids=str)
def test_values_do_not_depend_on_the_mesh(case: Case) -> None:
    """The core everywhere; the others eagerly in one mode, and compiled in the other."""
    shape = sharded_shape(case)
    expected = np.asarray(case.init(KEY, shape))
    lead = (None,) * (len(shape) - 2)
    specs = [P(*lead, *spec) for spec in (SPECS if case in CORE else SPECS[2:4])]
    specs = [spec for spec in specs if len(spec) <= len(shape)] or [P("a")]
    first, second = mesh(AxisType.Auto, 4, 2), mesh(AxisType.Explicit, 4, 2)
    for spec in specs if case in CORE else specs[:1]:
        assert_drawn(case, NamedSharding(first, spec), expected)
    assert_compiled(case, NamedSharding(second, specs[-1]), expected)
    if case in CORE:
        for spec in specs:
            assert_drawn(case, NamedSharding(second, spec), expected)
        assert_compiled(case, NamedSharding(first, specs[-1]), expected)
        for whole in (first, second):
            with jax.set_mesh(whole):
                same(case.init(KEY, shape, None, specs[-1]), expected, case)
                same(case.init(KEY, shape), expected, case)


def assert_drawn(case: Case, sharding: NamedSharding, expected: Any) -> None:
    eager = case.init(KEY, expected.shape, jnp.float32, sharding)
    assert eager.sharding == sharding
    same(eager, expected, case)


def assert_compiled(case: Case, sharding: NamedSharding, expected: Any) -> None:
    assert isinstance(sharding.mesh, Mesh)
    with jax.set_mesh(sharding.mesh):
        found = jax.jit(lambda k: case.init(k, expected.shape, None, sharding.spec))(KEY)
        same(found, expected, case)
        assert found.sharding.is_equivalent_to(sharding, found.ndim)


@pytest.mark.parametrize("spec", [P("a"), P("a", "b"), P(None, "b"), P(("a", "b"))], ids=str)
def test_a_mesh_may_have_axes_of_both_modes(spec: PartitionSpec) -> None:
    kinds = (AxisType.Explicit, AxisType.Auto)
    mixed = Mesh(np.array(jax.devices()).reshape(4, 2), ("a", "b"), axis_types=kinds)
    init, sharding = jaxinit.he_normal(), NamedSharding(mixed, spec)
    expected = np.asarray(init(KEY, (64, 32)))
    with jax.set_mesh(mixed):
        drawn = [
            init(KEY, (64, 32), None, spec),
            jax.jit(lambda k: init(k, (64, 32), None, spec))(KEY),
        ]
    for found in (*drawn, init(KEY, (64, 32), None, sharding)):
        np.testing.assert_array_equal(found, expected)
        assert found.sharding.is_equivalent_to(sharding, 2)


@pytest.mark.parametrize("sizes", [(1,), (2,), (4,), (8,), (2, 2)], ids=str)
def test_values_do_not_depend_on_the_number_of_devices(sizes: tuple[int, ...]) -> None:
    for init, tolerance in ((jaxinit.he_normal(), 0.0), (jaxinit.orthogonal(), 1e-5)):
        spec = P(*("a", "b")[: len(sizes)])
        found = init(KEY, (64, 96), None, NamedSharding(mesh(AxisType.Auto, *sizes), spec))
        np.testing.assert_allclose(np.asarray(found), init(KEY, (64, 96)), rtol=0, atol=tolerance)


def test_batches_and_out_shardings_of_jit() -> None:
    whole = mesh(AxisType.Auto, 4, 2)
    sharding = NamedSharding(whole, P("a", "b"))
    init = jaxinit.glorot_uniform()
    expected = np.asarray(init(KEY, (16, 8)))
    found = jax.jit(lambda k: init(k, (16, 8)), out_shardings=sharding)(KEY)
    np.testing.assert_array_equal(found, expected)
    keys = jax.random.split(KEY, 4)
    stacked = jax.vmap(lambda k: init(k, (16, 8), None, sharding))(keys)
    np.testing.assert_array_equal(stacked[2], init(keys[2], (16, 8)))
    layers = jaxinit.orthogonal(batch_axis=0)
    over = NamedSharding(whole, P("a"))
    np.testing.assert_allclose(
        layers(KEY, (8, 24, 16), None, over), layers(KEY, (8, 24, 16)), rtol=0, atol=1e-5
    )


def compiled(init: Any, shape: tuple[int, ...], dtype: Any, sharding: Any) -> Any:
    return jax.jit(lambda k: init(k, shape, dtype, sharding)).lower(KEY).compile()


ELEMENTWISE = [case for case in PROGRAMS if case.elementwise]


@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
def test_an_elementwise_law_is_one_kernel_without_temporaries(case: Case) -> None:
    shape = (*case.shape[:-2], 256, 512)[-len(case.shape) :]
    for dtype in (jnp.bfloat16, jnp.float32)[: 1 + (case in CORE)]:
        program = compiled(case.init, shape, dtype, None)
        memory = program.memory_analysis()
        assert memory.temp_size_in_bytes <= 0.01 * memory.output_size_in_bytes
        entry = program.as_text().split("ENTRY")[1]
        whole = ",".join(map(str, shape))  # keys may be split by small kernels of their own
        assert len(re.findall(rf"= \w+\[{whole}\]\S* fusion\(", entry)) == 1


@pytest.mark.parametrize("case", [c for c in ELEMENTWISE if len(c.shape) > 1][::4], ids=str)
def test_each_device_computes_its_own_shard(case: Case) -> None:
    shape = (*case.shape[:-2], 512, 512)[-len(case.shape) :]
    lead = (None,) * (len(shape) - 2)
    sharding = NamedSharding(mesh(AxisType.Auto, 4, 2), P(*lead, "a", "b"))
    program = compiled(case.init, shape, jnp.float32, sharding)
    memory = program.memory_analysis()
    shard = np.prod(shape) * 4 / 8
    assert memory.output_size_in_bytes == shard
    assert memory.temp_size_in_bytes < 0.1 * shard
    assert not COLLECTIVES.search(program.as_text())


@pytest.mark.parametrize(
    ("init", "to"),
    [
        (jaxinit.he_normal(), (8, 4, -1)),
        (jaxinit.truncated_normal(0.1), (48, -1, 2)),
        (jaxinit.stacked(jaxinit.uniform()), (6, -1, 4)),
        (jaxinit.stacked(jaxinit.identity()), (24, 64, 64)),
        (jaxinit.low_discrepancy(), (64, -1)),
    ],
    ids=str,
)
def test_a_mesh_may_cut_across_a_reshape(init: Any, to: tuple[int, ...]) -> None:
    reshaped = jaxinit.reshaped(init, to)
    sharding = NamedSharding(mesh(AxisType.Auto, 4, 2), P("a", "b"))
    program = compiled(reshaped, (192, 512), jnp.float32, sharding)
    assert program.memory_analysis().temp_size_in_bytes < 0.1 * 192 * 512 * 4 / 8
    np.testing.assert_array_equal(program(KEY), reshaped(KEY, (192, 512)))


def test_what_is_no_function_of_an_entry_is_reshaped_whole() -> None:
    """A sort and a product, whose operands have the shape of the result too."""

    def init(key: Any, shape: Any, dtype: Any = None) -> jax.Array:
        drawn = jax.random.normal(key, shape, dtype)
        return jnp.sort(drawn @ jax.random.normal(key, (shape[1], shape[1]), dtype), axis=0)

    sharding = NamedSharding(mesh(AxisType.Auto, 4, 2), P("a", "b"))
    reshaped = jaxinit.reshaped(init, (8, 16))
    found = reshaped(KEY, (16, 8), None, sharding)
    np.testing.assert_allclose(found, reshaped(KEY, (16, 8)), rtol=1e-6)


@pytest.mark.parametrize("spec", [P("a"), P(None, "a")], ids=str)
def test_orthogonal_shards_without_communication(spec: PartitionSpec) -> None:
    sharding = NamedSharding(mesh(AxisType.Auto, 8), spec)
    program = compiled(jaxinit.orthogonal(), (1024, 1024), jnp.float32, sharding)
    shard = 1024 * 1024 * 4 / 8
    assert program.memory_analysis().temp_size_in_bytes <= 3 * shard
    assert not COLLECTIVES.search(program.as_text())
    tall = compiled(jaxinit.orthogonal(), (4096, 512), jnp.float32, sharding)
    assert not re.search("all-gather|all-to-all", tall.as_text())
