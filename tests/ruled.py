"""The tree and the rules that the tests of rules draw."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

KEY = jax.random.key(4)
P = PartitionSpec


def abstract(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def model(layers: int = 3) -> dict[str, Any]:
    return {
        "embed": abstract(100, 16),
        **{
            f"h_{i}": {
                "attn": {name: {"kernel": abstract(16, 16)} for name in ("query", "key", "out")},
                "mlp": {"kernel": abstract(16, 64, dtype=jnp.bfloat16), "bias": abstract(64)},
            }
            for i in range(layers)
        },
    }
