"""Diagnosis: each symptom planted and found where it is, and none in what is healthy."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examined import CLASSES, DEPTH, HE, KEY, WIDTH, Weights, X, Y, network, weights
from numpy.testing import assert_allclose

import jaxinit
from jaxinit.diagnosis import Finding, Layer, Report, diagnose, thresholds
from jaxinit.diagnosis.curvature import largest, start, tridiagonal
from jaxinit.diagnosis.examination import Examination
from jaxinit.diagnosis.signs import trend


def changed(params: Weights, which: str, change: Callable[[Any], Any], name: str = "w") -> Weights:
    return {
        k: v | {name: change(v[name])} if re.fullmatch(which, k) else v for k, v in params.items()
    }


@pytest.fixture(scope="module")
def relu() -> Examination:
    return Examination(network(jax.nn.relu), weights(), X, labels=Y)


@pytest.fixture(scope="module")
def tanh() -> Examination:
    return Examination(network(jnp.tanh), weights(), X)


def by_symptom(report: Report) -> dict[str, Finding]:
    found: dict[str, Finding] = {finding.symptom: finding for finding in report.findings}
    assert len(found) == len(report.findings)
    return found


def test_a_healthy_network_has_rows_and_no_finding(relu: Examination) -> None:
    params = weights()
    report = relu(params, X, labels=Y, learning_rate=0.01)
    assert report.findings == ()
    assert report.healthy
    assert report.rules == ""
    rows = {layer.path: layer for layer in report.layers}
    assert [path for path in rows if path.endswith("w")] == [f"l{i}/w" for i in range(DEPTH + 1)]
    first = np.asarray(X @ params["l0"]["w"])
    assert_allclose(rows["l0/w"].rms or 0, np.sqrt((first**2).mean()), rtol=1e-5)
    unit = first / np.linalg.norm(first, axis=1, keepdims=True)
    assert_allclose(
        rows["l0/w"].cosine or 0, (unit @ unit.T)[~np.eye(40, dtype=bool)].mean(), atol=1e-6
    )
    hidden = np.maximum(first, 0)
    assert rows["relu"].dead == (hidden.max(0) == 0).mean()
    second = np.maximum(hidden @ params["l1"]["w"], 0)
    ratio = np.sqrt((second**2).mean() / (hidden**2).mean())
    assert_allclose(rows["l2/w"].ratio or 0, ratio, rtol=1e-5)

    def loss(p: Weights) -> Any:
        logits = network(jax.nn.relu)(p, X)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(40), Y])

    value, slopes = jax.jit(jax.value_and_grad(loss))(params)
    assert_allclose(report.loss or 0, value, rtol=1e-5)
    moved = 0.01 * jnp.linalg.norm(slopes["l3"]["w"]) / jnp.linalg.norm(params["l3"]["w"])
    assert_allclose(rows["l3/w"].update or 0, moved, rtol=1e-4)
    assert_allclose(
        rows["l6/w"].gradient or 0,
        jnp.sqrt(
            jnp.mean((jax.nn.softmax(network(jax.nn.relu)(params, X)) - jax.nn.one_hot(Y, 5)) ** 2)
        )
        / 40,
        rtol=1e-4,
    )


def test_equal_units_are_symmetric_and_a_zero_head_is_not(relu: Examination) -> None:
    alike = changed(weights(), "l.", lambda w: jnp.full_like(w, 0.1))
    found = by_symptom(relu(alike, X, labels=Y))["symmetric"]
    assert found.severity == "error"
    assert found.where == tuple(f"l{i}/w" for i in range(DEPTH))
    assert found.evidence["share of units that equal another"] == 1
    assert '("l0/w", he_normal()),\n' in found.remedy
    half = changed(weights(), "l2", lambda w: w.at[:, :16].set(w[:, 16:]))
    half = changed(half, "l3", lambda w: w.at[:16].set(w[16:]))
    assert by_symptom(relu(half, X, labels=Y))["symmetric"].where == ("l2/w",)
    once = changed(weights(), "l2", lambda w: w.at[:, :16].set(w[:, 16:]))
    assert relu(once, X, labels=Y).healthy  # the next layer tells them apart
    assert relu(changed(weights(), "l6", jnp.zeros_like), X, labels=Y * 0).healthy


@pytest.mark.parametrize(("factor", "way"), [(0.1, "vanishing"), (10.0, "exploding")])
def test_signals_that_change_with_depth(relu: Examination, factor: float, way: str) -> None:
    params = changed(weights(), "l[0-5]", lambda w: factor * w)
    found = by_symptom(relu(params, X, labels=Y))
    forward, backward = (found[f"{way}-{of}"] for of in ("activations", "gradients"))
    for each in (forward, backward):
        assert each.evidence["factor per layer"] == pytest.approx(factor, rel=0.3)
    assert_allclose(forward.evidence["ratio last to first"], factor**5, rtol=1.5)
    paths = [f"l{i}/w" for i in range(DEPTH + 1)]
    assert forward.where == tuple(paths[paths.index(forward.where[0]) :])
    assert backward.where == tuple(paths[paths.index(backward.where[0]) :: -1])


def cured(params: Weights, finding: Finding) -> Weights:
    for path, init in eval(f"[{finding.remedy}]", dict(vars(jaxinit))):
        layer, name = path.split("/")
        key = jax.random.fold_in(KEY, int(layer[1:]))
        new = init(key, params[layer][name].shape)
        params = params | {layer: params[layer] | {name: new}}
    return params


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_a_remedy_is_of_all_that_contribute(relu: Examination, factor: float) -> None:
    params = changed(weights(), "l[0-5]", lambda w: factor * w)
    found = by_symptom(relu(params, X, labels=Y))
    for symptom, finding in found.items():
        if symptom.endswith(("-activations", "-gradients")):
            assert set(finding.where) >= {f"l{i}/w" for i in range(1, DEPTH)}
            assert symptom not in by_symptom(relu(cured(params, finding), X, labels=Y))
    half = changed(weights(), "l[3-5]", lambda w: factor**2 * w)
    way = "vanishing-gradients" if factor < 1 else "exploding-gradients"
    assert by_symptom(relu(half, X, labels=Y))[way].where[:3] == ("l5/w", "l4/w", "l3/w")


def test_the_remedy_of_a_collapse_is_of_what_feeds_it_too(tanh: Examination) -> None:
    params = changed(weights(jaxinit.orthogonal()), "l2", lambda w: 1e-4 * w)
    params = changed(params, "l2", lambda b: jax.random.normal(KEY, b.shape), "b")
    finding = by_symptom(tanh(params, X))["rank-collapse"]
    assert finding.where[0] == "l2/w"
    assert '("l2/b", zeros_init())' in finding.remedy
    assert "rank-collapse" not in by_symptom(tanh(cured(params, finding), X))


def test_the_remedy_of_a_loss_far_from_chance_makes_up_for_what_the_head_is_given(
    relu: Examination,
) -> None:
    params = weights()
    (finding,) = relu(params, 10 * X, labels=Y).findings
    assert finding.symptom == "loss-at-chance"
    assert finding.evidence["rms of the last layer's input"] > 4
    assert relu(cured(params, finding), 10 * X, labels=Y).healthy
    plain = by_symptom(relu(changed(params, "l6", lambda w: 20 * w), X, labels=Y))
    assert '("l6/w", lecun_normal()),' in plain["loss-at-chance"].remedy


def test_a_trend_leaves_out_a_layer_unlike_the_others() -> None:
    sizes = 0.5 ** np.arange(9)
    sizes[3] = 1e9
    assert trend(sizes) == pytest.approx(0.5**8)
    assert trend([1.0, 0.0]) is None


def test_dead_units_have_no_gradient_and_a_remedy_for_their_bias(relu: Examination) -> None:
    params = changed(weights(), "l3", lambda b: b - 30, "b")
    found = by_symptom(relu(params, X, labels=Y))["dead-units"]
    assert found.severity == "error"
    assert found.where[0] == "relu#4"
    assert found.evidence["share of units"] == 1
    assert '("l3/w", he_normal()),\n("l3/b", zeros_init()),' in found.remedy
    few = changed(weights(), "l3", lambda b: b.at[:8].set(-30), "b")
    assert relu(few, X, labels=Y).healthy


def test_units_that_are_dead_before_a_normalization_are_told() -> None:
    params = changed(weights(), "l3", lambda b: b.at[:31].set(-30), "b")
    apply = network(lambda z: jax.nn.standardize(jax.nn.relu(z)))
    assert diagnose(apply, weights(), X, labels=Y).healthy
    found = by_symptom(diagnose(apply, params, X, labels=Y))["dead-units"]
    assert found.where[0] == "relu#4"
    assert found.evidence["share of units"] == 31 / 32


def test_loss_steps_and_nan(relu: Examination) -> None:
    loud = relu(changed(weights(), "l6", lambda w: 20 * w), X, labels=Y)
    found = by_symptom(loud)["loss-at-chance"]
    assert found.where == ("l6/w",)
    assert found.evidence == {"loss": loud.loss, "of a guess": pytest.approx(np.log(CLASSES))}
    assert found.remedy.startswith('("l6/w", lecun_normal()),')
    slow = by_symptom(relu(weights(), X, labels=Y, learning_rate=1e-6))
    assert list(slow) == ["slow"]
    assert len(slow["slow"].where) == DEPTH + 1
    fast = by_symptom(relu(weights(), X, labels=Y, learning_rate=10.0))["diverges"]
    assert fast.evidence["learning rate x largest eigenvalue"] > thresholds.DIVERGES
    broken = changed(weights(), "l4", lambda w: w.at[0, 0].set(jnp.nan))
    nan = by_symptom(relu(broken, X, labels=Y))
    assert list(nan) == ["nan"]
    assert nan["nan"].where == ("l4/w",)
    assert nan["nan"].remedy.startswith('("l4/w", he_normal()),')
    data = by_symptom(relu(weights(), X.at[3, 3].set(jnp.inf), labels=Y))["nan"]
    assert data.where == ("inputs/0",)
    over = changed(weights(), "l[1-3]", lambda w: 1e14 * w)
    grown = by_symptom(relu(over, X, labels=Y))
    assert (grown["nan"].where[0], "exploding-activations" in grown) == ("l2/w", True)
    assert json.dumps(relu(broken, X, labels=Y).to_dict(), allow_nan=False)


@pytest.mark.parametrize("mask", [jnp.finfo("float32").min, -1e30, -jnp.inf])
def test_a_mask_is_no_disease(mask: float) -> None:
    allowed = jnp.arange(CLASSES) < 4

    def masked(params: Weights, x: Any) -> Any:
        return jnp.where(allowed, network(jax.nn.relu)(params["net"], x), params["mask"])

    params = {"net": weights(), "mask": jnp.full(CLASSES, mask)}
    examine = Examination(masked, params, X, labels=Y % 4)
    assert examine(params, X, labels=Y % 4).healthy
    assert diagnose(masked, params, X).healthy
    alike = params | {"net": changed(weights(), "l.", lambda w: jnp.full_like(w, 0.1))}
    assert "symmetric" in by_symptom(examine(alike, X, labels=Y % 4))
    sure = examine(params, X, labels=Y)  # that a masked class is not the right one
    assert ("nan" in by_symptom(sure)) == (not np.isfinite(sure.loss or 0))


def test_labels_rates_and_batches_of_every_kind(relu: Examination) -> None:
    params = weights()
    wanted = relu(params, X, labels=Y, learning_rate=0.01)
    for rate in (jnp.float32(0.01), np.float64(0.01), np.asarray(0.01)):
        assert relu(params, X, labels=Y.tolist(), learning_rate=rate).loss == wanted.loss
    assert diagnose(network(jax.nn.relu), params, X, labels=Y.tolist()).loss == wanted.loss
    wrong: tuple[Any, ...] = (jnp.ones(2), jnp.array(True), 1j)
    for rate in wrong:
        with pytest.raises(TypeError, match=r"learning_rate=.* pass a number"):
            relu(params, X, labels=Y, learning_rate=rate)
    with pytest.raises(ValueError, match=r"labels are text.*number them, as np.unique"):
        diagnose(network(jax.nn.relu), params, X, labels=["cat", "dog"] * 20)
    with pytest.raises(ValueError, match=r"inputs/0 has shape \(0, 8\), which holds no example"):
        diagnose(network(jax.nn.relu), params, X[:0], labels=Y[:0])
    with pytest.raises(ValueError, match=r"apply_fn returns no real.*logits and not of classes"):
        diagnose(lambda p, x: jnp.argmax(x @ p, -1), jnp.ones((8, 2)), X)


def test_the_largest_eigenvalue_is_that_of_the_hessian() -> None:
    a = jax.random.normal(KEY, (12, 12))
    matrix = a @ a.T - 4 * jnp.eye(12)

    def loss(p: Any) -> Any:
        both = jnp.concatenate([p[0].ravel(), p[1]])
        return both @ matrix @ both / 2

    at = [jnp.ones((2, 4)), jnp.ones(4)]
    found = jax.jit(lambda p, v: tridiagonal(loss, p, v))(at, start(at))
    assert_allclose(largest(*found), np.linalg.eigvalsh(matrix)[-1], rtol=1e-5)


def test_bounded_activations_saturate_and_parallel_outputs_collapse(tanh: Examination) -> None:
    critical = weights(jaxinit.orthogonal())
    assert tanh(critical, X).healthy
    flat = by_symptom(tanh(changed(critical, "l[12]", lambda w: 30 * w), X))
    assert flat["saturated"].where == ("tanh#2", "tanh#3")
    assert "(\"l1/w\", for_activation(fn='tanh'))" in flat["saturated"].remedy
    one = jax.random.normal(KEY, (WIDTH,))
    small = changed(critical, "l[0-5]", lambda w: 0.2 * w)
    collapsed = changed(small, "l[0-5]", lambda b: one, "b")
    found = by_symptom(tanh(collapsed, X))["rank-collapse"]
    assert found.where[-1] == "l6/w"
    assert found.evidence["1 - cosine last"] < found.evidence["allowed"] < thresholds.PARALLEL
    nearly = X[:1] + 1e-3 * X  # parallel by the data, before any layer
    assert "rank-collapse" not in by_symptom(tanh(collapsed, nearly))


def test_a_rectifier_that_is_bounded_saturates_at_its_bound_alone() -> None:
    examine = Examination(network(jax.nn.relu6), weights(), X)
    assert examine(weights(), X).healthy
    loud = changed(weights(), "l[0-5]", lambda w: 20 * w)
    assert by_symptom(examine(loud, X))["saturated"].evidence["share of flat inputs"] > 0.8


def attend(params: Weights, x: Any) -> Any:
    for i in range(3):
        layer = params[f"l{i}"]
        q, k, v = (x @ layer[name] for name in "qkv")
        x = x + jax.nn.softmax(q @ k.mT / 4) @ v @ layer["o"]
        x = jax.nn.standardize(x + jax.nn.gelu(x @ layer["up"]) @ layer["down"])
    return x @ params["l2"]["head"]


def test_attention_collapses_either_way_and_zeros_on_purpose_are_no_disease() -> None:
    shapes = dict.fromkeys("qkvo", (16, 16)) | {"up": (16, 64), "down": (64, 16), "head": (16, 5)}
    init, keys = jaxinit.lecun_normal(), iter(jax.random.split(KEY, 21))
    params = {
        f"l{i}": {name: init(next(keys), shape) for name, shape in shapes.items()} for i in range(3)
    }
    x = jax.random.normal(KEY, (8, 10, 16))
    examine = Examination(attend, params, x)
    report = examine(params, x)
    assert report.healthy
    assert [layer.kind for layer in report.layers].count("softmax") == 3
    on_purpose = params
    for name in ("o", "down", "q"):
        on_purpose = changed(on_purpose, "l.", jnp.zeros_like, name)
    assert examine(on_purpose, x).healthy
    scaled = params
    for name in "qk":
        scaled = changed(scaled, "l1", lambda w: 1e-3 * w, name)
    found = by_symptom(examine(scaled, x))["attention-collapse"]
    assert (found.where, found.severity) == (("softmax#2",), "warning")
    assert [line.split('"')[1] for line in found.remedy.split("\n")] == ["l1/k", "l1/q"]
    for name in "qk":
        scaled = changed(scaled, "l1", lambda w: 3e4 * w, name)
    found = by_symptom(examine(scaled, x))["attention-collapse"]
    assert (found.where, found.severity) == (("softmax#2",), "error")
    assert found.evidence["entropy over uniform"] < thresholds.ONE_HOT


def test_scanned_layers_are_rows_and_steps_in_time_are_not() -> None:
    stack = jax.vmap(lambda key: jaxinit.he_normal()(key, (32, 32)))(jax.random.split(KEY, 8))

    def deep(w: Any, x: Any) -> Any:
        return jax.lax.scan(lambda h, each: (jax.nn.relu(h @ each), None), x, w["w"])[0] @ w["out"]

    x = jax.random.normal(KEY, (16, 32))
    small = {"w": stack.at[4:].multiply(0.01), "out": jnp.eye(32)}
    found = by_symptom(diagnose(deep, small, x))["vanishing-activations"]
    assert found.where[-3:] == ("w[6]", "w[7]", "out")
    assert found.remedy.startswith('("w", ')

    def recurrent(w: Any, x: Any) -> Any:
        def cell(h: Any, each: Any) -> Any:
            h = jnp.tanh(h @ w["w"] + each @ w["in"])
            return h, None

        return jax.lax.scan(cell, jnp.zeros((16, 32)), x)[0] @ w["out"]

    series = jax.random.normal(KEY, (12, 16, 32))
    one = {"w": jaxinit.orthogonal()(KEY, (32, 32)), "in": stack[0] / 4, "out": stack[1]}
    examine = Examination(recurrent, one, series)
    assert examine(one, series).healthy
    lost = by_symptom(examine(one | {"w": 0.05 * one["w"]}, series))["vanishing-gradients"]
    assert lost.where == ("w", "in")
    assert lost.evidence["ratio first step to last"] < thresholds.ROUNDED
    # So small a signal that tanh is linear: each step back multiplies the gradient by 4.
    grown = by_symptom(examine(one | {"w": 4 * one["w"]}, 1e-9 * series))["exploding-gradients"]
    assert grown.where == ("w", "in")
    assert_allclose(grown.evidence["ratio first step to last"], 4**11, rtol=0.01)


@pytest.mark.parametrize("steps", [8, 9])
def test_a_recurrence_is_none_of_depth_whatever_its_length(steps: int) -> None:
    """As long as the stack of layers before it, or as the kernel has blocks, or not."""

    def deep(w: Any, x: Any) -> Any:
        h = jax.lax.scan(lambda h, each: (jnp.tanh(h @ each), None), x, w["layers"])[0]

        def cell(state: Any, each: Any) -> Any:
            blocks = jnp.einsum("bhi,hij->bhj", state.reshape(-1, 8, 4), w["blocks"])
            return jnp.tanh(each @ w["in"] + blocks.reshape(state.shape)), None

        return jax.lax.scan(cell, jnp.zeros((16, 32)), h.swapaxes(0, 1))[0] @ w["out"]

    blocks = jaxinit.orthogonal(axes="bhi,hij->bhj")(KEY, (8, 4, 4))
    params = {
        "layers": jax.vmap(lambda key: jaxinit.orthogonal()(key, (8, 8)))(jax.random.split(KEY, 8)),
        **{"in": HE(KEY, (8, 32)), "blocks": 0.05 * blocks, "out": HE(KEY, (32, 5))},
    }
    report = diagnose(deep, params, jax.random.normal(KEY, (16, steps, 8)))
    kernels = [layer.path for layer in report.layers if layer.kind == "matmul"]
    assert kernels == [*(f"layers[{i}]" for i in range(8)), "blocks", "in", "out"]
    assert by_symptom(report)["vanishing-gradients"].where[0] == "blocks"


def test_thresholds_leave_room_for_chance() -> None:
    assert thresholds.dead(16) == 1 - 1e-9  # all of sixteen units may be dead by chance: no more
    assert thresholds.dead(64) == 0.75
    assert thresholds.ratio([]) == thresholds.RATIO
    walks = np.random.default_rng(0)
    logs = []
    for _ in range(200):
        h = np.ones(16)
        for _ in range(20):
            h = np.maximum(walks.standard_normal((16, 16)) @ h * (2 / 16) ** 0.5, 0)
        logs.append(np.log(np.linalg.norm(h)))
    # Five standard errors of a standard deviation, of 200, about that of the theorem.
    room = np.log(thresholds.ratio([16] * 20) / thresholds.RATIO) / thresholds.SIGMAS
    assert_allclose(np.std(logs), room, rtol=5 / np.sqrt(2 * 200))


def test_the_page_needs_nothing_and_escapes_all(relu: Examination, tmp_path: Path) -> None:
    params = changed(weights(), "l[0-5]", lambda w: 0.1 * w)
    report = relu(params, X, labels=Y, learning_rate=0.1)
    file = tmp_path / "page.html"
    report.to_html(file)
    text = file.read_text()
    assert "<svg" in text
    assert "vanishing-gradients" in text
    assert not re.findall(r"<(script|link|img|iframe)|url\(['\"]?http|@import", text)
    row = Layer(path="<b>&w", kind="matmul", shape=(1,), rms=float("nan"))
    told = Finding("slow", "warning", ("<b>&w",), {"<i>": 1.0}, "<u>", "<s>")
    Report((row,), (told,), None, "<tt>").to_html(file)
    assert not re.findall("<(b|i|u|s|tt)>", file.read_text())
    assert str(told).startswith("slow (warning)\n  where: <b>&w\n")
    assert len(report.plot().axes) == 3
    lines = str(report).splitlines()
    assert lines[0].split()[:2] == ["path", "kind"]
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["healthy"] is False
