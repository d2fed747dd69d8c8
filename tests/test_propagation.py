"""The theory of signal propagation against mpmath, closed forms and the iteration it describes."""

import functools
import math
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy import optimize, special

from jaxinit import gains
from jaxinit._panels import panels
from jaxinit._pointwise import vectorized

SELU = (1.6732632423543772, 1.0507009873554805)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def elu(x: Any, alpha: float = 1.0) -> Any:
    return x if x > 0 else alpha * mp.expm1(x)


def clip(x: Any, low: float, high: float) -> Any:
    return min(max(x, low), high)


# An activation in JAX, the same in mpmath, and where it is not smooth.
TWENTY: list[tuple[Any, Any, tuple[float, ...]]] = [
    ("relu", lambda x: max(x, 0), (0,)),
    (functools.partial(jax.nn.leaky_relu, negative_slope=0.2), lambda x: max(x, 0.2 * x), (0,)),
    ("relu6", lambda x: clip(x, 0, 6), (0, 6)),
    ("hard_tanh", lambda x: clip(x, -1, 1), (-1, 1)),
    ("hard_sigmoid", lambda x: clip(x + 3, 0, 6) / 6, (-3, 3)),
    ("hard_silu", lambda x: x * clip(x + 3, 0, 6) / 6, (-3, 3)),
    (lambda x: jnp.maximum(x - 0.3, 0), lambda x: max(x - 0.3, 0), (0.3,)),
    (lambda x: jnp.abs(x + 0.7), lambda x: abs(x + 0.7), (-0.7,)),
    ("elu", elu, (0,)),
    ("selu", lambda x: SELU[1] * elu(x, SELU[0]), (0,)),
    ("soft_sign", lambda x: x / (1 + abs(x)), (0,)),
    ("tanh", mp.tanh, ()),
    ("sigmoid", sigmoid, ()),
    ("softplus", lambda x: mp.log1p(mp.exp(x)), ()),
    ("silu", lambda x: x * sigmoid(x), ()),
    (functools.partial(jax.nn.gelu, approximate=False), lambda x: x * mp.ncdf(x), ()),
    ("mish", lambda x: x * mp.tanh(mp.log1p(mp.exp(x))), ()),
    (jax.lax.erf, mp.erf, ()),
    ("sin", mp.sin, ()),
    (lambda x: x > 0.3, lambda x: mp.mpf(int(x > 0.3)), (0.3,)),
]
Q, W, B = 1.7, 1.3, 0.2
NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)


@pytest.mark.parametrize(("fn", "exact", "kinks"), TWENTY, ids=range(20))
def test_twenty_activations(fn: Any, exact: Any, kinks: tuple[float, ...]) -> None:
    """gain by mpmath's quadrature; the maps by Mehler's series of mpmath's values."""
    ends = sorted({-12, -2, 2, 12, *kinks})
    moment = mp.quad(lambda x: mp.mpf(exact(x)) ** 2 * mp.npdf(x), ends)
    assert abs(gains.gain(fn) * mp.sqrt(moment) - 1) < 1e-9

    cuts = np.unique([*np.arange(-12, 13), *(np.array(kinks) / Q**0.5)])
    z = (cuts[:-1, None] + np.diff(cuts)[:, None] * (NODES + 1) / 2).ravel()
    weights = (np.diff(cuts)[:, None] * WEIGHTS / 2).ravel() * np.exp(-(z**2) / 2)
    y = np.array([float(exact(x)) for x in Q**0.5 * z]) * weights / math.sqrt(2 * math.pi)
    hermite = [np.ones_like(z), z]
    for n in range(1, 90):
        hermite.append((z * hermite[n] - n**0.5 * hermite[n - 1]) / (n + 1) ** 0.5)
    series = (np.stack(hermite) @ y) ** 2
    length = W * (y**2 / weights).sum() * math.sqrt(2 * math.pi) + B
    np.testing.assert_allclose(gains.length_map(fn, Q, W, B), length, rtol=1e-9)
    for c in (0.5, -0.7):
        expected = (W * np.polynomial.polynomial.polyval(c, series) + B) / length
        found = gains.correlation_map(fn, c, Q, W, B)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


C = np.array([-1, -0.999999, -0.3, 0, 0.9, 1 - 1e-8, 1])


