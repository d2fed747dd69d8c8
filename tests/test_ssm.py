"""The laws of state space models: what the states are, not only what the entries are."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, special, stats

import jaxinit
from jaxinit import Axes
from jaxinit.steps import _LOG_SINHC

untyped: Any = jaxinit
KEY = jax.random.key(20261125)
# Bonferroni: one false alarm in a thousand runs of this file, were the keys not fixed.
LEVEL = 1e-3 / 10
COUNT = 100_000
MEASURES: tuple[Any, ...] = ("legs", "legt", "lmu", "lagt", "fout")


@pytest.fixture
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def system(measure: Any, n: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    a = jaxinit.hippo(measure)(None, (n, n))
    return np.asarray(a, np.float64), np.asarray(jaxinit.hippo_input(measure)(None, (n,)))


def response(measure: Any, t: float, transpose: bool = False) -> np.ndarray[Any, Any]:
    """e^tA B, the states at t after an impulse."""
    a, b = system(measure, 6)
    return np.asarray(linalg.expm(t * (a.T if transpose else a)) @ b)


N = np.arange(6)
BASES = {
    "legs": lambda t: (
        np.sqrt(2 * N + 1) * math.exp(-t) * special.eval_legendre(N, 2 * math.exp(-t) - 1)
    ),
    "lagt": lambda t: math.exp(-t / 2) * special.eval_laguerre(N, t),
}


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("measure", BASES)
def test_impulse_responses_are_the_basis(measure: Any) -> None:
    for t in (0.0, 0.1, 0.7, 2.0):
        np.testing.assert_allclose(response(measure, t), BASES[measure](t), rtol=0, atol=1e-12)
        if t:
            assert abs(response(measure, t, transpose=True) - BASES[measure](t)).max() > 0.1


@pytest.mark.usefixtures("double")
def test_legs_holds_the_projection_of_all_of_the_past() -> None:
    """The coefficients c of u on [0, t], scaled Legendre polynomials, obey t c' = A c + B u."""
    n, degree = 6, 3
    a, b = system("legs", n)
    nodes, weights = special.roots_legendre(20)
    s, weights = (nodes + 1) / 2, weights / 2
    basis = np.sqrt(2 * N + 1) * special.eval_legendre(N, nodes[:, None])

    def coefficients(t: float) -> np.ndarray[Any, Any]:
        return np.asarray((weights * (t * s) ** degree) @ basis)

    t, h = 1.3, 1e-4
    slope = (coefficients(t + h) - coefficients(t - h)) / (2 * h)
    np.testing.assert_allclose(t * slope, a @ coefficients(t) + b * t**degree, atol=1e-6)
    assert abs(t * slope - (a @ coefficients(t) - b * t**degree)).max() > 1


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("measure", "endpoint"), [("legt", "alternating"), ("lmu", "ones")])
def test_a_window_of_polynomials_ends_in_a_delay(measure: Any, endpoint: str) -> None:
    """The states at the window's far end give u(t - 1): the Padé approximant of e^-s, whose first
    2n moments are 1, 1/2!, 1/3!, …."""
    n = 6
    a, b = system(measure, n)
    c = np.ones(n) if endpoint == "ones" else np.sqrt(2 * N + 1) * (-1.0) ** N
    x = b
    for k in range(2 * n):
        x = -np.linalg.solve(a, x)
        assert abs(c @ x * math.factorial(k) - 1) < 1e-9
    x = -np.linalg.solve(a, x)
    assert abs(c @ x * math.factorial(2 * n) - 1) > 1e-3  # no more: the approximant is of order n


@pytest.mark.usefixtures("double")
def test_lmu_is_legt_in_other_units() -> None:
    (a, b), (a_lmu, b_lmu) = system("legt", 6), system("lmu", 6)
    unit = np.sqrt(2 * N + 1) * (-1.0) ** N
    np.testing.assert_allclose(unit[:, None] * a / unit, a_lmu, rtol=1e-12)
    np.testing.assert_allclose(unit * b, b_lmu, rtol=1e-12)


