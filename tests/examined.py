"""The network that is examined, well and ill."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import jaxinit

KEY = jax.random.key(0)
DEPTH, WIDTH, CLASSES = 6, 32, 5
HE = jaxinit.he_normal()
X = jax.random.normal(jax.random.key(1), (40, 8))
Y = jnp.arange(40) % CLASSES
Weights = dict[str, Any]


def weights(init: Any = HE, depth: int = DEPTH) -> Weights:
    pairs = list(itertools.pairwise([X.shape[1], *[WIDTH] * depth, CLASSES]))
    laws = [*[init] * depth, jaxinit.lecun_normal()]
    return {
        f"l{i}": {"w": law(jax.random.fold_in(KEY, i), pair), "b": jnp.zeros(pair[1])}
        for i, (law, pair) in enumerate(zip(laws, pairs, strict=True))
    }


def network(act: Callable[[Any], Any]) -> Callable[..., Any]:
    def apply(params: Weights, x: Any) -> Any:
        *hidden, last = (params[f"l{i}"] for i in range(len(params)))
        for layer in hidden:
            x = act(x @ layer["w"] + layer["b"])
        return x @ last["w"] + last["b"]

    return apply
