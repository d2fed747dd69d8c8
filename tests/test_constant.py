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
import scipy.fft
import scipy.interpolate
import scipy.linalg
import scipy.signal
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import jaxinit
from jaxinit import Axes

untyped: Any = jaxinit
EPS = float(np.finfo(np.float32).eps)


def noise(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def convolved(x: Any, kernel: Any, groups: int = 1, padding: str = "SAME", stride: int = 1) -> Any:
    spatial = "WHD"[: x.ndim - 2]
    numbers = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride,) * len(spatial),
        padding,
        dimension_numbers=numbers,
        feature_group_count=groups,
        precision="highest",
    )


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
