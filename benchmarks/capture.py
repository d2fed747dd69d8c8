"""What observing and diagnosing a transformer cost beside its forward and backward pass.

Names on the command line choose what is measured, besides the pass and the diagnosis.
"""

import functools
import statistics
import sys
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxinit import capture
from jaxinit.diagnosis.examination import Examination

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
    labels = jnp.zeros_like(tokens)
    examination = Examination(model.apply, params, tokens, labels=labels)
    compiled: dict[str, Any] = {}
    for name, fn in functions.items():
        if not sys.argv[1:] or name in (next(iter(functions)), *sys.argv[1:]):
            compiled[name] = jax.jit(fn).lower(params, tokens).compile()
    calls = {name: functools.partial(fn, params, tokens) for name, fn in compiled.items()}
    compiled["diagnosed"] = examination.programs.lower(params, (tokens,), labels).compile()
    calls["diagnosed"] = functools.partial(examination, params, tokens, labels=labels)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(4):  # in turn; of the process, as the machine may be shared; the first warms up
        for name, call in calls.items():
            start = time.process_time()
            jax.block_until_ready(call())
            seconds[name].append(time.process_time() - start)
    base, *_ = calls
    first = statistics.median(seconds[base][1:])
    memory = peak(compiled[base])
    print(f"{len(trace.sites)} sites")
    for name in calls:
        median = statistics.median(seconds[name][1:])
        size = peak(compiled[name])
        print(
            f"{name:22} {median:6.2f} s of CPU, {median / first:.2f}x"
            f"   {size / 2**20:6.0f} MiB of results and temporaries, {size / memory:.3f}x",
            flush=True,
        )


def peak(program: Any) -> int:
    """Bytes beyond the arguments."""
    memory = program.memory_analysis()
    return int(memory.temp_size_in_bytes + memory.output_size_in_bytes)


if __name__ == "__main__":
    main()
