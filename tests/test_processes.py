"""Two processes that share a mesh hold the shards of one array, that of a single device."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

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
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={processes_child.LOCAL_DEVICES}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONUNBUFFERED": "1",
    }
    port = free_port()
    logs = [directory / f"process{i}.txt" for i in range(len(seeds))]
    children: list[subprocess.Popen[bytes]] = []
    try:
        for i, (seed, log) in enumerate(zip(seeds, logs, strict=True)):
            command = [sys.executable, str(CHILD), str(port), str(i), str(seed), group]
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
    codes, printed = run_processes(tmp_path, group, (0,) * processes_child.PROCESSES)
    assert codes == [0] * processes_child.PROCESSES, printed
    for i in range(processes_child.PROCESSES):
        assert f"process {i}: {arrays} arrays agree" in printed, printed


def test_a_process_with_another_seed_is_noticed(tmp_path: Path) -> None:
    codes, printed = run_processes(tmp_path, "elementwise", (0, 1))
    assert any(codes), printed
    assert "all processes together: " in printed, printed
    assert "entries differ" in printed, printed
