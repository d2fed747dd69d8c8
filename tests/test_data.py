"""Data-dependent initialization: what each paper claims holds for the function itself."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data_models import (
    IMAGES,
    KEY,
    MODELS,
    TOKENS,
    Module,
    X,
    call,
    deep,
    linen,
    normals,
    units,
    unweighted,
)
from flax import nnx
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.testing import assert_allclose, assert_array_equal

import jaxinit
from jaxinit import capture, data
from jaxinit.data.parameters import multiplied
from jaxinit.paths import leaves


def chain(params: Any) -> dict[str, Any]:
    """The variances of `deep`, by hand."""
    made, x = {}, np.asarray(X)
    for i, kernel in enumerate(params):
        made[str(i)] = (np.var(x @ kernel),)
        x = np.maximum(x @ kernel, 0)
    return made


@pytest.mark.parametrize("name", MODELS)
def test_lsuv_gives_each_layer_unit_variance_in_two_passes(name: str) -> None:
    apply, params, batch = MODELS[name]()
    drawn = name == "50 layers"
    found, report = data.lsuv(apply, params, batch, KEY, orthogonal=drawn, with_report=True)
    sites = chain(found) if drawn else units(apply, found, batch)
    assert len(sites) == {"50 layers": 50, "residual": 4, "transformer": 7, "nnx": 2}[name]
    for site, (*_, variance) in sites.items():
        assert_allclose(variance, np.ones_like(variance), rtol=1e-4, err_msg=site)
        assert_allclose(report.variances[site], variance, rtol=1e-4)
    assert int(report.passes) == 2
    assert set(report.left) <= {"params/Embed_0/embedding"}
    jax.tree.map(lambda new, old: None, found, params)  # raises, if they differ in structure
    if drawn:
        gram = found[7].T @ found[7]
        assert_allclose(gram / gram[0, 0], np.eye(16), atol=1e-5)
    if name == "transformer":  # a scale for each of the three blocks
        (scale,) = [x for p, x in report.scales.items() if p.endswith("query/kernel")]
        assert scale.shape == (3, 1, 1, 1)
        assert len(set(np.ravel(scale).tolist())) == 3


def test_a_kernel_that_is_indexed_has_a_scale_for_each_slice() -> None:
    stack = jnp.stack([normals(16, 16), 3 * normals(16, 16, seed=4), normals(16, 16, seed=5)])

    def indexed(w: Any, x: Any) -> Any:
        return jnp.tanh(jnp.tanh(x @ w[1]) @ w[0])

    trace = capture.trace(indexed, stack, X)
    kernels = [site.kernels[0] for site in trace.sites if site.kernels]
    assert [kernel.slice.fixed for kernel in kernels] == [((0, 1),), ((0, 0),)]
    found = data.lsuv(indexed, stack, X, orthogonal=False)
    assert_array_equal(found[2], stack[2])  # nothing uses it
    assert_allclose(jnp.var(X @ found[1]), 1, rtol=1e-4)
    assert_allclose(jnp.var(jnp.tanh(X @ found[1]) @ found[0]), 1, rtol=1e-4)


def test_a_kernel_with_several_uses_has_one_scale_and_mean_variance_one() -> None:
    def recurrent(w: Any, xs: Any) -> Any:
        def step(h: Any, x: Any) -> tuple[Any, Any]:
            z = h @ w["h"]
            return jnp.tanh(z + x @ w["x"]), z

        return jax.lax.scan(step, jnp.zeros((64, 16)), xs)[1]

    weights = {"h": 0.01 * normals(16, 16), "x": normals(16, 16, seed=1)}
    xs = normals(12, 64, 16, seed=2)
    found, report = data.lsuv(recurrent, weights, xs, orthogonal=False, with_report=True)
    assert jnp.size(report.scales["h"]) == 1
    mean = float(recurrent(found, xs).var((1, 2)).mean())
    assert mean == pytest.approx(1, abs=0.02)


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.relu(nn.WeightNorm(nn.Conv(6, (3, 3)))(x))
        return nn.WeightNorm(nn.Dense(4))(x.reshape(len(x), -1))


def test_weight_norm_gives_each_unit_mean_zero_and_variance_one() -> None:
    apply, params, batch = linen(Normed(), IMAGES)
    found, report = data.weight_norm(apply, params, batch, with_report=True)
    for mean, variance, _ in units(apply, found, batch).values():
        assert_allclose(variance, np.ones_like(variance), rtol=1e-3)
        assert_allclose(mean, np.zeros_like(mean), atol=1e-4)
    assert all(path.endswith("scale") for path in report.scales)
    kernels = [{p: x for p, x in leaves(t) if p.endswith("kernel")} for t in (found, params)]
    assert all((kernels[0][p] == kernels[1][p]).all() and len(kernels[0]) == 2 for p in kernels[0])


@pytest.mark.parametrize("order", ["scale first", "bias first"])
def test_actnorm_gives_each_unit_mean_zero_and_variance_one(order: str) -> None:
    def layer(p: Any, x: Any) -> Any:
        if order == "scale first":
            return x * p["scale"] + p["bias"]
        return (x + p["bias"]) * jnp.exp(p["scale"])

    def flow(params: Any, x: Any) -> list[Any]:
        made = []
        for p in params:
            made.append(layer(p, x))
            x = jnp.tanh(made[-1] @ p["w"])
        return made

    layers = [{"scale": jnp.full(16, 0.5), "bias": jnp.ones(16)} for _ in range(2)]
    params = [{**p, "w": normals(16, 16, seed=i)} for i, p in enumerate(layers)]
    found, report = data.actnorm(flow, params, 3 * X, with_report=True)
    for y in flow(found, 3 * X):
        assert_allclose(y.mean(0), np.zeros(16), atol=1e-5)
        assert_allclose(y.var(0), np.ones(16), rtol=1e-4)
    assert found[0]["w"] is params[0]["w"]
    assert sorted(report.scales) == ["0/scale", "1/scale"]


def predicted(params: Any, x: Any) -> Any:
    h = jnp.tanh(x @ params["a"] + params["bias"])
    h = jax.nn.standardize(jax.nn.relu(h @ params["b"])) + h
    y = jax.lax.conv_general_dilated(
        h.reshape(-1, 16, 16), params["c"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
    )
    return jax.nn.silu(y.reshape(len(x), -1)) @ params["d"]


def test_autoinit_predicts_what_monte_carlo_finds() -> None:
    shapes = {"a": (16, 128), "b": (128, 128), "c": (3, 16, 32), "d": (256, 128)}
    start = {name: normals(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    start["bias"] = normals(128, seed=9)
    shape = jax.ShapeDtypeStruct((8, 16), "float32")
    found, report = data.autoinit(predicted, start, shape, mean=0.5, variance=4.0, with_report=True)
    trace = capture.trace(predicted, start, jnp.zeros((32, 16)))
    draws = 96

    def observe(site: Any, side: str, value: Any) -> Any:
        return jnp.var(value) if site.kernels else None

    def variances(key: Any) -> Any:
        *keys, last, drawn = jax.random.split(key, 6)
        weights = {
            name: jnp.sqrt(jnp.mean(found[name] ** 2)) * jax.random.normal(k, shapes[name])
            for k, name in zip(keys, shapes, strict=True)
        }
        weights["bias"] = jax.random.normal(drawn, (128,)) * jnp.std(start["bias"])
        x = 0.5 + 2 * jax.random.normal(last, (32, 16))
        seen = trace.instrument(observe, backward=False)(weights, x).statistics
        return {site: seen[site]["output"] for site in report.variances}

    made = jax.lax.map(variances, jax.random.split(KEY, draws))
    for site, values in made.items():
        error = float(values.std()) / draws**0.5
        # 0.01 is for the draws of a normalization, and 0.02 for a width of 128.
        assert abs(float(values.mean()) - 1) < 4 * error + 0.03, (site, values.mean(), error)
        assert error < 0.025
        assert float(report.variances[site]) == pytest.approx(1, abs=1e-3)


def test_autoinit_of_a_chain_is_the_gain_and_depth_does_not_matter() -> None:
    stack = jnp.stack([jaxinit.orthogonal()(jax.random.key(i), (64, 64)) for i in range(8)])

    def scanned(w: Any, x: Any) -> Any:
        return jax.lax.scan(lambda x, w: (jax.nn.relu(x @ w), None), x, w)[0]

    found = data.autoinit(scanned, stack, jax.ShapeDtypeStruct((4, 64), "float32"))
    gains = jnp.sqrt(64 * jnp.mean(found**2, (1, 2)))
    assert_allclose(gains[0], 1, rtol=1e-3)
    assert_allclose(gains[1:], np.full(7, 2**0.5), rtol=1e-3)


def regression(y: Any, x: Any) -> Any:
    return jnp.mean((y - x[:, :4]) ** 2)


def test_gradinit_lowers_the_loss_after_a_step_and_bounds_the_gradient() -> None:
    module = Module(nnx.Rngs(0))
    module.a.kernel[...] *= 6
    module.b.kernel[...] *= 6

    def after(module: Any) -> tuple[float, float]:
        def value(module: Any) -> Any:
            return regression(module(X), X)

        slopes = jax.grad(value)(module)
        stepped = jax.tree.map(lambda w, g: w - 0.1 * g, module, slopes)
        norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(slopes)))
        return float(value(stepped)), float(norm)

    before = after(module)
    found, report = data.gradinit(
        call, module, X, KEY, loss=regression, bound=3.0, steps=100, rate=0.03, with_report=True
    )
    loss, norm = after(found)
    # A minibatch has more noise than the whole: half of a row in 64, so an eighth, is for that.
    assert before[1] > 8 > 3 * 1.125 > norm
    assert loss < before[0] / 4
    assert len(report.history) == 100
    # First the gradient is lowered, of two thirds of the examples.
    assert float(report.history[0]) == pytest.approx(before[1], rel=0.2)
    assert isinstance(found, Module)


def test_metainit_lowers_the_gradient_quotient(capsys: pytest.CaptureFixture[str]) -> None:
    params = [4 * normals(16, 6) / 4, 4 * normals(6, 4, seed=1)]

    def apply(params: Any, x: Any) -> Any:
        return jnp.tanh(x @ params[0]) @ params[1]

    @jax.jit
    def by_hand(params: Any) -> Any:
        flat, back = ravel_pytree(params)

        def value(w: Any) -> Any:
            return regression(apply(back(w), X), X)

        g = jax.grad(value)(flat)
        return jnp.mean(jnp.abs(jax.hessian(value)(flat) @ g / (g + 1e-5 * jnp.sign(g))))

    found, report = data.metainit(
        apply, params, X, loss=regression, steps=60, progress=True, with_report=True
    )
    assert "metainit" in capsys.readouterr().err
    before = float(by_hand(params))
    assert float(report.history[0]) == pytest.approx(before, rel=1e-3)
    assert by_hand(found) < before / 1.5
    ratio = found[0] / params[0]
    assert_allclose(ratio, jnp.full_like(ratio, ratio[0, 0]), rtol=1e-5)


def test_dtypes_and_shardings_stay_and_what_is_kept_is_the_same_object() -> None:
    mesh = Mesh(np.array(jax.devices()[:8]), ("x",))
    split = NamedSharding(mesh, PartitionSpec(None, "x"))
    a, b = (normals(16, 16, seed=i).astype(jnp.bfloat16) for i in range(2))
    params = {"a": jax.device_put(a, split), "b": jax.device_put(b, split), "step": 3}

    def apply(params: Any, x: Any) -> Any:
        return jnp.tanh(x.astype(jnp.bfloat16) @ params["a"]) @ params["b"]

    found, report = data.lsuv(apply, params, X, orthogonal=False, keep=["b"], with_report=True)
    assert (found["a"].dtype, found["a"].sharding) == (jnp.bfloat16, split)
    assert found["b"] is params["b"]
    assert found["step"] == 3
    assert report.left == {"b": "kept"}
    # The scale is computed wide and cast once: bfloat16 keeps eight bits of it.
    assert float(jnp.var(X @ found["a"].astype(jnp.float32))) == pytest.approx(1, abs=2**-6)


def test_lsuv_compiles_with_what_is_around_it() -> None:
    params = [normals(16, 16), normals(16, 16, seed=1)]
    found = jax.jit(lambda p, x: data.lsuv(deep, p, x, orthogonal=False))(params, X)
    assert_allclose(jnp.var(X @ found[0]), 1, rtol=1e-4)


W = normals(16, 16)


def test_narrow_weights_are_multiplied_wide_and_cast_once() -> None:
    kernel = normals(64, 64).astype(jnp.bfloat16)
    factor = np.float32(1 / 3)
    found = multiplied({"w": kernel}, {"w": factor})["w"]
    wide = np.asarray(kernel, np.float32) * factor
    assert_array_equal(found, wide.astype(kernel.dtype))


BAD: list[tuple[str, Callable[[], Any]]] = [
    (r"params/1 has entries that are NaN", lambda: data.lsuv(deep, [W, W * jnp.nan], X, KEY)),
    (r"batch has entries that are NaN", lambda: data.weight_norm(deep, [W], X * jnp.inf)),
    (r"apply_fn=3 is a int", lambda: data.lsuv(3, [W], X, KEY)),  # type: ignore[arg-type]
    (r"batch=3 holds no array", lambda: data.autoinit(deep, [W], 3)),
    (r"key=None: orthogonal=True", lambda: data.lsuv(deep, [W], X)),
    (r"found no kernel", lambda: data.lsuv(lambda p, x: p * x, W[0], X, KEY)),
    (r"found no kernel.*0 \(kept\)", lambda: data.krahenbuhl(deep, [W], X, keep=["**"])),
    (
        r"its rate was 0\.81\d times the mean when all were nearest, in iteration 3 of 6: raise",
        lambda: data.krahenbuhl(
            unweighted, [normals(16, 16, seed=i) for i in range(6)], X, iterations=6, tolerance=0.1
        ),
    ),
    (r"0: the outputs.*variance 0", lambda: data.lsuv(deep, [0 * W], X, orthogonal=False)),
    (r"0: 16 of 16 units", lambda: data.weight_norm(deep, [0 * W], X)),
    (r"0: it is used 2 times", lambda: data.weight_norm(lambda p, x: x @ p[0] @ p[0], [W], X)),
    (
        r"still have variance.*normalization of the kernel",
        lambda: data.lsuv(
            lambda p, x: x @ (p / jnp.linalg.norm(p)), W, X, trials=1, orthogonal=False
        ),
    ),
    (
        r"batch has shape \(0, 16\), which holds no example",
        lambda: data.lsuv(deep, [W], X[:0], orthogonal=False),
    ),
    (
        r"batch/x has shape \(0, 16\), which holds no example",
        lambda: data.actnorm(lambda p, b: deep(p, b["x"]), [W], {"x": X[:0]}),
    ),
    (
        r"^table: it is looked up as a table too.*name it in keep=",
        lambda: data.krahenbuhl(
            lambda p, t: jnp.tanh(p["table"][t] @ p["w"]) @ p["table"].T,
            {"table": normals(11, 16), "w": normals(16, 16)},
            TOKENS,
        ),
    ),
    (r"found no place", lambda: data.actnorm(deep, [W], X)),
    (
        r"no rule gives.* 1 kernels: w/kernel: .*fft",
        lambda: data.autoinit(
            lambda p, x: jnp.fft.fft(x).real @ p["w"]["kernel"], {"w": {"kernel": W}}, X
        ),
    ),
    (r"loss gives float32\[64\]", lambda: data.metainit(deep, [W], X, loss=lambda y, x: y[:, 0])),
    (r"loss=1 is a int", lambda: data.gradinit(deep, [W], X, KEY, loss=1)),  # type: ignore[arg-type]
    (
        r"have \[16, 64\] rows",
        lambda: data.gradinit(
            lambda p, b: deep(p, b[0]), [W], (X, W), KEY, loss=lambda y, b: y.mean()
        ),
    ),
    (
        r"optimizer='sdg'.*'sgd'",
        lambda: data.gradinit(deep, [W], X, KEY, loss=regression, optimizer="sdg"),  # type: ignore[arg-type]
    ),
]


@pytest.mark.parametrize(("message", "do"), BAD, ids=[message for message, _ in BAD])
def test_bad_input_is_told(message: str, do: Callable[[], Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        do()
