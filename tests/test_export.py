"""A drawing program can be exported to every platform, and draws the same when it comes back."""

from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from cases import PROGRAMS, Case
from jax import Array

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
# The cast is one for all laws.
NARROWED = dict.fromkeys(("normal", "uniform", "orthogonal"), ("float32", "bfloat16"))


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
        pytest.param(case, dtype, id=f"{case}-{dtype}")
        for case in PROGRAMS
        for dtype in ("complex64" if case.complex else "float32", *NARROWED.get(case.name, ()))
    ],
)
def test_an_exported_program_draws_the_same(case: Case, dtype: str) -> None:
    key = jax.random.key(3)
    program = exported(case.init, case.shape, dtype, key)
    assert program.platforms == PLATFORMS
    assert_equal(program.call(key), case.init(key, case.shape, dtype), case.tolerance)
