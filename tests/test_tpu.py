"""Every core law compiles for a TPU, where each device computes its own shard and no more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tpu_child

pytest.importorskip("libtpu", reason="the TPU compiler is an optional dependency")

CHILD = Path(tpu_child.__file__)
TIMEOUT = 300.0
# Offline: what libtpu would ask of the cloud's metadata server is given here.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def test_core_laws_compile_for_tpu_without_temporaries_or_communication() -> None:
    environment = {
        **os.environ,
        **ENVIRONMENT,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    environment.pop("XLA_FLAGS", None)
    child = subprocess.run(
        [sys.executable, str(CHILD)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    print(child.stdout)
    assert child.returncode == 0, child.stdout + child.stderr
    assert f"{len(tpu_child.ROWS)} programs compiled" in child.stdout, child.stdout