def arc_cosine(c: Any) -> Any:
    return (np.sqrt(1 - c**2) + c * (np.pi - np.arccos(c))) / np.pi


def test_correlations_near_one() -> None:
    """Cho and Saul's arc-cosine kernel for relu, arcsines for the sign and the error function."""
    for fn, q, w, closed in (
        ("relu", 3.0, 2.0, arc_cosine(C)),
        ("sign", 5.0, 1.0, 2 / np.pi * np.arcsin(C)),
        (jax.lax.erf, 400.0, 1.0, np.arcsin(800 * C / 801) / np.arcsin(800 / 801)),
    ):
        found = gains.correlation_map(fn, C, q, w)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, closed, rtol=0, atol=1e-12)


def test_compiled_and_differentiated_in_single_precision() -> None:
    """Results are the closed forms rounded to float32 once: the integral was in double."""

    def erf_map(q: Any, w: Any) -> Any:
        return gains.length_map(jax.lax.erf, q, w, 0.1)

    def slope(q: Any) -> Any:
        return 4 / np.pi / ((1 + 2 * q) * np.sqrt(1 + 4 * q))

    for q in (1e-6, 0.3, 50.0):
        exact = 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q))
        value, by = jax.jit(jax.value_and_grad(erf_map, (0, 1)))(jnp.float32(q), 1.0)
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, 0.1 + exact, rtol=1e-7)
        np.testing.assert_allclose(by, (slope(np.float32(q)), exact), rtol=1.2e-7)
    curvature = jax.grad(jax.grad(erf_map))(0.3, 1.0)
    np.testing.assert_allclose(curvature, (slope(0.3001) - slope(0.2999)) / 2e-4, rtol=1e-5)
    assert jnp.isfinite(jax.grad(erf_map)(0.0, 1.0))
    with jax.enable_x64(True):
        by = jax.jit(jax.vmap(jax.grad(lambda q: erf_map(q, 1.0))))(jnp.array([0.3, 2.0]))
    np.testing.assert_allclose(by, slope(np.array([0.3, 2.0])), rtol=1e-12)
    assert jnp.isnan(jax.jit(lambda q: gains.length_map("exp", q, 1.0))(1e4))


@pytest.mark.parametrize("c", [-0.5, 0.0, 0.99])
def test_correlations_of_a_narrow_bump(c: float) -> None:
    """E[φ(u) φ(v)] of exp(-(s(x - m))²), a Gaussian integral; an error where it is too narrow."""

    def mean(s: float) -> Any:
        bump = functools.partial(lambda x, s: jnp.exp(-((s * (x - 0.37)) ** 2)), s=s)
        return gains.correlation_map(bump, c, 1.0, 1.0) * gains.length_map(bump, 1.0, 1.0)

    precision = np.linalg.inv([[1, c], [c, 1]])
    inner, pull = precision + 200 * np.eye(2), np.full(2, 200 * 0.37)
    exponent = pull @ np.linalg.solve(inner, pull) / 2 - 200 * 0.37**2
    exact = math.exp(exponent) * math.sqrt(np.linalg.det(precision) / np.linalg.det(inner))
    assert abs(mean(10.0) / exact - 1) < 1e-9
    with pytest.raises(ValueError, match="is not known to 1e-6"):
        mean(100.0)


def test_slopes_of_correlation_maps() -> None:
    """Price's theorem for relu, also at c = 1; a jump, where it fails, by the panels."""
    relu = jax.jit(jax.grad(lambda c: gains.correlation_map("relu", c, 2.0, 2.0)))
    for c in (-0.5, 0.3, 1.0):
        np.testing.assert_allclose(relu(c), 1 - np.arccos(c) / np.pi, rtol=3e-7)
    sign = jax.jit(jax.grad(lambda c: gains.correlation_map("sign", c, 2.0, 1.0)))
    np.testing.assert_allclose(sign(0.3), 2 / np.pi / np.sqrt(1 - 0.3**2), rtol=1e-6)


def test_traced_parameters() -> None:
    def second(slope: Any) -> Any:
        return gains.length_map("leaky_relu", 3.0, 2.0, negative_slope=slope)

    value, by = jax.jit(jax.value_and_grad(second))(0.2)
    np.testing.assert_allclose((value, by), (3 * 1.04, 3 * 0.4), rtol=1e-6)


