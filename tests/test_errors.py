"""Bad input fails before any work, and says what to do."""

import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import jaxinit
from jaxinit import Axes

untyped: Any = jaxinit
KEY = jax.random.key(0)
HE = jaxinit.he_normal()


def mesh() -> jax.sharding.Mesh:
    auto = (jax.sharding.AxisType.Auto,) * 2
    return jax.make_mesh((4, 2), ("a", "b"), axis_types=auto)


FACTORY: list[tuple[Any, type[Exception], str]] = [
    (lambda: jaxinit.normal(-0.1), ValueError, "stddev=-0.1 is negative"),
    (lambda: jaxinit.normal(float("nan")), ValueError, "stddev=nan is not finite"),
    (lambda: untyped.normal("0.1"), TypeError, "stddev='0.1' is not a real number"),
    (lambda: jaxinit.normal(np.array([0.1, -1])), ValueError, "negative"),
    (lambda: jaxinit.uniform(float("inf")), ValueError, "scale=inf is not finite"),
    (lambda: jaxinit.orthogonal(float("nan")), ValueError, "scale=nan is not finite"),
    (lambda: jaxinit.orthogonal(1j), TypeError, "scale=1j is not a real number"),
    (
        lambda: jaxinit.variance_scaling(1.0, "fan_inn", "normal"),  # type: ignore[arg-type]
        ValueError,
        "mode='fan_inn' is none of .*; did you mean 'fan_in'",
    ),
    (
        lambda: jaxinit.variance_scaling(1.0, "fan_in", "gaussian"),  # type: ignore[arg-type]
        ValueError,
        "distribution='gaussian' is none of 'truncated_normal', 'normal', 'uniform'",
    ),
    (
        lambda: jaxinit.variance_scaling(-1.0, "fan_in", "normal"),
        ValueError,
        "scale=-1.0 is negative",
    ),
    (lambda: untyped.he_normal("in"), TypeError, "in_axis='in' is neither an integer"),
    (lambda: untyped.he_normal(0.5), TypeError, "in_axis=0.5 is neither an integer"),
    (lambda: jaxinit.he_normal(axis=0), TypeError, "unexpected keyword argument 'axis'"),  # type: ignore[call-arg]
    (lambda: untyped.variance_scaling(1, "fan_in", "normal", fan=[3, 4]), TypeError, "not one num"),
]