@pytest.mark.usefixtures("double")
def test_a_window_of_cosines_and_sines_ends_in_a_delay() -> None:
    """2 bᵀ x - u is u(t - 1): of modulus 1 at every frequency, and exact at the harmonics."""
    a, b = system("fout", 12)
    rotation = a + np.outer(b, b) / 2
    np.testing.assert_allclose(rotation, -rotation.T, atol=1e-14)
    turns = np.repeat(np.arange(6), 2) * (-1.0) ** np.arange(12) * 2 * math.pi
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(rotation).imag), np.sort(turns), atol=1e-9)
    angles = 2 * math.pi * np.arange(6) * 0.1
    basis = np.stack([np.cos(angles), np.sin(angles)], -1).ravel() * np.sqrt([1, 1] + 10 * [2])
    np.testing.assert_allclose(linalg.expm(0.1 * rotation) @ b / 2, basis, atol=1e-12)
    for turn in (1, 2, 5, 0.1, 2.3):
        omega = 2j * math.pi * turn
        delay = b @ np.linalg.solve(omega * np.eye(12) - a, b) - 1
        assert abs(abs(delay) - 1) < 1e-12
        assert abs(delay - np.exp(-omega)) < (1e-12 if turn % 1 == 0 else turn / 6)


def test_legs_eigenvalues_are_negative_integers() -> None:
    a, _ = system("legs", 20)
    np.testing.assert_array_equal(np.diag(a), -np.arange(1, 21))
    assert not np.triu(a, 1).any()  # triangular, so its eigenvalues are the diagonal


@pytest.mark.parametrize(("measure", "rows", "columns"), [("legs", 5, 6), ("fout", 6, 4)])
def test_hippo_of_a_stack(measure: Any, rows: int, columns: int) -> None:
    n = 8
    a, b = system(measure, n)
    stack = jaxinit.hippo(measure)(None, (rows, n, n), jnp.complex64)
    np.testing.assert_array_equal(stack, np.broadcast_to(a, (rows, n, n)))
    column = jaxinit.hippo_input(measure, axis=-2)(None, (n, columns))
    np.testing.assert_array_equal(column, np.repeat(b[:, None], columns, 1))
    np.testing.assert_array_equal(jaxinit.hippo_input(measure, -2)(None, (n, 1))[:, 0], b)
    np.testing.assert_array_equal(jaxinit.hippo_input(measure)(None, (2, n))[1], b)


@pytest.mark.parametrize("measure", MEASURES)
def test_single_precision_is_the_rounded_double(measure: Any) -> None:
    a, b = system(measure, 64)
    with jax.enable_x64(True):
        exact_a, exact_b = system(measure, 64)
    np.testing.assert_allclose(a, exact_a, rtol=1.5e-7)
    np.testing.assert_allclose(b, exact_b, rtol=6e-8)


def parts(shape: tuple[int, ...], half: bool = False) -> list[np.ndarray[Any, Any]]:
    rows, kept = shape
    names: tuple[Any, ...] = ("eigenvalues", "eigenvectors", "low_rank", "input")
    sizes = ((kept,), (rows, kept), (kept,), (kept,))
    return [
        np.asarray(jaxinit.hippo_dplr(name, half)(None, size, jnp.complex64), np.complex128)
        for name, size in zip(names, sizes, strict=True)
    ]


@pytest.mark.parametrize("n", [1, 2, 5, 16, 64])
def test_legs_is_normal_plus_low_rank(n: int) -> None:
    a, b = system("legs", n)
    p = b / math.sqrt(2)
    normal = a + np.outer(p, p)
    size = abs(a).max()
    assert abs(normal @ normal.T - normal.T @ normal).max() < 1e-5 * size**2
    assert n == 1 or abs(a @ a.T - a.T @ a).max() > 0.1 * size**2
    eigenvalues, v, low_rank, entry = parts((n, n))
    assert abs(v @ v.conj().T - np.eye(n)).max() < 1e-6
    assert abs(v @ (np.diag(eigenvalues) - np.outer(low_rank, low_rank)) @ v.conj().T - a).max() < (
        1e-5 * size
    )
    np.testing.assert_allclose(v @ entry, b, atol=1e-5)
    np.testing.assert_array_equal(eigenvalues.real, -0.5)
    assert (np.diff(eigenvalues.imag) < 0).all()
    assert (low_rank.real > 0.3).all()
    assert not low_rank.imag.any()