def test_susceptibility() -> None:
    assert gains.susceptibility("tanh", np.zeros((2, 0)), 1.5).shape == (2, 0)
    q = np.array([0, 0.01, 1, 100])
    exact = 1.5 * 4 / np.pi / np.sqrt(1 + 4 * q)
    np.testing.assert_allclose(gains.susceptibility(jax.lax.erf, q, 1.5), exact, rtol=1e-10)
    share = special.erf(1 / np.sqrt(2 * 0.3))
    assert abs(gains.susceptibility("hard_tanh", 0.3, 1.0) - share) < 1e-12


def test_panels_find_kinks() -> None:
    kinks = np.sort(np.random.default_rng(0).normal(0, 3, 6))

    def zigzag(x: Any) -> Any:
        return sum((-1) ** i * jnp.abs(x - k) for i, k in enumerate(kinks))

    found = panels(vectorized(zigzag, "", slope=True), "")
    np.testing.assert_allclose(found.slants, kinks, atol=1e-11)
    assert found.jumps == ()
    assert len(found.ends) < 60
    step = panels(vectorized(lambda x: x > kinks[0], "", slope=True), "")
    np.testing.assert_allclose(step.jumps, kinks[:1], atol=1e-11)


def iterated(fn: Any, q: float, w: float, b: float) -> float:
    for _ in range(300):
        q = gains.length_map(fn, q, w, b)
    return q


def test_fixed_points() -> None:
    assert abs(gains.fixed_point("relu", 1.5, 0.1) - 0.4) < 1e-12
    assert gains.fixed_point("relu", 2.0, start=3.0) == 3.0
    assert gains.fixed_point("tanh", 0.9) == 0.0
    for w, b in ((2.5, 0.0), (1.2, 0.4)):
        assert abs(gains.fixed_point("tanh", w, b) / iterated("tanh", 1.0, w, b) - 1) < 1e-10


def test_depth_scales() -> None:
    """Of the error function, all maps of which are closed, in order and in chaos."""
    for w, b in ((1.2, 0.3), (6.0, 0.1)):
        q = gains.fixed_point(jax.lax.erf, w, b)

        def c_map(c: float, q: float = q, w: float = w, b: float = b) -> float:
            return (w * 2 / np.pi * np.arcsin(2 * q * c / (1 + 2 * q)) + b) / q

        assert abs(c_map(1.0) - 1) < 1e-11
        ordered = w * 4 / np.pi / math.sqrt(1 + 4 * q) < 1
        end = 1.0 if ordered else optimize.brentq(lambda c: c_map(c) - c, 0, 0.999)
        chi = w * 4 / np.pi / math.sqrt((1 + 2 * q) ** 2 - 4 * q**2 * end**2)
        turn = w * 4 / np.pi / ((1 + 2 * q) * math.sqrt(1 + 4 * q))
        found = gains.depth_scales(jax.lax.erf, w, b)
        np.testing.assert_allclose(found, (-1 / math.log(turn), -1 / math.log(chi)), rtol=1e-8)
    assert gains.depth_scales("relu", 2.0) == (math.inf, math.inf)
    np.testing.assert_allclose(gains.depth_scales("tanh", 0.8), 2 * (-1 / math.log(0.8),))


def test_edge_of_chaos() -> None:
    assert gains.critical("relu") == (2, 0, 1, 1)
    assert gains.critical("tanh") == (1, 0, 0, 1)
    for point in (gains.critical(jax.lax.erf, sigma_b2=0.05), gains.critical(jax.lax.erf, q=0.7)):
        w, b, q, chi = point
        assert abs(w * 4 / np.pi / math.sqrt(1 + 4 * q) - 1) < 1e-10
        assert abs(w * 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q)) + b - q) < 1e-10
        assert abs(chi - 1) < 1e-12
    assert abs(gains.critical(jax.lax.erf, sigma_b2=0.05).sigma_b2 - 0.05) < 1e-12
    gelu = gains.critical("gelu", sigma_b2=0.1)
    assert abs(gains.length_map("gelu", gelu.q, gelu.sigma_w2, gelu.sigma_b2) / gelu.q - 1) < 1e-12


def _moment(power: float) -> float:
    """E|z|^power."""
    return 2 ** (power / 2) * math.gamma((power + 1) / 2) / math.sqrt(math.pi)