@pytest.mark.parametrize(("make", "error", "message"), FACTORY, ids=range(len(FACTORY)))
def test_factories(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def sharded(spec: PartitionSpec, shape: tuple[int, ...]) -> Any:
    return HE(KEY, shape, None, NamedSharding(mesh(), spec))


P = PartitionSpec
MISFIT = r"array of shape \(3,\) among the arguments does not broadcast to the shape \(2, 2\)"
CALL: list[tuple[Any, type[Exception], str]] = [
    (lambda: HE(KEY, (3, -1)), ValueError, r"shape=\(3, -1\) has a negative entry"),
    (lambda: HE(KEY, (3, 2.5)), TypeError, r"shape=\(3, 2.5\) is not a sequence of integers"),  # type: ignore[arg-type]
    (lambda: HE(KEY, 3), TypeError, r"shape=3 .*pass \(3,\)"),  # type: ignore[arg-type]
    (lambda: HE(KEY, (3, 2), jnp.int32), TypeError, "dtype=int32 has no fractions"),
    (lambda: HE(KEY, (3, 2), "float33"), TypeError, "dtype='float33' is not a dtype"),
    (lambda: HE(KEY, (3, 2), jnp.float64), ValueError, "dtype=float64 needs .*JAX_ENABLE_X64"),
    (lambda: HE(KEY, (3, 2), jnp.float8_e8m0fnu), TypeError, "no sign and no zero"),
    (lambda: HE(KEY, (8,)), ValueError, r"shape \(8,\) is 1-D: a bias has no fan-in"),
    (lambda: HE(KEY, ()), ValueError, "is 0-D: a bias has no fan-in"),
    (lambda: jaxinit.he_normal(5)(KEY, (3, 2)), ValueError, "in_axis=5 is out of range"),
    (
        lambda: jaxinit.he_normal(-1)(KEY, (3, 2)),
        ValueError,
        "out_axis=-1 and in_axis=-1 both name axis 1",
    ),
    (
        lambda: jaxinit.he_normal(batch_axis=0)(KEY, (3, 2)),
        ValueError,
        "batch_axis=0 and in_axis=-2 both name axis 0",
    ),
    (lambda: HE(jax.random.split(KEY, 3), (3, 2)), ValueError, "batch of keys.*jax.vmap"),
    (
        lambda: HE(jax.random.key_data(jax.random.split(KEY)), (3, 2)),
        ValueError,
        "batch of keys.*jax.vmap",
    ),
    (lambda: HE(jnp.zeros(2), (3, 2)), TypeError, "key has dtype float32"),
    (lambda: HE(jnp.zeros(3, jnp.uint32), (3, 2)), TypeError, r"key has shape \(3,\)"),
    (lambda: HE(0, (3, 2)), TypeError, "key=0 is a int, not a JAX key"),
    (lambda: HE(lambda: KEY, (3, 2)), TypeError, "call the stream to get one"),
    (lambda: jaxinit.uniform()(KEY, (2,), jnp.complex64), TypeError, "law on the real line"),
    (
        lambda: jaxinit.truncated_normal()(KEY, (2,), jnp.complex64),
        TypeError,
        "law on the real line",
    ),
    (
        lambda: jaxinit.truncated_normal(1, None, 2, -2)(KEY, (2,)),
        ValueError,
        "lower=2 is not below upper=-2",
    ),
    (lambda: jaxinit.constant([1, 2])(None, (3,)), ValueError, "does not broadcast"),
    (
        lambda: jaxinit.normal(np.ones((5, 1)))(KEY, (3,)),
        ValueError,
        r"makes weights of shape \(5, 3\), not the shape \(3,\)",
    ),
    (lambda: jaxinit.constant([[1, 2]])(None, (2,)), ValueError, "does not broadcast"),
    (lambda: jaxinit.normal(np.ones(3))(KEY, (2, 2)), ValueError, MISFIT),
    (lambda: jaxinit.normal(0.1, mean=np.ones(3))(KEY, (2, 2)), ValueError, MISFIT),
    (lambda: jaxinit.student_t(np.full(3, 5.0))(KEY, (2, 2)), ValueError, MISFIT),
    (lambda: (jaxinit.ones * np.ones(3))(None, (2, 2)), ValueError, MISFIT),
    (lambda: jaxinit.clipped(HE, np.zeros(3), 1)(KEY, (2, 2)), ValueError, MISFIT),
    (
        lambda: jaxinit.uniform_between(-np.ones(3), np.ones(2))(KEY, (3,)),
        ValueError,
        r"low of shape \(3,\) and high of shape \(2,\) do not broadcast",
    ),
    (lambda: jaxinit.orthogonal()(KEY, (3,)), ValueError, "no axis for the rows"),
    (lambda: jaxinit.orthogonal(1, 2)(KEY, (3, 3)), ValueError, "column_axis=2 is out of range"),
    (lambda: jaxinit.orthogonal(batch_axis=-1)(KEY, (3, 3)), ValueError, "overlap in shape"),
    (lambda: jaxinit.delta_orthogonal()(KEY, (3, 8, 4)), ValueError, "n_in=8 > n_out=4"),
    (lambda: jaxinit.delta_orthogonal()(KEY, (8, 4)), ValueError, "has 2 axes"),
    (lambda: jaxinit.delta_orthogonal(1, 0)(KEY, (3, 4, 4)), ValueError, "is a spatial axis"),
    (lambda: jaxinit.identity()(KEY, (3,)), ValueError, "is 1-D"),
    (lambda: sharded(P("a", None, "b"), (8, 8)), ValueError, "has 3 entries for shape"),
    (lambda: sharded(P("a"), (6, 8)), ValueError, "splits axis 0 .* into 4 shards"),
    (lambda: HE(KEY, (8, 8), None, P("a")), ValueError, "there is none: call under jax.set_mesh"),
    (lambda: HE(KEY, (8, 8), None, "a"), TypeError, "out_sharding='a' is a str"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "error", "message"), CALL, ids=range(len(CALL)))
def test_calls(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
    with pytest.raises(error, match=message):  # and so while tracing
        jax.eval_shape(call)


def test_axes_of_the_mesh() -> None:
    with (
        jax.set_mesh(mesh()),
        pytest.raises(ValueError, match=r"names \['c'\], which the mesh in force does not have"),
    ):
        HE(KEY, (8, 8), None, P("c"))


def test_manual_axes() -> None:
    def local(x: jax.Array) -> jax.Array:
        return x + HE(KEY, (8, 8), None, P("a"))

    mapped = jax.shard_map(local, mesh=mesh(), in_specs=P("a"), out_specs=P("a"))
    with pytest.raises(ValueError, match="a manual axis: inside shard_map"):
        jax.eval_shape(mapped, jnp.zeros((32, 8)))


def test_axes_directly() -> None:
    with pytest.raises(ValueError, match="in_axis=4 is out of range"):
        Axes(4, 0).fans((3, 3))
    with pytest.raises(TypeError, match="in_axis='x'"):
        Axes("x")  # type: ignore[arg-type]
    assert Axes([0, 1], 2).fans((2, 3, 4, 5)) == (30.0, 20.0, 5.0)


def filled(shape: Any, dtype: Any, scale: Any) -> jax.Array:
    return jnp.full(shape, scale, dtype)


def test_annotations_as_text_are_checked_unless_they_name_what_only_type_checkers_see() -> None:
    def law(spec: Any, mode: Any, scale: Any = 1.0) -> Any:
        return jaxinit.fill(filled, scale)

    law.__annotations__ = {"mode": repr(typing.Literal["a", "b"]), "scale": "NowhereToBeSeen"}
    factory = jaxinit.initializer(law)
    assert (factory("a", 2.0)(None, (3,)) == 2).all()
    with pytest.raises(ValueError, match="mode='c'"):
        factory("c")
