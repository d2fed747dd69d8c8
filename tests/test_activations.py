"""Activations are found in what surrounds them, and known by name."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import jaxinit
from jaxinit import capture

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (6, 4))
W = jax.random.normal(jax.random.key(2), (5, 4, 4))


@pytest.mark.parametrize("fn", ["relu", "gelu", "silu", "selu", "elu", "softplus", "sigmoid"])
def test_activations_are_recognized_through_jit_and_vmap(fn: str) -> None:
    function = getattr(jax.nn, fn)
    trace = capture.trace(lambda w, x: jax.vmap(lambda v: jax.jit(function)(w @ v))(x), W[0], X)
    site, activation = trace.sites
    assert (site.units, site.examples) == ((0,), 1)
    assert (activation.units, activation.examples) == ((1,), 0)  # vmap turns the result
    assert site.activation.name == fn
    assert jaxinit.gain(site.activation.fn) == pytest.approx(jaxinit.gain(fn), rel=1e-5)


def test_a_nonlinearity_right_after_a_normalization_is_a_site_of_its_own() -> None:
    trace = capture.trace(lambda w, x: jax.nn.relu(jax.nn.standardize(x @ w)) @ w, W[0], X)
    assert [s.kind for s in trace.sites] == ["matmul", "normalization", "activation", "matmul"]
    assert trace.sites[0].activation.name == "relu"


def by_its_inverse(x: Any) -> Any:
    scale = jax.lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-5)
    return x * scale - jnp.mean(x, -1, keepdims=True) * scale


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=str)
@pytest.mark.parametrize(
    "norm",
    [
        nn.LayerNorm(),
        nn.LayerNorm(use_fast_variance=False, use_scale=False),
        nn.RMSNorm(),
        nn.BatchNorm(use_running_average=False),
        nn.GroupNorm(4),
        jax.nn.standardize,
        by_its_inverse,
    ],
    ids=lambda norm: getattr(norm, "__name__", type(norm).__name__),
)
@pytest.mark.parametrize("fn", ["relu", "gelu", "selu"])
def test_an_activation_right_before_a_normalization_is_seen(fn: str, norm: Any, dtype: Any) -> None:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            h = getattr(jax.nn, fn)(nn.Dense(8, dtype=dtype)(x))
            return nn.Dense(3, dtype=dtype)(
                norm.copy()(h) if isinstance(norm, nn.Module) else norm(h)
            )

    net = Net()
    params = net.init(KEY, X)
    trace = capture.trace(lambda p, x: net.apply(p, x, mutable="batch_stats")[0], params, X)
    assert [s.kind for s in trace.sites] == ["matmul", "activation", "normalization", "matmul"]
    first, activation, normalization, _ = trace.sites
    assert first.activation == activation.activation
    assert activation.activation.name == fn
    assert normalization.input_shape == activation.shape == (6, 8)


@pytest.mark.parametrize("fn", [jnp.tanh, jax.nn.softplus])
def test_a_softmax_of_an_activation_is_one_still(fn: Any) -> None:
    for softmax in (jax.nn.softmax, lambda z: jnp.exp(z) / jnp.exp(z).sum(-1, keepdims=True)):
        trace = capture.trace(lambda w, x, softmax=softmax: softmax(fn(x @ w)), W[0], X)
        assert [s.kind for s in trace.sites] == ["matmul", "softmax"]


@pytest.mark.parametrize(
    "again",
    [
        lambda h: h.astype(jnp.float32),
        lambda h: h.T.astype(jnp.float32).T,
        lambda h: h.reshape(3, 2, 4).sum(1),
    ],
)
def test_a_value_in_two_dtypes_or_shapes_is_one_activation(again: Any) -> None:
    def fn(w: Any, x: Any) -> Any:
        h = jax.nn.relu((x @ w).astype(jnp.bfloat16))
        return h @ w.astype(h.dtype), again(h) @ w

    kinds = [s.kind for s in capture.trace(fn, W[0], X).sites]
    assert kinds == ["matmul", "activation", "matmul", "matmul"]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=str)
@pytest.mark.parametrize("fn", ["gelu", "silu", "selu", "elu", "leaky_relu", "relu6", "mish"])
def test_an_activation_whose_constants_are_rounded_has_its_name(fn: str, dtype: Any) -> None:
    x = X.astype(dtype)
    trace = capture.trace(lambda w, x: getattr(jax.nn, fn)(x @ w), W[0].astype(dtype), x)
    assert trace.sites[-1].activation.name == fn


def test_a_function_that_is_only_near_a_named_one_has_no_name() -> None:
    near = capture.trace(lambda w, x: 1.003 * jnp.tanh(x @ w), W[0], X)
    assert near.sites[-1].activation.name is None
