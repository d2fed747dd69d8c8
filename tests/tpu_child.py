"""Compile sharded initializers for a TPU that is not there; `test_tpu.py` starts it."""

import re
import sys
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxinit

TOPOLOGY = "v5e:2x2"
COLLECTIVE = re.compile(
    r"\b(ragged-all-to-all|all-to-all|all-gather|all-reduce|reduce-scatter|collective-\w+)\b"
)
MOST_TEMPORARY = 0.1
# Temporary memory is counted in HBM alone. Shards larger than a v5e's 128 MiB of on-chip memory,
# in either dtype, cannot hide a temporary of their own size there.
LARGE = (32768, 16384)


class Row(NamedTuple):
    """An initializer, what to ask it for, and what its program may do."""

    init: Any
    shape: tuple[int, ...]
    dtype: str
    spec: PartitionSpec
    elementwise: bool
    silent: bool


def elementwise(init: Any) -> tuple[Row, ...]:
    """Split by rows in float32, by columns in bfloat16."""
    return (
        Row(init, LARGE, "float32", PartitionSpec("x", None), True, True),
        Row(init, LARGE, "bfloat16", PartitionSpec(None, "x"), True, True),
    )


def matrix(init: Any, shape: tuple[int, ...], silent: bool) -> tuple[Row, ...]:
    whole = (None,) * (len(shape) - 2)
    return (
        Row(init, shape, "float32", PartitionSpec(*whole, None, "x"), False, silent),
        Row(init, shape, "bfloat16", PartitionSpec(*whole, "x", None), False, silent),
    )


ROWS = (
    *elementwise(jaxinit.normal())[:1],  # the other would be he_normal's
    *elementwise(jaxinit.truncated_normal()),
    *elementwise(jaxinit.he_normal()),
    *elementwise(jaxinit.glorot_uniform()),
    *elementwise(jaxinit.zeros),
    *matrix(jaxinit.orthogonal(), (512, 512), silent=True),
    *matrix(jaxinit.delta_orthogonal(), (3, 3, 128, 128), silent=False),
)


def report(compiled: jax.stages.Compiled) -> tuple[Any, list[str]]:
    """Memory figures, and the collectives in the program."""
    memory, text = compiled.memory_analysis(), compiled.as_text()
    if memory is None or text is None:
        sys.exit("the compiler reports no memory figures or no program text")
    return memory, sorted(set(COLLECTIVE.findall(text)))


def check(row: Row, mesh: Mesh) -> None:
    sharding = NamedSharding(mesh, row.spec)
    key = jax.eval_shape(lambda: jax.random.key(0))
    compiled = (
        jax.jit(lambda key: row.init(key, row.shape, row.dtype, sharding)).lower(key).compile()
    )
    name = f"{row.init} {row.dtype}{row.shape} {row.spec}"
    found = compiled.output_shardings
    if not found.is_equivalent_to(sharding, len(row.shape)):
        sys.exit(f"{name}: the output has sharding {found}, not {sharding}")
    shard = np.dtype(row.dtype).itemsize * int(np.prod(sharding.shard_shape(row.shape)))
    memory, collectives = report(compiled)
    if memory.output_size_in_bytes != shard:
        sys.exit(f"{name}: a device returns {memory.output_size_in_bytes} bytes, not {shard}")
    ratio = memory.temp_size_in_bytes / shard
    print(f"{name}: temporary {ratio:.2%} of the shard, output {found.spec}, {collectives}")
    if row.elementwise and not ratio < MOST_TEMPORARY:
        sys.exit(f"{name}: temporary memory is {ratio:.2%} of the shard")
    if row.silent and collectives:
        sys.exit(f"{name}: the devices communicate, by {', '.join(collectives)}")


def check_the_checks(mesh: Mesh) -> None:
    """A program that must communicate, and keep a temporary, is seen to do so."""
    split = NamedSharding(mesh, PartitionSpec("x", None))
    x = jax.ShapeDtypeStruct((16384, 16384), "float32", sharding=split)
    # Rows of x against all rows of x, twice: the product in between has to be kept.
    square = jax.jit(lambda x: (x @ x) @ x, out_shardings=split).lower(x).compile()
    memory, collectives = report(square)
    if not collectives:
        sys.exit("a product with a split matrix has no collective: the pattern misses them")
    temporary, shard = memory.temp_size_in_bytes, 4 * x.size // mesh.size
    print(f"a program that keeps a temporary: {temporary / shard:.2%} of the shard")
    if temporary < MOST_TEMPORARY * shard:
        sys.exit("a product kept for later takes no temporary memory: the figure means nothing")


def main() -> None:
    topology = topologies.get_topology_desc(TOPOLOGY, platform="tpu")
    mesh = Mesh(np.array(topology.devices), ("x",))
    check_the_checks(mesh)
    for row in ROWS:
        check(row, mesh)
    if {device.platform for device in jax.devices()} != {"cpu"}:
        sys.exit(f"a backend other than the CPU's was started: {jax.devices()}")
    print(f"{len(ROWS)} programs compiled for {len(topology.devices)} of {TOPOLOGY}")


if __name__ == "__main__":
    main()
