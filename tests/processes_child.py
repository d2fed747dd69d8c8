"""One of the processes that draw the same sharded weights; `test_processes.py` starts them."""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import jaxinit

DEVICES = 8
MESH_SHAPE = (4, 2)
MODEL = "model"
# The first mesh axis crosses from one process to the others; the second stays within one.
SPLITS = (("x", None), (None, "x"), ("x", "y"))


class Row(NamedTuple):
    """An initializer, what to ask it for, and how far its shards may be from the whole array."""

    init: Any
    shape: tuple[int, ...]
    dtype: str
    tolerance: float


class Mode(NamedTuple):
    """The type of the mesh's axes, and whether the mesh is in force while drawing."""

    axis_type: AxisType
    in_force: bool


ELEMENTWISE = (
    Row(jaxinit.he_normal(), (64, 48), "float32", 0.0),
    Row(jaxinit.truncated_normal(), (64, 48), "bfloat16", 0.0),
    Row(jaxinit.glorot_uniform(), (64, 48), "float32", 0.0),
    Row(jaxinit.zeros, (64, 48), "float32", 0.0),
)
MATRICES = (
    Row(jaxinit.orthogonal(), (128, 96), "float32", 1e-5),
    Row(jaxinit.delta_orthogonal(), (3, 64, 96), "float32", 1e-5),
)
MODES = (Mode(AxisType.Auto, in_force=False), Mode(AxisType.Explicit, in_force=True))
GROUPS = {
    "elementwise": (ELEMENTWISE, MODES),
    "matrices": (MATRICES, MODES[1:]),
    "explicit mesh not in force": (ELEMENTWISE[:2], (Mode(AxisType.Explicit, in_force=False),)),
}


def draws(row: Row, mode: Mode, key: Array) -> Iterator[tuple[str, NamedSharding, Array]]:
    """The weights split in every way, eager and under jit, with the sharding asked for."""
    devices = np.array(jax.devices()).reshape(MESH_SHAPE)
    mesh = Mesh(devices, ("x", "y"), axis_types=(mode.axis_type,) * 2)
    whole = (None,) * (len(row.shape) - 2)
    shardings = [NamedSharding(mesh, PartitionSpec(*whole, *split)) for split in SPLITS]

    def draw(key: Array) -> list[Array]:
        return [row.init(key, row.shape, row.dtype, sharding) for sharding in shardings]

    for how, function in (("eager", draw), ("jit", jax.jit(draw))):
        with jax.set_mesh(mesh) if mode.in_force else contextlib.nullcontext():
            split = function(key)
        for sharding, weights in zip(shardings, split, strict=True):
            yield f"{row.init} {row.dtype} {sharding.spec} {mode} {how}", sharding, weights


def check_equal(name: str, found: Any, expected: np.ndarray[Any, Any], tolerance: float) -> None:
    found = np.asarray(found)
    if found.shape != expected.shape or found.dtype != expected.dtype:
        sys.exit(f"{name}: {found.dtype}{found.shape} is not {expected.dtype}{expected.shape}")
    if tolerance:
        worst = np.abs(found - expected).max()
        if not worst <= tolerance:
            sys.exit(f"{name}: differs by {worst}, more than {tolerance}")
    elif found.tobytes() != expected.tobytes():
        sys.exit(f"{name}: {np.sum(found != expected)} of {found.size} entries differ")


def check_shards(name: str, sharding: NamedSharding, weights: Array) -> None:
    """This process holds its shards of the sharding asked for, and no other's."""
    if not weights.sharding.is_equivalent_to(sharding, weights.ndim):
        sys.exit(f"{name}: sharding {weights.sharding} is not {sharding}")
    shards = weights.addressable_shards
    if len(shards) != jax.local_device_count():
        sys.exit(f"{name}: {len(shards)} addressable shards on {jax.local_device_count()} devices")
    for shard in shards:
        if shard.device.process_index != jax.process_index():
            sys.exit(f"{name}: a shard lies on {shard.device}, which is another process's")
        if shard.data.shape != sharding.shard_shape(weights.shape):
            sys.exit(f"{name}: a shard has shape {shard.data.shape}")


