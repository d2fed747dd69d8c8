"""Whole models from nothing, each contender in fresh processes: time, memory, compilations."""

import hashlib
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx
from jax import Array
from jax.nn import initializers
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import jaxinit
import jaxinit.flax
from benchmarks.measure import Race, Ratio, main, table
from jaxinit import Rules, by_depth

WIDTH, HEADS, LAYERS, VOCABULARY, CONTEXT = 768, 12, 12, 50257, 1024
KERNELS, KERNEL = 400, (256, 256)
DEPTH = 48
LEAVES, SHAPES = 10_000, 20
DEVICES = 8
KEY = jax.random.key(0)
TOKENS = jnp.ones((1, 8), jnp.int32)


class Block(nn.Module):
    """A pre-norm layer with Flax's own initializers."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Attention and a feed-forward."""
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(HEADS)(y, y)
        return x + nn.Dense(WIDTH)(nn.gelu(nn.Dense(4 * WIDTH)(nn.LayerNorm()(x))))


class Transformer(nn.Module):
    """163 M parameters; the head is not tied to the embedding."""

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        """Logits."""
        x = nn.Embed(VOCABULARY, WIDTH)(tokens)
        x = x + nn.Embed(CONTEXT, WIDTH)(jnp.arange(tokens.shape[-1]))
        for _ in range(LAYERS):
            x = Block()(x)
        return nn.Dense(VOCABULARY, use_bias=False)(nn.LayerNorm()(x))


class NnxBlock(nnx.Module):
    """The parameters of `Block`."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.up = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.down = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)


class NnxTransformer(nnx.Module):
    """The parameters of `Transformer`."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.tokens = nnx.Embed(VOCABULARY, WIDTH, rngs=rngs)
        self.positions = nnx.Embed(CONTEXT, WIDTH, rngs=rngs)
        self.blocks = nnx.List([NnxBlock(rngs) for _ in range(LAYERS)])
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, VOCABULARY, use_bias=False, rngs=rngs)


def kernels(key: Array) -> list[Array]:
    """Equal kernels by JAX's initializer."""
    init = initializers.he_normal()
    return [init(k, KERNEL) for k in jax.random.split(key, KERNELS)]


def scaled_layer(i: int) -> jaxinit.Initializer:
    """The initializer of one layer of `depths`."""
    return jaxinit.layer_scaled(jaxinit.he_normal(), i)


def depths() -> Any:
    """Layers of one shape, each with a scale of its own, by one rule."""
    tree = {f"h_{i}": jax.ShapeDtypeStruct(KERNEL, jnp.float32) for i in range(DEPTH)}
    return jaxinit.initialize(tree, Rules({"h_*": by_depth(scaled_layer)}), KEY)


def depths_apart() -> Any:
    """The same scales, each compiled into JAX's initializer."""

    def layer(i: int, key: Array) -> Array:
        return initializers.variance_scaling(2 / (2 * (i + 1)), "fan_in", "normal")(key, KERNEL)

    jitted = jax.jit(layer, static_argnums=0)
    return [jitted(i, key) for i, key in enumerate(jax.random.split(KEY, DEPTH))]


