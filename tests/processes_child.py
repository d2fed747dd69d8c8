"""One of two processes that draw the same sharded weights; `test_processes.py` starts both."""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import jaxinit

PROCESSES = 2
LOCAL_DEVICES = 4
MESH_SHAPE = (4, 2)
# The first mesh axis crosses from one process to the other; the second stays within one.
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
    *(
        Row(init, (64, 48), dtype, 0.0)
        for init in (jaxinit.he_normal(), jaxinit.truncated_normal(), jaxinit.glorot_uniform())
        for dtype in ("float32", "bfloat16")
    ),
    Row(jaxinit.zeros, (64, 48), "float32", 0.0),
)
MATRICES = (
    Row(jaxinit.orthogonal(), (128, 96), "float32", 1e-5),
    Row(jaxinit.delta_orthogonal(), (3, 64, 96), "float32", 1e-5),
)
MODES = (Mode(AxisType.Auto, in_force=False), Mode(AxisType.Explicit, in_force=True))
GROUPS = {
    "elementwise": (ELEMENTWISE, MODES),
    "matrices": (MATRICES, MODES),
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


def check(
    name: str,
    sharding: NamedSharding,
    weights: Array,
    expected: np.ndarray[Any, Any],
    tolerance: float,
) -> None:
    """Its own shards, of the sharding asked for, and the whole array, are as on one device."""
    if not weights.sharding.is_equivalent_to(sharding, weights.ndim):
        sys.exit(f"{name}: sharding {weights.sharding} is not {sharding}")
    shards = weights.addressable_shards
    if len(shards) != LOCAL_DEVICES:
        sys.exit(f"{name}: {len(shards)} addressable shards, not {LOCAL_DEVICES}")
    for shard in shards:
        if shard.device.process_index != jax.process_index():
            sys.exit(f"{name}: a shard lies on {shard.device}, which is another process's")
        if shard.data.shape != sharding.shard_shape(weights.shape):
            sys.exit(f"{name}: a shard has shape {shard.data.shape}")
        check_equal(f"{name}, shard {shard.index}", shard.data, expected[shard.index], tolerance)
    # A process cannot know from its own shards what the other one drew.
    whole = multihost_utils.process_allgather(weights, tiled=True)
    check_equal(f"{name}, all processes together", whole, expected, tolerance)


def main(port: str, process: str, seed: str, group: str) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", PROCESSES, int(process))
    if (jax.process_count(), jax.local_device_count()) != (PROCESSES, LOCAL_DEVICES):
        sys.exit(f"{jax.process_count()} processes of {jax.local_device_count()} devices")
    key = jax.random.key(int(seed))
    rows, modes = GROUPS[group]
    count = 0
    for row in rows:
        expected = np.asarray(row.init(key, row.shape, row.dtype))
        for mode in modes:
            for name, sharding, weights in draws(row, mode, key):
                check(name, sharding, weights, expected, row.tolerance)
                count += 1
    print(f"process {process}: {count} arrays agree", flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BaseException:
        # At a normal exit JAX waits for the other process, which may wait for this one.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
