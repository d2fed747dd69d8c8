"""What convolution kernels promise: isometry, upsampling, and waves of the frequency asked for."""

import functools
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

CONV = jaxinit.conv_orthogonal()
KERNELS: list[tuple[tuple[int, ...], Any]] = [
    ((3, 6, 6), REAL),
    ((4, 3, 8), COMPLEX),
    ((3, 3, 8, 16), REAL),
    ((3, 2, 7, 7), COMPLEX),
    ((2, 5, 7, 7), REAL),
    ((1, 3, 1, 1), REAL),
    ((3, 2, 4, 5, 6), REAL),
]


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
