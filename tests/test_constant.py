"""Weights without chance: each equals its closed form, or does to a signal what it claims."""

import copy
import math
import pickle
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import EPS, noise

import jaxinit
from jaxinit import Axes

untyped: Any = jaxinit


# Biases, ramps, and weights from elsewhere


def test_prior_bias() -> None:
    for p in (0.01, 0.5, 0.99, 1e-30, 1 - 1e-12):
        found = float(jaxinit.prior_bias(p)(None, ()))
        assert found == pytest.approx(-math.log((1 - p) / p), rel=2e-7, abs=1e-9)
    probabilities = np.asarray([0.1, 0.9, 0.5])
    bias = jaxinit.prior_bias(probabilities)(None, (2, 3))
    np.testing.assert_allclose(jax.nn.sigmoid(bias)[1], probabilities, rtol=4 * EPS)
    assert jnp.allclose(bias[:, 0], -bias[:, 1])
    slope = jax.grad(lambda p: jaxinit.prior_bias(p)(None, ()))(0.2)
    chex.assert_trees_all_close(slope, 1 / (0.2 * 0.8), rtol=1e-6)


def test_class_prior_bias_starts_at_the_entropy() -> None:
    counts = np.asarray([5.0, 1000, 20, 20, 300])
    bias = jaxinit.class_prior_bias(counts)(None, (5,))
    frequencies = counts / counts.sum()
    np.testing.assert_allclose(jax.nn.softmax(bias), frequencies, rtol=8 * EPS)
    assert abs(bias.mean()) < 4 * EPS

    def loss(bias: Any) -> Any:
        return -(jnp.asarray(frequencies) * jax.nn.log_softmax(bias)).sum()

    entropy = -(frequencies * np.log(frequencies)).sum()
    assert float(loss(bias)) == pytest.approx(entropy, rel=1e-6)
    assert loss(jnp.zeros(5)) > entropy + 0.5  # log K
    assert abs(jax.grad(loss)(bias)).max() < 1e-6 < abs(jax.grad(loss)(jnp.zeros(5))).max()
    again = jax.jit(lambda c: jaxinit.class_prior_bias(c)(None, (2, 5)))(jnp.asarray(counts))
    np.testing.assert_allclose(again[1], bias, rtol=1e-5)


def test_linspace() -> None:
    for n in (1, 2, 7, 1000):
        ramp = np.asarray(jaxinit.linspace(0.1, -0.7)(None, (3, n)))
        np.testing.assert_allclose(ramp[1], np.linspace(0.1, -0.7, n), atol=2 * EPS)
        assert ramp[0, 0] == np.float32(0.1)
        assert n == 1 or ramp[0, -1] == np.float32(-0.7)
    column = jaxinit.linspace(1, 3, 0)(None, (3, 2))
    assert column.tolist() == [[1, 1], [2, 2], [3, 3]]
    slope = jax.grad(lambda stop: jaxinit.linspace(0.0, stop)(None, (5,)).sum())(1.0)
    chex.assert_trees_all_close(slope, 2.5)


INDICES = [
    None,
    np.s_[1],
    np.s_[2:5],
    np.s_[..., ::2],
    np.s_[1:3, :, -1],
    np.s_[0, 1, 2],
    [slice(None, None, -1), (0, 2)],
]


