"""What convolution kernels promise: isometry, upsampling, and waves of the frequency asked for."""

import functools
import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxinit
from jaxinit import Axes

untyped: Any = jaxinit
KEY = jax.random.key(20261124)
CONV = jaxinit.conv_orthogonal()
REAL, COMPLEX = jnp.float32, jnp.complex64
KERNELS: list[tuple[tuple[int, ...], Any]] = [
    ((3, 6, 6), REAL),
    ((4, 3, 8), COMPLEX),
    ((3, 3, 8, 16), REAL),
    ((3, 2, 7, 7), COMPLEX),
    ((2, 5, 7, 7), REAL),
    ((1, 3, 1, 1), REAL),
    ((3, 2, 4, 5, 6), REAL),
]


def gaussian(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def circular(x: Any, kernel: Any, groups: int = 1) -> np.ndarray[Any, Any]:
    """The convolution of a batch, channels last, with what leaves one end entering the other."""
    taps = kernel.shape[:-2]
    names = "WHD"[: len(taps)]
    wrapped = np.pad(x, [(0, 0), *((0, k - 1) for k in taps), (0, 0)], mode="wrap")
    convolved = jax.lax.conv_general_dilated(
        jnp.asarray(wrapped, kernel.dtype),
        kernel,
        (1,) * len(taps),
        "VALID",
        dimension_numbers=(f"N{names}C", f"{names}IO", f"N{names}C"),
        feature_group_count=groups,
        precision="highest",
    )
    return np.asarray(convolved)


def stretch(kernel: Any, shape: tuple[int, ...], groups: int = 1) -> float:
    """The largest | ‖K * x‖ / ‖x‖ - 1 | among random inputs."""
    x = gaussian(shape)
    before, after = (
        np.linalg.norm(a.reshape(len(x), -1), axis=1) for a in (x, circular(x, kernel, groups))
    )
    return float(abs(after / before - 1).max())


def defect(kernel: Any, points: int = 12) -> float:
    """The largest |σ - 1| of a kernel's singular values at every frequency of a ring: of any x."""
    spatial = tuple(range(kernel.ndim - 2))
    spectrum = np.fft.fftn(np.asarray(kernel, np.complex128), (points,) * len(spatial), spatial)
    return float(abs(np.linalg.svd(spectrum, compute_uv=False) - 1).max())


@pytest.mark.parametrize(("shape", "dtype"), KERNELS, ids=str)
def test_a_circular_convolution_is_an_isometry(shape: tuple[int, ...], dtype: Any) -> None:
    kernel = np.asarray(jaxinit.conv_orthogonal(2.0)(KEY, shape, dtype)) / 2
    data = (4, *range(6, 4 + len(shape)), shape[-2])
    assert defect(kernel) < 4e-6
    assert stretch(kernel, data) < 4e-6
    wrong = kernel.copy()  # one weight is off by a twentieth of a typical one
    wrong[(0,) * kernel.ndim] += 0.05 * np.sqrt((abs(kernel) ** 2).mean())
    assert defect(wrong) > 1e-4
    assert stretch(wrong, data) > 1e-5
    if math.prod(shape[:-2]) > 3:
        assert defect(jaxinit.orthogonal()(KEY, shape)) > 0.05


def test_isometry_in_double_and_in_low_precision() -> None:
    with jax.enable_x64(True):
        assert defect(CONV(KEY, (5, 3, 8, 12), jnp.float64)) < 1e-14
    narrow = CONV(KEY, (3, 3, 8, 12), jnp.bfloat16).astype(jnp.float32)
    assert defect(narrow) < 2 * float(jnp.finfo(jnp.bfloat16).eps)


def test_a_long_kernel_is_an_isometry() -> None:
    # A product a tap, each of which rounds by an eps or two.
    assert defect(CONV(KEY, (64, 4, 6)), 128) < 2 * 64 * float(jnp.finfo(jnp.float32).eps)


def stacked(init: Any, shape: tuple[int, ...], count: int) -> np.ndarray[Any, Any]:
    return np.asarray(jax.vmap(lambda k: init(k, shape))(jax.random.split(KEY, count)), np.float64)


@pytest.mark.parametrize("shape", [(4, 6, 8), (3, 2, 5, 6), (3, 3, 3, 4, 4)], ids=str)
def test_each_tap_holds_a_binomial_share(shape: tuple[int, ...]) -> None:
    """E‖K_t‖² / n_in = ∏ C(k-1, t) / 2^(k-1): a projection keeps half of a tap, on average."""
    count = 400
    share = (stacked(CONV, shape, count) ** 2).sum((-1, -2)) / shape[-2]
    np.testing.assert_allclose(share.sum(tuple(range(1, share.ndim))), 1, atol=1e-5)

    def expected(half: float) -> Any:
        laws = [stats.binom(k - 1, half).pmf(np.arange(k)) for k in shape[:-2]]
        return functools.reduce(np.multiply.outer, laws)

    error = share.std(0) / math.sqrt(count)
    assert (abs(share.mean(0) - expected(0.5)) < 4.5 * error).all()
    assert (abs(share.mean(0) - expected(0.47)) > 4.5 * error).any()
    assert (share > 0).all()


def test_halves_of_an_odd_number_alternate() -> None:
    depthwise = CONV(KEY, (5, 4, 1, 1))  # one channel: a projection is all or nothing
    assert np.flatnonzero(abs(depthwise) > 1e-6).tolist() == [2 * 4 + 1]
    share = (stacked(CONV, (3, 2, 3), 400) ** 2).sum((-1, -2)).mean(0) / 2
    np.testing.assert_allclose(share, [2 / 9, 5 / 9, 2 / 9], atol=0.03)


def test_taps_add_up_to_a_haar_matrix() -> None:
    """At frequency zero each factor is I, so the sum is Q: entries are Beta on [-1, 1]."""
    n = 6
    q = stacked(CONV, (3, 2, 3, n), 4000).sum((1, 2))
    law = stats.beta((n - 1) / 2, (n - 1) / 2, loc=-1, scale=2).cdf
    rotation = stats.ortho_group.rvs(n, random_state=1)
    for i, j in ((0, 0), (2, 5), (1, 3)):
        assert stats.kstest(q[:, i, j], law).pvalue > 1e-3 / 6
        assert stats.kstest((q @ rotation)[:, i, j], law).pvalue > 1e-3 / 6
        assert stats.kstest(1.1 * q[:, i, j], law).pvalue < 1e-3 / 6


def test_axes_of_a_kernel_are_mixed() -> None:
    """Factors of the axes take turns: the kernel is no product of a column and a row of taps."""
    kernel = np.asarray(CONV(KEY, (3, 3, 4, 4)), np.float64)
    q = kernel.sum((0, 1))
    along = [kernel.sum(1 - axis) @ q.T for axis in (0, 1)]
    separable = (along[0][:, None] @ along[1][None]) @ q
    assert abs(kernel - separable).max() > 0.05


ISOMETRIES = [CONV.replace, jaxinit.delta_orthogonal().replace]


@pytest.mark.parametrize("make", ISOMETRIES, ids=["conv", "delta"])
def test_each_group_is_an_isometry(make: Any) -> None:
    kernel = make(axes=Axes.conv(groups=4))(KEY, (3, 2, 2, 12))
    assert stretch(kernel, (4, 6, 7, 8), groups=4) < 3e-6
    parts = np.split(np.asarray(kernel), 4, -1)
    for part in parts:
        assert defect(part) < 3e-6
    assert abs(parts[0] - parts[1]).max() > 0.1  # groups are kernels of their own
    assert defect(np.asarray(kernel)) > 0.1  # and so no isometry together


@pytest.mark.parametrize("make", ISOMETRIES, ids=["conv", "delta"])
def test_axes_anywhere(make: Any) -> None:
    torch = make(axes=Axes(in_axis=1, out_axis=0))(KEY, (12, 8, 3, 2))
    assert defect(np.transpose(np.asarray(torch), (2, 3, 1, 0))) < 3e-6
    layers = np.asarray(make(axes=Axes.conv(1).stacked())(KEY, (3, 5, 4, 6)))
    assert max(map(defect, layers)) < 3e-6
    assert abs(layers[0] - layers[1]).max() > 0.1
    heads = np.asarray(make(axes=Axes(-2, (-3, -1), rank=4))(KEY, (3, 2, 4, 5)))
    assert defect(np.swapaxes(heads, 1, 2).reshape(3, 4, 10)) < 3e-6
    plain = make()(KEY, (3, 3, 4, 6))
    np.testing.assert_array_equal(make(axes=Axes.conv())(KEY, (3, 3, 4, 6)), plain)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_transposed_convolution_by_delta_orthogonal_is_an_isometry(stride: int) -> None:
    kernel = jaxinit.delta_orthogonal(axes=Axes.conv(transpose_kernel=True))(KEY, (3, 4, 12, 8))
    x = jnp.asarray(gaussian((1, 5, 6, 8)))
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_transpose(
        x, kernel, (stride,) * 2, "SAME", dimension_numbers=numbers, transpose_kernel=True
    )
    chex.assert_shape(y, (1, 5 * stride, 6 * stride, 12))
    chex.assert_trees_all_close(np.linalg.norm(y), np.linalg.norm(x), rtol=1e-5)


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


GABOR = jaxinit.gabor()
HE = jaxinit.he_normal()
ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: CONV(KEY, (3, 3, 8, 4)), ValueError, "n_in=8 > n_out=4: no kernel keeps the norm"),
    (lambda: CONV(KEY, (8, 8)), ValueError, "has 2 axes, 0 of them spatial.*use orthogonal"),
    (lambda: CONV(KEY, (3, 3, 3, 3, 8, 8)), ValueError, "has 6 axes, 4 of them spatial"),
    (lambda: CONV(KEY, (8,)), ValueError, r"shape \(8,\) is 1-D"),
    (lambda: CONV(KEY, (3, 8, 8), jnp.int32), TypeError, "dtype=int32 has no fractions"),
    (lambda: jaxinit.conv_orthogonal(math.nan), ValueError, "gain=nan is not finite"),
    (
        lambda: jaxinit.conv_orthogonal(axes=Axes.conv(groups=3))(KEY, (3, 3, 1, 8)),
        ValueError,
        "groups=3 do not divide the 8 outputs",
    ),
    (
        lambda: jaxinit.delta_orthogonal(axes=Axes.conv(groups=4))(KEY, (3, 3, 4, 8)),
        ValueError,
        "n_in=4 > n_out=2 in each of 4 groups",
    ),
    (
        lambda: jaxinit.conv_orthogonal(axes=Axes.conv(1))(KEY, (3, 3, 4, 8)),
        ValueError,
        "are of a 3-D kernel",
    ),
    (
        lambda: jaxinit.delta_orthogonal(1.0, -2, axes=Axes.conv())(KEY, (3, 3, 4, 8)),
        ValueError,
        "axes=.* and column_axis=-2 both say what the columns are",
    ),
    (lambda: untyped.conv_orthogonal(axes=3), TypeError, "axes=3 is a int"),
    (lambda: untyped.icnr(jaxinit.he_normal, 2), TypeError, "init=.*is a factory.*call it first"),
    (lambda: jaxinit.icnr(HE, 0), ValueError, "upscale=0 is less than 1"),
    (lambda: untyped.icnr(HE, 1.5), TypeError, "upscale=1.5 is not a whole number"),
    (lambda: untyped.icnr(HE, 2, "torch"), ValueError, "order='torch' is none of 'pixel_shuffle'"),
    (
        lambda: jaxinit.icnr(HE, 2)(KEY, (3, 3, 8, 10)),
        ValueError,
        r"10 outputs, which upscale=2 cannot share out among 2\^2 = 4 sub-pixels",
    ),
    (lambda: jaxinit.icnr(HE, 2)(KEY, (8, 8)), ValueError, "1 axes of outputs and 0 spatial ones"),
    (
        lambda: jaxinit.icnr(HE, 2, axes=Axes(-3, (-2, -1)))(KEY, (3, 8, 4, 4)),
        ValueError,
        "2 axes of outputs and 1 spatial",
    ),
    (
        lambda: jaxinit.icnr(HE, 2, "depth_to_space", axes=Axes.conv(groups=2))(KEY, (3, 3, 4, 8)),
        ValueError,
        "groups=2 part the sub-pixels of a channel",
    ),
    (
        lambda: jaxinit.icnr(HE, 2, axes=Axes.conv(groups=4))(KEY, (3, 3, 4, 8)),
        ValueError,
        "with 2 channels: pass order='pixel_shuffle' and groups that divide",
    ),
    (lambda: GABOR(KEY, (5, 4, 1, 8)), ValueError, "5 by 4 taps.*odd height and width"),
    (lambda: GABOR(KEY, (1, 5, 1, 8)), ValueError, "1 by 5 taps.*at least 3"),
    (lambda: GABOR(KEY, (5, 1, 8)), ValueError, "has 3 axes: a Gabor bank"),
    (lambda: GABOR(KEY, (5, 5, 1, 8), jnp.int32), TypeError, "dtype=int32 has no fractions"),
    (lambda: jaxinit.gabor((0.25, 0.5)), ValueError, "not one or more numbers between 0 and 0.5"),
    (lambda: jaxinit.gabor((-0.1,)), ValueError, "not one or more numbers between 0 and 0.5"),
    (lambda: jaxinit.gabor(()), ValueError, "not one or more numbers between 0 and 0.5"),
    (lambda: untyped.gabor(None), TypeError, "frequencies=None is not a real number"),
    (lambda: untyped.gabor(bandwidth=[1, 2]), TypeError, r"bandwidth=\[1, 2\] is not one number"),
    (lambda: jaxinit.gabor(bandwidth=0), ValueError, "bandwidth=0 is not above 0"),
    (lambda: jaxinit.gabor(aspect=-1), ValueError, "aspect=-1 is not above 0"),
    (lambda: untyped.gabor(phase=0), ValueError, "phase=0 is none of 'quadrature', 'random'"),
    (
        lambda: jaxinit.gabor((1e-5,))(KEY, (3, 3, 1, 4)),
        ValueError,
        r"too small a kernel for frequencies=\(1e-05,\)",
    ),
    (
        lambda: jaxinit.gabor(aspect=200.0)(KEY, (5, 5, 1, 64)),
        ValueError,
        "too small a kernel.*a lower aspect",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
    with pytest.raises(error, match=message):  # and so while tracing
        jax.eval_shape(call)
