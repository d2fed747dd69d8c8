"""Bases of Fourier analysis, as matrices: y = x W is the transform of x."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike

from jaxinit._checks import finite, one_of, whole
from jaxinit._draw import Draw, Spec, fill
from jaxinit._initializer import initializer
from jaxinit._turns import POINTS, quarters

Norm: TypeAlias = Literal[None, "ortho"]
Part: TypeAlias = Literal["complex", "real", "imag"]

# Coefficients of cos(2π j t / n), with alternating signs.
_WINDOWS = {
    "boxcar": (1.0,),
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
}


def _window(name: str, value: Any) -> Any:
    return one_of(name, value, tuple(_WINDOWS)) if isinstance(value, str) else finite(name, value)


def _length(name: str, value: Any) -> int | None:
    return None if value is None else whole(name, value)


@initializer
def dct(
    spec: Spec,
    type: Literal[1, 2, 3, 4] = 2,
    norm: Norm = None,
    dtype: DTypeLike | None = None,
) -> Draw:
    """The discrete cosine transform: y = x W equals `scipy.fft.dct(x, type, norm=norm)`.

    Type 2 is W[n, k] = 2 cos(π k (2n + 1) / 2N). With norm "ortho" W is orthogonal. A matrix of
    fewer columns keeps the first coefficients.

    Args:
        type: 1, 2, 3 or 4.
        norm: None or "ortho".
        dtype: default dtype of the weights, not an integer one.

    Returns:
        An initializer for shapes of N points by at most N coefficients; leading axes repeat it.

    Raises:
        TypeError: when called, if the dtype is an integer one.
        ValueError: for another type or norm; when called, if the shape is no such shape.

    >>> print(dct(norm="ortho")(None, (2, 2)).round(4))
    [[ 0.7071  0.7071]
     [ 0.7071 -0.7071]]

    Reference:
        Ahmed, Natarajan, Rao, "Discrete Cosine Transform", IEEE Trans. Comput. C-23, 1974.
    """
    points = _points("dct", spec.shape)
    if type == 1 and points == 1:
        raise ValueError(f"shape {spec.shape} has one point: dct of type 1 needs two")
    return fill(_dct, type=type, ortho=norm == "ortho", real=spec.real)


def _dct(
    shape: tuple[int, ...], dtype: np.dtype[Any], *, type: int, ortho: bool, real: np.dtype[Any]
) -> Array:
    n, k = (_count(shape, len(shape) - back) for back in (2, 1))
    last = shape[-2] - 1
    period = max(last if type == 1 else last + 1, 1)
    steps = (2 * n + int(type in (2, 4))) * (2 * k + int(type in (3, 4)))
    value = quarters(steps, 2 * period, real).cos()
    # Where the extended signal repeats a boundary point, the point counts half.
    halves = ((n == 0) & (type in (1, 3))) | ((n == last) & (type == 1))
    if not ortho:
        return jnp.where(halves, value, 2 * value)
    edges = ((k == 0) & (type in (1, 2))) | ((k == last) & (type == 1))
    one, two, four = (math.sqrt(2 / half / period) for half in (1, 2, 4))
    return value * jnp.where(halves & edges, four, jnp.where(halves | edges, two, one))


@initializer
def dft(
    spec: Spec, norm: Norm = None, part: Part = "complex", dtype: DTypeLike | None = None
) -> Draw:
    """The discrete Fourier transform: y = x W equals `numpy.fft.fft(x, norm=norm)`.

    W[n, k] = exp(-2πi n k / N). With norm "ortho" W is unitary. A matrix of fewer columns keeps
    the first frequencies; of a real signal the first N // 2 + 1 say everything.

    Args:
        norm: None or "ortho".
        part: "complex" for W itself; "real" or "imag" for that part, which real weights can hold.
        dtype: default dtype of the weights, a complex one for W itself.

    Returns:
        An initializer for shapes of N points by at most N frequencies; leading axes repeat it.

    Raises:
        TypeError: when called, if the dtype cannot hold the part.
        ValueError: for another norm or part; when called, if the shape is no such shape.

    >>> dft()(None, (2, 2), "complex64").real.tolist()
    [[1.0, 1.0], [1.0, -1.0]]

    Reference:
        Cooley, Tukey, "An algorithm for the machine calculation of complex Fourier series", Math.
        Comput. 19, 1965, eq. 1.
    """
    points = _points("dft", spec.shape)
    unit = 1 / math.sqrt(max(points, 1)) if norm == "ortho" else 1.0
    return _analysis("dft", spec, unit, len(spec.shape) - 2, points, part)


@initializer
def stft(
    spec: Spec,
    window: Annotated[ArrayLike | str, _window] = "hann",
    scaling: Literal[None, "density", "spectrum"] = None,
    fft_length: Annotated[int | None, _length] = None,
    part: Part = "complex",
    dtype: DTypeLike | None = None,
    *,
    periodic: bool = True,
) -> Draw:
    """The short-time Fourier transform: W[t, k] = s w(t) exp(-2πi k t / F).

    A frame times W, or a convolution of the signal with W whose stride is the hop, is the spectrum
    of the windowed frame, as `scipy.signal.ShortTimeFFT` has it with `phase_shift=None`.

    Args:
        window: w, one of "hann", "hamming", "blackman", "boxcar", or the numbers w(t).
        scaling: s = 1 for None; 1 / √Σ w(t)² for "density", whose squares are a power spectral
            density at sampling rate 1; 1 / |Σ w(t)| for "spectrum", which keeps amplitudes.
        fft_length: F; None means 2 (frequencies - 1).
        part: "complex" for W itself; "real" or "imag" for that part, which real weights can hold.
        dtype: default dtype of the weights, a complex one for W itself.
        periodic: whether a named window is one period, of which the next sample would be the
            first, or symmetric.

    Returns:
        An initializer for shapes (frame, frequencies), or (frame, 1, frequencies) as a convolution
        kernel.

    Raises:
        TypeError: when called, if the dtype cannot hold the part.
        ValueError: for another window, scaling or part; when called, if the shape is no such
            shape, or F is less than the frame or than the frequencies.

    >>> stft("boxcar", part="real")(None, (4, 1, 3))[:, 0].tolist()
    [[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -1.0, 1.0], [1.0, 0.0, -1.0]]

    Peers:
        keras: STFT

    Reference:
        Allen, Rabiner, "A unified approach to short-time Fourier analysis and synthesis", Proc.
        IEEE 65, 1977.
    """
    shape = spec.shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[1] != 1):
        raise ValueError(
            f"shape {shape} is neither (frame, frequencies) nor (frame, 1, frequencies): let the "
            "convolution see one channel"
        )
    frame, frequencies = shape[0], shape[-1]
    length = fft_length or 2 * (frequencies - 1)
    if not max(frame, frequencies) <= length <= POINTS:
        raise ValueError(
            f"fft_length={length} for shape {shape}: it is at least the frame, {frame}, and the "
            f"frequencies, {frequencies}, and at most {POINTS}; for a frame ask for "
            f"{frame // 2 + 1} frequencies or more, or pass fft_length="
        )
    column = _scaled(_samples(window, frame, periodic), scaling, frame)
    column = column.reshape((frame,) + (1,) * (len(shape) - 1))
    return _analysis("stft", spec, column, 0, length, part)


def _samples(window: Any, frame: int, periodic: bool) -> Any:
    if isinstance(window, Array):
        return window
    if not isinstance(window, str):
        return np.asarray(window, np.float64)
    if frame == 1:
        return np.ones(1)
    angle = 2 * math.pi * np.arange(frame) / (frame if periodic else frame - 1)
    return sum((-1) ** j * a * np.cos(j * angle) for j, a in enumerate(_WINDOWS[window]))


def _scaled(window: Any, scaling: str | None, frame: int) -> Any:
    if window.shape != (frame,):
        raise ValueError(f"window has shape {window.shape}: a frame has {frame} samples")
    if scaling is None:
        return window
    total = (window**2).sum() ** 0.5 if scaling == "density" else abs(window.sum())
    if isinstance(window, np.ndarray) and not total > 0:
        raise ValueError(f"window sums to 0, so that scaling={scaling!r} has nothing to divide by")
    return window / total


def _analysis(law: str, spec: Spec, window: ArrayLike, axis: int, length: int, part: str) -> Draw:
    real = spec.real
    if part == "complex" and spec.dtype == real:
        raise TypeError(
            f"dtype={spec.dtype} cannot hold the complex entries of {law}: pass complex64, or "
            "part='real' and part='imag' for two real matrices"
        )
    return fill(_fourier, window, axis=axis, length=length, part=part, real=real)


def _fourier(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    window: Array,
    *,
    axis: int,
    length: int,
    part: str,
    real: np.dtype[Any],
) -> Array:
    t, k = _count(shape, axis), _count(shape, len(shape) - 1)
    angle = quarters(4 * t * k, max(length, 1), real)
    if part == "real":
        return window * angle.cos()
    if part == "imag":
        return window * angle.cos(ahead=1)
    return window * lax.complex(angle.cos(), angle.cos(ahead=1))


def _count(shape: tuple[int, ...], axis: int) -> Array:
    return lax.broadcasted_iota(jnp.uint32, shape, axis)


def _points(law: str, shape: tuple[int, ...]) -> int:
    """The points of a transform: rows of a matrix that has no more columns."""
    if len(shape) < 2 or shape[-1] > shape[-2]:
        raise ValueError(
            f"shape {shape} is not of points by at most as many coefficients, which the matrix of "
            f"{law} has: y = x W"
        )
    if shape[-2] > POINTS:
        raise ValueError(
            f"shape {shape} has more than {POINTS} points: use the fast transform, not its matrix"
        )
    return shape[-2]