@pytest.mark.parametrize("n", [1, 4, 16])
def test_half_of_the_states_stand_for_their_conjugates(n: int) -> None:
    eigenvalues, v, low_rank, entry = parts((2 * n, n), half=True)
    whole = parts((2 * n, 2 * n))
    for found, expected in zip((eigenvalues, v, low_rank, entry), whole, strict=True):
        np.testing.assert_array_equal(found, expected[..., :n])
    assert (eigenvalues.imag > 0).all()
    a, b = system("legs", 2 * n)
    np.testing.assert_allclose(2 * (v @ entry).real, b, atol=1e-5)
    normal = 2 * (v * eigenvalues @ v.conj().T).real
    assert abs(normal - a - np.outer(b, b) / 2).max() < 1e-5 * abs(a).max()
    real = jaxinit.hippo_dplr("input", half=True)(None, (3, n))  # positive, so real will do
    np.testing.assert_array_equal(real, np.broadcast_to(entry.real, (3, n)))


def diagonal(variant: Any, n: int, part: Any = "whole") -> np.ndarray[Any, Any]:
    dtype = jnp.complex64 if part == "whole" else jnp.float32
    return np.asarray(jaxinit.s4d(variant, part)(KEY, (n,), dtype))


def test_s4d_frequencies() -> None:
    k = np.arange(5)
    np.testing.assert_allclose(diagonal("lin", 5), -0.5 + 1j * math.pi * k, rtol=1e-7)
    np.testing.assert_allclose(
        diagonal("quad", 5), -0.5 + 1j * (2 * k + 1) ** 2 / math.pi, rtol=1e-7
    )
    np.testing.assert_array_equal(diagonal("real", 5), -(k + 1.0))
    inverse = 10 / math.pi * np.array([9, 7 / 3, 1, 3 / 7, 1 / 9])
    np.testing.assert_allclose(diagonal("inv", 5), -0.5 + 1j * inverse, rtol=1e-7)
    for variant in ("lin", "quad", "inv", "real", "legs", "rand"):
        whole = diagonal(variant, 5)
        np.testing.assert_array_equal(whole.real, diagonal(variant, 5, "real"))
        np.testing.assert_array_equal(whole.imag, diagonal(variant, 5, "imag"))


def test_s4d_legs_is_the_normal_part_of_legs() -> None:
    """And inv is what its frequencies tend to, the fastest by 1/n² or so relatively."""
    for n in (8, 64):
        a, b = system("legs", 2 * n)
        poles = np.linalg.eigvals(a + np.outer(b, b) / 2)
        fastest = poles[np.argsort(-poles.imag)][:n]
        found = diagonal("legs", n)
        np.testing.assert_allclose(found, fastest, rtol=0, atol=2e-6 * abs(fastest).max())
        ratio = diagonal("inv", n, "imag")[0] / found[0].imag
        assert abs(ratio - 1) < 1 / (2 * n)
        assert abs(diagonal("inv", 2 * n, "imag")[0] / found[0].imag - 1) > 1  # N is 2n, not 4n


def test_s4d_rand() -> None:
    omega = jaxinit.s4d("rand", "imag")(KEY, (COUNT,))
    assert stats.kstest(np.asarray(omega, np.float64), stats.lognorm(1).cdf).pvalue > LEVEL
    assert stats.kstest(np.asarray(1.03 * omega, np.float64), stats.lognorm(1).cdf).pvalue < LEVEL
    lead = jaxinit.s4d("rand")(KEY, (2, 3), jnp.complex64)
    assert np.unique(np.asarray(lead)).size == 6


def uniform(sample: Any, low: float, high: float) -> float:
    """The p-value of a sample under U(low, high)."""
    law = stats.uniform(low, high - low).cdf
    return float(stats.kstest(np.asarray(sample, np.float64).ravel(), law).pvalue)


def test_log_step() -> None:
    log_step = jaxinit.log_step(1e-4, 0.2)(KEY, (COUNT,))
    assert uniform(log_step, math.log(1e-4), math.log(0.2)) > LEVEL
    assert uniform(jnp.exp(log_step), 1e-4, 0.2) < LEVEL  # spread over magnitudes, not evenly
    assert uniform(log_step, math.log(1e-4), math.log(0.22)) < LEVEL


