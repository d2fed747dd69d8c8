"""Capture: what is observed is what a forward pass written by hand computes, and its gradients."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

import jaxinit
from jaxinit import capture
from jaxinit.axes import Axes

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (6, 4))
W = jax.random.normal(jax.random.key(2), (5, 4, 4))


def hidden(w: Any, x: Any) -> Any:
    return jax.nn.relu(x @ w["a"]["kernel"] + w["a"]["bias"])


MLP = {"a": {"kernel": W[0], "bias": W[1, 0]}, "b": {"kernel": W[2]}}


def mlp(w: Any, x: Any) -> Any:
    return hidden(w, x) @ w["b"]["kernel"]


def raw(site: Any, side: str, value: Any) -> Any:
    """An observer that keeps the values themselves."""
    return value


def names(trace: Any) -> list[tuple[str, str, list[str | None]]]:
    return [(s.name, s.kind, [a.name for a in s.activations]) for s in trace.sites]


@pytest.mark.parametrize("fast", [True, False])
def test_a_group_norm_is_a_normalization(fast: bool) -> None:
    images = jax.random.normal(KEY, (6, 4, 4, 3))
    net = nn.Sequential(
        [nn.Conv(8, (3, 3)), nn.GroupNorm(4, use_fast_variance=fast), nn.relu, nn.Conv(2, (1, 1))]
    )
    params = net.init(KEY, images)
    trace = capture.trace(net.apply, params, images)
    assert [site.kind for site in trace.sites] == ["conv", "normalization", "activation", "conv"]
    norm = trace.sites[1]
    assert norm.shape == norm.input_shape == (6, 4, 4, 8)
    assert norm.units == (1, 2, 3)
    found: Any = net.apply(jaxinit.data.autoinit(net.apply, params, images, KEY), images)
    assert 0.5 < jnp.var(found) < 2
    assert {row.role for row in jaxinit.recommend(net.apply, params, images).rows} == {
        *("conv", "head", "bias", "norm scale", "norm bias"),
    }


def test_values_and_cotangents_are_those_of_a_forward_pass_by_hand() -> None:
    def loss(y: Any) -> Any:
        return jnp.sum(jnp.sin(y))

    trace = capture.trace(mlp, MLP, X)
    assert names(trace) == [
        ("a", "matmul", ["relu"]),
        ("relu", "activation", ["relu"]),
        ("b", "matmul", []),
    ]
    found = trace.observe(MLP, X, observer=raw, loss=loss, gradients=True)
    before = X @ MLP["a"]["kernel"]
    after = jax.nn.relu(before + MLP["a"]["bias"])

    def with_zeros(z: Any) -> Any:
        h = jax.nn.relu(before + z["a"] + MLP["a"]["bias"]) + z["relu"]
        return loss(h @ MLP["b"]["kernel"] + z["b"])

    zeros = {"a": jnp.zeros_like(before), "relu": jnp.zeros_like(after), "b": jnp.zeros((6, 4))}
    wanted = jax.grad(with_zeros)(zeros)
    values = {"a": (X, before), "relu": (before + MLP["a"]["bias"], after), "b": (after, None)}
    for name, (given, made) in values.items():
        sides = found.statistics[name]
        assert_allclose(sides["input"], given, rtol=1e-5, atol=1e-6)
        if made is not None:
            assert_allclose(sides["output"], made, rtol=1e-5, atol=1e-6)
        assert_allclose(sides["cotangent"], wanted[name], rtol=1e-5, atol=1e-6)
    slopes = jax.grad(lambda w: loss(mlp(w, X)))(MLP)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-6), found.gradients, slopes)
    assert_allclose(found.loss, loss(mlp(MLP, X)), rtol=1e-6)
    assert_allclose(found.outputs, jax.jit(mlp)(MLP, X), rtol=3e-7)


def test_the_default_statistics_are_their_definitions() -> None:
    x = X.at[0, 0].set(jnp.inf).at[1].set(0)
    trace = capture.trace(hidden, MLP, X)
    sides = trace.observe(MLP, X).statistics
    y = np.maximum(X @ MLP["a"]["kernel"] + MLP["a"]["bias"], 0)
    out = sides["relu"]["output"]
    assert_allclose(out["mean"], y.mean(), rtol=1e-5)
    assert_allclose(out["rms"], np.sqrt((y**2).mean()), rtol=1e-5)
    assert_allclose(out["std"], y.std(), rtol=1e-5)
    assert_allclose(out["max_abs"], y.max(), rtol=1e-6)
    assert_allclose(out["zeros"], (y == 0).mean())
    assert_allclose(out["unit_max_abs"], y.max(0), rtol=1e-6)
    assert_allclose(out["unit_mean"], y.mean(0), rtol=1e-5)
    kept = y[y.any(axis=1)]  # a zero has no direction
    unit = kept / np.linalg.norm(kept, axis=1, keepdims=True)
    pairs = (unit @ unit.T)[~np.eye(len(kept), dtype=bool)]
    assert_allclose(out["cosine"], pairs.mean(), rtol=1e-5)
    assert_allclose(sides["relu"]["input"]["flat"], (y == 0).mean())
    assert float(trace.observe(MLP, x).statistics["a"]["input"]["nonfinite"]) == 1


def test_equal_units_have_equal_projections_and_no_others_do() -> None:
    w = {"a": {"kernel": W[0].at[:, 1].set(W[0, :, 3]), "bias": jnp.zeros(4)}}
    out = capture.trace(hidden, w, X).observe(w, X).statistics["a"]["output"]["unit_projection"]
    assert_allclose(out[1], out[3], rtol=1e-6)
    assert len({round(float(x), 4) for x in out}) == 3


def test_a_scan_gives_the_statistics_of_each_step() -> None:
    def body(c: Any, w: Any) -> tuple[Any, Any]:
        return jnp.tanh(c @ w), None

    def scanned(w: Any, x: Any) -> Any:
        return jax.lax.scan(jax.checkpoint(body), x, w)[0]

    def unrolled(w: Any, x: Any) -> Any:
        for each in w:
            x = jnp.tanh(x @ each)
        return x

    one, other = (capture.trace(fn, W, X) for fn in (scanned, unrolled))
    (matmul, tanh), steps = one.sites, other.sites[::2]
    assert matmul.steps == tanh.steps == (5,)
    assert matmul.kernel is not None
    assert matmul.kernel.axes == Axes(1, 2, (0,), rank=3)
    assert [s.activation.name for s in (matmul, *steps)] == ["tanh"] * 6
    found, wanted = (t.observe(W, X, observer=capture.moments).statistics for t in (one, other))
    for side in ("input", "output", "cotangent"):
        rms = [wanted[s.name][side]["rms"] for s in steps]
        assert_allclose(found[matmul.name][side]["rms"], rms, rtol=1e-5)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        h = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(2)(h)
        return x + nn.Dense(8)(nn.gelu(nn.Dense(16)(nn.LayerNorm()(x))))


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, tokens: Any) -> Any:
        x = nn.remat(Block)(name="block")(nn.Embed(11, 8)(tokens))
        return nn.Dense(11)(x)


def test_a_transformer_of_linen_under_remat() -> None:
    model, tokens = Transformer(), jnp.arange(20).reshape(4, 5) % 11
    params = model.init(KEY, tokens)
    trace = capture.trace(model.apply, params, tokens)
    sites = {s.name.removeprefix("Transformer/block/"): s for s in trace.sites}
    assert trace.unobserved == ()
    out = sites["MultiHeadDotProductAttention_0/out"]
    assert out.kernel is not None
    assert out.kernel.path == "params/block/MultiHeadDotProductAttention_0/out/kernel"
    assert out.kernel.axes == Axes((0, 1), 2, (), rank=3)
    assert out.bias == "params/block/MultiHeadDotProductAttention_0/out/bias"
    assert (out.residual, out.examples, out.units) == (True, 0, (2,))
    # Python makes the outer layer first.
    assert sites["Dense_1"].activation.name == "gelu"
    assert sites["Dense_0"].activation.name == "identity"
    kinds = [s.kind for s in trace.sites]
    assert [kinds.count(k) for k in ("embedding", "softmax", "normalization")] == [1, 1, 2]
    both = capture.combined(capture.entropy, lambda site, side, value: {"value": value})
    found = trace.observe(params, tokens, observer=both)
    assert_allclose(found.outputs, jax.jit(model.apply)(params, tokens), rtol=3e-6, atol=1e-6)
    rows = found.statistics[next(s.name for s in trace.sites if s.kind == "softmax")]["output"]
    p = np.asarray(rows["value"], np.float64)
    assert_allclose(p.sum(-1), 1, rtol=1e-5)
    assert_allclose(rows["entropy"], -(p * np.log(p)).sum(-1).mean() / np.log(5), rtol=1e-5)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Conv(8, (3, 3), strides=2)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=False)(x))
        x = nn.leaky_relu(nn.Conv(8, (3, 3), feature_group_count=2)(x), 0.2)
        return nn.Dense(3)(x.mean((1, 2)))


def test_convolutions_know_their_groups_strides_and_activations() -> None:
    x = jax.random.normal(KEY, (2, 8, 8, 3))
    params = Net().init(KEY, x)

    def apply(params: Any, x: Any) -> Any:
        return Net().apply(params, x, mutable=["batch_stats"])

    trace = capture.trace(apply, params, x)
    convs = [s for s in trace.sites if s.kind == "conv"]
    kernels = [s.kernel.axes for s in convs if s.kernel]
    assert kernels == [Axes(2, 3, rank=4, out_stride=4), Axes(2, 3, groups=2, rank=4)]
    assert [s.activation.name for s in convs] == ["relu", "leaky_relu"]
    assert dict(convs[1].activation.params) == {"negative_slope": 0.2}
    assert convs[0].bias == "params/Conv_0/bias"
    found = trace.observe(params, x, observer=lambda site, side, value: {})
    assert_allclose(found.outputs[0], jax.jit(apply)(params, x)[0], rtol=1e-5, atol=1e-6)


def test_a_module_of_nnx_is_named_by_its_paths() -> None:
    class Model(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.a = nnx.Linear(4, 8, rngs=rngs)
            self.b = nnx.Linear(8, 2, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.b(nnx.gelu(self.a(x), approximate=False))

    model = Model(nnx.Rngs(0))
    trace = capture.trace(lambda m, x: m(x), model, X)
    assert [s.name for s in trace.sites] == ["a", "gelu", "b"]
    assert trace.sites[0].activation.params == (("approximate", False),)
    found = trace.observe(model, X, observer=capture.moments)
    assert_allclose(found.outputs, model(X), rtol=1e-5, atol=1e-6)


@jax.custom_vjp
def straight_through(x: Any) -> Any:
    return jnp.sign(x)


straight_through.defvjp(lambda x: (jnp.sign(x), None), lambda _, g: (3 * g,))


def test_a_kernel_is_followed_through_transposes_casts_and_reshapes() -> None:
    def fn(w: Any, x: Any) -> Any:
        kernel = (0.5 * w["w"]).astype(jnp.bfloat16).T.reshape(4, 2, 2)
        return jnp.einsum("bi,iho->bho", x.astype(jnp.bfloat16), kernel)

    (site,) = capture.trace(fn, {"w": W[0]}, X).sites
    assert site.kernel == capture.Kernel("w", (4, 4), Axes(1, 0, (), rank=2))


def test_a_derivative_rule_is_kept() -> None:
    trace = capture.trace(lambda w, x: jnp.sum(straight_through(x @ w)), W[0], X)
    sides = trace.observe(W[0], X, observer=raw).statistics
    assert_array_equal(sides["matmul"]["cotangent"], jnp.full((6, 4), 3.0))


def test_replacing_outputs_gives_every_layer_unit_scale_in_one_pass() -> None:
    def unit(site: Any, value: Any) -> Any:
        return value / jnp.std(value) if site.kernels else value

    found = capture.trace(mlp, MLP, X).observe(MLP, X, backward=False, replace=unit)
    assert float(jnp.std(found.outputs)) == pytest.approx(1, rel=1e-5)
    first = jnp.std(X @ MLP["a"]["kernel"])
    assert float(found.statistics["a"]["output"]["std"]) == pytest.approx(float(first), rel=1e-5)


def test_what_is_not_known_passes_and_is_listed() -> None:
    def looped(w: Any, x: Any) -> Any:
        x = jax.lax.while_loop(lambda c: jnp.sum(c) < 1, lambda c: c @ w + 1, x)
        return jnp.fft.fft(x @ w).real

    trace = capture.trace(looped, W[0], X)
    assert [u.primitive for u in trace.unobserved] == ["while", "fft"]
    assert_array_equal(trace.observe(W[0], X).outputs, jax.jit(looped)(W[0], X))


def test_bad_input_is_told() -> None:
    def counted(w: Any, x: Any) -> Any:
        return jax.lax.while_loop(lambda c: jnp.sum(c) < 1, lambda c: c + 1, x @ w)

    with pytest.raises(ValueError, match=r"no derivative.*backward=False"):
        capture.trace(counted, W[0], X).observe(W[0], X)
    assert capture.trace(counted, W[0], X).observe(W[0], X, backward=False).statistics
    with pytest.raises(ValueError, match=r"loss gives float32\[4\], not a real scalar"):
        capture.trace(jnp.dot, W[0], W[1]).observe(W[0], W[1], loss=lambda y: y[0])
    with pytest.raises(ValueError, match="no real numbers"):
        capture.trace(lambda w, x: x @ w > 0, W[0], X).observe(W[0], X)
    with pytest.raises(ValueError, match=r"float32\[3, 4\].*float32\[6, 4\] was traced"):
        capture.trace(mlp, MLP, X).observe(MLP, X[:3])
    with pytest.raises(TypeError, match="pass a function"):
        capture.trace(3, W)  # type: ignore[arg-type]
    whole = jnp.arange(3)
    trace = capture.trace(jnp.add, whole, whole)
    assert trace.sites == ()
    assert_array_equal(trace.observe(whole, whole).outputs, [0, 2, 4])


def test_a_stack_knows_its_examples_and_units() -> None:
    def stacked(w: Any, x: Any) -> Any:
        return jnp.tanh(jnp.stack([x @ w, jnp.cos(x @ w)], 1))

    trace = capture.trace(stacked, W[0], X)
    assert trace.unobserved == ()
    tanh = trace.sites[-1]
    assert (tanh.activation.name, tanh.examples, tanh.units) == ("tanh", 0, (2,))


def test_an_axis_of_a_product_knows_the_operand_that_it_is_of() -> None:
    def attention(w: Any, x: Any) -> Any:
        return jax.nn.softmax(((x @ w) @ x.T).T / 2, axis=0) @ x

    plan = capture.trace(attention, W[0], X).plan
    softmax = next(place for place in plan.places if place.site.kind == "softmax")
    product = next(p for p in plan.places if p.site.kind == "matmul" and not p.site.kernels)
    labels: Any = plan.analysis.facts[softmax.input.number].labels
    assert softmax.order == (1, 0)
    assert softmax.site.units == (0,)
    (over,) = (labels[softmax.order[axis]] for axis in softmax.site.units)
    assert {label for label in over if label[0] == "free"} == {("free", product.output.number, 1)}
