"""The elementwise laws, the cost of a call, and the cost of the import."""

import functools
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.nn import initializers

import jaxinit
from benchmarks.measure import Race, compiled, main, race, table, temp_over_output

SHAPE = (4096, 4096)
DTYPES = ("float32", "bfloat16")
EAGER_SHAPE = (64, 64)
EAGER_CALLS = 200
IMPORTS = 9
IMPORT = """
import time
start = time.perf_counter()
import jax, numpy
middle = time.perf_counter()
import jaxinit
print(middle - start, time.perf_counter() - middle)
"""


class Law(NamedTuple):
    """One law, by its names in jaxinit and JAX, and in `torch.nn.init`."""

    name: str
    torch_name: str
    arguments: tuple[float, ...] = ()


LAWS = (
    Law("normal", "normal_", (1.0,)),
    Law("he_normal", "kaiming_normal_"),
    Law("glorot_uniform", "xavier_uniform_"),
    Law("truncated_normal", "trunc_normal_", (1.0,)),
)


def report(rounds: int) -> Iterator[str]:
    """All sections."""
    yield "## Against jax.nn.initializers, 4096 x 4096 under jit"
    yield against_jax(rounds)
    yield "## Against torch.nn.init, 4096 x 4096 in a fresh tensor"
    yield against_torch(rounds)
    yield "## One eager call, compiled before: he_normal, 64 x 64, float32"
    yield eager(rounds)
    yield f"## Import, in {IMPORTS} fresh processes"
    yield imports()


def against_jax(rounds: int) -> str:
    """Throughput and temporary memory of each law beside JAX's."""
    header = ("law", "dtype", "jaxinit M/s", "JAX M/s", "speedup")
    rows = []
    for law in LAWS:
        for dtype in DTYPES:
            key = jax.random.key(0)
            programs = {
                name: program(house, law, dtype, key)
                for name, house in (("jaxinit", jaxinit), ("JAX", initializers))
            }
            result = race(rounds, {name: functools.partial(p, key) for name, p in programs.items()})
            temps = map(temp_over_output, programs.values())
            rows.append((*throughputs(law, dtype, result, "JAX"), *temps))
    return table((*header, "temp/output jaxinit", "temp/output JAX"), rows)


def against_torch(rounds: int) -> str:
    """Throughput of each law beside torch's, on the same kind of device."""
    try:
        import torch
    except ImportError:
        return "torch is not installed: not measured."
    device = {"cpu": "cpu", "gpu": "cuda"}.get(jax.default_backend())
    if device is None or (device == "cuda" and not torch.cuda.is_available()):
        return f"torch {torch.__version__} does not run on {jax.default_backend()}: not measured."
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def fill(law: Law, dtype: str) -> Any:
        tensor = torch.empty(SHAPE, dtype=getattr(torch, dtype), device=device)
        getattr(torch.nn.init, law.torch_name)(tensor)
        wait()
        return tensor

    rows = []
    for law in LAWS:
        for dtype in DTYPES:
            key = jax.random.key(0)
            contenders = {
                "jaxinit": functools.partial(program(jaxinit, law, dtype, key), key),
                "torch": functools.partial(fill, law, dtype),
            }
            rows.append(throughputs(law, dtype, race(rounds, contenders), "torch"))
    return table(("law", "dtype", "jaxinit M/s", "torch M/s", "speedup"), rows)


def program(house: Any, law: Law, dtype: str, key: jax.Array) -> jax.stages.Compiled:
    """A law of jaxinit or JAX, compiled for SHAPE."""
    init = getattr(house, law.name)(*law.arguments)
    return compiled(lambda key: init(key, SHAPE, dtype), key)


def throughputs(law: Law, dtype: str, result: Race, rival: str) -> tuple[str, ...]:
    """A row: millions of samples a second of jaxinit and a rival, and their ratio."""
    speeds = (math.prod(SHAPE) / result.median(name) / 1e6 for name in ("jaxinit", rival))
    return (law.name, dtype, *map("{:.0f}".format, speeds), str(result.speedup("jaxinit", rival)))


def eager(rounds: int) -> str:
    """What one call outside jit costs, when its program is compiled already."""
    key = jax.random.key(0)
    ours, theirs = jaxinit.he_normal(), initializers.he_normal()
    contenders = {
        "jaxinit": lambda: ours(key, EAGER_SHAPE),
        "JAX": lambda: theirs(key, EAGER_SHAPE),
    }
    result = race(rounds, contenders, EAGER_CALLS)
    cells = [f"{result.median(name) * 1e6:.0f}" for name in contenders]
    header = ("jaxinit µs", "JAX µs", "speedup")
    return table(header, [(*cells, result.speedup("jaxinit", "JAX"))])


def imports() -> str:
    """What `import jaxinit` costs once jax and numpy are there."""
    import_seconds()  # writes the byte code
    base, ours = zip(*(import_seconds() for _ in range(IMPORTS)), strict=True)
    result = Race({"jax, numpy": base, "jaxinit": ours})
    rows = [
        (name, *(f"{1e3 * s:.1f}" for s in (result.median(name), min(seconds), max(seconds))))
        for name, seconds in result.seconds.items()
    ]
    return table(("import", "median ms", "least ms", "most ms"), rows)


def import_seconds() -> tuple[float, float]:
    """Seconds to import jax and numpy, and then jaxinit, in a fresh process."""
    run = subprocess.run(
        [sys.executable, "-c", IMPORT],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        check=True,
        stdout=subprocess.PIPE,
    )
    base, ours = map(float, run.stdout.split())
    return base, ours


if __name__ == "__main__":
    main("The core", report)
