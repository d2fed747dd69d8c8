"""The laws of recurrent kernels, of gates, and of the decays of linear recurrences."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxinit
from jaxinit import Axes

untyped: Any = jaxinit
KEY = jax.random.key(20261124)
LEVEL = (
    1e-3 / 20
)  # Bonferroni: one false alarm in a thousand runs of this file, were keys not fixed
COUNT = 100_000


def uniform(sample: Any, low: float, high: float) -> float:
    """The p-value of a sample under U(low, high)."""
    law = stats.uniform(low, high - low).cdf
    return float(stats.kstest(np.asarray(sample, np.float64).ravel(), law).pvalue)


def spectrum(w: Any) -> np.ndarray[Any, Any]:
    return np.linalg.eigvalsh(np.asarray(w, np.complex128))


def shape_of_spectrum(eigenvalues: np.ndarray[Any, Any]) -> float:
    """E[x²] / E[x]²: 5/4 for x - 1 of the Marchenko-Pastur law, whose moments are 1 and 2."""
    return float((eigenvalues**2).mean() / eigenvalues.mean() ** 2)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64], ids=str)
@pytest.mark.parametrize("n", [1, 7, 100])
def test_np_rnn_has_largest_eigenvalue_one(n: int, dtype: Any) -> None:
    w = np.asarray(jaxinit.np_rnn(axes=Axes(-2, -1, 0))(KEY, (4, n, n), dtype))
    np.testing.assert_array_equal(w, w.conj().swapaxes(1, 2))
    for matrix in w:
        eigenvalues = spectrum(matrix)
        assert abs(eigenvalues[-1] - 1) < 2e-6
        assert eigenvalues[0] > 0.1
    assert n == 1 or abs(w[0] - w[1]).max() > 0.01  # a matrix for each batch index


def test_np_rnn_is_the_identity_and_a_wishart_matrix() -> None:
    n = 300
    eigenvalues = spectrum(jaxinit.np_rnn()(KEY, (n, n)))
    # tr A² / n fluctuates by 4 / n or so; the largest eigenvalue is (1 + 1)² + 1 plus 2.5 n^(-2/3)
    # times a Tracy-Widom variable, of mean -1.2 and standard deviation 1.3.
    assert abs(shape_of_spectrum(eigenvalues) - 1.25) < 12 / n
    assert abs(2 / eigenvalues.mean() - 5) < 16 * n ** (-2 / 3)
    r = np.random.default_rng(0).normal(size=(n, n))
    for wrong in (r.T @ r / n, r.T @ r + np.eye(n), r.T @ r / n + 2 * np.eye(n)):
        assert abs(shape_of_spectrum(spectrum(wrong)) - 1.25) > 12 / n


def test_np_rnn_of_a_stack_is_one_per_slice() -> None:
    axes = Axes.einsum("bti,bio->bto")
    w = jaxinit.np_rnn(axes="bti,bio->bto")(KEY, (2, 8, 8), jnp.bfloat16)
    exact = jaxinit.np_rnn(axes=axes)(KEY, (2, 8, 8))
    np.testing.assert_array_equal(np.asarray(w), np.asarray(exact.astype(jnp.bfloat16)))


@pytest.mark.parametrize("axis", [0, -1])
def test_gates_are_independent_draws_side_by_side(axis: int) -> None:
    for init in (jaxinit.glorot_normal(), jaxinit.identity()):
        packed = jaxinit.gates(init, 4, axis)(KEY, (16, 32))
        one = tuple(n // 4 if i == axis % 2 else n for i, n in enumerate(packed.shape))
        for block, key in zip(jnp.split(packed, 4, axis), jax.random.split(KEY, 4), strict=True):
            np.testing.assert_allclose(block, init(key, one), rtol=0, atol=1e-6)


def test_gates_have_the_fans_of_one_gate() -> None:
    packed = jaxinit.gates(jaxinit.glorot_normal(), 4)(KEY, (200, 800))
    deviation = 4 * math.sqrt(2 / packed.size)
    assert abs(float(packed.var()) * 200 - 1) < deviation
    assert abs(float(jaxinit.glorot_normal()(KEY, (200, 800)).var()) * 200 - 1) > deviation
    np.testing.assert_array_equal(
        jaxinit.gates(jaxinit.he_normal(), 1)(KEY, (6, 8)), jaxinit.he_normal()(KEY, (6, 8))
    )


def test_gates_of_the_packed_cells_of_flax() -> None:
    from flax import nnx

    cell = nnx.OptimizedLSTMCell(
        6,
        8,
        recurrent_kernel_init=jaxinit.gates(jaxinit.orthogonal(), 4),
        bias_init=jaxinit.chrono_bias(50),
        rngs=nnx.Rngs(0),
    )
    for kernel in np.split(np.asarray(cell.dense_h.kernel[...]), 4, axis=1):
        np.testing.assert_allclose(kernel.T @ kernel, np.eye(8), atol=1e-5)
    assert cell.dense_h.bias is not None
    i, f, g, o = np.split(np.asarray(cell.dense_h.bias[...]), 4)
    np.testing.assert_array_equal(i, -f)
    assert not g.any()
    assert not o.any()
    # Fed nothing, the cell forgets at the rate 1 - σ(log u) = 1 / (1 + u).
    carry = (jnp.ones((1, 8)), jnp.zeros((1, 8)))
    (kept, _), _ = cell(carry, jnp.zeros((1, 6)))
    np.testing.assert_allclose(kept[0], np.exp(f) / (1 + np.exp(f)), rtol=1e-5)


def test_gate_bias() -> None:
    bias = jaxinit.gate_bias((0.5, 1, -2))
    assert bias(None, (6,)).tolist() == [0.5, 0.5, 1, 1, -2, -2]
    columns = jaxinit.gate_bias(np.array([0.5, 1, -2]), axis=0)(KEY, (6, 2))
    np.testing.assert_array_equal(columns, np.repeat([0.5, 1, -2], 2)[:, None] * np.ones(2))
    assert jaxinit.gate_bias([0, 1, 0])(None, (2, 3), jnp.int32).tolist() == [[0, 1, 0]] * 2
    traced = jax.jit(lambda v: jaxinit.gate_bias(v)(None, (4,)))(jnp.array([1.0, 2.0]))
    assert traced.tolist() == [1, 1, 2, 2]


def test_chrono_bias_spreads_the_memories_of_units() -> None:
    i, f, g, o = np.split(np.asarray(jaxinit.chrono_bias(100)(KEY, (4 * COUNT,))), 4)
    assert uniform(np.exp(f), 1, 99) > LEVEL
    assert uniform(np.exp(f), 1, 100) < LEVEL  # T - 1, not T
    assert uniform(f, 0, math.log(99)) < LEVEL  # uniform before the logarithm, not after
    np.testing.assert_array_equal(i, -f)  # one draw
    assert not np.concatenate([g, o]).any()


def test_chrono_bias_in_every_order() -> None:
    chrono = jaxinit.chrono_bias
    i, f, _, _ = chrono(30)(KEY, (32,)).reshape(4, 8)
    np.testing.assert_array_equal(chrono(30, "f")(KEY, (8,)), f)
    np.testing.assert_array_equal(chrono(30, "i")(KEY, (8,)), i)
    r, z, n = chrono(30, "rfn")(KEY, (24,)).reshape(3, 8)
    np.testing.assert_array_equal(z, f)
    assert not r.any()
    assert not n.any()
    fi = chrono(30, "fi", axis=0)(KEY, (6, 5))
    np.testing.assert_array_equal(fi[:3], -fi[3:])
    assert np.unique(np.asarray(fi)).size == 30


RINGS = [(0.0, 1.0), (0.0, 0.5), (0.9, 0.999), (0.9999, 1.0)]


@pytest.mark.parametrize(("r_min", "r_max"), RINGS)
def test_lru_eigenvalues_fill_a_ring(r_min: float, r_max: float) -> None:
    nu = np.asarray(jaxinit.lru_nu(r_min, r_max)(KEY, (COUNT,)), np.float64)
    gamma = np.asarray(jaxinit.lru_gamma(r_min, r_max)(KEY, (COUNT,)), np.float64)
    assert np.isfinite(nu).all()
    assert np.isfinite(gamma).all()
    rest = -np.expm1(-2 * np.exp(nu))  # 1 - |λ|²
    assert uniform(rest, 1 - r_max**2, 1 - r_min**2) > LEVEL
    assert uniform(1 - np.sqrt(1 - rest), 1 - r_max, 1 - r_min) < LEVEL or r_min > 0.9  # of area
    np.testing.assert_allclose(np.exp(2 * gamma), rest, rtol=2e-5, atol=1e-7)
    phase = np.exp(jaxinit.lru_theta()(jax.random.key(1), (COUNT,)))
    assert uniform(phase, 0, 2 * math.pi) > LEVEL
    assert uniform(1.02 * phase, 0, 2 * math.pi) < LEVEL


def test_lru_is_finite_where_the_formula_as_written_is_not() -> None:
    u = np.random.default_rng(0).random(COUNT, np.float32)
    r_min, r_max = np.float32(0.9999), np.float32(1)
    with np.errstate(divide="ignore"):
        written = np.log(-0.5 * np.log(u * (r_max**2 - r_min**2) + r_min**2))
    assert np.isinf(written).any()
    for key in jax.random.split(KEY, 10):
        assert np.isfinite(jaxinit.lru_nu(0.9999, 1.0)(key, (COUNT,))).all()
        assert np.isfinite(jaxinit.lru_nu(0.0, 1e-3)(key, (COUNT,))).all()


def test_lru_gamma_normalizes_the_states() -> None:
    nu = jaxinit.lru_nu(0.5, 0.95)(KEY, (50,))
    gamma = jaxinit.lru_gamma(nu=nu)(None, (50,))
    np.testing.assert_allclose(gamma, jaxinit.lru_gamma(0.5, 0.95)(KEY, (50,)), atol=1e-6)
    # The variance of x ← λ x + exp(γ) u under white noise, summed over 500 steps.
    steps = np.arange(500)[:, None]
    powers = np.exp(-2 * np.exp(np.asarray(nu, np.float64)) * steps)
    np.testing.assert_allclose((np.exp(2 * gamma) * powers).sum(0), 1, rtol=1e-5)
    inside = jax.jit(lambda nu: jaxinit.lru_gamma(nu=nu)(None, (50,)))(nu)
    np.testing.assert_array_equal(inside, gamma)


def rwkv(version: int, channel: int, channels: int, layer: int, layers: int, head: int) -> float:
    """One entry, as RWKV-LM's loops compute it."""
    depth, t = layer / (layers - 1), channel / (channels - 1)
    if version == 4:
        return -5 + 8 * t ** (0.7 + 1.3 * depth)
    if version in (5, 6):
        return -6 + 5 * t ** (0.7 + 1.3 * depth)
    middle = (head - 1) / 2
    zigzag = (channel % head - middle) / middle
    return -6 + 6 * t ** (1 + depth**0.3) + 0.5 + math.copysign(zigzag**2, zigzag) * 2.5