@pytest.mark.parametrize("power", [0.8, 0.9])
def test_slopes_that_are_infinite_at_a_point(power: float) -> None:
    """E[φ'²] of sign(x)|x|^a, at q = 1 and at any other q, where a gamma function has it."""

    def fn(x: Any) -> Any:
        return jnp.sign(x) * jnp.abs(x) ** power

    slope = _moment(2 * power - 2) * power**2
    for q in (1.0, 400.0):
        found = gains.susceptibility(fn, q, 1.0)
        assert abs(found / (slope * q ** (power - 1)) - 1) < 1e-8
        compiled = jax.jit(lambda q: gains.susceptibility(fn, q, 1.0))(q)
        assert abs(compiled / found - 1) < 1e-6
    # Panels end 1e-14 from the point, and hold all of a density that is as narrow.
    with pytest.raises(ValueError, match="is infinite, is not known to 1e-6"):
        gains.susceptibility(fn, 1e-30, 1.0)
    assert abs(gains.length_map(fn, 1e-20, 1.0) / 1e-20**power - _moment(2 * power)) < 1e-8
    assert abs(gains.critical(fn, q=1.0).sigma_w2 * slope - 1) < 1e-8


@pytest.mark.parametrize("centre", [0.0, 0.3, 1.0, math.pi / 7])
def test_slopes_that_are_infinite_beside_a_float(centre: float) -> None:
    """E[φ'²] of sign(x - c)|x - c|^a: to 1e-6, or an error, where no float comes near enough to c.

    With u = |x - c|^(2a - 1) the integral over either side is one of a bounded function.
    """
    known = []
    for power in (0.55, 0.6, 0.7, 0.8, 0.9):

        def fn(x: Any, power: float = power) -> Any:
            return jnp.sign(x - centre) * jnp.abs(x - centre) ** power

        def side(u: Any, sign: int, power: float = power) -> Any:
            return mp.npdf(centre + sign * u ** (1 / (2 * power - 1)))

        parts = [0, 0.01, 0.1, 0.5, 1, 2, 5, 14]
        exact = sum(mp.quad(lambda u, s=s: side(u, s), parts) for s in (-1, 1))
        exact *= power**2 / (2 * power - 1)
        compiled = jax.jit(lambda q, fn=fn: gains.susceptibility(fn, q, 1.0))(1.0)
        if math.isnan(compiled):
            with pytest.raises(ValueError, match="is not known to 1e-6"):
                gains.susceptibility(fn, 1.0, 1.0)
        else:
            assert abs(gains.susceptibility(fn, 1.0, 1.0) / exact - 1) < 1e-6
            known.append(power)
    assert {0.8, 0.9} <= set(known) <= {0.7, 0.8, 0.9}


