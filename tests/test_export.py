"""A drawing program can be exported to every platform, and draws the same when it comes back."""

from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

import jaxinit

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
REAL = ("float32", "bfloat16")
ALL = (*REAL, "complex64")


class Case(NamedTuple):
    """An initializer, a shape and the dtypes it draws, and how exactly it must come back."""

    init: Any
    shape: tuple[int, ...] = (24, 40)
    dtypes: tuple[str, ...] = ALL
    tolerance: float = 0.0


CASES = (
    Case(jaxinit.zeros),
    Case(jaxinit.ones),
    Case(jaxinit.zeros_init()),
    Case(jaxinit.ones_init()),
    Case(jaxinit.constant(0.3)),
    Case(jaxinit.identity(2.0), (3, 3, 8, 16)),
    Case(jaxinit.uniform(0.5), dtypes=REAL),
    Case(jaxinit.normal(0.5)),
    Case(jaxinit.truncated_normal(0.5), dtypes=REAL),
    Case(jaxinit.variance_scaling(2.0, "fan_in", "truncated_normal")),
    Case(jaxinit.variance_scaling(2.0, "fan_avg", "normal")),
    Case(jaxinit.variance_scaling(2.0, "fan_geo_avg", "uniform")),
    Case(jaxinit.glorot_normal()),
    Case(jaxinit.glorot_uniform()),
    Case(jaxinit.xavier_normal()),
    Case(jaxinit.xavier_uniform()),
    Case(jaxinit.he_normal(negative_slope=0.1)),
    Case(jaxinit.he_uniform()),
    Case(jaxinit.kaiming_normal()),
    Case(jaxinit.kaiming_uniform()),
    Case(jaxinit.lecun_normal()),
    Case(jaxinit.lecun_uniform()),
    Case(jaxinit.orthogonal(), tolerance=1e-5),
    Case(jaxinit.orthogonal(2.0, batch_axis=0), (2, 48, 16), tolerance=1e-5),
    Case(jaxinit.delta_orthogonal(), (3, 3, 8, 16), tolerance=1e-5),
)


def exported(init: Any, shape: tuple[int, ...], dtype: str, key: Array) -> jax.export.Exported:
    """The program that draws these weights, for every platform, written and read again."""
    draw = jax.jit(lambda key: init(key, shape, dtype))
    program = jax.export.export(draw, platforms=PLATFORMS)(jax.typeof(key))
    return jax.export.deserialize(program.serialize())


def assert_equal(found: Array, expected: Array, tolerance: float) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if tolerance:
        # One unit in the last place is the least by which a narrow dtype can differ.
        step = float(jnp.finfo(expected.dtype).eps) if expected.dtype.itemsize < 4 else 0.0
        kind = np.result_type(np.asarray(expected).real.dtype, np.float32)
        a, b = (
            np.asarray(x).astype(np.promote_types(kind, np.complex64)) for x in (found, expected)
        )
        np.testing.assert_allclose(a, b, rtol=step, atol=tolerance)
    else:
        assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, id=f"{case.init}-{dtype}")
        for case in dict.fromkeys(CASES)
        for dtype in case.dtypes
    ],
)
def test_an_exported_program_draws_the_same(case: Case, dtype: str) -> None:
    key = jax.random.key(3)
    program = exported(case.init, case.shape, dtype, key)
    assert program.platforms == PLATFORMS
    assert_equal(program.call(key), case.init(key, case.shape, dtype), case.tolerance)