def check(
    name: str,
    sharding: NamedSharding,
    weights: Array,
    expected: np.ndarray[Any, Any],
    tolerance: float,
) -> None:
    """Its own shards, of the sharding asked for, and the whole array, are as on one device."""
    check_shards(name, sharding, weights)
    for shard in weights.addressable_shards:
        check_equal(f"{name}, shard {shard.index}", shard.data, expected[shard.index], tolerance)
    # A process cannot know from its own shards what the others drew.
    whole = multihost_utils.process_allgather(weights, tiled=True)
    check_equal(f"{name}, all processes together", whole, expected, tolerance)


def check_rows(key: Array, group: str) -> int:
    """How many arrays of a group agree."""
    rows, modes = GROUPS[group]
    count = 0
    for row in rows:
        expected = np.asarray(row.init(key, row.shape, row.dtype))
        for mode in modes:
            for name, sharding, weights in draws(row, mode, key):
                check(name, sharding, weights, expected, row.tolerance)
                count += 1
    return count


def models(key: Array, mesh: Mesh | None) -> dict[str, Any]:
    """A tree by rules, a linen model and an nnx model, all with a kernel over both mesh axes."""
    import flax.linen as nn
    from flax import nnx

    import jaxinit.flax

    def leaf(*shape: int, split: PartitionSpec) -> jax.ShapeDtypeStruct:
        sharding = None if mesh is None else NamedSharding(mesh, split)
        return jax.ShapeDtypeStruct(shape, "float32", sharding=sharding)

    tree = {
        "kernel": leaf(64, 48, split=PartitionSpec("x", "y")),
        "bias": leaf(48, split=PartitionSpec("y")),
    }
    rules = jaxinit.Rules({"bias": jaxinit.normal(0.1), "kernel": jaxinit.he_normal()})
    split = ("x", "y")
    dense = nn.Dense(48, kernel_init=nn.with_partitioning(nn.initializers.he_normal(), split))
    inputs = jax.ShapeDtypeStruct((1, 64), "float32")
    linear_init = nnx.with_partitioning(nnx.initializers.he_normal(), split)
    module = jaxinit.flax.create(
        lambda rngs: nnx.Linear(64, 48, kernel_init=linear_init, rngs=rngs), key, mesh=mesh
    )
    return {
        "rules": jaxinit.initialize(tree, rules, key),
        "linen": nn.unbox(jaxinit.flax.init(dense, key, inputs, mesh=mesh))["params"],
        "ruled": nn.unbox(jaxinit.flax.init(dense, key, inputs, rules=rules, mesh=mesh))["params"],
        "nnx": nnx.to_pure_dict(nnx.state(module, nnx.Param)),
    }


def check_models(key: Array, directory: Path) -> int:
    """How many parameters lie where they should; a checkpoint of them is left in the directory."""
    import orbax.checkpoint as ocp

    mesh = Mesh(np.array(jax.devices()).reshape(MESH_SHAPE), ("x", "y"))
    drawn = models(key, mesh)
    parameters = jax.tree.leaves_with_path(drawn)
    for path, weights in parameters:
        name = jax.tree_util.keystr(path)
        ruled = "rules" in name and "bias" in name
        split = ("x", "y") if "kernel" in name else ("y",) if ruled else ()
        check_shards(name, NamedSharding(mesh, PartitionSpec(*split)), weights)
    for row in jaxinit.describe(drawn["rules"], largest=0).rows:
        if row.mean is None:
            sys.exit(f"{row.path}: {row.missing}")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(directory, drawn)
    return len(parameters)


def main(port: str, processes: str, process: str, seed: str, group: str, directory: str) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", int(processes), int(process))
    if (jax.process_count(), jax.device_count()) != (int(processes), DEVICES):
        sys.exit(f"{jax.process_count()} processes of {jax.local_device_count()} devices")
    key = jax.random.key(int(seed))
    count = check_models(key, Path(directory)) if group == MODEL else check_rows(key, group)
    print(f"process {process}: {count} arrays agree", flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BaseException:
        # At a normal exit JAX waits for the other processes, which may wait for this one.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
