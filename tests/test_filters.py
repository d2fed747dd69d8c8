"""Filters of images: sub-pixel upsampling and Gabor's waves."""

import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolving import COMPLEX, KEY, REAL, circular, gaussian, untyped
from scipy import stats

import jaxinit
from jaxinit import Axes


def shuffle(x: Any, r: int, order: str) -> Any:
    """Channels last into r^d sub-pixels, which vary within a channel or the other way round."""
    spatial = x.shape[1:-1]
    d = len(spatial)
    subpixels = (r,) * d
    channels = x.shape[-1] // r**d
    if order == "pixel_shuffle":
        parts = np.moveaxis(x.reshape(-1, *spatial, channels, *subpixels), d + 1, -1)
    else:
        parts = x.reshape(-1, *spatial, *subpixels, channels)
    pairs = [axis for i in range(d) for axis in (1 + i, 1 + d + i)]
    return parts.transpose(0, *pairs, 2 * d + 1).reshape(-1, *(n * r for n in spatial), channels)


def nearest(x: Any, r: int) -> Any:
    for axis in range(1, x.ndim - 1):
        x = np.repeat(x, r, axis)
    return x


@pytest.mark.parametrize("order", ["pixel_shuffle", "depth_to_space"])
@pytest.mark.parametrize(
    ("shape", "r"), [((3, 4, 6), 3), ((3, 2, 4, 12), 2), ((2, 2, 2, 3, 16), 2)], ids=str
)
def test_icnr_upsamples_to_the_nearest(shape: tuple[int, ...], r: int, order: Any) -> None:
    base = jaxinit.he_normal()
    kernel = jaxinit.icnr(base, r, order)(KEY, shape)
    spatial = len(shape) - 2
    small = base(KEY, (*shape[:-1], shape[-1] // r**spatial))
    x = gaussian((2, *(5, 4, 6)[:spatial], shape[-2]))
    y = circular(x, kernel)
    expected = nearest(circular(x, small), r)
    chex.assert_trees_all_close(shuffle(y, r, order), expected, atol=1e-5)
    other = {"pixel_shuffle": "depth_to_space", "depth_to_space": "pixel_shuffle"}[order]
    assert abs(shuffle(y, r, other) - expected).max() > 0.1
    assert abs(shuffle(circular(x, base(KEY, shape)), r, order) - expected).max() > 0.1


def test_icnr_takes_any_initializer() -> None:
    def mine(key: Any, shape: Any, dtype: Any = None) -> Any:
        return jax.random.normal(key, shape, dtype)

    kernel = untyped.icnr(mine, 2)(KEY, (3, 3, 2, 8))
    np.testing.assert_array_equal(kernel[..., ::4], kernel[..., 3::4])
    still = jaxinit.icnr(jaxinit.constant(0.5), 2)(None, (1, 1, 2, 4))
    assert still.tolist() == [[[[0.5] * 4] * 2]]
    base = jaxinit.lecun_normal(dtype=jnp.bfloat16)
    chex.assert_trees_all_equal(jaxinit.icnr(base, 1)(KEY, (3, 3, 2, 8)), base(KEY, (3, 3, 2, 8)))


def test_icnr_of_groups_and_of_other_axes() -> None:
    axes = Axes.conv(groups=2)
    kernel = jaxinit.icnr(jaxinit.he_normal(axes=axes), 2, axes=axes)(KEY, (3, 3, 3, 16))
    y = shuffle(circular(gaussian((1, 4, 4, 6)), kernel, 2), 2, "pixel_shuffle")
    chex.assert_trees_all_close(nearest(y[:, ::2, ::2], 2), y, atol=1e-6)
    torch = jaxinit.icnr(jaxinit.normal(), 2, axes=Axes(1, 0))(KEY, (8, 3, 5, 5))
    np.testing.assert_array_equal(torch[:3], torch[1:4])
    assert not np.array_equal(torch[3], torch[4])
    layers = jaxinit.icnr(jaxinit.normal(), 3, axes=Axes.conv().stacked())(KEY, (2, 3, 3, 4, 9))
    np.testing.assert_array_equal(layers[..., :1], layers[..., 8:])


FREQUENCIES = (0.3, 0.15)
BANK = jaxinit.gabor(FREQUENCIES, bandwidth=1.2, aspect=0.7)


@pytest.mark.parametrize("phase", ["quadrature", "random"])
@pytest.mark.parametrize("dtype", [REAL, COMPLEX], ids=str)
@pytest.mark.parametrize("shape", [(3, 3, 1, 10), (5, 7, 3, 16), (15, 9, 2, 7)], ids=str)
def test_each_wave_has_zero_mean_and_unit_norm(
    shape: tuple[int, ...], dtype: Any, phase: Any
) -> None:
    bank = np.asarray(BANK.replace(phase=phase)(KEY, shape, dtype))
    np.testing.assert_allclose(bank.sum((0, 1)), 0, atol=2e-6)
    np.testing.assert_allclose((abs(bank) ** 2).sum((0, 1, 2)), 1, rtol=1e-5)
    np.testing.assert_array_equal(bank, np.broadcast_to(bank[:, :, :1], shape))
    flat = bank[:, :, 0].reshape(-1, shape[-1])
    cosines = abs(flat.T.conj() @ flat) * shape[2] - np.eye(shape[-1])
    assert cosines.max() < 1 - 1e-4  # no two outputs are alike


def test_waves_come_in_pairs() -> None:
    shape = (9, 7, 2, 12)
    bank = np.asarray(BANK(None, shape))
    even, odd = bank[..., ::2], bank[..., 1::2]
    np.testing.assert_allclose(even, even[::-1, ::-1], atol=1e-7)
    np.testing.assert_allclose(odd, -odd[::-1, ::-1], atol=1e-7)
    whole = np.asarray(BANK(None, (9, 7, 2, 6), jnp.complex64))
    np.testing.assert_allclose(whole, (even + 1j * odd) / math.sqrt(2), atol=1e-7)


def test_each_wave_has_its_frequency_bandwidth_and_shape() -> None:
    size, points = 41, 512
    outputs = 12
    waves = np.asarray(BANK(None, (size, size, 1, outputs), jnp.complex64))[:, :, 0]
    spectrum = abs(np.fft.fft2(waves, (points, points), (0, 1)))
    grid = np.fft.fftfreq(points)
    y, x = np.mgrid[:size, :size] - size // 2
    for i in range(outputs):
        f, theta = FREQUENCIES[i % 2], math.pi * (i // 2) / (outputs / 2)
        row, column = np.unravel_index(spectrum[..., i].argmax(), (points, points))
        peak = grid[column], grid[row]
        np.testing.assert_allclose(
            peak, (f * math.cos(theta), f * math.sin(theta)), atol=1.5 / points
        )
        # Along the wave, the response is half at f ∓ Δ, and those are `bandwidth` octaves apart.
        steps = np.linspace(0.3 * f, 1.9 * f, 400)
        u, v = x * math.cos(theta) + y * math.sin(theta), y * math.cos(theta) - x * math.sin(theta)
        turning = np.exp(-2j * np.pi * steps[:, None, None] * u)
        response = abs((turning * waves[..., i]).sum((1, 2)))
        passed = steps[response > response.max() / 2]
        octaves = math.log2(passed[-1] / passed[0])
        assert abs(octaves - 1.2) < 0.02
        assert abs(octaves - 1.1) > 0.02
        # The squared modulus is a Gaussian of variances σ²/2 and σ²/2γ².
        mass = abs(waves[..., i]) ** 2
        ratio = math.sqrt((mass * u**2).sum() / (mass * v**2).sum())
        assert abs(ratio - 0.7) < 0.02


def test_random_phases_are_uniform() -> None:
    n = 10_000
    init = jaxinit.gabor(FREQUENCIES, phase="random")
    bank = np.asarray(init(KEY, (5, 5, 1, n)), np.float64)
    pairs = np.asarray(jaxinit.gabor(FREQUENCIES)(None, (5, 5, 1, 2 * n)), np.float64)
    even, odd = pairs[..., ::2], pairs[..., 1::2]
    cosine, sine = (bank * even).sum((0, 1, 2)), -(bank * odd).sum((0, 1, 2))
    np.testing.assert_allclose(cosine**2 + sine**2, 1, atol=1e-5)  # nothing else is in it
    phi = np.arctan2(sine, cosine)
    law = stats.uniform(-math.pi, 2 * math.pi).cdf
    assert stats.kstest(phi, law).pvalue > 1e-3
    assert stats.kstest(np.arctan2(sine, 1.3 * cosine), law).pvalue < 1e-3
    whole = np.asarray(init(KEY, (5, 5, 1, n), jnp.complex64))
    np.testing.assert_allclose(whole.real, bank / math.sqrt(2), atol=1e-6)
    assert abs(bank - np.asarray(init(jax.random.key(1), (5, 5, 1, n)))).max() > 0.1
