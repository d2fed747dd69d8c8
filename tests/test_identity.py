"""Weights that pass on their input, whole or in part."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.interpolate
import scipy.linalg
import scipy.signal
from signals import EPS, convolved, noise

import jaxinit
from jaxinit import Axes

# Kernels that pass their input on


def test_identity_of_an_einsum() -> None:
    x = noise(2, 3, 12)
    kernel = jaxinit.identity(axes="btd,dhk->bthk")(None, (12, 4, 3))
    np.testing.assert_array_equal(np.einsum("btd,dhk->bthk", x, kernel), x.reshape(2, 3, 4, 3))
    back = jaxinit.identity(axes="bthk,hkd->btd")(None, (4, 3, 12))
    np.testing.assert_array_equal(np.einsum("dhk,hke->de", kernel, back), np.eye(12))
    experts = jaxinit.identity(2.0, axes=Axes.dense().stacked())(None, (3, 4, 5))
    np.testing.assert_array_equal(experts, np.broadcast_to(2 * np.eye(4, 5), (3, 4, 5)))
    assert jaxinit.identity(axes="td,df->tf")(None, (2, 2)).tolist() == np.eye(2).tolist()
    gate = jaxinit.identity(axes="btc,c->btc")(None, (5,))
    assert gate.tolist() == [1] * 5


SIZES = [(4, 4), (4, 2), (2, 4), (1, 3)]


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(("n_in", "n_out"), SIZES)
@pytest.mark.parametrize("taps", [(3,), (3, 4), (1, 3, 2)], ids=str)
def test_dirac_passes_the_first_channels_of_each_group(
    taps: tuple[int, ...], n_in: int, n_out: int, groups: int
) -> None:
    x = noise(2, *(5,) * len(taps), groups * n_in)
    shape = (*taps, n_in, groups * n_out)
    y = convolved(x, jaxinit.dirac(groups)(None, shape), groups)
    passed = min(n_in, n_out)
    grouped = np.reshape(x, (*x.shape[:-1], groups, n_in))[..., :passed]
    expected = np.pad(grouped, [(0, 0)] * (x.ndim) + [(0, n_out - passed)])
    np.testing.assert_array_equal(y, expected.reshape(y.shape))
    if groups > 1:  # of one group it would pass the first alone
        assert not np.array_equal(convolved(x, jaxinit.dirac()(None, shape), groups), y)
    as_identity = jaxinit.identity(axes=Axes.conv(len(taps), groups))
    np.testing.assert_array_equal(as_identity(None, shape), jaxinit.dirac(groups)(None, shape))


@pytest.mark.parametrize("offset", [0, 1, -2, 9])
def test_shift_rolls_the_channels(offset: int) -> None:
    x = noise(3, 7)
    w = jaxinit.shift(offset)(None, (7, 7))
    np.testing.assert_array_equal(x @ w, np.roll(x, offset, axis=-1))
    np.testing.assert_array_equal(np.linalg.matrix_power(w, 7), np.eye(7))
    assert not np.array_equal(x @ np.roll(w, 1, axis=0), np.roll(x, offset, axis=-1))
    image = noise(1, 4, 4, 6)
    kernel = jaxinit.shift(offset, axes=Axes.conv(groups=2))(None, (3, 3, 3, 6))
    rolled = np.roll(image.reshape(1, 4, 4, 2, 3), offset, axis=-1).reshape(image.shape)
    np.testing.assert_array_equal(convolved(image, kernel, 2), rolled)


def test_hadamard_zero() -> None:
    for n_in, n_out in ((4, 4), (6, 3)):
        np.testing.assert_array_equal(
            jaxinit.hadamard_zero()(None, (n_in, n_out)), np.eye(n_in, n_out)
        )
    for n_in, n_out in ((3, 4), (1, 2), (5, 12), (17, 64)):
        w = np.asarray(jaxinit.hadamard_zero()(None, (n_in, n_out)), np.float64)
        p = 2 ** math.ceil(math.log2(n_out))
        h = scipy.linalg.hadamard(p) / math.sqrt(p)
        partial = np.eye(n_in, p) @ h @ np.eye(p, n_out)
        np.testing.assert_allclose(w, partial, rtol=EPS)
        np.testing.assert_allclose(np.diag(w @ w.T), n_out / p, rtol=2 * EPS)
        if n_out == p:
            np.testing.assert_allclose(w @ w.T, np.eye(n_in), atol=2 * EPS)
    kernel = jaxinit.hadamard_zero(axes=Axes.conv(groups=2))(None, (3, 3, 2, 8))
    corner = jaxinit.hadamard_zero()(None, (2, 4))
    np.testing.assert_array_equal(kernel[1, 1], jnp.concatenate([corner, corner], 1))
    assert jnp.count_nonzero(kernel) == 16


def test_hadamard_zero_breaks_the_degeneracy_of_the_identity() -> None:
    """Hidden features span more dimensions than the input (theorem 1), which no padding can."""

    def dimensions(init: jaxinit.Bound) -> int:
        hidden = np.maximum(noise(200, 6) @ np.asarray(init(None, (6, 32))), 0)
        return int(np.linalg.matrix_rank(hidden, tol=1e-3))

    assert dimensions(jaxinit.identity()) == 6
    assert dimensions(jaxinit.hadamard_zero()) == 8  # columns repeat after the next power of two


def matrix(kernel: Any) -> np.ndarray[Any, Any]:
    """Of a convolution: inputs, each at every tap, by outputs."""
    return np.moveaxis(np.asarray(kernel), -2, 0).reshape(-1, kernel.shape[-1])


SHAPES = [(4, 4), (3, 8), (8, 3), (8, 5), (3, 5, 40), (3, 2, 4, 7), (2, 2, 1, 9)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_idinit_repeats_the_identity(shape: tuple[int, ...]) -> None:
    w = matrix(jaxinit.idinit(0.5)(None, shape))
    rows, columns = w.shape
    repeated = np.tile(np.eye(rows), -(-columns // rows))[:, :columns]
    np.testing.assert_array_equal(w, repeated / 2)
    assert (w != 0).any(axis=0).all()  # every output is alive
    if columns > rows:
        assert not (np.eye(rows, columns) != 0).any(axis=0).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_idinit_zero_takes_differences(shape: tuple[int, ...]) -> None:
    w = matrix(jaxinit.idinit_zero(0.5)(None, shape))
    rows, columns = w.shape
    assert (w == 0.5).sum(axis=0).tolist() == (w == -0.5).sum(axis=0).tolist() == [1] * columns
    assert np.count_nonzero(w) == 2 * columns
    plus = np.where(w > 0, w, 0)
    np.testing.assert_array_equal(plus, matrix(jaxinit.idinit(0.5)(None, shape)))
    if columns < rows:  # the inputs that no identity hears
        heard = np.eye(rows)[columns + np.arange(columns) % (rows - columns)]
    else:  # the next input
        heard = np.eye(rows)[(np.arange(columns) + 1) % rows]
    np.testing.assert_array_equal(np.where(w < 0, w, 0), -heard.T / 2)
    y = noise(4000, rows) @ w  # Var[y] = 2 ε² of white noise, to six standard errors
    assert abs(y.var() / (2 * 0.5**2) - 1) < 6 * math.sqrt(2 / 4000)
    assert jaxinit.idinit_zero()(None, (4, 4)).max() == np.float32(1e-6)


def test_patches_of_a_grouped_convolution() -> None:
    for init in (jaxinit.idinit, jaxinit.idinit_zero):
        whole = init(axes=Axes.conv(1, groups=3))(None, (3, 2, 12))
        one = init()(None, (3, 2, 4))
        np.testing.assert_array_equal(whole, jnp.concatenate([one] * 3, axis=-1))


def test_weights_of_integers() -> None:
    for init in (jaxinit.identity(2), jaxinit.dirac(), jaxinit.shift(), jaxinit.idinit(2)):
        assert init(None, (1, 3, 3), jnp.int8).sum() == init(None, (1, 3, 3)).sum()
