"""What observing a transformer costs beside its forward and backward pass: time and memory."""

import statistics
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxinit import capture

LAYERS, WIDTH, BATCH, TOKENS, VOCABULARY = 12, 768, 8, 128, 1000


class Block(nn.Module):
    """A block of a pre-norm transformer."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Its output."""
        x = x + nn.MultiHeadDotProductAttention(12)(nn.LayerNorm()(x))
        hidden = nn.Dense(4 * WIDTH)(nn.LayerNorm()(x))
        return x + nn.Dense(WIDTH)(nn.gelu(hidden))


class Model(nn.Module):
    """A language model of such blocks."""

    @nn.compact
    def __call__(self, tokens: Any) -> Any:
        """Its output."""
        x = nn.Embed(VOCABULARY, WIDTH)(tokens)
        for _ in range(LAYERS):
            x = Block()(x)
        return nn.Dense(VOCABULARY)(nn.LayerNorm()(x))


def loss(logits: Any) -> Any:
    return -jnp.mean(jax.nn.log_softmax(logits)[..., 0])


def main() -> None:
    model = Model()
    tokens = jax.random.randint(jax.random.key(1), (BATCH, TOKENS), 0, VOCABULARY)
    params = jax.jit(model.init)(jax.random.key(0), tokens)
    trace = capture.trace(model.apply, params, tokens)
    functions = {
        "forward and backward": jax.value_and_grad(lambda p, t: loss(model.apply(p, t))),
        "observed": trace.instrument(loss=loss),
        "observed, gradients": trace.instrument(loss=loss, gradients=True),
    }
    compiled: dict[str, Any] = {}
    for name, fn in functions.items():
        compiled[name] = jax.jit(fn).lower(params, tokens).compile()
    seconds: dict[str, list[float]] = {name: [] for name in compiled}
    for _ in range(4):  # in turn; of the process, as the machine may be shared; the first warms up
        for name, fn in compiled.items():
            start = time.process_time()
            jax.block_until_ready(fn(params, tokens))
            seconds[name].append(time.process_time() - start)
    base, *_ = compiled
    first = statistics.median(seconds[base][1:])
    memory = compiled[base].memory_analysis().temp_size_in_bytes
    print(f"{len(trace.sites)} sites")
    for name, fn in compiled.items():
        median = statistics.median(seconds[name][1:])
        size = fn.memory_analysis().temp_size_in_bytes
        print(
            f"{name:22} {median:6.2f} s of CPU, {median / first:.2f}x"
            f"   {size / 2**20:6.0f} MiB temporary, {size / memory:.3f}x"
        )


if __name__ == "__main__":
    main()
