"""Recommendations for functions that are written by hand, with what modules of Flax seldom have."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import jaxinit

KEY = jax.random.key(0)


def pooled(params: Any, x: Any) -> Any:
    """Learned queries, normalized, that attend to the inputs."""
    z = jnp.broadcast_to(params["probe"], (len(x), *params["probe"].shape[1:]))
    z = jax.nn.standardize(z) * params["norm"] + params["shift"]
    q, k, v = (y @ params[name] for y, name in ((z, "q"), (x, "k"), (x, "v")))
    return jax.nn.softmax((q + params["bias"]) @ k.swapaxes(-1, -2)) @ v @ params["o"]


def test_learned_queries_are_a_signal() -> None:
    shapes = {"probe": (1, 3, 8), **dict.fromkeys(("norm", "shift", "bias"), (8,))}
    shapes |= dict.fromkeys("qkvo", (8, 8))
    params = {name: jnp.ones(shape) for name, shape in shapes.items()}
    found = jaxinit.recommend(pooled, params, jnp.ones((2, 5, 8)))
    assert {row.path: row.role for row in found.rows} == {
        **{"probe": "token", "norm": "norm scale", "shift": "norm bias", "bias": "bias"},
        **{"q": "attention query", "k": "attention key", "v": "attention value"},
        "o": "attention output",
    }
    params = {name: jax.random.normal(KEY, x.shape) for name, x in params.items()}
    params = jaxinit.data.autoinit(pooled, params, jnp.ones((2, 5, 8)), KEY, keep="[kvo]")
    queries = jax.nn.standardize(params["probe"]) * params["norm"] + params["shift"]
    assert jnp.var(queries @ params["q"]) == pytest.approx(1, rel=0.02)


def test_a_normalized_table_is_no_variance() -> None:
    def fn(params: Any, x: Any) -> Any:
        table = jax.nn.standardize(params["table"]) * params["scale"]
        return jnp.tanh((x + table) @ params["w"])

    params = {"table": jnp.ones((5, 8)), "scale": jnp.ones(8), "w": jnp.ones((8, 8))}
    found = jaxinit.recommend(fn, params, jnp.ones((2, 5, 8)))
    roles = {row.path: row.role for row in found.rows}
    assert roles == {"table": "positional table", "scale": "norm scale", "w": "head"}


@pytest.mark.parametrize("shape", [(8,), (8, 1)], ids=str)
def test_a_kernel_may_be_of_one_unit(shape: tuple[int, ...]) -> None:
    params = {"w": jnp.ones((8, 8)), "v": jnp.ones(shape)}

    def fn(params: Any, x: Any) -> Any:
        return jax.nn.relu(x @ params["w"]) @ params["v"]

    x = jax.random.normal(KEY, (64, 8))
    (init,) = (r.initializer for r in jaxinit.recommend(fn, params, x).rows if r.path == "v")
    assert jnp.std(init(KEY, (4096, *shape[1:]))) == pytest.approx(4096**-0.5, rel=0.05)
    assert jnp.var(fn(jaxinit.data.lsuv(fn, params, x, KEY), x)) == pytest.approx(1, rel=0.03)


def state_space(params: Any, x: Any) -> Any:
    """Two blocks with a state that decays at rates that hang on the input."""

    def step(s: Any, inputs: Any) -> Any:
        s = inputs[0] * s + inputs[1]
        return s, s

    for block in params["blocks"]:
        u = x @ block["u"]
        rate = jax.nn.softplus(u @ block["rate"])
        decay = jnp.exp(-jnp.exp(block["log"]) * rate)
        state = jax.lax.scan(step, jnp.zeros_like(u[0]), (decay, rate * u))[1]
        x = x + (state + u * block["skip"]) @ block["o"]
    return x @ params["head"]


def test_a_scan_over_time_makes_no_depth() -> None:
    block = {**dict.fromkeys(("u", "rate", "o"), jnp.ones((8, 8))), "skip": jnp.ones(8)}
    params = {"blocks": 2 * [block | {"log": jnp.zeros(8)}], "head": jnp.ones((8, 3))}
    short, long = (
        {row.path: row.initializer for row in jaxinit.recommend(state_space, params, x).rows}
        for x in (jnp.ones((4, 2, 8)), jnp.ones((64, 2, 8)))
    )
    assert short == long


def test_logits_may_be_capped_and_masked() -> None:
    def fn(params: Any, x: Any) -> Any:
        q, k, v = (x @ params[name] for name in "qkv")
        logits = 50 * jnp.tanh(q @ k.swapaxes(-1, -2) / 50)
        logits = jnp.where(jnp.tri(5, dtype=bool), logits, -1e9)
        return x + jax.nn.softmax(logits) @ v @ params["o"]

    params = dict.fromkeys("qkvo", jnp.ones((8, 8)))
    found = jaxinit.recommend(fn, params, jnp.ones((2, 5, 8)))
    assert {row.path: row.role for row in found.rows} == {
        **{"q": "attention query", "k": "attention key", "v": "attention value"},
        "o": "attention output",
    }


def test_a_number_of_python_among_the_parameters_is_a_constant() -> None:
    """As the rate of a dropout is in a module of Equinox."""

    def fn(params: Any, x: Any) -> Any:
        if params["rate"] > 0:
            raise RuntimeError("a dropout needs a key")
        return jax.nn.relu(x @ params["w"])

    params = {"w": jax.random.normal(KEY, (8, 8)) / 2, "rate": 0.0}
    x = jax.random.normal(KEY, (64, 8))
    assert jaxinit.diagnose(fn, params, x).healthy
    for start in (jaxinit.data.lsuv, jaxinit.data.autoinit):
        assert start(fn, params, x, KEY)["rate"] == 0.0
