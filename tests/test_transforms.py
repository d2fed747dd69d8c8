"""Tables of a closed form: interpolation, positions and transforms, beside scipy's and numpy's."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.interpolate
import scipy.linalg
import scipy.signal
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from signals import EPS, convolved, noise

import jaxinit
from jaxinit import Axes

# Upsampling


@pytest.mark.parametrize("sizes", [(3,), (4,), (5,), (6,), (4, 4), (5, 5), (3, 3, 3)], ids=str)
def test_bilinear_interpolates(sizes: tuple[int, ...]) -> None:
    k, spatial = sizes[0], len(sizes)
    f = math.ceil(k / 2)
    x = noise(*(4,) * spatial, 2)
    kernel = jaxinit.bilinear()(None, (*sizes, 2, 2))

    def enlarged(kernel: Any) -> np.ndarray[Any, Any]:
        axes = "WHD"[:spatial]
        numbers = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
        y = jax.lax.conv_transpose(
            jnp.asarray(x[None]),
            kernel,
            (f,) * spatial,
            "VALID",
            dimension_numbers=numbers,
            precision="highest",
        )
        return np.asarray(y[0])

    y = enlarged(kernel)
    where = (np.arange(y.shape[0]) - (k - 1) / 2) / f  # of an output, in input pixels
    inside = (where >= 0) & (where <= 3)
    grid = np.stack(np.meshgrid(*[where[inside]] * spatial, indexing="ij"), -1)
    expected = scipy.interpolate.RegularGridInterpolator((range(4),) * spatial, x)(grid)
    np.testing.assert_allclose(y[np.ix_(*[inside] * spatial)], expected, atol=8 * EPS)
    # MXNet takes the centre from the parity of f, where it is of k.
    theirs = 1 - abs(np.arange(k) / f - (2 * f - 1 - f % 2) / (2 * f))
    ours = np.asarray(kernel)[..., 0, 0].max(axis=tuple(range(1, spatial)))
    assert np.allclose(theirs, ours / ours.max() * theirs.max()) == (k % 2 == f % 2 or k == 1)


def test_bilinear_of_channels() -> None:
    row = np.asarray([0.25, 0.75, 0.75, 0.25])
    depthwise = jaxinit.bilinear(axes=Axes.conv(groups=5))(None, (4, 4, 1, 5))
    np.testing.assert_array_equal(depthwise[:, :, 0, 3], np.outer(row, row))
    full = jaxinit.bilinear()(None, (4, 3, 3))
    np.testing.assert_array_equal(full, row[:, None, None] * np.eye(3))


# Positions


def table(n: int, d: int, scale: float = 1e4) -> np.ndarray[Any, Any]:
    """In double precision, with the features interleaved."""
    angle = np.arange(n)[:, None] * scale ** (-2 * (np.arange(d) // 2) / d)
    return np.where(np.arange(d) % 2 == 0, np.sin(angle), np.cos(angle))


def test_sinusoidal() -> None:
    found = jaxinit.sinusoidal(500.0)(None, (64, 10))
    np.testing.assert_allclose(found, table(64, 10, 500), atol=2 * EPS)
    assert abs(table(64, 10) - table(64, 10, 500)).max() > 0.1
    together = jaxinit.sinusoidal(layout="concat")(None, (2, 64, 7))
    order = [0, 2, 4, 6, 1, 3, 5]
    np.testing.assert_allclose(together[1], table(64, 7)[:, order], atol=2 * EPS)


def test_sinusoidal_is_precise_at_any_position() -> None:
    n, d = 60_000, 8
    exact = table(n, d)
    found = jaxinit.sinusoidal()(None, (n, d))
    np.testing.assert_allclose(found, exact, atol=2 * EPS)
    angle = np.arange(n, dtype=np.float32) * np.float32(1e4 ** (-2 / 8))
    assert abs(np.sin(angle) - exact[:, 2]).max() > 100 * EPS  # angles in single precision
    with jax.enable_x64(True):
        double = jaxinit.sinusoidal()(None, (n, d), jnp.float64)
    np.testing.assert_allclose(double, exact, atol=1e-11)


def test_sinusoidal_turns_by_a_fixed_angle() -> None:
    """Each pair at p + 5 is that at p, rotated by 5 ω."""
    w = np.asarray(jaxinit.sinusoidal()(None, (200, 6)), np.float64)
    for i in range(3):
        turn = 5 * 1e4 ** (-2 * i / 6)
        rotation = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        pair = w[:, 2 * i : 2 * i + 2]
        np.testing.assert_allclose(pair[5:], pair[:-5] @ rotation, atol=8 * EPS)


def slopes(heads: int) -> list[float]:
    """Geometric for a power of two; else by the paper's recursion."""
    if math.log2(heads).is_integer():
        start = 2 ** (-8 / heads)
        return [start * start**h for h in range(heads)]
    below = 2 ** math.floor(math.log2(heads))
    return slopes(below) + slopes(2 * below)[::2][: heads - below]