def test_inverse_softplus_step() -> None:
    bias = np.asarray(jaxinit.inverse_softplus_step(1e-2, 1)(KEY, (COUNT,)), np.float64)
    assert uniform(np.log(np.logaddexp(0, bias)), math.log(1e-2), 0) > LEVEL
    assert uniform(bias, math.log(1e-2), 0) < LEVEL  # not the log of the step
    raised = np.asarray(jaxinit.inverse_softplus_step(1e-5, 0.1)(KEY, (COUNT,)), np.float64)
    share = (np.logaddexp(0, raised) < 1.0001e-4).mean()  # a quarter of the magnitudes
    assert abs(share - 0.25) < 4 * math.sqrt(0.25 * 0.75 / COUNT)
    assert np.logaddexp(0, raised).min() > 0.9999e-4


@pytest.mark.parametrize("ends", [(1e-6, 1e-5), (1e-3, 1.0), (0.25, 4.0)], ids=str)
def test_inverse_softplus_is_exact_by_series_and_by_logarithm(ends: tuple[float, float]) -> None:
    bias = np.asarray(jaxinit.inverse_softplus_step(*ends, floor=1e-7)(KEY, (COUNT,)), np.float64)
    step = np.exp(np.asarray(jaxinit.log_step(*ends)(KEY, (COUNT,)), np.float64))
    exact = step + np.log(-np.expm1(-step))
    # Two units of the exponential, which count Δ / (1 - e^-Δ) ≤ 1 + Δ fold, and of the logarithm.
    units = abs(exact) + 2 * (1 + step + abs(np.log(step)))
    assert (abs(bias - exact) <= float(jnp.finfo(jnp.float32).eps) * units).all()


def test_the_series_of_short_steps_is_off_by_its_first_missing_term() -> None:
    half = 0.5  # of the longest
    error = np.polyval(_LOG_SINHC, 1.0) - math.log(math.sinh(half) / half)
    assert error == pytest.approx(-(half**10) / 467775, rel=0.05)


def test_inverse_softplus_of_a_longest_step_that_jax_holds() -> None:
    drawn = jax.jit(lambda longest: jaxinit.inverse_softplus_step(1e-3, longest)(KEY, (64,)))(0.1)
    np.testing.assert_allclose(drawn, jaxinit.inverse_softplus_step(1e-3, 0.1)(KEY, (64,)), 1e-5)


def test_inverse_softplus_is_exact_for_short_steps() -> None:
    bias = jaxinit.inverse_softplus_step(1e-6, 1e-5, floor=1e-7)(KEY, (1000,))
    step = np.exp(np.asarray(jaxinit.log_step(1e-6, 1e-5)(KEY, (1000,)), np.float64))
    np.testing.assert_allclose(np.logaddexp(0, np.asarray(bias, np.float64)), step, rtol=1e-5)
    short = step.astype(np.float32)
    naive = np.logaddexp(0, np.log(np.exp(short) - 1).astype(np.float64))
    assert abs(naive / step - 1).max() > 1e-2


