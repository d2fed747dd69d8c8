"""Processes that share a mesh hold the shards of the arrays and the models of a single device."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import numpy as np
import processes_child
import pytest

CHILD = Path(processes_child.__file__)
TIMEOUT = 120.0


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def run_processes(
    directory: Path, group: str, seeds: tuple[int, ...]
) -> tuple[list[int | None], str]:
    """Exit codes, None where a process had to be killed, and all that the processes printed."""
    devices = processes_child.DEVICES // len(seeds)
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONUNBUFFERED": "1",
    }
    port = free_port()
    logs = [directory / f"process{i}.txt" for i in range(len(seeds))]
    children: list[subprocess.Popen[bytes]] = []
    try:
        for i, (seed, log) in enumerate(zip(seeds, logs, strict=True)):
            arguments = [port, len(seeds), i, seed, group, directory / "checkpoint"]
            command = [sys.executable, str(CHILD), *map(str, arguments)]
            with log.open("wb") as out:
                child = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
            children.append(child)
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            codes = [child.poll() for child in children]
            if any(codes) or None not in codes:
                break
            time.sleep(0.05)
        finished = [child.poll() for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    printed = [f"--- {log.name}\n{log.read_text(errors='replace')}" for log in logs]
    return finished, "\n".join(printed)


@pytest.mark.parametrize("group", processes_child.GROUPS)
def test_every_process_holds_its_shards_of_the_same_array(tmp_path: Path, group: str) -> None:
    rows, modes = processes_child.GROUPS[group]
    arrays = 2 * len(rows) * len(modes) * len(processes_child.SPLITS)
    codes, printed = run_processes(tmp_path, group, (0, 0))
    assert codes == [0, 0], printed
    for i in range(2):
        assert f"process {i}: {arrays} arrays agree" in printed, printed


def test_a_process_with_another_seed_is_noticed(tmp_path: Path) -> None:
    codes, printed = run_processes(tmp_path, "elementwise", (0, 1))
    assert any(codes), printed
    assert "all processes together: " in printed, printed
    assert "entries differ" in printed, printed


@pytest.mark.parametrize("processes", [2, 4])
def test_a_model_is_drawn_and_saved_by_several_and_read_by_one(
    tmp_path: Path, processes: int
) -> None:
    import orbax.checkpoint as ocp

    codes, printed = run_processes(tmp_path, processes_child.MODEL, (3,) * processes)
    assert codes == [0] * processes, printed
    expected = processes_child.models(jax.random.key(3), None)
    abstract = jax.tree.map(
        lambda w: jax.ShapeDtypeStruct(w.shape, w.dtype, sharding=w.sharding), expected
    )
    with ocp.StandardCheckpointer() as checkpointer:
        found = checkpointer.restore(tmp_path / "checkpoint", abstract)
    chex.assert_trees_all_equal_structs(found, expected)
    assert len(jax.tree.leaves(found)) == 8
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert len(ours.sharding.device_set) == 1
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()
