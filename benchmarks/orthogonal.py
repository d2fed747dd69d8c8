"""Haar orthogonal matrices: time, compilation, accuracy, and how they shard.

On CPU JAX's QR is OpenBLAS's, whose threads spin while they wait for one another: on a busy machine
it is many times slower than on a quiet one.
"""

import collections
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import jax
import numpy as np
from jax import Array
from jax.nn import initializers
from jax.sharding import NamedSharding, PartitionSpec

import jaxinit
from benchmarks.measure import COMPILES, compiled, contest, main, table, temp_over_output

SHAPES = ((1024, 1024), (2048, 2048), (8192, 512), (64, 512, 512))
SHARDED_SHAPE = (4096, 4096)
DEVICES = 8
LAYOUTS = (
    ((8,), PartitionSpec("a", None)),
    ((8,), PartitionSpec(None, "a")),
    ((4, 2), PartitionSpec("a", "b")),
)
COLLECTIVE = re.compile(
    r"\b(all-gather|all-reduce|all-to-all|collective-broadcast|collective-permute"
    r"|ragged-all-to-all|reduce-scatter)(?:-start)?\("
)


def report(rounds: int) -> Iterator[str]:
    """All sections."""
    yield "## Against jax.nn.initializers.orthogonal, float32 under jit"
    yield against_jax(rounds)
    yield f"Compilation from nothing, tracing included: median of {COMPILES}."
    yield f"## Sharded {SHARDED_SHAPE} over {DEVICES} fake CPU devices"
    yield sharded_in_subprocess()


def against_jax(rounds: int) -> str:
    """One row a shape."""
    header = ("shape", "jaxinit ms", "JAX ms", "speedup", "jaxinit compile s", "JAX compile s")
    return table((*header, "max abs(QᵀQ - I)"), [row(rounds, shape) for shape in SHAPES])


def row(rounds: int, shape: tuple[int, ...]) -> tuple[object, ...]:
    """A row: seconds to run and to compile, and the error of jaxinit's."""
    key = jax.random.key(0)
    functions = {
        "jaxinit": functools.partial(ours, shape=shape),
        "JAX": functools.partial(theirs, shape=shape),
    }
    programs, compiling, running = contest(rounds, functions, dict.fromkeys(functions, key))
    return (
        " x ".join(map(str, shape)),
        *(f"{running.median(name) * 1e3:.1f}" for name in functions),
        running.speedup("jaxinit", "JAX"),
        *(f"{compiling.median(name):.2f}" for name in functions),
        f"{error(programs['jaxinit'](key)):.1e}",
    )


def ours(key: Array, shape: tuple[int, ...]) -> Array:
    """Leading axes are a batch."""
    batch_axis = tuple(range(len(shape) - 2))
    return jaxinit.orthogonal(batch_axis=batch_axis)(key, shape, "float32")


def theirs(key: Array, shape: tuple[int, ...]) -> Array:
    """JAX's has no batch: one key a matrix, under vmap."""
    *batch, n, m = shape
    init = functools.partial(initializers.orthogonal(), shape=(n, m), dtype="float32")
    for _ in batch:
        init = jax.vmap(init)
    return init(jax.random.split(key, tuple(batch)) if batch else key)


def error(q: Array) -> float:
    """max abs(QᵀQ - I), computed in float64."""
    wide = np.asarray(q, np.float64)
    gram = wide.swapaxes(-1, -2) @ wide
    return float(abs(gram - np.eye(gram.shape[-1])).max())


def sharded_in_subprocess() -> str:
    """What `sharded` returns where there are several devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
    code = "from benchmarks.orthogonal import sharded; print(sharded())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return run.stdout.strip()


def sharded() -> str:
    """Memory and communication of each layout; collectives counted in the HLO, loops once."""
    rows = []
    for sizes, spec in LAYOUTS:
        mesh = jax.make_mesh(sizes, ("a", "b")[: len(sizes)])
        sharding = NamedSharding(mesh, spec)
        init = functools.partial(
            jaxinit.orthogonal(), shape=SHARDED_SHAPE, dtype="float32", out_sharding=sharding
        )
        program = compiled(init, jax.random.key(0))
        mesh_name = " x ".join(map(str, sizes))
        rows.append((mesh_name, spec, temp_over_output(program), collectives(program)))
    return table(("mesh", "sharding", "temp/shard on a device", "collectives"), rows)


def collectives(program: jax.stages.Compiled) -> str:
    """The kinds of communication in a compiled program, and how many instructions of each."""
    counts = collections.Counter(COLLECTIVE.findall(program.as_text() or ""))
    return ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())) or "none"


if __name__ == "__main__":
    main("Orthogonal", report)