@pytest.mark.parametrize("heads", [1, 2, 3, 8, 12, 40])
def test_alibi_slopes(heads: int) -> None:
    found = jaxinit.alibi_slopes()(None, (heads,))
    np.testing.assert_allclose(found, slopes(heads), rtol=EPS)
    geometric = 2.0 ** (-8 * np.arange(1, heads + 1) / heads)
    assert np.allclose(found, geometric) == math.log2(heads).is_integer()
    column = jaxinit.alibi_slopes(0)(None, (heads, 1, 1))
    np.testing.assert_array_equal(column[:, 0, 0], found)


def test_rotary_frequencies() -> None:
    found = jaxinit.rotary_frequencies(5e5)(None, (3, 64))
    exact = 5e5 ** (-2 * np.arange(64) / 128)
    np.testing.assert_array_equal(found, np.broadcast_to(exact.astype(np.float32), (3, 64)))
    assert not np.allclose(found, 5e5 ** (-np.arange(64) / 63))  # which would end at 1/θ


# Fourier analysis


@pytest.mark.parametrize("norm", [None, "ortho"])
@pytest.mark.parametrize("kind", [1, 2, 3, 4])
@pytest.mark.parametrize("points", [2, 5, 64])
def test_dct_is_scipys(points: int, kind: Any, norm: Any) -> None:
    init = jaxinit.dct(kind, norm)
    exact = scipy.fft.dct(np.eye(points), kind, norm=norm)
    np.testing.assert_allclose(init(None, (points, points)), exact, atol=3 * EPS)
    other = scipy.fft.dct(np.eye(points), kind, norm=None if norm else "ortho")
    assert abs(exact - other).max() > 0.1
    few = init(None, (3, points, 2))
    np.testing.assert_array_equal(few[1], init(None, (points, points))[:, :2])
    with jax.enable_x64(True):
        double = np.asarray(init(None, (points, points), jnp.float64))
    np.testing.assert_allclose(double, exact, atol=1e-14)
    if norm:
        np.testing.assert_allclose(double @ double.T, np.eye(points), atol=1e-13)


def test_dct_transforms_rows() -> None:
    x = noise(4, 32).astype(np.float64)
    w = np.asarray(jaxinit.dct()(None, (32, 32)), np.float64)
    np.testing.assert_allclose(x @ w, scipy.fft.dct(x), atol=1e-5)
    assert abs(x @ w.T - scipy.fft.dct(x)).max() > 0.1
    back = np.asarray(jaxinit.dct(3)(None, (32, 32)), np.float64)
    np.testing.assert_allclose(w @ back, 64 * np.eye(32), atol=1e-5)


