"""Every public initializer: how long it compiles, what memory it takes, how fast it draws."""

import functools
import math
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import initializers

import jaxinit
from benchmarks.measure import COMPILES, compiled, main, race, table, temp_over_output
from jaxinit import gallery
from jaxinit.gallery import Entry, entries

# The first that a law accepts: about a million weights, and sixteen million.
SHAPES = ((1024, 1024), (3, 3, 256, 512), (2, 1024, 1024), (1024,), (5, 256, 1024))
LARGE = ((4096, 4096), (8, 1024, 2048), (3, 3, 1024, 2048), (4096 * 4096,))

# Compilations within this many seconds are not tried again.
QUICK = 0.5
UNITS = (256, 10_000)

Draw = Callable[[Any, tuple[int, ...], Any], Any]


def _places(key: Any, shape: tuple[int, ...]) -> Any:
    """A random order of the inputs of each unit, as JAX's users draw it."""
    rows = jax.lax.broadcasted_iota(jnp.int32, shape, 0)
    return jax.random.permutation(key, rows, axis=0, independent=True)


def _sparse(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    first, second = jax.random.split(key)
    return jnp.where(_places(first, shape) < 15, jax.random.normal(second, shape, dtype), 0)


def _stratified(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    first, second = jax.random.split(key)
    u = jax.random.uniform(second, shape, dtype)
    return jax.scipy.special.ndtri((_places(first, shape) + u) / shape[0])


def _of_uniform(law: Callable[[Any], Any]) -> Draw:
    """A law of which JAX has no name, as its users write it."""
    return lambda key, shape, dtype: law(jax.random.uniform(key, shape, dtype))


def _softplus_step(u: Any) -> Any:
    step = jnp.exp(math.log(1e-3) + u * math.log(100))
    return step + jnp.log(-jnp.expm1(-step))


def _mixture(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    first, second = jax.random.split(key)
    chosen = jax.random.uniform(first, shape, dtype) < 0.25
    return jnp.where(chosen, jax.random.normal(second, shape, dtype), 0)


# JAX's own law that is nearest to each, where it is not the normal.
NORMAL, UNIFORM = initializers.normal(1.0), initializers.uniform(1.0)
NEAREST: dict[str, Draw] = {
    "laplace": jax.random.laplace,
    "rademacher": jax.random.rademacher,
    "student_t": lambda key, shape, dtype: jax.random.t(key, 5.0, shape, dtype),
    "inverse_softplus_step": _of_uniform(_softplus_step),
    "mamba2_a_log": _of_uniform(lambda u: jnp.log(1 + 15 * u)),
    "lru_nu": _of_uniform(lambda u: jnp.log(-jnp.log(u) / 2)),
    "lru_gamma": _of_uniform(lambda u: jnp.log1p(-u) / 2),
    "lru_theta": _of_uniform(lambda u: jnp.log(2 * math.pi * u)),
    "mixture": _mixture,
    "sparse": _sparse,
    "sparsified": _sparse,
    "low_discrepancy": _stratified,
    "ternary": lambda key, shape, dtype: jax.random.bernoulli(key, 0.5, shape).astype(dtype),
    **dict.fromkeys(
        (
            "uniform",
            "uniform_between",
            "glorot_uniform",
            "xavier_uniform",
            "he_uniform",
            "kaiming_uniform",
            "lecun_uniform",
            "siren",
            "finer_bias",
            "hash_grid",
            "log_step",
            "mamba_dt_kernel",
        ),
        UNIFORM,
    ),
}


def report(rounds: int) -> Iterator[str]:
    """All sections."""
    yield "## Low discrepancy: root mean square errors of the moments of a unit of fan-in 256"
    yield discrepancy()
    yield "## Orthogonal convolution: the gains of every frequency"
    yield convolution(rounds)
    yield "## Elementwise laws, at about 4096 x 4096 under jit, against JAX's nearest law"
    yield throughput(rounds)
    yield "## Compilation, at about 1024 x 1024, float32: the least of three, if not quick"
    yield compilation()


def discrepancy() -> str:
    """How far a unit's mean and variance are from 0 and 1, and from those of independent draws."""
    rows = []
    independent = {
        "normal": jaxinit.normal(1.0),
        "uniform": jaxinit.uniform_between(-(3**0.5), 3**0.5),
    }
    for law, init in independent.items():
        errors = []
        for each in (init, jaxinit.low_discrepancy(law, 1.0)):  # type: ignore[arg-type]
            w = np.asarray(each(jax.random.key(0), UNITS), np.float64)
            moments = w.mean(axis=0), w.var(axis=0) - 1
            errors.append([float(np.sqrt((m**2).mean())) for m in moments])
        for name, theirs, ours in zip(("mean", "variance"), *errors, strict=True):
            rows.append((law, name, f"{theirs:.5f}", f"{ours:.6f}", f"{theirs / ours:.0f}"))
    return table(("law", "moment", "independent", "low_discrepancy", "times nearer"), rows)


def convolution(rounds: int) -> str:
    """Seconds of conv_orthogonal compiled, and its singular values under circular padding."""
    rows = []
    for shape in ((9, 256, 256), (3, 3, 256, 256), (3, 3, 3, 64, 64)):
        init, key = jaxinit.conv_orthogonal(), jax.random.key(0)
        program = compiled(lambda key, i=init, s=shape: i(key, s), key)
        seconds = race(min(rounds, 3), {"run": functools.partial(program, key)}).seconds["run"]
        spatial = tuple(range(len(shape) - 2))
        spectrum = np.fft.fftn(np.asarray(program(key)), (9,) * len(spatial), spatial)
        gains = np.linalg.svd(spectrum, compute_uv=False)
        rows.append((shape, f"{min(seconds):.2f}", f"{gains.min():.6f}", f"{gains.max():.6f}"))
    return table(("shape", "least run s", "smallest", "largest"), rows)


def compilation() -> str:
    """Seconds to trace, lower and compile each law, and to run it once compiled."""
    rows = []
    for entry in entries():
        init, shape, dtype = accepted(entry, SHAPES)
        least = math.inf
        for _ in range(COMPILES):
            start = time.perf_counter()
            program = compiled(
                lambda key, i=init, s=shape, d=dtype: i(key, s, d), jax.random.key(0)
            )
            least = min(least, time.perf_counter() - start)
            if least < QUICK:
                break
        start = time.perf_counter()
        jax.block_until_ready(program(jax.random.key(0)))
        run = time.perf_counter() - start
        rows.append((entry.name, shape, f"{least:.2f}", f"{run:.3f}", temp_over_output(program)))
    rows.sort(key=lambda row: -float(row[2]))
    return table(("law", "shape", "compile s", "run s", "temp/output"), rows)


def throughput(rounds: int) -> str:
    """Millions of weights a second, JAX's, and their ratio, of the laws that are one kernel."""
    rows = []
    key = jax.random.key(0)

    @functools.cache
    def peer(near: Draw, shape: tuple[int, ...]) -> jax.stages.Compiled:
        return compiled(lambda key: near(key, shape, jnp.float32), key)

    for entry in entries():
        init, shape, dtype = accepted(entry, LARGE)
        ours = compiled(lambda key, i=init, s=shape, d=dtype: i(key, s, d), key)
        if not fused(ours, shape):
            continue
        programs = {"jaxinit": ours, "JAX": peer(NEAREST.get(entry.name, NORMAL), shape)}
        result = race(rounds, {name: functools.partial(p, key) for name, p in programs.items()})
        speeds = [math.prod(shape) / result.median(name) / 1e6 for name in programs]
        rows.append(
            (
                entry.name,
                *map("{:.0f}".format, speeds),
                result.speedup("jaxinit", "JAX"),
                temp_over_output(ours),
            )
        )
    rows.sort(key=lambda row: float(str(row[3]).split()[0]))
    return table(("law", "jaxinit M/s", "JAX M/s", "speedup", "temp/output"), rows)


def accepted(entry: Entry, shapes: tuple[tuple[int, ...], ...]) -> tuple[Any, Any, Any]:
    """The example of a law, with the first shape and dtype that it accepts, or its own shape."""
    init = entry.example()
    found = gallery.accepted(init, [*shapes, *SHAPES, *entry.shapes()])
    return init, found.shape, found.dtype


def fused(program: jax.stages.Compiled, shape: tuple[int, ...]) -> bool:
    """Whether the weights are random, and come out of one kernel."""
    text = str(program.as_text()).split("ENTRY")[1]
    whole = ",".join(map(str, shape))
    # Keys are split by small loops of their own.
    lines = [line for line in text.splitlines() if f"[{whole}]" in line]
    kernels = [line for line in lines if re.search(rf"= \w+\[{whole}\]\S* fusion\(", line)]
    loops = (" while(", " dot(", " sort(", " convolution(", " call(", " custom-call(")
    several = any(op in line for line in lines for op in loops)
    random = "parameter(0)" in text
    return random and len(kernels) == 1 and not several and math.prod(shape) > 2**20


if __name__ == "__main__":
    main("The catalogue", report)