@pytest.mark.parametrize("slicing", INDICES, ids=str)
@pytest.mark.parametrize("held", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_from_array(slicing: Any, held: Any) -> None:
    array = held(noise(6, 4, 3))
    init = jaxinit.from_array(array, slicing)
    index: Any = np.s_[::-1, 0:2] if isinstance(slicing, list) else slicing
    expected = np.asarray(array) if slicing is None else np.asarray(array)[index]
    np.testing.assert_array_equal(init(None, expected.shape), expected)
    np.testing.assert_array_equal(
        init(None, expected.shape, jnp.bfloat16), jnp.asarray(expected, jnp.bfloat16)
    )
    again = jaxinit.from_array(array, slicing)
    assert init == again == copy.copy(init)
    assert hash(init) == hash(again)
    assert init != jaxinit.from_array(array, np.s_[:5])
    twin = pickle.loads(pickle.dumps(init))
    np.testing.assert_array_equal(twin(None, expected.shape), expected)


def test_from_array_converts() -> None:
    assert jaxinit.from_array([[1, 2]])(None, (1, 2)).tolist() == [[1.0, 2.0]]
    assert jaxinit.from_array(3)(None, (), jnp.int8) == 3
    half = jnp.ones((2,), jnp.bfloat16)
    assert jaxinit.from_array(half)(None, (2,), jnp.complex64).tolist() == [1, 1]


# Errors

FACTORY: list[tuple[Any, type[Exception], str]] = [
    (lambda: jaxinit.identity(math.nan), ValueError, "gain=nan is not finite"),
    (lambda: untyped.identity(axes=2), TypeError, "axes=2 is a int: pass an Axes"),
    (lambda: jaxinit.dirac(0), ValueError, "groups=0 is less than 1"),
    (lambda: untyped.dirac(1.5), TypeError, "groups=1.5 is not a whole number"),
    (lambda: untyped.shift(0.5), TypeError, "offset=0.5 is not a whole number"),
    (lambda: jaxinit.idinit(math.inf), ValueError, "tau=inf is not finite"),
    (lambda: jaxinit.idinit_zero(math.nan), ValueError, "eps=nan is not finite"),
    (lambda: jaxinit.sinusoidal(0), ValueError, "max_timescale=0 is not above 0"),
    (lambda: untyped.sinusoidal(None), TypeError, "max_timescale=None is not a real number"),
    (lambda: untyped.sinusoidal([1, 2]), TypeError, r"max_timescale=\[1, 2\] is not one number"),
    (
        lambda: untyped.sinusoidal(layout="interleaved"),
        ValueError,
        "layout='interleaved' is none of .*; did you mean 'interleave'",
    ),
    (lambda: jaxinit.rotary_frequencies(-1.0), ValueError, "theta=-1.0 is not above 0"),
    (lambda: untyped.rotary_frequencies(None), TypeError, "theta=None is not a real number"),
    (lambda: untyped.dct(5), ValueError, "type=5 is none of 1, 2, 3, 4"),
    (lambda: untyped.dct(norm="backward"), ValueError, "norm='backward' is none of None, 'ortho'"),
    (lambda: untyped.dft(part="phase"), ValueError, "part='phase' is none of 'complex', 'real'"),
    (lambda: jaxinit.stft("han"), ValueError, "window='han' is none of .*did you mean 'hann'"),
    (lambda: untyped.stft(scaling="psd"), ValueError, "scaling='psd' is none of None, 'density'"),
    (lambda: jaxinit.stft(fft_length=0), ValueError, "fft_length=0 is less than 1"),
    (lambda: jaxinit.prior_bias(1.0), ValueError, r"prob=1.0 is outside \(0, 1\)"),
    (lambda: jaxinit.prior_bias(np.array([0.5, 0])), ValueError, r"outside \(0, 1\)"),
    (lambda: untyped.prior_bias("0.1"), TypeError, "prob='0.1' is not a real number"),
    (lambda: jaxinit.class_prior_bias([3, 0]), ValueError, "not above 0: a class without examples"),
    (lambda: jaxinit.class_prior_bias([]), ValueError, "pass one number for each of the classes"),
    (lambda: untyped.class_prior_bias(4), ValueError, "pass one number for each of the classes"),
    (lambda: jaxinit.linspace(0, math.inf), ValueError, "stop=inf is not finite"),
    (lambda: untyped.linspace(1j, 1), TypeError, "start=1j is not a real number"),
    (lambda: untyped.constant(None), TypeError, "value=None is a NoneType, not a number"),
    (lambda: jaxinit.constant([1, None]), TypeError, r"value=\[1, None\] is a list, not a number"),
    (lambda: untyped.constant("3"), TypeError, "value='3' is a str, not a number"),
    (lambda: untyped.constant({}), TypeError, "value={} is a dict, not a number"),
    (lambda: jaxinit.constant([1, [2]]), ValueError, r"value=\[1, \[2\]\] has rows of several"),
    (lambda: untyped.from_array("text"), TypeError, "array='text' is a str, not a number"),
    (lambda: untyped.from_array([1], "0"), TypeError, "slicing='0' is not a whole number"),
    (lambda: untyped.from_array([1], [0.5]), TypeError, "slicing=0.5 is not a whole number"),
    (lambda: untyped.from_array([1], slice(0.5)), TypeError, "slicing=0.5 is not a whole number"),
]


@pytest.mark.parametrize(("make", "error", "message"), FACTORY, ids=range(len(FACTORY)))
def test_factories(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


W = noise(4, 6)
CALL: list[tuple[Any, tuple[int, ...], Any, type[Exception], str]] = [
    (jaxinit.identity(axes=Axes.conv(groups=3)), (3, 3, 2, 4), None, ValueError, "do not divide"),
    (jaxinit.identity(axes="td,df->tf"), (3,), None, ValueError, "are of a 2-D kernel"),
    (jaxinit.dirac(), (8, 8), None, ValueError, r"shape \(8, 8\) has 2 axes"),
    (jaxinit.dirac(3), (3, 2, 4), None, ValueError, "groups=3 do not divide the 4 outputs"),
    (jaxinit.shift(), (3, 4), None, ValueError, "3 inputs and 4 outputs a group: a shift"),
    (jaxinit.shift(), (3,), None, ValueError, "is 1-D: a bias has no fan-in"),
    (jaxinit.hadamard_zero(), (3, 4), jnp.int32, TypeError, "dtype=int32 has no fractions"),
    (jaxinit.hadamard_zero(), (3,), None, ValueError, "is 1-D: a bias has no fan-in"),
    (jaxinit.idinit(), (3,), None, ValueError, "is 1-D: a bias has no fan-in"),
    (jaxinit.idinit_zero(), (1, 4), None, ValueError, "has one input a group"),
    (jaxinit.bilinear(), (4, 4, 1, 8), None, ValueError, r"pass axes=Axes.conv\(groups=channels\)"),
    (jaxinit.bilinear(), (4, 4, 2, 2), jnp.int8, TypeError, "dtype=int8 has no fractions"),
    (jaxinit.sinusoidal(), (8,), None, ValueError, "a table has positions by features"),
    (jaxinit.alibi_slopes(1), (8,), None, ValueError, "axis=1 is out of range"),
    (jaxinit.alibi_slopes(), (8,), jnp.int8, TypeError, "dtype=int8 has no fractions"),
    (jaxinit.rotary_frequencies(), (), None, ValueError, "axis=-1 is out of range"),
    (jaxinit.dct(), (8,), None, ValueError, "is not of points by at most as many coefficients"),
    (jaxinit.dct(), (8, 9), None, ValueError, "is not of points by at most as many coefficients"),
    (jaxinit.dct(1), (1, 1), None, ValueError, "dct of type 1 needs two"),
    (jaxinit.dct(), (40_000, 2), None, ValueError, "more than 32768 points: use the fast"),
    (
        jaxinit.dft(),
        (8, 8),
        None,
        TypeError,
        "dtype=float32 cannot hold .* pass complex64, or part",
    ),
    (jaxinit.stft(), (8, 5), jnp.float32, TypeError, "cannot hold the complex entries of stft"),
    (jaxinit.stft(part="real"), (8, 2, 5), None, ValueError, "let the convolution see one channel"),
    (jaxinit.stft(part="real"), (8, 1, 4), None, ValueError, "fft_length=6 .* ask for 5 frequenc"),
    (jaxinit.stft(fft_length=4), (4, 5), complex, ValueError, "fft_length=4 for shape"),
    (
        jaxinit.stft(np.ones(7)),
        (8, 5),
        complex,
        ValueError,
        r"window has shape \(7,\): a frame has 8",
    ),
    (
        jaxinit.stft(np.zeros(8), "spectrum"),
        (8, 5),
        complex,
        ValueError,
        "window sums to 0, so that scaling='spectrum'",
    ),
    (jaxinit.prior_bias(np.ones(3) / 2), (4,), None, ValueError, r"prob of shape \(3,\) does not"),
    (jaxinit.prior_bias(), (4,), jnp.int32, TypeError, "dtype=int32 has no fractions"),
    (jaxinit.class_prior_bias((1, 2)), (3,), None, ValueError, r"counts of shape \(2,\) does not"),
    (jaxinit.linspace(0, 1), (3,), jnp.int32, TypeError, "dtype=int32 has no fractions"),
    (jaxinit.linspace(0, 1, 2), (3,), None, ValueError, "axis=2 is out of range"),
    (
        jaxinit.from_array(W),
        (6, 4),
        None,
        ValueError,
        r"array of shape \(4, 6\) is not of the shape \(6, 4\): transpose it",
    ),
    (
        jaxinit.from_array(W, np.s_[:2]),
        (2, 4),
        None,
        ValueError,
        r"of shape \(4, 6\) gives \(2, 6\) after slicing=\(\(None, 2, None\),\), which .* \(2, 4\)",
    ),
    (jaxinit.from_array(W, 4), (6,), None, ValueError, "slicing=.*out of bounds"),
    (jaxinit.from_array(W, (0, 0, 0)), (), None, ValueError, "slicing=.*too many indices"),
    (jaxinit.from_array(W), (4, 6), jnp.int32, TypeError, "array of float32 would lose its fract"),
    (jaxinit.from_array(1j * W), (4, 6), None, TypeError, "would lose its imaginary parts"),
    (jaxinit.constant(1 + 2j), (2,), None, TypeError, "would lose its imaginary parts in dtype=fl"),
    (jaxinit.constant(1j), (2,), jnp.int8, TypeError, "would lose its imaginary parts in dtype=in"),
    (
        jaxinit.constant(-1),
        (2,),
        jnp.uint8,
        ValueError,
        "from -1 to -1, and .* holds those fr",
    ),
    (jaxinit.constant(2**70), (2,), jnp.int32, ValueError, "dtype=int32 holds those from -2147483"),
    (jaxinit.constant(math.inf), (2,), jnp.int32, ValueError, "value has numbers from inf to inf"),
    (
        jaxinit.from_array([7, 300]),
        (2,),
        jnp.int8,
        ValueError,
        "array has numbers from 7 to 300, and dtype=int8 holds those from -128 to 127",
    ),
    (jaxinit.from_array(jnp.array([-9])), (1,), jnp.int4, ValueError, "holds those from -8 to 7"),
]


@pytest.mark.parametrize(("init", "shape", "dtype", "error", "message"), CALL, ids=range(len(CALL)))
def test_calls(
    init: Any, shape: tuple[int, ...], dtype: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        init(None, shape, dtype)
    with pytest.raises(error, match=message):  # and so while tracing
        jax.eval_shape(lambda: init(None, shape, dtype))
