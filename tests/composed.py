"""What the tests of combinators draw with."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cases import bits

import jaxinit

KEY = jax.random.key(20261124)
HE, NORMAL = jaxinit.he_normal(), jaxinit.normal(1.0)


def three_arguments(key: Any, shape: Any, dtype: Any) -> jax.Array:
    """A user's initializer, without out_sharding, whose sums no compiler rounds."""
    return 1 + jax.random.uniform(key, shape, dtype)


foreign: Any = three_arguments


def given(matrix: Any) -> Any:
    """A user's initializer that always returns the same weights."""
    return lambda key, shape, dtype: jnp.asarray(matrix, dtype)


def equal(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(bits(found), bits(expected))
