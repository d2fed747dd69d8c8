"""What data-dependent starts are worth: held-out accuracy on digits, and unit variance by depth."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinit
from jaxinit import data
from jaxinit.tour.data import PIXELS, Examples, batches, digits
from jaxinit.tour.network import Parameters, cross_entropy, start
from jaxinit.tour.training import accuracy, advance, begin

DEPTHS = (20, 50)
SEEDS, STEPS, BATCH, MEASURED = 10, 300, 64, 256
RELU = jnp.asarray(0)  # its place among the activations of the tour
LAYERS, WIDTH = 50, 128


def apply(parameters: Parameters, examples: Examples) -> Any:
    """Logits of a deep ReLU network without normalization."""

    def layer(below: Any, weights: Any) -> tuple[Any, None]:
        kernel, bias = weights
        return jax.nn.relu(below @ kernel + bias), None

    inside = (parameters.kernels, parameters.biases)
    last, _ = jax.lax.scan(layer, examples.inputs, inside)
    return last @ parameters.head + parameters.head_bias


def loss(logits: Any, examples: Examples) -> Any:
    return cross_entropy(logits, examples.labels)


def compiled(method: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return jax.jit(lambda params, batch, key: method(apply, params, batch, key, **options))


def starts() -> dict[str, tuple[Any, Callable[..., Any]]]:
    """By name, the law of the kernels and what is made of them."""
    he = jaxinit.he_normal()

    def same(params: Any, batch: Any, key: Any) -> Any:
        return params

    def auto(params: Any, batch: Any, key: Any) -> Any:
        return data.autoinit(apply, params, batch, key)

    return {
        "he_normal()": (he, same),
        "orthogonal(sqrt(2))": (jaxinit.orthogonal(math.sqrt(2)), same),
        "lsuv": (he, compiled(data.lsuv)),
        "krahenbuhl": (he, compiled(data.krahenbuhl)),
        "krahenbuhl(mean=1)": (he, compiled(data.krahenbuhl, mean=1.0)),
        "autoinit": (he, auto),
        "gradinit": (he, compiled(data.gradinit, loss=loss, learning_rate=0.1)),
        "metainit": (he, compiled(data.metainit, loss=loss)),
    }


@jax.jit
def trained(params: Parameters, training: Examples, held_out: Examples, rows: Any) -> Any:
    end = advance(begin(params), training, rows, (0, STEPS), RELU)
    first = cross_entropy(apply(params, training), training.labels)
    return accuracy(end.parameters, held_out, RELU), first, end.diverged


def table(depth: int) -> None:
    print(f"\nReLU network of {depth} layers of {PIXELS}, {STEPS} steps, {SEEDS} seeds")
    print(f"{'start':22}{'held-out accuracy':>22}{'first loss':>16}{'diverged':>10}")
    for name, (law, method) in starts().items():
        found = []
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            training, held_out = digits(rng)
            rows = batches(rng, len(training.inputs), BATCH, STEPS)
            batch = Examples(*(part[:MEASURED] for part in training))
            params = method(start(law, jax.random.key(seed), depth), batch, jax.random.key(seed))
            found.append([float(x) for x in trained(params, training, held_out, rows)])
        shares, losses, diverged = np.array(found).T
        error = shares.std(ddof=1) / math.sqrt(SEEDS)
        print(
            f"{name:22}{100 * shares.mean():14.1f} ± {100 * error:3.1f} %"
            f"{np.median(losses):16.3g}{int((diverged > 0).sum()):10d}",
            flush=True,
        )


def unit_variance() -> None:
    """The number of passes and the largest error over layers, of lsuv on an unrolled network."""
    print(f"\nlsuv of a ReLU network of {LAYERS} layers of {WIDTH}, without normalization")
    x = jax.random.normal(jax.random.key(0), (256, WIDTH))

    def deep(kernels: Any, x: Any) -> Any:
        made = []
        for kernel in kernels:
            made.append(x @ kernel)
            x = jax.nn.relu(made[-1])
        return made

    for name, law in {"normal(0.01)": jaxinit.normal(0.01), "normal(1)": jaxinit.normal(1)}.items():
        for dtype in ("float32", "bfloat16"):
            keys = jax.random.split(jax.random.key(1), LAYERS)
            kernels = [law(key, (WIDTH, WIDTH), dtype) for key in keys]
            batch = x.astype(dtype)
            before = float(jnp.var(deep(kernels, batch)[-1].astype(jnp.float32)))
            found, report = data.lsuv(deep, kernels, batch, orthogonal=False, with_report=True)
            made = [float(jnp.var(y.astype(jnp.float32))) for y in jax.jit(deep)(found, batch)]
            worst = max(abs(v - 1) for v in made)
            print(
                f"{name:14}{dtype:10} last variance before {before:9.3g}, largest |Var - 1| "
                f"after {worst:.2g}, {int(report.passes)} passes"
            )


def main() -> None:
    unit_variance()
    for depth in DEPTHS:
        table(depth)


if __name__ == "__main__":
    main()
