"""The edge of chaos of an activation that a fresh process has not seen."""

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.measure import main, table

ACTIVATIONS = (
    *("jax.nn.relu", "jax.numpy.tanh", "jax.nn.gelu", "jax.nn.silu", "jax.nn.selu", "jax.nn.mish"),
    *("jax.numpy.sin", "jax.lax.erf", "functools.partial(jax.nn.gelu, approximate=False)"),
    *("jax.nn.sigmoid", "jax.nn.hard_tanh", "lambda x: x * jax.scipy.special.ndtr(x)"),
    *("lambda x: jax.lax.lgamma(x**2 + 1)", "lambda x: x * jax.scipy.special.i0e(x)"),
    "lambda x: jnp.sum(weights * jnp.tanh(x * weights))",
    "lambda x: jnp.piecewise(x, [x < -1, x > 1], [-1.0, 1.0, lambda y: y])",
    "lambda x: jax.lax.fori_loop(0, 3, lambda i, y: jnp.tanh(y), x)",
    *("lambda x: jnp.polyval(weights, jnp.tanh(x))", "jnp.sinc"),
    "lambda x: jnp.interp(x, weights - 2, jnp.sin(weights))",
    "lambda x: jnp.tanh(x) * jax.lax.igamma(2.0, x**2)",
)
CHILD = """
import functools, gc, sys, time
import jax, jax.numpy as jnp, jax.scipy.special, jaxinit
weights = jnp.arange(1.0, 4.0)
fn = eval(sys.argv[1])
argument = {"sigma_b2": 0.05} if sys.argv[2] == "sigma_b2" else {"q": 1.0}
gc.collect()  # due after the imports, whatever is called first
start = time.perf_counter()
try:
    jaxinit.gains.critical(fn, **argument)
except ValueError:
    pass  # no edge is there, which has to be found too
print(time.perf_counter() - start)
"""


def report(rounds: int) -> Iterator[str]:
    """All sections."""
    yield f"## gains.critical after the imports, in {rounds} fresh processes each"
    seconds("jax.nn.relu", "q")  # writes the byte code
    rows = []
    for fn in ACTIVATIONS:
        found = {by: [seconds(fn, by) for _ in range(rounds)] for by in ("sigma_b2", "q")}
        medians = (f"{1e3 * statistics.median(times):.0f}" for times in found.values())
        rows.append((fn, *medians, f"{1e3 * max(map(max, found.values())):.0f}"))
    yield table(("activation", "sigma_b2=0.05, ms", "q=1, ms", "most, ms"), rows)


def seconds(fn: str, by: str) -> float:
    """What the first call of a process takes."""
    run = subprocess.run(
        [sys.executable, "-c", CHILD, fn, by],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONDONTWRITEBYTECODE": ""},
        check=True,
        stdout=subprocess.PIPE,
    )
    return float(run.stdout)


if __name__ == "__main__":
    main("The theory", report)