def small_leaves() -> Any:
    """Many leaves of few shapes."""
    shapes = [(8 + i % 5, 8 + i // 5) for i in range(SHAPES)]
    tree = {
        f"layer_{i}": {"kernel": jax.ShapeDtypeStruct(shapes[i % SHAPES], jnp.float32)}
        for i in range(LEAVES)
    }
    return jaxinit.initialize(tree, Rules({"**/kernel": jaxinit.he_normal()}), KEY)


CONTENDERS: dict[str, Callable[[], Any]] = {
    "jax.jit(model.init)": lambda: jax.jit(Transformer().init)(KEY, TOKENS),
    "model.init": lambda: Transformer().init(KEY, TOKENS),
    "batched(model.init)": lambda: jaxinit.batched(Transformer().init)(KEY, TOKENS),
    "Model(nnx.Rngs(key))": lambda: nnx.state(NnxTransformer(nnx.Rngs(KEY)), nnx.Param),
    "create(Model, key)": lambda: nnx.state(jaxinit.flax.create(NnxTransformer, KEY), nnx.Param),
    "jax.jit(kernels)": lambda: jax.jit(kernels)(KEY),
    "batched(kernels)": lambda: jaxinit.batched(kernels)(KEY),
    "one jax.jit a layer": depths_apart,
    "initialize with by_depth": depths,
    "initialize": small_leaves,
}


class Run(NamedTuple):
    """One cold call: `beyond` is the peak of resident memory over baseline and result, in bytes."""

    seconds: float
    cpu: float
    compilations: int
    beyond: int
    size: int
    digest: str


def measure(name: str) -> Run:
    """A contender called once, in this process."""
    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    jax.block_until_ready(TOKENS)
    baseline, cpu, start = _resident(), time.process_time(), time.perf_counter()
    result = jax.block_until_ready(CONTENDERS[name]())
    seconds, cpu, peak = time.perf_counter() - start, time.process_time() - cpu, _resident()
    compilations = len(compiled)
    digest, size = hashlib.blake2b(), 0
    for leaf in jax.tree.leaves(result):
        digest.update(np.asarray(leaf).tobytes())
        size += leaf.nbytes
    return Run(seconds, cpu, compilations, peak - baseline - size, size, digest.hexdigest())


def _resident() -> int:
    """The largest resident memory so far, which macOS gives in bytes and Linux in KiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def fresh(name: str, **environment: str) -> Any:
    """What a fresh process prints for a name."""
    command = [sys.executable, "-m", "benchmarks.models", "--in-process", name]
    done = subprocess.run(
        command, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout)


def contest(rounds: int, *names: str) -> dict[str, list[Run]]:
    """Fresh processes of each contender in turn."""
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for i in range(rounds):
        for name in names[:: (-1) ** i]:
            runs[name].append(Run(*fresh(name)))
    return runs


def section(runs: dict[str, list[Run]], ours: str) -> str:
    """A table of contenders, and how many times faster ours is than each."""
    wall = Race({name: [run.seconds for run in its] for name, its in runs.items()})
    cpu = Race({name: [run.cpu for run in its] for name, its in runs.items()})
    rows = []
    for name, its in runs.items():
        ratios: tuple[Ratio | str, ...] = ("", "")
        if name != ours:
            ratios = wall.speedup(ours, name), cpu.speedup(ours, name)
        cells = f"{wall.median(name):.2f}", f"{cpu.median(name):.2f}", str(its[0].compilations)
        rows.append((name, *cells, _memory(its), *ratios))
    header = ("cold call", "s", "CPU s", "compilations", "memory beyond the result", "speedup")
    return table((*header, "in CPU time"), rows)


def _memory(runs: list[Run]) -> str:
    """In the best of runs, over the result; beside a small result, XLA's own memory is all."""
    least = min(run.beyond / run.size for run in runs)
    return f"{least:.2f}" if runs[0].size > 2**28 else "-"


def report(rounds: int) -> Iterator[str]:
    """All sections."""
    linen = "jax.jit(model.init)", "model.init", "batched(model.init)"
    runs = contest(rounds, *linen)
    first = runs[linen[0]][0]
    yield f"## A linen transformer, {first.size / 4e6:.0f} M parameters, float32"
    yield section(runs, linen[2])
    yield f"Bit-identical to jax.jit(model.init): {_same(runs, linen[0], linen[2])}."
    yield "## The same in nnx"
    yield section(contest(rounds, *(nnx := ("Model(nnx.Rngs(key))", "create(Model, key)"))), nnx[1])
    yield f"## {KERNELS} equal kernels of {KERNEL[0]} x {KERNEL[1]}, one round"
    runs = contest(1, *(equal := ("jax.jit(kernels)", "batched(kernels)")))
    yield section(runs, equal[1])
    yield f"Bit-identical: {_same(runs, *equal)}."
    yield f"## {DEPTH} layers of one shape, each with a scale of its own"
    depth = "one jax.jit a layer", "initialize with by_depth"
    yield section(contest(rounds, *depth), depth[1])
    yield f"## {LEAVES} leaves of {SHAPES} shapes"
    yield section(contest(rounds, "initialize"), "initialize")
    yield f"## An abstract transformer over {DEVICES} devices, float32"
    yield fresh("abstract", XLA_FLAGS=f"--xla_force_host_platform_device_count={DEVICES}")


def _same(runs: dict[str, list[Run]], *names: str) -> str:
    digests = {run.digest for name in names for run in runs[name]}
    return "yes" if len(digests) == 1 else "NO"


def abstract() -> str:
    """Temporary memory of the programs that draw 1.5 B parameters; none is run."""
    width, layers, vocabulary = 1600, 48, 50304
    rows, columns = PartitionSpec("model", None), PartitionSpec(None, "model")
    kinds = {
        "query": ((width, width), columns),
        "key": ((width, width), columns),
        "value": ((width, width), columns),
        "out": ((width, width), rows),
        "up": ((width, 4 * width), columns),
        "down": ((4 * width, width), rows),
    }
    mesh = Mesh(np.array(jax.devices()), ("model",), axis_types=(AxisType.Auto,))
    init = jaxinit.normal(0.02)
    rules = Rules({"**": init})
    leaf = {name: _placed(shape, mesh, spec) for name, (shape, spec) in kinds.items()}
    tree = {f"h_{i}": leaf for i in range(layers)} | {
        "embedding": _placed((vocabulary, width), mesh, rows),
        "positions": _placed((1024, width), mesh, rows),
    }
    jax.eval_shape(lambda key: jaxinit.initialize(tree, rules, key), KEY)
    found = jax.tree.leaves(tree)
    temporary = {}
    for leaf in {(x.shape, x.sharding): x for x in found}.values():
        program = jax.jit(lambda key, x=leaf: init(key, x.shape, x.dtype, x.sharding))
        memory: Any = program.lower(KEY).compile().memory_analysis()
        temporary[leaf.shape, str(leaf.sharding.spec)] = memory.temp_size_in_bytes
    shards = [math.prod(x.sharding.shard_shape(x.shape)) * 4 for x in found]
    worst = max(temporary.values())
    return (
        f"{sum(math.prod(x.shape) for x in found) / 1e9:.2f} B parameters, {len(temporary)} "
        f"programs, one leaf at a time. On a device: its shard {sum(shards) / 2**20:.0f} MiB, the "
        f"largest leaf's {max(shards) / 2**20:.1f} MiB, the largest temporary memory "
        f"{worst / 2**20:.3f} MiB."
    )


def _placed(shape: tuple[int, ...], mesh: Mesh, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in-process"]:
        print(json.dumps(abstract() if sys.argv[2] == "abstract" else measure(sys.argv[2])))
    else:
        main("Whole models", report)