@pytest.mark.parametrize("version", [4, 5, 6, 7])
@pytest.mark.parametrize("layer", [0, 3, 11])
def test_rwkv_decay(version: Any, layer: int) -> None:
    init = jaxinit.rwkv_decay(version, layer, 12, head_size=8)
    w = init(None, (32,))
    expected = [rwkv(version, c, 32, layer, 12, 8) for c in range(32)]
    np.testing.assert_allclose(w, expected, rtol=3e-7)
    np.testing.assert_array_equal(init(None, (1, 1, 32)).ravel(), w)
    np.testing.assert_array_equal(init(None, (4, 8)).ravel(), w)  # heads by channels of a head
    ends = {4: (-5, 3), 5: (-6, -1), 6: (-6, -1), 7: (-8, 3)}[version]
    assert (float(w[0]), float(w[-1])) == ends
    if layer:  # a later layer remembers longer
        assert (w <= init.replace(layer=layer - 1)(None, (32,))).all()


def test_rwkv_decay_without_depth_or_width() -> None:
    for version in (4, 5, 6, 7):
        ramp = jaxinit.rwkv_decay(version, 0, 1, head_size=1)  # type: ignore[arg-type]
        assert jnp.isfinite(ramp(None, (1,))).all()
        assert jnp.isfinite(ramp(None, (5,))).all()


