"""Krähenbühl's scaling: equal units within layers, equal rates between them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data_models import KEY, MODELS, X, attention, normals, units, unweighted
from numpy.testing import assert_allclose

from jaxinit import data
from jaxinit.paths import leaves


def test_krahenbuhl_gives_equal_units_within_and_equal_rates_between_layers() -> None:
    apply, params, batch = MODELS["residual"]()
    noise = jax.random.normal(KEY, jax.eval_shape(apply, params, batch).shape)

    def loss(y: Any, batch: Any) -> Any:
        return jnp.sum(y * noise)

    found, report = data.krahenbuhl(
        apply, params, batch, loss=loss, mean=0.25, tolerance=0.05, with_report=True
    )
    for site, (mean, variance, _) in units(apply, found, batch).items():
        assert_allclose(variance, np.full_like(variance, variance.mean()), rtol=1e-3, err_msg=site)
        assert_allclose(mean, 0.25 * np.sqrt(variance), rtol=2e-2, atol=2e-3, err_msg=site)
    slopes = jax.grad(lambda p: loss(apply(p, batch), batch))(found)
    rates = [
        jnp.sqrt(jnp.mean(g.value**2) / jnp.mean(w.value**2))
        for g, w in zip(leaves(slopes), leaves(found), strict=True)
        if w.path.endswith("kernel")
    ]
    assert len(rates) >= 2
    assert float(max(rates) / min(rates)) < 1.05**2
    assert report.history[-1] <= np.log(1.05) < report.history[0]


def test_krahenbuhl_brings_the_layers_of_a_transformer_together() -> None:
    """All slices of the scanned kernels, but those of queries and keys, whose units it equals."""
    apply, params, batch = MODELS["transformer"]()
    noise = jax.random.normal(KEY, jax.eval_shape(apply, params, batch).shape)

    def loss(y: Any, batch: Any) -> Any:
        return jnp.sum(y * noise)

    found, report = data.krahenbuhl(apply, params, batch, loss=loss, with_report=True)
    slopes = jax.grad(lambda p: loss(apply(p, batch), batch))(found)
    logs = [
        jnp.log(jnp.mean(g**2) / jnp.mean(w**2)) / 2
        for slope, leaf in zip(leaves(slopes), leaves(found), strict=True)
        if leaf.path.endswith("kernel") and "query" not in leaf.path and "key" not in leaf.path
        for g, w in (
            zip(slope.value, leaf.value, strict=True)
            if leaf.value.ndim > 2
            else [(slope.value, leaf.value)]
        )
    ]
    assert len(logs) == 3 * 4 + 1
    apart = abs(np.array(logs) - np.mean(logs)).max()
    assert_allclose(apart, report.history.min(), rtol=1e-3)
    assert apart <= np.log(1.25) < report.history[0]
    for site, (_, variance, _) in units(apply, found, batch).items():
        each = variance.reshape(-1, variance.shape[-1])
        assert_allclose(each, each.mean(1, keepdims=True) + 0 * each, rtol=1e-3, err_msg=site)


def test_krahenbuhl_of_queries_and_keys_alone() -> None:
    kernels = [normals(16, 16, seed=i) for i in range(6)]
    found, report = data.krahenbuhl(attention, kernels, X, keep=["2", "5"], with_report=True)
    assert sorted(report.scales) == ["0", "1", "3", "4"]
    assert report.history[0] > 0
    assert found[2] is kernels[2]


def test_krahenbuhl_names_the_layer_whose_rate_is_farthest_from_the_mean() -> None:
    kernels = [normals(16, 16, seed=i + 4) for i in range(6)]
    noise = jax.random.normal(KEY, (64, 16))

    def loss(y: Any, batch: Any) -> Any:
        return jnp.sum(y * noise)

    # Any spread will do, so that these are the kernels whose rates the first iteration measures.
    start = data.krahenbuhl(unweighted, kernels, X, loss=loss, tolerance=1e9)
    slopes = jax.grad(lambda p: loss(unweighted(p, X), X))(start)
    pairs = zip(slopes, start, strict=True)
    logs = np.array([jnp.log(jnp.mean(g**2) / jnp.mean(w**2)) / 2 for g, w in pairs])
    apart = logs - logs.mean()
    worst = int(np.abs(apart).argmax())
    assert worst not in (0, 5)
    with pytest.raises(
        ValueError, match=f"^{worst}: its rate was {np.exp(apart[worst]):.3g} times .* 1 of 1:"
    ):
        data.krahenbuhl(unweighted, kernels, X, loss=loss, iterations=1, tolerance=0.1)


def test_krahenbuhl_returns_the_kernels_whose_rates_were_nearest() -> None:
    kernels = [normals(16, 16, seed=i) for i in range(6)]
    noise = jax.random.normal(KEY, (64, 16))

    def loss(y: Any, batch: Any) -> Any:
        return jnp.sum(y * noise)

    found, report = data.krahenbuhl(
        unweighted, kernels, X, loss=loss, iterations=6, with_report=True
    )
    slopes = jax.grad(lambda p: loss(unweighted(p, X), X))(found)
    pairs = zip(slopes, found, strict=True)
    logs = np.array([jnp.log(jnp.mean(g**2) / jnp.mean(w**2)) / 2 for g, w in pairs])
    assert len(report.history) == 6
    assert 0 < report.history.argmin() < 5
    assert_allclose(abs(logs - logs.mean()).max(), report.history.min(), rtol=1e-3)
    for i, (before, after) in enumerate(zip(kernels, found, strict=True)):
        assert_allclose(after, before * report.scales[str(i)], rtol=1e-4)