def test_mamba() -> None:
    kernel = jaxinit.mamba_dt_kernel()(KEY, (25, COUNT // 25))
    assert uniform(kernel, -0.2, 0.2) > LEVEL
    assert uniform(1.02 * kernel, -0.2, 0.2) < LEVEL
    turned = jaxinit.mamba_dt_kernel(0.5, axes=Axes(-1, -2))(KEY, (COUNT // 25, 25))
    assert uniform(turned, -0.1, 0.1) > LEVEL
    rates = np.exp(np.asarray(jaxinit.mamba_a_log()(None, (3, 16)), np.float64))
    np.testing.assert_allclose(-rates, np.broadcast_to(diagonal("real", 16), (3, 16)), rtol=3e-7)
    down = jaxinit.mamba_a_log(axis=0)(None, (16, 3))
    np.testing.assert_array_equal(down.T, jaxinit.mamba_a_log()(None, (3, 16)))
    heads = jnp.exp(jaxinit.mamba2_a_log(2, 10)(KEY, (COUNT,)))
    assert uniform(heads, 2, 10) > LEVEL
    assert uniform(jnp.log(heads), math.log(2), math.log(10)) < LEVEL


C64 = jnp.complex64
FACTORY: list[tuple[Any, type[Exception], str]] = [
    (lambda: untyped.hippo("leg"), ValueError, "measure='leg' is none of .*; did you mean 'leg"),
    (lambda: untyped.hippo_input("fourier"), ValueError, "measure='fourier' is none of"),
    (lambda: untyped.hippo_dplr("p"), ValueError, "part='p' is none of 'eigenvalues'"),
    (lambda: untyped.s4d("linear"), ValueError, "variant='linear' is none of .*'lin'"),
    (lambda: untyped.s4d("lin", "both"), ValueError, "part='both' is none of"),
    (lambda: jaxinit.log_step(0), ValueError, "min=0 is not above 0"),
    (lambda: untyped.log_step(None), TypeError, "min=None is not a real number"),
    (lambda: untyped.inverse_softplus_step(floor=None), TypeError, "floor=None is not a real"),
    (lambda: untyped.mamba2_a_log(None), TypeError, "min=None is not a real number"),
    (lambda: jaxinit.inverse_softplus_step(floor=0), ValueError, "floor=0 is not above 0"),
    (lambda: jaxinit.mamba2_a_log(-1, 16), ValueError, "min=-1 is not above 0"),
    (lambda: jaxinit.mamba_dt_kernel(-1), ValueError, "scale=-1 is negative"),
    (lambda: untyped.mamba_a_log(0.5), TypeError, "axis=0.5 is neither an integer"),
]
CALL: list[tuple[Any, type[Exception], str]] = [
    (lambda: jaxinit.hippo("legs")(None, (4, 5)), ValueError, r"does not end in \(n, n\)"),
    (lambda: jaxinit.hippo("legs")(None, (4,)), ValueError, "use hippo_input"),
    (lambda: jaxinit.hippo("legs")(None, (4, 4), int), TypeError, "has no fractions"),
    (lambda: jaxinit.hippo("fout")(None, (5, 5)), ValueError, "n=5 is odd"),
    (lambda: jaxinit.hippo_input("fout")(None, (5,)), ValueError, "n=5 is odd"),
    (lambda: jaxinit.hippo_input("legs")(None, (4, 1)), ValueError, "for a column it is -2"),
    (lambda: jaxinit.hippo_input("legs")(None, ()), ValueError, "axis=-1 is out of range"),
    (lambda: jaxinit.hippo_input("legs")(None, (4,), int), TypeError, "has no fractions"),
    (lambda: jaxinit.hippo_dplr("eigenvalues")(None, (4,)), TypeError, "these weights are complex"),
    (lambda: jaxinit.hippo_dplr("input")(None, ()), ValueError, "no axis for the states"),
    (
        lambda: jaxinit.hippo_dplr("eigenvectors")(None, (4, 2), C64),
        ValueError,
        r"does not end in \(2, 2\)",
    ),
    (
        lambda: jaxinit.hippo_dplr("eigenvectors", half=True)(None, (4, 4), C64),
        ValueError,
        r"does not end in \(8, 4\)",
    ),
    (lambda: jaxinit.s4d("inv")(None, (4,)), TypeError, "pass dtype=jnp.complex64, or draw part="),
    (lambda: jaxinit.s4d("rand")(KEY, (4,)), TypeError, "dtype=float32 is real"),
    (lambda: jaxinit.s4d("rand", "imag")(KEY, (4,), int), TypeError, "has no fractions"),
    (lambda: jaxinit.s4d("real")(None, ()), ValueError, "no axis for the states"),
    (lambda: jaxinit.log_step(0.1, 0.01)(KEY, (4,)), ValueError, "min=0.1 is not below max=0.01"),
    (lambda: jaxinit.log_step()(KEY, (4,), C64), TypeError, "steps are real"),
    (lambda: jaxinit.inverse_softplus_step(1, 1)(KEY, (4,)), ValueError, "min=1 is not below"),
    (lambda: jaxinit.inverse_softplus_step()(KEY, (4,), C64), TypeError, "steps are real"),
    (lambda: jaxinit.mamba_dt_kernel()(KEY, (4,)), ValueError, "is 1-D: a bias has no fan-in"),
    (lambda: jaxinit.mamba_a_log(axis=2)(None, (4, 4)), ValueError, "axis=2 is out of range"),
    (lambda: jaxinit.mamba2_a_log(16, 1)(KEY, (4,)), ValueError, "min=16 is not below max=1"),
    (lambda: jaxinit.mamba2_a_log()(KEY, (4,), C64), TypeError, "decay rates are real"),
]


@pytest.mark.parametrize(("make", "error", "message"), FACTORY, ids=range(len(FACTORY)))
def test_factories(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(("call", "error", "message"), CALL, ids=range(len(CALL)))
def test_calls(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