def test_deep_kernel_shaping() -> None:
    phi = gains.dks("tanh", depth=20)
    assert abs(gains.gain(phi) - 1) < 1e-9
    assert abs(gains.moments(phi).mean) < 1e-9
    assert abs(gains.susceptibility(phi, 1.0, 1.0) / 1.5 ** (1 / 20) - 1) < 1e-9
    np.testing.assert_allclose(jax.grad(lambda q: gains.length_map(phi, q, 1.0))(1.0), 1, rtol=3e-7)
    assert pickle.loads(pickle.dumps(phi)) == phi
    assert gains.dks("tanh", depth=20) == phi
    assert phi(jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16


def test_tailored_activations() -> None:
    phi = gains.tat(jnp.tanh, depth=50, tau=0.2)
    bend = gains.moments(jax.grad(jax.grad(phi))).second
    conditions = gains.gain(phi), gains.susceptibility(phi, 1.0, 1.0), bend * 50 / 0.2
    np.testing.assert_allclose(conditions, 1, rtol=1e-8)
    np.testing.assert_allclose(jax.grad(lambda q: gains.length_map(phi, q, 1.0))(1.0), 1, rtol=3e-7)

    leaky = gains.tat("leaky_relu", depth=12, eta=0.7)
    assert abs(gains.gain(leaky) - 1) < 1e-12
    c = 0.0
    for _ in range(12):
        c = gains.correlation_map(leaky, c, 1.0, 1.0)
    assert abs(c - 0.7) < 1e-10


def test_phase_diagram() -> None:
    diagram = gains.phase_diagram("tanh", [0.5, 1.2, 3.0], [0.0, 0.1])
    for i, b in enumerate(diagram.sigma_b2):
        for j, w in enumerate(diagram.sigma_w2):
            assert abs(diagram.q[i, j] - gains.fixed_point("tanh", w, b)) < 1e-11
    assert (diagram.chi > 1).tolist() == [[False, True, True], [False, False, True]]
    w, b = diagram.edge[len(diagram.edge) // 2]
    assert abs(gains.critical("tanh", sigma_b2=b).sigma_w2 - w) < 1e-8
    assert len(diagram.figure().axes) == 2


def rising(x: Any) -> Any:
    """Singular to the right of a point only."""
    return (x > 1) * jnp.abs(x - 1) ** 0.6


untyped: Any = gains
ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: gains.critical("relu", sigma_b2=0.1), ValueError, "exists only at sigma_b2=0, for ev"),
    (lambda: gains.critical("softplus"), ValueError, "nowhere: .* is negative for every q"),
    (lambda: gains.critical(lambda x: jnp.abs(x) ** 0.4), ValueError, "average of .* is infinite"),
    (lambda: gains.critical(lambda x: abs(x - 0.3) ** 0.7, q=1.0), ValueError, "not known to 1e-6"),
    (lambda: gains.susceptibility(lambda x: abs(x - 1) ** 0.6, 1.0, 1.0), ValueError, "is infini"),
    (lambda: gains.susceptibility(rising, 1.0, 1.0), ValueError, "is infinite"),
    (lambda: gains.critical("sigmoid", q=1.0), ValueError, "would need sigma_b2=-5.54"),
    (lambda: gains.critical("tanh", q=1.0, sigma_b2=0.1), ValueError, "both pick the point"),
    (lambda: gains.critical("tanh", q=0.0), ValueError, "q=0.0 is not above 0"),
    (lambda: gains.critical("sign"), ValueError, "fn='sign' jumps at 0: .* infinite"),
    (lambda: gains.critical(lambda x: 0 * x + 1, q=1.0), ValueError, "flat almost everywhere"),
    (lambda: gains.susceptibility("sign", 1.0, 1.0), ValueError, "jumps at 0"),
    (lambda: gains.fixed_point("relu", 2.1), ValueError, "the signal explodes"),
    (lambda: jax.jit(lambda w: gains.fixed_point("tanh", w))(2.0), TypeError, "is traced"),
    (lambda: gains.length_map("tanh", -1.0, 1.0), ValueError, "q=-1.0 is negative"),
    (lambda: gains.length_map("exp", 1e4, 1.0), ValueError, "or needs it at"),
    (lambda: gains.length_map("log", 1.0, 1.0), ValueError, "is not finite"),
    (lambda: gains.length_map(lambda x: 1 / x, 1.0, 1.0), ValueError, "not integrable"),
    (lambda: untyped.length_map(3, 1.0, 1.0), TypeError, "fn=3 is a int"),
    (lambda: gains.correlation_map("tanh", 1.1, 1.0, 1.0), ValueError, r"c=1.1 is outside \[-1, 1"),
    (lambda: gains.correlation_map("tanh", 0.5, 0.0, 1.0), ValueError, "q=0.0 is not above 0"),
    (lambda: gains.dks("relu", depth=20), ValueError, "cannot be shaped so"),
    (lambda: gains.dks("tanh", depth=20, zeta=1.0), ValueError, "zeta=1.0 is not above 1"),
    (lambda: gains.tat("relu", depth=20), ValueError, "kink at 0, .* takes smooth"),
    (lambda: gains.tat("leaky_relu", depth=3), ValueError, "more than depth=3 layers of relu"),
    (lambda: gains.tat("tanh", depth=0), ValueError, "depth=0 is less than 1"),
    (lambda: gains.phase_diagram("tanh", [2.0, 1.0]), ValueError, "no vector of two or more asc"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("of", [float, np.asarray, jnp.asarray], ids=["number", "numpy", "jax"])
@pytest.mark.parametrize("c", [-1.0, 1.0])
def test_a_correlation_may_be_mapped_again_and_again(c: float, of: Any) -> None:
    for sigma_w2 in (1.0, 1.3, 1.7, 2.1):
        found = of(c)
        for _ in range(4):
            found = gains.correlation_map("tanh", found, 1.0, sigma_w2)
        assert float(found) == pytest.approx(c, abs=1e-6)