FACTORY: list[tuple[Any, type[Exception], str]] = [
    (lambda: untyped.gates(jaxinit.he_normal, 4), TypeError, "init=he_normal is a factory"),
    (lambda: jaxinit.gates(jaxinit.he_normal(), 0), ValueError, "n=0 is less than 1"),
    (lambda: untyped.gates(jaxinit.he_normal(), 1.5), TypeError, "n=1.5 is not a whole number"),
    (lambda: jaxinit.gate_bias((0, float("inf"))), ValueError, r"values=\(0, inf\) is not finite"),
    (lambda: untyped.gate_bias("ifgo"), TypeError, "values='ifgo' is not a real number"),
    (lambda: jaxinit.chrono_bias(2), ValueError, "max_steps=2 is not above 2"),
    (lambda: jaxinit.chrono_bias(float("nan")), ValueError, "max_steps=nan is not finite"),
    (lambda: jaxinit.chrono_bias(9, "rzn"), ValueError, "gates='rzn': .* one f .* one i"),
    (lambda: jaxinit.chrono_bias(9, "ffgo"), ValueError, "gates='ffgo'"),
    (lambda: untyped.chrono_bias(9, ("i", "f")), TypeError, r"gates=\('i', 'f'\) is not a string"),
    (lambda: jaxinit.lru_nu(-0.1), ValueError, r"r_min=-0.1 is outside \[0, 1\]"),
    (lambda: jaxinit.lru_gamma(0.1, 1.1), ValueError, r"r_max=1.1 is outside \[0, 1\]"),
    (lambda: jaxinit.lru_theta(0), ValueError, "max_phase=0 is not above 0"),
    (lambda: untyped.lru_theta(None), TypeError, "max_phase=None is not a real number"),
    (lambda: untyped.rwkv_decay(3, 0, 12), ValueError, "version=3 is none of 4, 5, 6, 7"),
    (lambda: untyped.rwkv_decay(4, 0.5, 12), TypeError, "layer=0.5 is not a whole number"),
    (lambda: jaxinit.rwkv_decay(4, 0, 0), ValueError, "layers=0 is less than 1"),
]
CALL: list[tuple[Any, type[Exception], str]] = [
    (lambda: jaxinit.np_rnn()(KEY, (4, 8)), ValueError, "4 inputs .* by 8 outputs, and np_rnn"),
    (lambda: jaxinit.np_rnn()(KEY, (3, 8, 8)), ValueError, "24 inputs .*name other axes="),
    (lambda: jaxinit.np_rnn()(KEY, (8, 8), int), TypeError, "has no fractions"),
    (
        lambda: jaxinit.gates(jaxinit.zeros, 4)(KEY, (8, 6)),
        ValueError,
        r"4 equal blocks do not divide axis 1 of shape \(8, 6\)",
    ),
    (
        lambda: jaxinit.gates(jaxinit.zeros, 4, axis=2)(KEY, (8, 8)),
        ValueError,
        "axis=2 is out of range",
    ),
    (lambda: jaxinit.gates(jaxinit.he_normal(), 4)(KEY, (8,)), ValueError, "is 1-D: a bias"),
    (lambda: jaxinit.gate_bias((0, 1))(None, (5,)), ValueError, "which are not 2 gates"),
    (lambda: jaxinit.gate_bias(())(None, (5,)), ValueError, "which are not 0 gates"),
    (lambda: jaxinit.gate_bias(1.0)(None, (5,)), ValueError, "not a sequence of numbers"),
    (lambda: jaxinit.chrono_bias(9)(KEY, (6,)), ValueError, "which are not 4 gates"),
    (
        lambda: jaxinit.chrono_bias(np.array([10.0, 100, 1000]))(KEY, (8,)),
        ValueError,
        r"max_steps of shape \(3,\) does not broadcast to the shape \(2,\)",
    ),
    (lambda: jaxinit.chrono_bias(np.zeros(0))(KEY, (8,)), ValueError, r"max_steps of shape \(0,\)"),
    (
        lambda: untyped.lru_nu([0, 0.1], [0.7, 0.8, 0.9])(KEY, (2,)),
        ValueError,
        r"r_min of shape \(2,\) and r_max of shape \(3,\)",
    ),
    (lambda: jaxinit.chrono_bias(9)(KEY, ()), ValueError, "axis=-1 is out of range"),
    (lambda: jaxinit.chrono_bias(9)(KEY, (8,), complex), TypeError, "law on the real line"),
    (lambda: jaxinit.lru_nu(0.9, 0.5)(KEY, (8,)), ValueError, "r_min=0.9 is not below r_max=0.5"),
    (lambda: jaxinit.lru_theta()(KEY, (8,), complex), TypeError, "ν, θ and γ are real"),
    (lambda: jaxinit.lru_gamma(nu=np.ones(3))(None, (4,)), ValueError, r"nu has shape \(3,\)"),
    (lambda: jaxinit.lru_gamma(nu=np.nan)(None, ()), ValueError, "nu=nan is not finite"),
    (lambda: jaxinit.rwkv_decay(4, 12, 12)(None, (8,)), ValueError, "layer=12 is none of layers"),
    (lambda: jaxinit.rwkv_decay(4, -1, 12)(None, (8,)), ValueError, "layer=-1 is none of layers"),
    (lambda: jaxinit.rwkv_decay(7, 0, 12)(None, (32,)), ValueError, "head_size=64 does not divide"),
    (lambda: jaxinit.rwkv_decay(4, 0, 12)(None, (8,), int), TypeError, "has no fractions"),
]


@pytest.mark.parametrize(("make", "error", "message"), FACTORY, ids=range(len(FACTORY)))
def test_factories(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(("call", "error", "message"), CALL, ids=range(len(CALL)))
def test_calls(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
