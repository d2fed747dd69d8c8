"""An unmodified Flax model, initialized with JAX's key and with jaxinit's."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

import jaxinit
from benchmarks.measure import COMPILES, contest, main, table, temp_over_output

WIDTH = 1024
HEADS = 16
BLOCKS = 4


class Transformer(nn.Module):
    """Pre-norm blocks with Flax's own initializers."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """From (batch, time, WIDTH) to the same."""
        for _ in range(BLOCKS):
            x = x + nn.MultiHeadDotProductAttention(HEADS)(nn.LayerNorm()(x))
            x = x + nn.Dense(WIDTH)(nn.gelu(nn.Dense(4 * WIDTH)(nn.LayerNorm()(x))))
        return x


def initialize(key: Array) -> Any:
    """The model's variables; the forward pass is dead code under jit."""
    return Transformer().init(key, jnp.zeros((1, 8, WIDTH)))


def report(rounds: int) -> Iterator[str]:
    """All sections."""
    keys = {"jaxinit": jaxinit.random.key(0), "JAX": jax.random.key(0)}
    programs, compiling, running = contest(rounds, dict.fromkeys(keys, initialize), keys)
    rows = [
        (
            f"{name}.random.key(0)".lower(),
            f"{running.median(name) * 1e3:.0f}",
            f"{compiling.median(name):.2f}",
            temp_over_output(program),
        )
        for name, program in programs.items()
    ]
    ours, theirs = (programs[name](key) for name, key in keys.items())
    parameters = sum(leaf.size for leaf in jax.tree.leaves(ours))
    yield f"## Model().init under jit, {parameters / 1e6:.1f} M parameters, float32"
    yield table(("key", "run ms", "compile s", "temp/output"), rows)
    yield f"Speedup of a run: {running.speedup('jaxinit', 'JAX')}."
    yield f"Speedup of compiling: {compiling.speedup('jaxinit', 'JAX')}, {COMPILES} rounds."
    yield f"All leaves bit-identical: {'yes' if identical(ours, theirs) else 'NO'}."


def identical(a: Any, b: Any) -> bool:
    """Whether two trees have the same structure and the same bits."""
    same = jax.tree.map(lambda x, y: np.asarray(x).tobytes() == np.asarray(y).tobytes(), a, b)
    return all(jax.tree.leaves(same))


if __name__ == "__main__":
    main("A Flax model with a fused key", report)