@pytest.mark.parametrize("points", [1, 2, 12, 31])
def test_dft_is_numpys(points: int) -> None:
    exact = np.fft.fft(np.eye(points))
    w = jaxinit.dft()(None, (points, points), jnp.complex64)
    np.testing.assert_allclose(w, exact, atol=2 * EPS)
    assert points < 3 or abs(np.conj(w) - exact).max() > 0.5
    parts = (jaxinit.dft(part=part)(None, (points, points)) for part in ("real", "imag"))
    np.testing.assert_array_equal(jax.lax.complex(*parts), w)
    unitary = np.asarray(jaxinit.dft("ortho")(None, (points, points), jnp.complex64))
    np.testing.assert_allclose(unitary @ unitary.conj().T, np.eye(points), atol=20 * EPS)
    bins = points // 2 + 1
    half = jaxinit.dft(dtype=jnp.complex64)(None, (points, bins))
    x = noise(3, points)
    np.testing.assert_allclose(x @ half, np.fft.rfft(x), atol=1e-5)


def test_cosines_are_precise() -> None:
    """To one unit in the last place of 1, and exact at quarter turns."""
    found = jaxinit.dft(part="real")(None, (1000, 50))
    exact = np.cos(2 * np.pi * (np.outer(np.arange(1000), np.arange(50)) % 1000) / 1000)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1.2 * EPS)
    w = jaxinit.dft()(None, (8, 8), jnp.complex64)
    units = np.asarray([1, -1j, -1, 1j])
    np.testing.assert_array_equal(w[:, 2], np.tile(units, 2))
    assert jaxinit.dct()(None, (3, 3))[1].tolist() == [2, 0, -2]


WINDOWS = ["hann", "hamming", "blackman", "boxcar"]


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("window", WINDOWS)
def test_windows_are_scipys(window: Any, periodic: bool) -> None:
    for frame in (1, 9, 16):
        init = jaxinit.stft(window, fft_length=16, part="real", periodic=periodic)
        expected = scipy.signal.get_window(window, frame, fftbins=periodic)
        np.testing.assert_allclose(init(None, (frame, 1))[:, 0], expected, atol=EPS)


@pytest.mark.parametrize(("scaling", "theirs"), [("spectrum", "magnitude"), ("density", "psd")])
@pytest.mark.parametrize(("frame", "length"), [(16, 16), (12, 16), (11, 15)])
def test_stft_is_scipys(frame: int, length: int, scaling: Any, theirs: Any) -> None:
    signal, hop = noise(90), 5
    window = scipy.signal.get_window("hann", frame)
    bins = length // 2 + 1
    transform = scipy.signal.ShortTimeFFT(
        window, hop, fs=1, mfft=length, scale_to=theirs, phase_shift=None
    )
    first = math.ceil(frame // 2 / hop)  # of the frames that lie inside
    start = first * hop - frame // 2
    frames = (90 - start - frame) // hop + 1
    expected = transform.stft(signal.astype(np.float64), p0=first, p1=first + frames).T
    kernels = [
        jaxinit.stft("hann", scaling, length, part)(None, (frame, 1, bins))
        for part in ("real", "imag")
    ]
    found = [
        convolved(signal[None, start:, None], kernel, padding="VALID", stride=hop)[0]
        for kernel in kernels
    ]
    np.testing.assert_allclose(found[0] + 1j * found[1], expected, atol=30 * EPS)
    dense = jaxinit.stft(window, scaling, length)(None, (frame, bins), jnp.complex64)
    np.testing.assert_allclose(dense, kernels[0][:, 0] + 1j * kernels[1][:, 0], atol=EPS)
    if length == 2 * (bins - 1):
        default = jaxinit.stft(window, scaling)(None, (frame, bins), jnp.complex64)
        np.testing.assert_array_equal(default, dense)
    unscaled = jaxinit.stft(window, None, length)(None, (frame, bins), jnp.complex64)
    assert abs(unscaled - dense).max() > 0.1


def test_complex_bases_are_sharded() -> None:
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    for init, shape in ((jaxinit.dft(), (16, 8)), (jaxinit.stft(), (8, 8))):
        sharded = init(None, shape, jnp.complex64, NamedSharding(mesh, PartitionSpec("a", "b")))
        np.testing.assert_array_equal(sharded, init(None, shape, jnp.complex64))
